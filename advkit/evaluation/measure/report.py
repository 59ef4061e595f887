"""The report of an evaluation: clean errors, the reports of its attacks, and the worst case over them.

An adversarial error is a lower bound: another attack may find more. Its interval covers the sampling of images only.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from advkit.core.intervals import mcnemar, mirrored, wilson_interval
from advkit.core.saved import Content
from advkit.core.shown import Shown
from advkit.core.words import percent
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.believed import mean_wrong, said_of, spread
from advkit.evaluation.measure.certificates import Certification
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.lazy_columns import Column, column
from advkit.evaluation.measure.packing import packed, same, unpacked
from advkit.evaluation.measure.setting import Setting
from advkit.evaluation.measure.tally import Counts, Samples, Tally


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Report(Shown):
    """The result of `evaluate`: fractions of all images, with 95 % Wilson intervals.

    The tensors hold a value for each image; those of a run are read from its folder whenever they are used.

    Attributes:
        data: name of the data, such as "mnist5k:test"; empty if unknown.
        seed: the seed of the attacks' random numbers.
        counts: counts from which the figures are computed.
        samples: the columns of each batch: clean, those of each attack, those of the control.
        sample_ids: (N,) int64, the numbers of the images in the data.
        y: (N,) int64, the labels.
        prediction: (N,) int64, the classes given to the clean images.
        clean_wrong: (N,) bool, the clean image is misclassified.
        clean_confidence: (N,) float64, largest softmax output on the clean image.
        clean_top5_wrong: (N,) bool, at least five classes lie above the label.
        attacks: report of each attack, in the order given.
        control: the report of the control, if one was asked for; not part of the worst case.
        certification: lower and upper bounds of the error within one ball, if certificates were requested.
        checks: results of the checks, if they were requested.
        corruptions: the errors under corruptions, if they were requested.
        setting: the model, the device and the choice of images, as in the first lines of the table.
        goal: what counts as an error, in words; empty for a class other than the label.
        labelled: whether the outputs are logits of classes; otherwise `y` and `prediction` are -1.
    """

    data: str
    seed: int
    counts: Tally
    samples: Samples = field(repr=False)
    attacks: Sequence[AttackReport] = field(default=())
    control: AttackReport | None = None
    certification: Certification | None = None
    checks: Checks | None = None
    corruptions: CorruptionReport | None = None
    setting: Setting | None = None
    goal: str = ""
    labelled: bool = True

    place = 0
    sample_ids = Column()
    y = Column()
    prediction = Column()
    clean_wrong = Column()
    clean_confidence = Column()
    clean_top5_wrong = Column()

    def _brief(self) -> str:
        attacks = f"{len(self.attacks)} attack{'s' * (len(self.attacks) != 1)}"
        errors = f"clean error {percent(self.clean_error)}, adversarial error {percent(self.adversarial_error)}"
        return f"{self.data or 'the given data'}, {self.count:,} images, {attacks}: {errors}"

    @property
    def count(self) -> int:
        """The number of images."""
        return self.counts.images

    @property
    def clean_error(self) -> float:
        """The fraction of the images that are wrong without an attack; the mean over the verdicts, if several."""
        return mean_wrong(self.counts) / self.count

    @property
    def clean_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the clean error."""
        return wilson_interval(mean_wrong(self.counts), self.count)

    @property
    def clean_error_spread(self) -> float | None:
        """The standard deviation of the clean error over the verdicts; None for one verdict."""
        return spread(self.counts)

    @property
    def verdicts(self) -> int:
        """The number of verdicts over which the errors are means."""
        return max(1, len(self.counts.verdicts))

    @property
    def clean_top5_error(self) -> float | None:
        """The fraction of the images whose label is not among the five likeliest classes; None without classes."""
        return self.counts.top5_wrong / self.count if self.labelled else None

    @property
    def nature(self) -> str:
        """ "random" or "depends on the batch", if the model was seen to be no function of one image; else empty.

        One image of each batch was classified again, alone; an attack's verdicts may also contradict earlier answers.
        """
        if self.counts.random or (any(row.counts.unsteady for row in self.attacks) and not self.counts.mixed):
            return "random"
        return "depends on the batch" if self.counts.mixed else ""

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the errors, one sentence each; see also `checks`."""
        return said_of(self.nature, self.verdicts, [(row.attack, row.counts) for row in self.attacks])

    @property
    def certified(self) -> Tensor | None:
        """(N,) bool: every point of the certified ball is classified as y; None if it was not requested."""
        return None if self.certification is None else column(self.samples, 0, "certified")

    @property
    def certified_error(self) -> float | None:
        """The share of images that are not certified: an upper bound of the error under any attack in the ball."""
        return None if self.certification is None else self.certification.certified_error

    @property
    def worst_case(self) -> Tensor:
        """(N,) bool: wrong clean, or under at least one of the attacks."""
        return torch.stack([self.clean_wrong, *(row.wrong for row in self.attacks)]).any(0)

    @property
    def _worst(self) -> float:
        """How many are wrong in the worst case."""
        if self.verdicts == 1:
            return self.counts.worst
        return max([mean_wrong(self.counts), *(mean_wrong(row.counts) for row in self.attacks)])

    @property
    def adversarial_error(self) -> float:
        """The fraction that is wrong under the worst attack for each sample: a lower bound.

        With several verdicts it is the largest mean of any one attack: a worst attack for each sample would be chosen
        by the chance of single verdicts.
        """
        return self._worst / self.count

    @property
    def adversarial_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the adversarial error."""
        return wilson_interval(self._worst, self.count)

    @property
    def robust_accuracy(self) -> float:
        """The fraction that is right under every attack: an upper bound."""
        return 1 - self.adversarial_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the robust accuracy."""
        return mirrored(self.adversarial_error_interval)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Report):
            return NotImplemented
        places = tuple((i, i) for i in range(1 + len(self.counts.rows)))
        return self.to_dict() == other.to_dict() and same(self.samples, other.samples, places)

    def __hash__(self) -> int:
        return hash((self.data, self.seed, self.counts))

    def records(self) -> list[dict[str, Any]]:
        """Return one row an error: clean, the control, each attack, and the worst case over them."""
        clean, interval = self.clean_error, self.clean_error_interval
        rows = [_record("clean", error=clean, interval=interval, top5_error=self.clean_top5_error)]
        rows += [] if self.control is None else [_of_attack("control", self.control)]
        rows += [_of_attack(row.attack, row) for row in self.attacks]
        if len(self.attacks) > 1:
            rows.append(_record("worst case", error=self.adversarial_error, interval=self.adversarial_error_interval))
        if (both := self.certification) is not None:
            ball = {"norm": both.norm, "eps": both.eps}
            error, interval = both.certified_error, both.certified_error_interval
            rows.append(_record(f"not certified, {both.method}", error=error, interval=interval, **ball))
        return rows

    def _packed(self) -> Content:
        parts = {
            name: part and part.to_dict() for name, part in (("checks", self.checks), ("damage", self.corruptions))
        }
        rows = [row._about() for row in (*self.attacks, *([self.control] if self.control else []))]
        about = {"data": self.data, "seed": self.seed, "counts": asdict(self.counts), "rows": rows}
        about |= {"goal": self.goal, "labelled": self.labelled}
        about |= {"certification": self.certification and asdict(self.certification)}
        about |= {"controlled": self.control is not None, "setting": self.setting and asdict(self.setting)}
        return {**about, **parts}, packed(self.samples)

    @classmethod
    def _unpacked(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        samples, counts, setting = unpacked(tensors), content["counts"], content["setting"]
        rows = [AttackReport._made(about, samples, i + 1) for i, about in enumerate(content["rows"])]
        checks, damage = content["checks"], content["damage"]
        return cls(
            data=content["data"],
            seed=content["seed"],
            counts=Tally(**{**counts, "rows": tuple(Counts(**row) for row in counts["rows"])}),
            samples=samples,
            attacks=tuple(rows[:-1] if content["controlled"] else rows),
            control=rows[-1] if content["controlled"] else None,
            certification=Certification(**both) if (both := content.get("certification")) else None,
            checks=checks and Checks.from_dict(checks),
            corruptions=damage and CorruptionReport.from_dict(damage),
            setting=setting and Setting.from_dict(setting),
            goal=content.get("goal", ""),
            labelled=content.get("labelled", True),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "data": self.data,
            "count": self.count,
            "seed": self.seed,
            "goal": self.goal or None,
            "verdicts": self.verdicts,
            "nature": self.nature or None,
            "warnings": self.warnings,
            "clean_error": self.clean_error,
            "clean_error_interval": list(self.clean_error_interval),
            "clean_error_spread": self.clean_error_spread,
            "clean_top5_error": self.clean_top5_error,
            "adversarial_error": self.adversarial_error,
            "adversarial_error_interval": list(self.adversarial_error_interval),
            "attacks": [row.to_dict() for row in self.attacks],
            "control": self.control.to_dict() if self.control else None,
            "certification": self.certification.to_dict() if self.certification else None,
            "checks": self.checks.to_dict() if self.checks else None,
            "corruptions": self.corruptions.to_dict() if self.corruptions else None,
        }


def _record(name: str, *, error: float, interval: tuple[float, float], **more: Any) -> dict[str, Any]:
    low, high = interval
    return {"name": name, "error": error, "low": low, "high": high, "robust_accuracy": 1 - error, **more}


def _of_attack(name: str, row: AttackReport) -> dict[str, Any]:
    figures = row.to_dict()
    error = {"error": figures.pop("adversarial_error"), "interval": figures.pop("adversarial_error_interval")}
    return _record(name, **error, **figures)


def difference_p(first: Tensor, second: Tensor) -> float:
    """Return McNemar's p-value for equal error rates of two verdicts (N,) bool on the same images; 1 if they agree.

    Args:
        first: (N,) bool, True where the first verdict is wrong.
        second: (N,) bool, True where the second verdict is wrong, on the same images.
    """
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
