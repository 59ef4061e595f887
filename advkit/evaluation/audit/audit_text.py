"""An audit as Markdown."""

from collections.abc import Mapping
from typing import Any

from advkit.evaluation.cards.card_text import safe


def audit_markdown(audit: Mapping[str, Any]) -> str:
    """Write the audit as Markdown: what was tried, what was not, what the figures do not show, and their sources.

    Args:
        audit: the audit that `make_audit` returns.
    """
    model, data = audit["model"], audit["data"]
    lines = [
        f"# {safe(model['description'] or model['name'])} in the terms of {safe(audit['document'])}",
        "",
        f"Version {safe(audit['version'])}, {safe(audit['date'])}. {safe(audit['scope'])}",
        "",
        f"**{audit['notice']}**",
        "",
        f"The figures are those of a run on {safe(data['name'] or 'data without a name')}, whose card has the digest "
        f"`{audit['card']}`. Numbers in brackets lead to the place of each figure, at the end.",
    ]
    places: dict[str, int] = {}
    tried = [term for term in audit["terms"] if term["tried"]]
    left = [term for term in audit["terms"] if not term["tried"]]
    lines += ["", "## What was tried", ""] + [line for term in tried for line in _term(term, places)]
    lines += [] if tried else ["Nothing of this document."]
    lines += ["", "## What was not tried", "", "| term | name | why |", "|---|---|---|"]
    lines += [f"| {safe(t['id'])} | {safe(t['name'])} | {safe(t['statements'][0]['text'])} |" for t in left]
    lines += ["", "## What the figures do not show", ""]
    lines += [f"- {safe(s['text'])}{_marks(s, places)}" for s in audit["not_shown"]]
    lines += ["", "## Where each figure is found", ""]
    lines += ["`card/...` is in what `advkit card RUN` prints, `corruptions/...` in the run's corruptions.json.", ""]
    lines += [f"{number}. `{place}`" for place, number in places.items()]
    return "\n".join(lines) + "\n"


def _term(term: Mapping[str, Any], places: dict[str, int]) -> list[str]:
    said = [f"- {safe(s['text'])}{_marks(s, places)}" for s in term["statements"]]
    return [f"### {safe(term['id'])}: {safe(term['name'])}", "", *said, ""]


def _marks(statement: Mapping[str, Any], places: dict[str, int]) -> str:
    """The numbers of a statement's places, each place numbered at its first use."""
    marks = [places.setdefault(place, len(places) + 1) for place in statement["figures"]]
    return f" [{', '.join(map(str, marks))}]" if marks else ""
