"""Checks of a card: by itself, and against its run."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from advkit.core.intervals import wilson_interval
from advkit.evaluation.cards.run_card import make_card
from advkit.evaluation.runs import digests
from advkit.evaluation.runs.run_folder import Run
from advkit.evaluation.runs.verifying import verify_run


def check_card(card: Mapping[str, Any]) -> list[str]:
    """List the faults of a card by itself, one sentence each.

    Args:
        card: the card that `read_card` returns.
    """
    try:
        return list(_wrong(card))
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError, AttributeError) as error:
        return [f"the card has not the form of one: {type(error).__name__} at {error}"]


def _wrong(card: Mapping[str, Any]) -> Iterator[str]:
    if card.get("digest") != digests.of_record(card):
        yield "the card was changed: its digest is not that of its content"
    count = sum(batch["images"] for batch in card["batches"])
    if count != card["data"]["evaluated"]:
        yield f"the batches hold {count:,} images and the card speaks of {card['data']['evaluated']:,}"
    clean = sum(batch["clean"] for batch in card["batches"])
    yield from _off("the clean error", card["errors"]["clean"], clean, count)
    rows = [*card["attacks"], *([card["control"]] if card["control"] else [])]
    for place, row in enumerate(rows):
        wrong = sum(batch["attacks"][place] for batch in card["batches"])
        said = {"error": row["adversarial_error"], "interval": row["adversarial_error_interval"]}
        yield from _off(f"the error under {row['attack']}", said, wrong, count)
    together = sum(batch["found"] for batch in card["batches"])
    yield from _off("the error under all attacks", card["errors"]["found"], together, count)
    if (certified := card["errors"]["certified"]) is not None:
        open_, broken = (sum(batch[name] for batch in card["batches"]) for name in ("open", "broken"))
        yield from _off("the certified error", certified, open_, count)
        yield from _off("the error found within the certified ball", certified["found"], broken, count)
        if broken > open_:
            yield "the certified error lies below the error found in the same ball: one of the two is wrong"


def _off(name: str, said: Mapping[str, Any], wrong: int, count: int) -> Iterator[str]:
    if not math.isclose(said["error"], wrong / count, abs_tol=1e-9):
        yield f"{name} is not that of the batches, {wrong} of {count}"
    if not all(
        math.isclose(a, b, abs_tol=1e-9) for a, b in zip(said["interval"], wilson_interval(wrong, count), strict=True)
    ):
        yield f"the interval of {name} is not that of {wrong} of {count}"


def check_beside_run(card: Mapping[str, Any], run: Run) -> list[str]:
    """List the differences between a card and the folder from which it was made, one sentence each."""
    wrong = verify_run(run.home)
    if wrong:
        return wrong
    fresh = make_card(run)
    return [f"{key} is not what the run gives" for key in fresh if key != "digest" and card.get(key) != fresh[key]]
