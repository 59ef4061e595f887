"""`advkit patch`: one patch for a data set, its picture, and its success by place and size."""

import json
from pathlib import Path
from typing import Any

import click

from advkit._version import __version__
from advkit.attacks import AdversarialPatch, Patch, find_patch
from advkit.cli._console import progress_bar
from advkit.cli._derived import parameters, parse_value
from advkit.cli._halves import network_and_halves
from advkit.cli._picture import check_colours, check_place
from advkit.cli.commands.patch import NAME
from advkit.core.words import percent
from advkit.evaluation import PoseTable, success_by_pose
from advkit.evaluation.by_pose import PLACES
from advkit.evaluation.measure.aims import aim_at

COMMON = ("weights", "data", "split", "data_root", "download", "classes", "image_size", "resize", "count")
"""Options that say which images the network is shown."""


def run(
    model: str | None,
    target: str | None,
    epochs: int,
    places: tuple[str, ...],
    sizes: tuple[float, ...],
    seed: int,
    batch_size: int,
    as_json: bool,
    output: Path | None,
    no_picture: bool,
    **options: Any,
) -> None:
    """Do what the command says."""
    given = {name: value for name, value in options.items() if name not in (*COMMON, "device", "threads")}
    wanted = hyperparameters(given)
    Patch(**wanted)  # refuses what it cannot take before anything is loaded
    place = None if no_picture or (as_json and output is None) else check_place(output, NAME, (".png",))
    classifier, first, second = network_and_halves(model, options)
    check_colours(first, ": find_patch of advkit.attacks takes any")
    aim = aim_at(target, first, option="--target")
    wanted |= {} if aim is None else {"target": aim}
    with progress_bar("patch"):
        found = find_patch(classifier, first, epochs=epochs, batch_size=batch_size, seed=seed, **wanted)
        table = success_by_pose(
            classifier, second, found, places=places or PLACES, sizes=sizes, target=target, batch_size=250, seed=seed
        )
    if as_json:
        click.echo(json.dumps(figures(found, table, len(first), seed), allow_nan=False))
    else:
        click.echo(str(table))
        filled = float(found.covered().float().mean())
        if filled < 1:
            click.echo(
                f"The patch fills {percent(filled)} of a square, whose share of the image's area is in the table."
            )
        click.echo(
            f"Found on {len(first):,} other images. Mean distance to printable colours {found.non_printability:.3f}, "
            f"total variation {found.total_variation:.4f}."
        )
    if place is not None:
        found.save(place)
        side = found.patch.shape[1]
        click.echo(f"Patch: {place} ({side} x {side} pixels)", err=as_json)


def hyperparameters(given: dict[str, Any]) -> dict[str, Any]:
    """Convert the derived options that were given to the types of the attack."""
    known = parameters(Patch)
    return {name: parse_value("patch", known[name], value) for name, value in given.items() if value is not None}


def figures(found: AdversarialPatch, table: PoseTable, learned_from: int, seed: int) -> dict[str, Any]:
    """Return what --json prints."""
    looks = {"non_printability": found.non_printability, "total_variation": found.total_variation}
    return {**table.to_dict(), "learned_from": learned_from, **looks, "seed": seed, "version": __version__}
