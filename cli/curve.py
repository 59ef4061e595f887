"""`advkit curve`: the error against eps for one or several models, in one picture."""

import json
from pathlib import Path
from typing import Any

import click

from advkit._version import __version__
from advkit.attacks import Attack, smallest
from advkit.cli._attack_options import build_attack
from advkit.cli._console import progress_bar
from advkit.cli._several import load_several, picture
from advkit.cli.commands.curve import NAME
from advkit.core.sheet import as_text
from advkit.data import Dataset
from advkit.evaluation import Curve, error_curve, nice_radii
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.show.comparison_text import curves_sheet
from advkit.figures import error_curves

COUNT = 200
"""Images by default: a curve takes hundreds of passes each."""


def run(attack: str, target: str | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Do what the command says."""
    options = {**options, "as_json": as_json, "count": COUNT if options["count"] is None else options["count"]}
    searched = minimal(attack)
    place = picture(output, NAME, options)
    models, images = load_several(options)
    searched = minimal(attack, images)
    shared = {name: options[name] for name in ("batch_size", "count", "seed")}
    shared["target"] = aim_at(target, images, option="--target")
    curves = []
    for name, model in models.items():
        with progress_bar(name) as progress:
            curves.append(error_curve(model, images, searched, name=name, **shared, progress=progress))
    if as_json:
        click.echo(
            json.dumps(_figures(curves, searched, f"{images.name}:{images.split}", options["seed"]), allow_nan=False)
        )
    else:
        click.echo(as_text(curves_sheet(curves)))
    if place is not None:
        title = f"{searched.spec}, {images.name} {images.split}, {curves[0].count:,} images"
        error_curves(curves, title=title, path=place)
        click.echo(f"Picture: {place}", err=as_json)


def minimal(text: str, data: Dataset | None = None) -> Attack:
    """Create the attack of a name or spec; for a budget attack, the search for its smallest eps."""
    attack = build_attack(text, {}, data)
    return attack if attack.kind == "minimal" else smallest(attack)


def _figures(curves: list[Curve], attack: Attack, data: str, seed: int) -> dict[str, Any]:
    radii = nice_radii(curves)
    rows = []
    for curve in curves:
        at = [{"eps": eps, "error": curve.at(eps), "interval": curve.interval(eps)} for eps in radii]
        rows.append({**curve.to_dict(), "at": at})
    about = {"attack": attack.spec, "norm": attack.norm, "data": data, "seed": seed, "version": __version__}
    return {**about, "curves": rows, "lower_bound": True}
