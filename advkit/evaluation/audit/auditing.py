"""Audits: what a run tried in the terms of a document, what it did not try, and what its figures do not show."""

import os
from collections.abc import Mapping
from typing import Any

from advkit.core.errors import InputError
from advkit.evaluation.audit.evidence import RULES, Found, Statement, Teller
from advkit.evaluation.audit.profiles import Profile, Term, profile
from advkit.evaluation.cards.run_card import make_card
from advkit.evaluation.runs.run_folder import Run, load_run

FORMAT = "advkit-audit-1"

NO_CERTIFICATE = (
    "This page is no certificate of conformity. It repeats what one run of one tool found, in the terms of a document "
    "whose authors have not seen it."
)


def make_audit(run: Run | str | os.PathLike[str], name: str) -> dict[str, Any]:
    """Make the audit of a complete run.

    Args:
        run: the run, or its folder.
        name: name of the profile: "nist-ai-100-2", "ai-act-15" or "atlas".

    Raises:
        InputError: there is no such profile or run, or the run is not complete.
    """
    table = profile(name)
    run = run if isinstance(run, Run) else load_run(run)
    found = parts_of(run)
    card = found["card"]
    return {
        "format": FORMAT,
        "profile": name,
        **{key: getattr(table, key) for key in ("document", "version", "date", "scope")},
        "notice": NO_CERTIFICATE,
        "card": card["digest"],
        "model": card["model"],
        "data": card["data"],
        "terms": [_said(term, found) for term in table.terms],
        "not_shown": [_plain(statement) for statement in not_shown(found, table)],
    }


def parts_of(run: Run) -> Found:
    """Return the card and the corruptions of a run.

    Args:
        run: the run.
    """
    damage = run.corruptions
    return {"card": make_card(run), "corruptions": None if damage is None else damage.to_dict()}


def _said(term: Term, found: Found) -> dict[str, Any]:
    statements = list(RULES[term.evidence](found)) if term.evidence else []
    about = {"id": term.id, "name": term.name, "tried": bool(statements)}
    return about | {"statements": [_plain(statement) for statement in statements] or [_plain(_without(term))]}


def _without(term: Term) -> Statement:
    return Statement(text=term.without, figures={})


def _plain(statement: Statement) -> dict[str, Any]:
    return {"text": statement.text, "figures": statement.figures}


def not_shown(found: Found, table: Profile) -> list[Statement]:
    """List what the figures of the run do not show.

    Args:
        found: the parts of the run.
        table: the profile, of which the terms that were not tried are counted.
    """
    card = found["card"]
    statements = [Statement(text=text, figures={f"card/limits/{n}": text}) for n, text in enumerate(card["limits"])]
    tell = Teller(found)
    rows = range(len(card["attacks"]))
    balls = sorted({_ball(tell(f"card/attacks/{n}/norm"), tell(f"card/attacks/{n}/eps")) for n in rows})
    if balls:
        statements.append(tell.says(f"Nothing is shown of other changes than these: {', '.join(balls)}."))
    tell = Teller(found)
    statements.append(
        tell.says(
            f"Nothing is shown of other images than {tell('card/data/name') or 'these'}, of which "
            f"{tell('card/data/evaluated'):,} were looked at, nor of the model in another state "
            f"(digest {tell('card/model/digest')})."
        )
    )
    if card["errors"]["certified"] is None:
        tell = Teller(found)
        tell("card/errors/certified")
        statements.append(tell.says("No upper bound: images that no attack of the run fooled may be fooled by others."))
    if not list(RULES["white_box"](found)):
        tell = Teller(found)
        for n in rows:
            tell(f"card/attacks/{n}/gradients_per_sample")
        statements.append(tell.says("No attack of the run took gradients: one that does may find more."))
    return statements


def _ball(norm: str, eps: float | None) -> str:
    return f"{norm} up to {eps:g}" if eps is not None else f"{norm}, any distance"


def check_audit(audit: Mapping[str, Any], run: Run | str | os.PathLike[str]) -> list[str]:
    """List the parts of an audit that the run does not confirm; empty if it confirms all.

    Args:
        audit: the audit.
        run: the run, or its folder.

    Raises:
        InputError: there is no run, or no audit.
    """
    run = run if isinstance(run, Run) else load_run(run)
    if audit.get("format") != FORMAT:
        raise InputError(f"expected an audit of advkit report ({FORMAT})")
    made = make_audit(run, str(audit.get("profile")))
    return [f"{key} differs from the run's" for key in made if audit.get(key) != made[key]]
