"""`advkit transfer`: the adversarial images of each model shown to all others."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from advkit._version import __version__
from advkit.attacks import ensemble as ensemble_of
from advkit.cli._console import progress_bar
from advkit.cli._several import load_several, picture
from advkit.cli.commands.transfer import NAME
from advkit.cli.evaluate import chosen
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.transfer_matrix import transfer_matrix

COUNT = 500
"""Images by default."""


def run(
    attack: str,
    eps: float | None,
    ensemble: str | None,
    target: str | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Do what the command says."""
    options = {**options, "as_json": as_json, "count": COUNT if options["count"] is None else options["count"]}
    (attacker,) = chosen((attack,), eps)
    place = picture(output, NAME, options)
    models, images = load_several(options, least=2)
    (attacker,) = chosen((attack,), eps, images)
    aim_at(target, images, option="--target")
    together = None if ensemble is None else partial(ensemble_of, average=ensemble)
    shared = {name: options[name] for name in ("batch_size", "count", "seed")}
    with progress_bar(attacker.name) as progress:
        found = transfer_matrix(models, images, attacker, together=together, target=target, **shared, progress=progress)
    if as_json:
        about = {"seed": options["seed"], "version": __version__, "lower_bound": True}
        click.echo(json.dumps({**found.to_dict(), **about}, allow_nan=False))
    else:
        click.echo(str(found))
    if place is not None:
        found.plot(path=place)
        click.echo(f"Picture: {place}", err=as_json)
