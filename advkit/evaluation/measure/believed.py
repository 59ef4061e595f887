"""Means over verdicts, and reasons to doubt an error."""

from collections.abc import Sequence
from statistics import fmean, stdev

from advkit.evaluation.measure.tally import Counts, Tally


def mean_wrong(counts: Counts | Tally) -> float:
    """Return the number of wrong images: the mean over the verdicts, if there are several."""
    return fmean(counts.verdicts) if counts.verdicts else counts.wrong


def spread(counts: Counts | Tally) -> float | None:
    """Return the standard deviation of the error over the verdicts; None for one verdict."""
    return stdev(counts.verdicts) / counts.images if len(counts.verdicts) > 1 else None


def said_of(nature: str, verdicts: int, rows: Sequence[tuple[str, Counts]]) -> list[str]:
    """Return a sentence for each reason to doubt the errors.

    Args:
        nature: nature of the model, see `Report`.
        verdicts: number of verdicts that the errors are means of.
        rows: each attack and its counts.
    """
    said = []
    if nature == "random" and verdicts == 1:
        said.append(
            "The model is random: asked twice it gave one image two answers, so each error is one verdict among many. "
            "Take means: evaluate(verdicts=20), --verdicts 20; and attack the mean: eot=."
        )
    elif nature == "depends on the batch":
        said.append(
            "The model's answer to an image depends on the rest of its batch: the errors hold for these batches only. "
            "Look for batch norm without running statistics."
        )
    for attack, counts in rows:
        if counts.non_finite:
            said.append(
                f"Under {attack} the model answered NaN or infinity, or the goal NaN, for {counts.non_finite:,} "
                f"images. What lies there was not searched: {counts.hidden:,} of them count as right, and may not be."
            )
    return said
