"""The results of one attack: verdicts per sample, and the figures computed from them."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torch import Tensor

from advkit.core.intervals import mcnemar, mirrored, wilson_interval
from advkit.core.saved import Content, finite
from advkit.core.shown import Shown
from advkit.core.words import percent
from advkit.evaluation.measure.believed import mean_wrong, spread
from advkit.evaluation.measure.lazy_columns import Column, column
from advkit.evaluation.measure.median import medians
from advkit.evaluation.measure.packing import packed, same, unpacked
from advkit.evaluation.measure.tally import Counts, Samples, aimed_at

GOAL = ("goal", "labelled")
"""What a report and each of its attacks say of the goal."""


def _share(part: float, whole: int) -> float | None:
    """The part of the whole; None of nothing."""
    return part / whole if whole else None


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
        median_distance: where half of the initially right images have fallen; inf if half withstood, None for none.
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
        non_finite: (N,) bool, the model answered NaN or infinity, or the goal NaN, during the search: that was not
            searched.
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
        """Where half of the initially right images have fallen, by `size`: inf if half withstood, None without one."""
        if not self._measured:
            return None

        def sizes() -> Iterator[list[Tensor]]:
            for clean, *rows in self.samples:
                row = rows[self.place - 1]
                yield [row["size"].where(row["reached"], math.inf)[aimed_at(clean, row)]]

        return medians(sizes, [self.counts.aimed])[0]

    @property
    def adversarial_error(self) -> float:
        """The fraction of all images that are wrong, clean or attacked: a lower bound.

        With several verdicts it is their mean on the adversarial images.
        """
        return mean_wrong(self.counts) / self.counts.images

    @property
    def adversarial_error_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the adversarial error."""
        return wilson_interval(mean_wrong(self.counts), self.counts.images)

    @property
    def robust_accuracy(self) -> float:
        """The fraction of all images that are right, clean and attacked: an upper bound."""
        return 1 - self.adversarial_error

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the robust accuracy."""
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
        """Return the figures as JSON takes them; what is infinite or undefined is None."""
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
