"""Assembly of a report from the columns of all batches, in memory or in a folder."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.certificates import CertificateAsked, certification_of
from advkit.evaluation.measure.median import medians
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.tally import Samples, aimed_at, tally


class Line(NamedTuple):
    """The description of an attack in a report; see `AttackReport`."""

    attack: str
    name: str
    kind: str
    norm: str
    eps: float | None
    stop: str


def assembled(
    lines: Sequence[Line],
    data: str,
    samples: Samples,
    *,
    seed: int,
    control: bool,
    goal: str = "",
    labelled: bool = True,
    certificate: CertificateAsked | None = None,
) -> Report:
    """Make the report of all samples, in a few passes over their batches.

    Args:
        lines: line of each attack; the last one is the control's.
        data: name of the images.
        samples: the columns of each batch.
        seed: seed of the attacks' random numbers.
        control: whether the last line is a control.
        goal: what counted as an error, in words; empty for a class other than the label.
        labelled: whether the outputs are logits of classes.
        certificate: what was certified, if anything.
    """
    attacks = len(lines) - control
    counts = tally(samples, attacks)

    def distances() -> Iterator[list[Tensor]]:
        for clean, *rows in samples:
            yield [row["distance"].where(row["reached"], math.inf)[aimed_at(clean, row)] for row in rows]

    middle = medians(distances, [row.aimed for row in counts.rows])
    reports = [
        AttackReport(
            **line._asdict(),
            counts=count,
            median_distance=median,
            samples=samples,
            place=i + 1,
            goal=goal,
            labelled=labelled,
        )
        for i, (line, count, median) in enumerate(zip(lines, counts.rows, middle, strict=True))
    ]
    return Report(
        data=data,
        seed=seed,
        goal=goal,
        labelled=labelled,
        counts=counts,
        samples=samples,
        attacks=tuple(reports[:attacks]),
        control=reports[-1] if control else None,
        certification=certification_of(certificate, samples),
    )
