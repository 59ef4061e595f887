"""`advkit board`: several runs or cards in one table."""

from pathlib import Path
from typing import Any

import click

from advkit.cli._console import say
from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.core.sheet import as_latex, as_text
from advkit.evaluation.cards import board, board_page, check_card, make_card, read_card


def run(runs: tuple[str, ...], output: Path | None) -> None:
    """Do what the command says."""
    if output is not None and output.suffix not in (".html", ".tex"):
        raise InputError(f"--output: expected a file that ends in .html or .tex, got {output}")
    table = board({name: card_of(name) for name in runs})
    if output is None:
        click.echo(as_text([table]))
        return
    output.write_text(board_page(table) if output.suffix == ".html" else as_latex([table]) + "\n", "utf-8")
    say(f"Board: {output} ({len(table.rows)} row{'s' * (len(table.rows) != 1)})")


def card_of(name: str) -> dict[str, Any]:
    """Read the card in a file, which must be consistent, or make that of a run folder."""
    if user_path(name).is_dir():
        return make_card(name)
    card = read_card(name)
    wrong = check_card(card)
    if wrong:
        raise InputError(f"{name}: {wrong[0]}")
    return card
