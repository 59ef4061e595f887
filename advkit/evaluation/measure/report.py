"""The results of an evaluation: verdicts per sample, and the figures computed from them.

An adversarial error is a lower bound: another attack may find more. Its interval covers the sampling of images only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Self, overload

import torch
from torch import Tensor

from advkit.core.intervals import mcnemar, wilson_interval
from advkit.core.saved import Content
from advkit.core.shown import Shown
from advkit.core.words import percent
from advkit.evaluation.measure.believed import mean_wrong, said_of, spread
from advkit.evaluation.measure.certificates import Certification
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.median import medians
from advkit.evaluation.measure.packing import packed, same, unpacked
from advkit.evaluation.measure.setting import Setting
from advkit.evaluation.measure.tally import Counts, Samples, Tally, aimed_at


def finite(value: float | None) -> float | None:
    """Return the number, or None if it is infinite, NaN or absent, which JSON cannot express."""
    return value if value is not None and isfinite(value) else None


def _share(part: float, whole: int) -> float | None:
    """The part of the whole; None of nothing."""
    return part / whole if whole else None


GOAL = ("goal", "labelled")
"""What a report and each of its attacks say of the goal."""


class Column:
    """One value a sample, (N,), read from the batches whenever it is used."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, report: None, owner: Any = None) -> "Column": ...
    @overload
    def __get__(self, report: "AttackReport | Report", owner: Any = None) -> Tensor: ...
    def __get__(self, report: "AttackReport | Report | None", owner: Any = None) -> "Tensor | Column":
        return self if report is None else column(report.samples, report.place, self._name)


def column(samples: Samples, place: int, name: str) -> Tensor:
    """Return one column of all batches (N,); False if the run is of an earlier version without it."""
    return torch.cat([parts[place].get(name, torch.zeros_like(parts[0]["clean_wrong"])) for parts in samples])


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttackReport(Shown):
    """The results of one attack on N images; the tensors are on the CPU, in the order of the data.

    The figures are computed once. The tensors hold a value for each image; those of a run are read from its folder
    whenever they are used.

    Attributes:
        attack: the attack as a spec string, such as `"fgsm(eps=0.007)"`.
        name, kind, norm: its registered name, "budget" or "minimal", and the norm of its distances.
        eps: its budget in the units of the pixels; None of a minimal attack.
        stop: "fooled" if samples left at their first adversarial point, "never" if the strongest one was sought.
        counts: counts from which the figures are computed.
        median_distance: over the initially right images; inf if half withstood, None if there are none.
        samples, place: the batches, and which of their columns are this attack's.
        goal: what counts as an error, in words; empty for a class other than the label.
        labelled: whether the outputs are logits of classes; without classes there is no top-5 error, no confidence and
            no prediction.
        prediction: (N,) int64, the class given to the adversarial image.
        top5_wrong: (N,) bool, at least five classes lie above the label, on the clean or the adversarial image.
        right: (N,) bool, the clean image is classified rightly.
        wrong: (N,) bool, the clean or the adversarial image is misclassified.
        reached: (N,) bool, the attack reached its goal: a wrong class, or the target.
        meant: (N,) bool, there was something to reach; False where the target is the label itself.
        distance: (N,) float64, size of the perturbation; inf where a minimal attack failed.
        confidence: (N,) float64, largest softmax output on the adversarial image.
        zero_gradient: (N,) bool, the gradient was zero everywhere: the attack saw nothing to follow.
        non_finite: (N,) bool, the model answered NaN or infinity during the search: what lies there was not searched.
        unsteady: (N,) bool, the verdict contradicted an earlier answer of the model to the same image.
        queries, gradients: (N,) int64, forward and backward passes.
        survives_8bit: (N,) bool, still a success as a file of 8 bits a pixel, rounded toward x; None outside of runs.
        size: (N,) float64, the attack's own measure of the change, as `Result.size`; None of an attack without one.
    """

    attack: str
    name: str
    kind: str
    norm: str
    eps: float | None
    stop: str
    counts: Counts
    median_distance: float | None
    samples: Samples = field(repr=False)
    place: int = field(repr=False)
    goal: str = ""
    labelled: bool = True

    prediction = Column()
    top5_wrong = Column()
    wrong = Column()
    reached = Column()
    meant = Column()
    distance = Column()
    confidence = Column()
    zero_gradient = Column()
    non_finite = Column()
    unsteady = Column()
    queries = Column()
    gradients = Column()

    def _brief(self) -> str:
        return f"{self.attack}, {self.counts.images:,} images, adversarial error {percent(self.adversarial_error)}"

    @property
    def right(self) -> Tensor:
        return ~column(self.samples, 0, "clean_wrong")

    @property
    def survives_8bit(self) -> Tensor | None:
        return None if self.counts.survived is None else column(self.samples, self.place, "survives_8bit")

    @property
    def size(self) -> Tensor | None:
        return column(self.samples, self.place, "size") if self._measured else None

    @property
    def _measured(self) -> bool:
        """Whether the attack has a measure of its own."""
        return "size" in next(iter(self.samples))[self.place]

    @property
    def median_size(self) -> float | None:
        """The median of `size` over the images that are right without an attack; None without such a measure."""
        if not self._measured:
            return None

        def sizes() -> Iterator[list[Tensor]]:
            for parts in self.samples:
                yield [parts[self.place]["size"][aimed_at(parts[0], parts[self.place])]]

        return medians(sizes, [self.counts.aimed])[0]

    @property
    def adversarial_error(self) -> float:
        """The fraction of all images that are wrong, clean or attacked: a lower bound.

        With several verdicts it is their mean on the adversarial images.
        """
        return mean_wrong(self.counts) / self.counts.images

    @property
    def adversarial_error_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson_interval(mean_wrong(self.counts), self.counts.images)

    @property
    def robust_accuracy(self) -> float:
        """The fraction of all images that are right, clean and attacked: an upper bound."""
        return 1 - self.adversarial_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return mirrored(self.adversarial_error_interval)

    @property
    def adversarial_error_spread(self) -> float | None:
        """The standard deviation of the adversarial error over the verdicts; None for one verdict."""
        return spread(self.counts)

    @property
    def top5_error(self) -> float | None:
        """The fraction of all images whose label is not among the five likeliest classes, clean or attacked.

        The attack aimed at the likeliest class: an attack on the five may find more. None without classes.
        """
        return self.counts.top5_wrong / self.counts.images if self.labelled else None

    @property
    def success_rate(self) -> float | None:
        """The fraction of the initially right images on which the attack reached its goal; None if there are none."""
        return _share(self.counts.reached, self.counts.aimed)

    @property
    def survival_rate(self) -> float | None:
        """The fraction of the successes on initially right images that remain in 8-bit files; None if unknown."""
        survived = self.counts.survived
        return None if survived is None else _share(survived, self.counts.reached)

    @property
    def mean_confidence(self) -> float | None:
        """The mean confidence in the mistakes, 0 to 1; None without mistakes or classes."""
        return _share(self.counts.confidence, self.counts.wrong) if self.labelled else None

    @property
    def queries_per_sample(self) -> float:
        """The mean number of forward passes over all images."""
        return self.counts.queries / self.counts.images

    @property
    def gradients_per_sample(self) -> float:
        """The mean number of backward passes over all images."""
        return self.counts.gradients / self.counts.images

    @property
    def seconds(self) -> float:
        """Wall-clock time of the attack over all images."""
        return self.counts.seconds

    @property
    def p_against_clean(self) -> float:
        """McNemar's p-value for equality with the clean error; images wrong when clean are wrong under attack too."""
        return mcnemar(self.counts.wrong + self.counts.right - self.counts.images, 0)

    @property
    def p_against_noise(self) -> float:
        """McNemar's p-value for equality with the control's error."""
        return mcnemar(self.counts.noise_right, self.counts.noise_wrong)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AttackReport):
            return NotImplemented
        places = ((0, 0), (self.place, other.place))
        return self.to_dict() == other.to_dict() and same(self.samples, other.samples, places)

    def __hash__(self) -> int:
        return hash((self.attack, self.counts))

    def records(self) -> list[dict[str, Any]]:
        """One row an image."""
        clean = {name: column(self.samples, 0, name) for name in ("sample_ids", "y")}
        names = ["prediction", "wrong", "reached", "distance", "confidence", "queries", "gradients"]
        names += ["zero_gradient", "non_finite", "unsteady"]
        names += [] if self.counts.survived is None else ["survives_8bit"]
        names += ["size"] if self._measured else []
        columns = {**clean, "right": self.right, **{name: getattr(self, name) for name in names}}
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _about(self) -> dict[str, Any]:
        """The fields but for the columns."""
        named = {name: getattr(self, name) for name in ("attack", "name", "kind", "norm", "eps", "stop", *GOAL)}
        return {**named, "counts": asdict(self.counts), "median_distance": self.median_distance}

    def _packed(self) -> Content:
        return self._about(), packed([parts[0], parts[self.place]] for parts in self.samples)

    @classmethod
    def _unpacked(cls, content: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        return cls._made(content, unpacked(tensors), 1)

    @classmethod
    def _made(cls, about: dict[str, Any], samples: Samples, place: int) -> Self:
        return cls(**{**about, "counts": Counts(**about["counts"])}, samples=samples, place=place)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON takes them; what is infinite or undefined is None."""
        return {
            "attack": self.attack,
            "kind": self.kind,
            "norm": self.norm,
            "eps": finite(self.eps),
            "stop": self.stop,
            "adversarial_error": self.adversarial_error,
            "adversarial_error_interval": list(self.adversarial_error_interval),
            "adversarial_error_spread": self.adversarial_error_spread,
            "top5_error": self.top5_error,
            "success_rate": finite(self.success_rate),
            "survival_rate": finite(self.survival_rate),
            "mean_confidence": finite(self.mean_confidence),
            "median_distance": finite(self.median_distance),
            **({"median_size": finite(self.median_size)} if self._measured else {}),
            "queries_per_sample": self.queries_per_sample,
            "gradients_per_sample": self.gradients_per_sample,
            "zero_gradient": self.counts.zero_gradient,
            "non_finite": self.counts.non_finite,
            "unsteady": self.counts.unsteady,
            "seconds": self.seconds,
        }


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
        """Its 95 % Wilson interval."""
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
        """Its 95 % Wilson interval."""
        return wilson_interval(self._worst, self.count)

    @property
    def robust_accuracy(self) -> float:
        """The fraction that is right under every attack: an upper bound."""
        return 1 - self.adversarial_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
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
        """The figures as JSON takes them."""
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


def mirrored(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of an accuracy from that of its error."""
    return 1 - interval[1], 1 - interval[0]


def difference_p(first: Tensor, second: Tensor) -> float:
    """Return McNemar's p-value for equal error rates of two verdicts (N,) bool on the same images; 1 if they agree.

    Args:
        first: (N,) bool, True where the first verdict is wrong.
        second: (N,) bool, True where the second verdict is wrong, on the same images.
    """
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
