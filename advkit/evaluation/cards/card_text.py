"""A card for people, in Markdown; and several as one table."""

import base64
import hashlib
import html
from collections.abc import Mapping, Sequence
from typing import Any

from advkit.core.sheet import Table, as_html
from advkit.core.words import percent, span


def to_markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown: a heading, the errors, the attacks, the checks, what was not shown, how to repeat.

    Args:
        card: the card that `make_card` returns.
    """
    errors, data = card["errors"], card["data"]
    lines = [
        f"# {_safe(card['model']['description'] or card['model']['name'])}",
        "",
        f"{_safe(data['name'] or 'data without a name')}, {data['evaluated']:,} images; "
        f"pixels in {card['threat']['bounds']}; seed {data['seed']}.",
        "",
        "| error | | 95 % interval |",
        "|---|---|---|",
    ]
    names = {"clean": "without an attack", "found": "found by the attacks", "certified": "no attack can exceed"}
    for key, name in names.items():
        if errors[key] is not None:
            lines.append(f"| {name} | {percent(errors[key]['error'])} | {_interval(errors[key]['interval'])} |")
    lines += [
        "",
        "| attack | norm | eps | error | 95 % interval | queries | gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in [*card["attacks"], *([card["control"]] if card["control"] else [])]:
        eps = "-" if row["eps"] is None else f"{row['eps']:.4g}"
        cells = _safe(row["attack"]), row["norm"], eps, percent(row["adversarial_error"])
        passes = f"{row['queries_per_sample']:.1f}", f"{row['gradients_per_sample']:.1f}"
        lines.append(f"| {' | '.join([*cells, _interval(row['adversarial_error_interval']), *passes])} |")
    lines += ["", _checks(card["checks"]), "", *(f"- {_safe(limit)}" for limit in card["limits"])]
    where = card["environment"]
    lines += ["", f"advkit {where['advkit']}, torch {where['torch']}, {where['device']}; digest `{card['digest']}`."]
    if card["command"]:
        lines += ["", f"    {_safe(card['command'])}"]
    return "\n".join(lines) + "\n"


def _checks(checks: Mapping[str, Any] | None) -> str:
    if checks is None:
        return "No checks of the evaluation were made."
    raised = [name for name, verdict in checks["findings"].items() if verdict == "warning"]
    said = f" Warnings: {', '.join(raised)}." if raised else ""
    return f"Checks of the evaluation: {checks['verdict']}, on {checks['samples']} images.{said}"


def _interval(interval: Sequence[float]) -> str:
    return span((interval[0], interval[1]))


def _safe(text: str) -> str:
    """Foreign text that cannot end a cell, begin a tag or break a line."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")


def board(cards: Mapping[str, Mapping[str, Any]]) -> Table:
    """Several cards as one table, the least error found first.

    Args:
        cards: cards by name.
    """
    rows = []
    for name, card in sorted(cards.items(), key=lambda item: item[1]["errors"]["found"]["error"]):
        errors, certified = card["errors"], card["errors"]["certified"]
        threats = sorted(
            {f"{row['norm']} {row['eps']:.4g}" if row["eps"] is not None else row["norm"] for row in card["attacks"]}
        )
        rows.append(
            (
                name,
                str(card["model"]["description"] or card["model"]["name"]),
                f"{card['data']['name']}, {card['data']['evaluated']:,}",
                "; ".join(threats) or "-",
                percent(errors["clean"]["error"]),
                percent(errors["found"]["error"]),
                _interval(errors["found"]["interval"]),
                "-" if certified is None else percent(certified["error"]),
                "-" if card["checks"] is None else card["checks"]["verdict"],
            )
        )
    heads = ("run", "model", "data", "threat", "clean", "found", "95 % interval", "certified", "checks")
    return Table(heads, rows, right=("clean", "found", "certified"), text=("run", "model", "data", "threat"))


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


def board_page(table: Table) -> str:
    """The board as one page without network; a click on a heading sorts by it."""
    digest = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    said = "An adversarial error is a lower bound: a stronger attack may find more. A click on a heading sorts by it."
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>advkit: board</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<style>{STYLE}</style></head>\n'
        f"<body><h1>Robustness of {len(table.rows)} models</h1>\n{as_html([table, said])}\n"
        f"<script>{SORT}</script></body></html>\n"
    )


def to_robustbench(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card in the form of RobustBench's model_info: percentages as text, what the run does not tell as null.

    Args:
        card: the card that `make_card` returns.
    """
    attacks = {row["attack"].partition("(")[0]: row for row in card["attacks"]}
    auto = attacks.get("autoattack")
    eps = next((row["eps"] for row in card["attacks"] if row["eps"] is not None), None)
    return {
        "link": None,
        "name": card["model"]["name"],
        "authors": None,
        "additional_data": None,
        "number_forward_passes": 1,
        "dataset": (card["data"]["name"] or "").partition(":")[0] or None,
        "venue": None,
        "architecture": card["model"]["description"],
        "eps": None if eps is None else eps_text(eps),
        "clean_acc": f"{100 * (1 - card['errors']['clean']['error']):.2f}",
        "reported": None,
        "autoattack_acc": None if auto is None else f"{100 * (1 - auto['adversarial_error']):.2f}",
        "footnote": f"{card['data']['evaluated']} images, advkit card {card['digest']}",
    }


def eps_text(eps: float) -> str:
    """8/255 -> "8/255"; others as a decimal."""
    steps = round(eps * 255)
    return f"{steps}/255" if steps and abs(eps * 255 - steps) < 1e-9 else f"{eps:.6g}"
