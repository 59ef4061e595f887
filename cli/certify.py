"""`advkit certify`: lower and upper bounds of the error under any attack within eps."""

import json
from typing import Any

import click
import torch
from torch import Tensor, nn

from advkit.attacks import PGD
from advkit.certification import certify
from advkit.certification.certify import TIMED
from advkit.cli._certify_smoothed import smoothed_figures
from advkit.cli._console import percent, progress_bar, say, show, table
from advkit.cli.attack import checkpoint, load_images
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.core.knowledge import check_open
from advkit.core.norms import get_norm
from advkit.core.words import beyond_the_range, number, short
from advkit.evaluation import Certification
from advkit.models import load_model


def run(
    model: str, weights: str | None, data: str, split: str, data_root: str | None, download: bool, classes: str | None,
    count: int, eps: float, norm: str | None, method: str, sigma: float | None, draws: int | None, alpha: float | None,
    seed: int, device: str, threads: int | None, as_json: bool, time_limit: float | None, nodes: int | None,
) -> None:  # fmt: skip
    """Do what the command says."""
    if threads is not None:
        torch.set_num_threads(threads)
    device = str(find_device(device, float64=True))
    norm = _norm(norm, method)
    noise = _noise(method, sigma=sigma, draws=draws, alpha=alpha)
    limits = _limits(method, time_limit=time_limit, nodes=nodes)
    classifier = load_model(model, data=checkpoint(data), weights=weights, device=device)
    if method != "smoothing":
        check_open(classifier, "certificates and bounds")
    where: dict[str, Any] = {"split": split, "root": data_root, "download": download}
    x, y = load_images(data, classifier, None, None, classes=classes, **where)[:count]
    x, y = x.to(classifier.normalize.mean), y.to(classifier.normalize.mean.device)
    more: dict[str, Any] = {}
    if method == "smoothing":
        certified, fooled, more = smoothed_figures(classifier, x, y, eps=eps, seed=seed, **noise)
    else:
        certified, fooled, more = _both(classifier, x, y, eps=eps, norm=norm, method=method, limits=limits)
    counts = {"images": len(x), "open": int((~certified).sum()), "found": int(fooled.sum())}
    sides = Certification(method=method, norm=norm, eps=eps, **counts)
    figures = _figures(sides) | more
    if as_json:
        where = {"model": model, "data": f"{data}:{split}", "count": len(x), "eps": eps}
        click.echo(json.dumps({**where, "norm": norm, "method": method, **figures}, allow_nan=False))
        return
    say(f"{model} on {len(x)} images of {data} {split}, {norm} ball of eps {number(eps)}, {method}")
    if beyond := beyond_the_range(eps, get_norm(norm).boxed):
        say(beyond)
    _say_both(figures)
    if method == "smoothing":
        _say_smoothed(more, eps)


ADVERSARIAL = ("adversarial_error", "adversarial_error_interval")


def _limits(method: str, **limits: float | None) -> dict[str, Any]:
    """The limits that are given."""
    given = {name: value for name, value in limits.items() if value is not None}
    for name in given:
        methods = TIMED if name == "time_limit" else ("exact",)
        if method not in methods:
            raise InputError(f"--{name.replace('_', '-')} belongs to --method {', '.join(methods)}, got {method}")
    return given


def _noise(method: str, **noise: float | None) -> dict[str, Any]:
    """The options of smoothing that are given."""
    given = {name: value for name, value in noise.items() if value is not None}
    if given and method != "smoothing":
        raise InputError(f"--{next(iter(given))} belongs to --method smoothing, got --method {method}")
    return given


def _norm(norm: str | None, method: str) -> str:
    """The norm that is asked for, or the one that the method has."""
    if method == "smoothing" and norm not in (None, "l2"):
        raise InputError(f"smoothing certifies l2 balls only, got --norm {norm}")
    return norm or ("l2" if method == "smoothing" else "linf")


def _both(
    model: nn.Module, x: Tensor, y: Tensor, *, eps: float, norm: str, method: str, limits: dict[str, Any]
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """What is certified and what is fooled, (N,) each, and what only a search has to say."""
    result = PGD(eps=eps, norm=norm)(model, x, y)
    if method == "exact":
        limits = {**limits, "attack": lambda model, x, y: result.x_adv}
    with progress_bar(method, "million products") as progress:
        found = certify(model, x, y, eps=eps, norm=norm, method=method, **limits, progress=progress)
    faulty = (result.success & found.certified).nonzero()
    if len(faulty):
        raise click.ClickException(
            f"image {int(faulty[0])} is certified and yet fooled by PGD: a fault in one of them, please report it"
        )
    if found.broken is None:
        return found.certified, result.success, {}
    return found.certified, result.success | found.broken, {"undecided": int(found.undecided.sum())}


def _say_both(figures: dict[str, Any]) -> None:
    by = "found" if "undecided" in figures else "PGD"
    for name, text in (("adversarial_error", f"At least ({by})"), ("certified_error", "At most (certificate)")):
        low, high = figures[f"{name}_interval"]
        say(f"{text}: {percent(figures[name])} ({100 * low:.1f} to {100 * high:.1f})")
    if figures["exact"]:
        say(f"Exactly {percent(figures['certified_error'])} of these images can be made wrong.")
        return
    if left := figures.get("undecided"):
        say(f"{left} images are undecided: allow more with --time-limit and --nodes.")
    if figures["adversarial_error"] < figures["certified_error"]:
        say("Between the two, nothing is known.")


def _say_smoothed(more: dict[str, Any], eps: float) -> None:
    made = table("l2 radius", "certified accuracy", right=("l2 radius", "certified accuracy"))
    for radius, share in zip(more["radii"], more["certified_accuracy"], strict=True):
        made.add_row(short(radius), percent(share))
    show(made)
    draws = f"{more['draws']:,} draw{'s' * (more['draws'] != 1)}"
    say(
        f"All figures are of the smoothed classifier, sigma {number(more['sigma'])}; it abstains on "
        f"{percent(more['abstained'])} of the images, which are not certified. A certificate is wrong with "
        f"probability at most {number(more['alpha'])} an image, from {draws}."
    )
    if more["furthest"] <= 0:
        say(f"No image can be certified from {draws}, even if all agree: give --draws {more['fewest']} or more.")
    elif more["furthest"] <= eps:
        say(
            f"No image can be certified at eps {number(eps)}: {draws} that all agree certify a radius of "
            f"{more['furthest']:.3g}. Give a smaller --eps, more --draws or a larger --sigma."
        )


def _figures(sides: Certification) -> dict[str, Any]:
    figures = sides.to_dict()
    lower = {name: figures[name.replace("adversarial", "found")] for name in ADVERSARIAL}
    return lower | {name: figures[name] for name in ("certified_error", "certified_error_interval", "exact")}
