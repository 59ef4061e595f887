"""Verdicts on a paper's claims: its test alone confirms a claim, contradicts it or leaves it open."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advkit.reproduction.significance import Answer, paired_t, signs
from advkit.reproduction.study import Cell, Claim, Measured

LEVEL = 0.05
"""Two-sided p-value below which a claim is decided."""

Column = Sequence[Measured]
"""A figure of each seed, or a single one if it is measured over all seeds."""


@dataclass(frozen=True)
class Verdict:
    """A claim and the result of its test.

    Attributes:
        claim: the claim.
        smaller: mean of the figure that the paper says is smaller.
        larger: mean of the figure that the paper says is larger.
        p: two-sided p-value; NaN where the test cannot judge.
        outcome: "confirmed", "contradicted" or "open".
        test: name of the test and its data, in words.
    """

    claim: Claim
    smaller: float
    larger: float
    p: float
    outcome: str
    test: str


def judged(claim: Claim, figures: Mapping[Cell, Column], *, level: float = LEVEL) -> Verdict:
    """Judge a claim by its test.

    Args:
        claim: the claim.
        figures: figures of each cell, one for each seed.
        level: p-value below which a claim is decided.
    """
    smaller, larger = figures[claim.smaller], figures[claim.larger]
    answer, test = (over_images if claim.over == "images" else over_seeds)(smaller, larger)
    decided = answer.p < level  # False for NaN
    outcome = {-1: "confirmed", 1: "contradicted", 0: "open"}[answer.sign] if decided else "open"
    return Verdict(claim, _mean(smaller), _mean(larger), answer.p, outcome, test)


def over_seeds(smaller: Column, larger: Column) -> tuple[Answer, str]:
    """Apply Student's paired t-test, with the networks of one seed as a pair."""
    answer = paired_t([m.value for m in smaller], [m.value for m in larger])
    why = "" if not math.isnan(answer.p) else ", which cannot judge fewer than two or equal differences"
    return answer, f"paired t-test over {len(smaller)} {_plural('seed', len(smaller))}{why}"


def over_images(smaller: Column, larger: Column) -> tuple[Answer, str]:
    """Apply the sign test to the images of each seed's networks, and take the largest p-value: the claim covers all."""
    answers = [signs(a.samples, b.samples) for a, b in zip(smaller, larger, strict=True)]
    images = sum(not math.isnan(a + b) for a, b in zip(smaller[0].samples, larger[0].samples, strict=True))
    alike = {answer.sign for answer in answers}
    test = f"sign test over {images:,} images"
    if len(answers) > 1:
        test += f", largest p of {len(answers)} seeds"
    if len(alike) > 1:
        return Answer(0, 1.0), f"{test}; the seeds point in different directions"
    return Answer(alike.pop(), max(answer.p for answer in answers)), test


def _mean(column: Column) -> float:
    return math.fsum(m.value for m in column) / len(column)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
