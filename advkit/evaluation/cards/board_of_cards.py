"""Several cards as one table, and as a page that sorts it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from advkit.core.sheet import Table, as_html
from advkit.core.words import CAVEAT, number, percent, span


def board(cards: Mapping[str, Mapping[str, Any]]) -> Table:
    """Make one table of several cards, the smallest error first.

    Args:
        cards: cards by name.
    """
    rows = []
    for name, card in sorted(cards.items(), key=lambda item: item[1]["errors"]["found"]["error"]):
        errors, certified = card["errors"], card["errors"]["certified"]
        threats = sorted({_threat(row) for row in card["attacks"]})
        rows.append(
            (
                name,
                str(card["model"]["description"] or card["model"]["name"]),
                f"{card['data']['name']}, {card['data']['evaluated']:,}",
                "; ".join(threats) or "-",
                percent(errors["clean"]["error"]),
                percent(errors["found"]["error"]),
                span(errors["found"]["interval"]),
                "-" if certified is None else f"{percent(certified['error'])} in {_threat(certified)}",
                "-" if card["checks"] is None else card["checks"]["verdict"],
            )
        )
    heads = ("run", "model", "data", "threat", "clean", "found", "95 % interval", "not certified", "checks")
    return Table(heads, rows, right=("clean", "found", "not certified"), text=("run", "model", "data", "threat"))


def _threat(row: Mapping[str, Any]) -> str:
    return str(row["norm"]) if row["eps"] is None else f"{row['norm']} {number(row['eps'])}"


SORT = """
for (const head of document.querySelectorAll("th")) {
  head.tabIndex = 0;
  head.onclick = head.onkeydown = (event) => {
    if (event.key && event.key !== "Enter") return;
    const body = document.querySelector("tbody"), place = head.cellIndex, up = head.dataset.up !== "1";
    head.dataset.up = up ? "1" : "0";
    const value = (row) => row.cells[place].textContent;
    const order = (a, b) => value(a).localeCompare(value(b), "en", { numeric: true });
    [...body.rows].sort((a, b) => (up ? 1 : -1) * order(a, b)).forEach((row) => body.append(row));
  };
}
"""

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #8886; vertical-align: top; }
th { cursor: pointer; white-space: nowrap; } td { font-variant-numeric: tabular-nums; }
td:nth-child(n + 4) { white-space: nowrap; }
"""


NARROW = """
@media (max-width: 54rem) {
  table, thead, tbody, tr, td { display: block; }
  thead tr { display: flex; flex-wrap: wrap; gap: .3rem; }
  thead th { border: 1px solid #8886; border-radius: 6px; padding: 0 .5rem; }
  tbody tr { border-bottom: 1px solid #8886; padding: .5rem 0; }
  tbody td { border: 0; padding: 0 !important; overflow-wrap: anywhere; }
  tbody td { text-align: left !important; white-space: normal !important; }
  tbody td::before { opacity: .7; } tbody td:first-child { font-weight: 600; }
  LABELS
}
@media print { body { margin: 0; max-width: none; font-size: 10pt; } th, td { padding: .2rem .4rem; } }
"""
"""On a phone a row is a block, and each cell says what it is; the headings stay, since they sort."""


def _labels(headings: Sequence[str]) -> str:
    """The heading before each cell, on a phone."""
    return "\n  ".join(
        f'tbody td:nth-child({i})::before {{ content: "{heading}: "; }}' for i, heading in enumerate(headings, 1)
    )


def board_page(table: Table) -> str:
    """Write the board as one page that needs no network; a click on a heading sorts it."""
    digest = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    narrow = NARROW.replace("LABELS", _labels(table.headings))
    said = f"{CAVEAT} A click on a heading sorts by it."
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>advkit: board</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}{narrow}</style></head>\n'
        f"<body><h1>Robustness of {len(table.rows)} model{'s' * (len(table.rows) != 1)}</h1>\n"
        f"{as_html([table, said])}\n"
        f"<script>{SORT}</script></body></html>\n"
    )
