"""`advkit attacks`: the attacks, their norms, papers and options."""

import click

from advkit.attacks import ATTACKS
from advkit.cli._console import show, table
from advkit.cli._derived import flag, parameters, said


@click.command()
@click.argument("pattern", default="*")
def command(pattern: str) -> None:
    """List the attacks whose names match PATTERN, such as "*gd"."""
    listed = table("attack", "kind", "norms", "paper", "options (default)", text=("paper", "options (default)"))
    for name in ATTACKS.names(pattern):
        attack = ATTACKS.factory(name)
        options = ", ".join(f"{flag(p.name)} ({said(p)})" for p in parameters(attack).values())
        kind, norms, paper = (getattr(attack, trait, "") for trait in ("kind", "norms", "paper"))
        listed.add_row(name, kind, " ".join(norms), paper, options)
    show(listed)
