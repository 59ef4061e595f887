"""`advkit attacks`: the attacks, their norms, papers and options."""

import click

from advkit.attacks import ATTACKS
from advkit.cli._console import show, table
from advkit.cli._derived import flag, parameters, said
from advkit.core.errors import unknown


@click.command()
@click.argument("pattern", default="*")
def command(pattern: str) -> None:
    """List the attacks whose names match PATTERN, such as "*gd"."""
    listed = table("attack", "kind", "norms", "paper", "options (default)", text=("paper", "options (default)"))
    names = ATTACKS.names(pattern)
    if not names:
        raise unknown("attack", pattern, ATTACKS.names())
    for name in names:
        attack = ATTACKS.factory(name)
        options = ", ".join(f"{flag(p.name)} ({said(p)})" for p in parameters(attack).values())
        kind, norms, paper = (getattr(attack, trait, "") for trait in ("kind", "norms", "paper"))
        listed.add_row(name, kind, " ".join(norms), paper, options)
    show(listed)
