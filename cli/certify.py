"""`advkit certify`: the error under any attack within eps, from both sides."""

import json
from typing import Any

import click
import torch

from advkit.attacks import PGD
from advkit.certification import Certificate, certify
from advkit.cli._console import percent, say
from advkit.cli._options import check_device
from advkit.core.norms import get_norm
from advkit.core.words import beyond_the_range, number
from advkit.data import load_data
from advkit.evaluation import wilson_interval
from advkit.evaluation.measure.belong import belonging
from advkit.models import load_model


def run(
    model: str, weights: str | None, data: str, split: str, data_root: str | None, download: bool, count: int,
    eps: float, norm: str, method: str, device: str, threads: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Do what the command says."""
    if threads is not None:
        torch.set_num_threads(threads)
    check_device(device)
    classifier = load_model(model, data=data, weights=weights, device=device)
    x, y = belonging(classifier, load_data(data, split=split, root=data_root, download=download))[:count]
    x, y = (t.to(classifier.normalize.mean.device) for t in (x, y))
    found = certify(classifier, x, y, eps=eps, norm=norm, method=method)
    attacked = PGD(eps=eps, norm=norm)(classifier, x, y).success
    if bool((attacked & found.certified).any()):
        place = int((attacked & found.certified).nonzero()[0])
        raise click.ClickException(
            f"image {place} is certified and yet fooled by PGD: a fault in one of them, please report it"
        )
    figures = _figures(found, attacked)
    if as_json:
        where = {"model": model, "data": f"{data}:{split}", "count": len(x), "eps": eps}
        click.echo(json.dumps({**where, "norm": norm, "method": method, **figures}, allow_nan=False))
        return
    say(f"{model} on {len(x)} images of {data} {split}, {norm} ball of eps {number(eps)}, {method}")
    if beyond := beyond_the_range(eps, get_norm(norm).boxed):
        say(beyond)
    for name, text in (("adversarial_error", "At least (PGD)"), ("certified_error", "At most (certificate)")):
        low, high = figures[f"{name}_interval"]
        say(f"{text}: {percent(figures[name])} ({100 * low:.1f} to {100 * high:.1f})")
    say("Both are exact." if figures["exact"] else "Between the two, nothing is known.")


def _figures(found: Certificate, attacked: torch.Tensor) -> dict[str, Any]:
    count = len(attacked)
    fooled, open_ = int(attacked.sum()), int((~found.certified).sum())
    return {
        "adversarial_error": fooled / count,
        "adversarial_error_interval": list(wilson_interval(fooled, count)),
        "certified_error": open_ / count,
        "certified_error_interval": list(wilson_interval(open_, count)),
        "exact": fooled == open_,
    }
