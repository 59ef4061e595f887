"""`advkit universal`: one perturbation for a data set, its picture, and its errors on other images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import UniversalPerturbation, find_universal
from advkit.cli._attack_json import print_json
from advkit.cli._console import progress_bar
from advkit.cli._halves import network_and_halves
from advkit.cli._picture import check_colours, check_place
from advkit.cli.commands.universal import NAME
from advkit.core.errors import InputError
from advkit.core.sheet import as_text
from advkit.evaluation import evaluate
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.asked import EPS, noise_like
from advkit.evaluation.measure.setting import setting_of
from advkit.evaluation.show.report_text import attack_sheet


def run(
    model: str | None,
    eps: float | None,
    norm: str,
    target: str | None,
    epochs: int,
    step_size: float | None,
    loss: str,
    seed: int,
    batch_size: int,
    as_json: bool,
    output: Path | None,
    no_picture: bool,
    **options: Any,
) -> None:
    """Do what the command says."""
    radius = EPS.get(norm, 0.1) if eps is None else eps
    place = None if no_picture or (as_json and output is None) else check_place(output, NAME, (".png",))
    classifier, first, second = network_and_halves(model, options)
    if place is not None:
        check_colours(first, ": --no-picture goes without")
    aim = aim_at(target, first, option="--target")
    if isinstance(aim, str) and aim not in ("untargeted", "runner_up"):
        raise InputError(f"--target: expected one class for one perturbation, got {aim}")
    wanted: Any = {"norm": norm, "step_size": step_size, "loss": loss, "target": "untargeted" if aim is None else aim}
    with progress_bar("universal"):
        found = find_universal(classifier, first, eps=radius, epochs=epochs, batch_size=batch_size, **wanted)
        report = evaluate(classifier, second, [found], control=noise_like(found), target=aim, seed=seed)
    if as_json:
        print_json(report, str(model), classifier, device=str(classifier.normalize.mean.device))
    else:
        click.echo(as_text(attack_sheet(replace(report, setting=setting_of(classifier, second)), None)))
        click.echo(f"Found on {len(first):,} other images.")
    if place is not None:
        draw(found, place)
        click.echo(f"Perturbation: {place} (grey: no change; white and black: the largest)", err=as_json)


def draw(found: UniversalPerturbation, place: Path) -> None:
    """Write the perturbation of one or three channels as a PNG, grey where nothing changes."""
    from PIL import Image  # only a picture needs it

    delta = found.delta.detach().cpu().float()
    most = delta.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    pixels = ((0.5 + delta / (2 * most)) * 255).round().byte().expand(3, -1, -1).permute(1, 2, 0)
    Image.fromarray(pixels.contiguous().numpy(), "RGB").save(place)
