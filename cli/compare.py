"""`advkit compare`: two runs on the same images, image by image (McNemar's exact test, 1947)."""

import json
from typing import Any

import click

from advkit.cli._attack_output import CAVEAT, SIGNIFICANT
from advkit.cli._console import percent, say, show, table
from advkit.evaluation import Comparison, compare_runs


def run(first: str, second: str, as_json: bool) -> None:
    """Do what the command says."""
    rows = compare_runs(first, second)
    if as_json:
        figures = {"first": first, "second": second, "rows": [row.to_dict() for row in rows], "lower_bound": True}
        click.echo(json.dumps(figures, allow_nan=False))
        return
    say(f"{first} against {second}: {rows[0].count:,} images in both")
    show(_table(rows))
    say(f"p is McNemar's, of the images that are wrong in one run only; above {SIGNIFICANT:g} no difference is clear.")
    say(CAVEAT)


def _table(rows: list[Comparison]) -> Any:
    right = ("first", "second", "difference", "first only", "second only", "p")
    made = table("error", *right, "", right=right)
    for row in rows:
        clear = "" if row.p > SIGNIFICANT else "first is worse" if row.first > row.second else "second is worse"
        made.add_row(
            row.name,
            percent(row.first),
            percent(row.second),
            f"{100 * (row.second - row.first):+.1f} %",
            f"{row.first_only:,}",
            f"{row.second_only:,}",
            f"{row.p:.2g}",
            clear or "no clear difference",
        )
    return made
