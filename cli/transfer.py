"""`advkit transfer`: the adversarial images of each model shown to all others."""

import json
from pathlib import Path
from typing import Any

import click

from advkit._version import __version__
from advkit.cli._attack_output import CAVEAT
from advkit.cli._console import percent, progress_bar, say, show, table
from advkit.cli._several import load_several, picture
from advkit.cli.commands.transfer import NAME
from advkit.cli.evaluate import chosen
from advkit.evaluation.measure.transfer_matrix import Transfer, transfer_matrix
from advkit.figures import transfer_table

COUNT = 500
"""Images by default."""


def run(attack: str, eps: float | None, output: Path | None, as_json: bool, **options: Any) -> None:
    """Do what the command says."""
    options = {**options, "as_json": as_json, "count": COUNT if options["count"] is None else options["count"]}
    (attacker,) = chosen((attack,), eps)
    place = picture(output, NAME, options)
    models, images = load_several(options, least=2)
    shared = {name: options[name] for name in ("batch_size", "count", "seed")}
    with progress_bar(attacker.name) as progress:
        found = transfer_matrix(models, images, attacker, **shared, progress=progress)
    if as_json:
        about = {"seed": options["seed"], "version": __version__, "lower_bound": True}
        click.echo(json.dumps({**found.to_dict(), **about}, allow_nan=False))
    else:
        _tell(found)
    if place is not None:
        title = f"{attacker.spec}, {found.data}, {found.count:,} images: wrong, in % of those right in both"
        transfer_table(found.names, found.rates, title=title, path=place)
        click.echo(f"Picture: {place}", err=as_json)


def _tell(found: Transfer) -> None:
    say(f"{found.attack} on {found.data}, {found.count:,} images, each at its strongest point")
    made = table("made on", "clean error", *found.names, right=("clean error", *found.names))
    for s, name in enumerate(found.names):
        cells = [_cell(found, s, t) for t in range(len(found.names))]
        made.add_row(name, percent(found.clean_wrong[s] / found.count), *cells)
    show(made)
    say("Columns: shown to. Wrong of the images that both get right without an attack; in brackets 95 % intervals.")
    say(CAVEAT)


def _cell(found: Transfer, s: int, t: int) -> str:
    interval = found.interval(s, t)
    if interval is None:
        return "-"
    low, high = interval
    return f"{percent(found.rate(s, t))} of {found.both[s][t]:,} ({100 * low:.1f} to {100 * high:.1f})"
