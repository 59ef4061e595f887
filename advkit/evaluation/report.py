"""What an evaluation found: verdicts per sample, and every figure that is read from them.

An adversarial error is a lower bound: another attack may find more. Its interval covers the sampling of images only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from statistics import median
from typing import Any

import torch
from torch import Tensor

from advkit.evaluation.checks import Checks
from advkit.evaluation.intervals import mcnemar, wilson_interval


def finite(value: float | None) -> float | None:
    """The number, or None where JSON has none: infinite, not a number, absent."""
    return value if value is not None and isfinite(value) else None


def _mean(values: Tensor) -> float | None:
    """The mean of some values; None of none."""
    return values.double().mean().item() if len(values) else None


def _interval(wrong: Tensor) -> tuple[float, float]:
    return wilson_interval(int(wrong.sum()), len(wrong))


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackReport:
    """What one attack did to N images; the tensors are on the CPU, in the order of the data.

    Attributes:
        attack: the attack as a spec string, such as `"fgsm(eps=0.007)"`.
        name, kind, norm: its registered name, "budget" or "minimal", and the norm of its distances.
        eps: its budget in the units of the pixels; None of a minimal attack.
        stop: "fooled" if samples left at their first adversarial point, "never" if the strongest one was sought.
        prediction: (N,) int64, the class given to the adversarial image.
        top5_wrong: (N,) bool, at least five classes lie above the label, on the clean or the adversarial image.
        right: (N,) bool, the clean image is classified rightly.
        wrong: (N,) bool, the clean or the adversarial image is misclassified.
        reached: (N,) bool, the attack reached its goal: a wrong class, or the target.
        meant: (N,) bool, there was something to reach; False where the target is the label itself.
        distance: (N,) float64, size of the perturbation; inf where a minimal attack failed.
        confidence: (N,) float64, largest softmax output on the adversarial image.
        zero_gradient: (N,) bool, the gradient was zero everywhere: the attack saw nothing to follow.
        queries, gradients: (N,) int64, forward and backward passes.
        seconds: wall-clock time of the attack over all images.
        survives_8bit: (N,) bool, still a success as a file of 8 bits a pixel, rounded toward x; None outside of runs.
    """

    attack: str
    name: str
    kind: str
    norm: str
    eps: float | None
    stop: str
    prediction: Tensor
    top5_wrong: Tensor
    right: Tensor
    wrong: Tensor
    reached: Tensor
    meant: Tensor
    distance: Tensor
    confidence: Tensor
    zero_gradient: Tensor
    queries: Tensor
    gradients: Tensor
    seconds: float
    survives_8bit: Tensor | None = None

    @property
    def adversarial_error(self) -> float:
        """The fraction of all images that are wrong, clean or attacked: a lower bound."""
        return self.wrong.double().mean().item()

    @property
    def adversarial_error_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return _interval(self.wrong)

    @property
    def top5_error(self) -> float:
        """The fraction of all images whose label is not among the five likeliest classes, clean or attacked.

        The attack aimed at the likeliest class: an attack on the five may find more.
        """
        return self.top5_wrong.double().mean().item()

    @property
    def success_rate(self) -> float | None:
        """The fraction of the initially right images on which the attack reached its goal; None if there are none."""
        return _mean(self.reached[self.right & self.meant])

    @property
    def survival_rate(self) -> float | None:
        """The fraction of the successes on initially right images that are left in 8-bit files; None if unknown."""
        return None if self.survives_8bit is None else _mean(self.survives_8bit[self.right & self.meant & self.reached])

    @property
    def mean_confidence(self) -> float | None:
        """The mean confidence in the mistakes, 0 to 1; None if there are none."""
        return _mean(self.confidence[self.wrong])

    @property
    def median_distance(self) -> float | None:
        """The median distance over the initially right images; inf if half withstood, None if there are none."""
        distances = self.distance[self.right & self.meant].tolist()
        return median(distances) if distances else None

    @property
    def queries_per_sample(self) -> float:
        """Forward passes, the mean over all images."""
        return self.queries.double().mean().item()

    @property
    def gradients_per_sample(self) -> float:
        """Backward passes, the mean over all images."""
        return self.gradients.double().mean().item()

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
            "top5_error": self.top5_error,
            "success_rate": finite(self.success_rate),
            "survival_rate": finite(self.survival_rate),
            "mean_confidence": finite(self.mean_confidence),
            "median_distance": finite(self.median_distance),
            "queries_per_sample": self.queries_per_sample,
            "gradients_per_sample": self.gradients_per_sample,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """The answer of `evaluate`; fractions of all images, with 95 % Wilson intervals.

    Attributes:
        data: what was evaluated, such as "mnist5k:test"; empty where the data do not say.
        seed: the seed of the attacks' random numbers.
        sample_ids: (N,) int64, the numbers of the images in the data.
        y: (N,) int64, the labels.
        prediction: (N,) int64, the classes given to the clean images.
        clean_wrong: (N,) bool, the clean image is misclassified.
        clean_confidence: (N,) float64, largest softmax output on the clean image.
        clean_top5_wrong: (N,) bool, at least five classes lie above the label.
        attacks: one report an attack, in the order given.
        control: the report of the control, if one was asked for; not part of the worst case.
        checks: whether the figures can be believed, if that was asked for.
    """

    data: str
    seed: int
    sample_ids: Tensor
    y: Tensor
    prediction: Tensor
    clean_wrong: Tensor
    clean_confidence: Tensor
    clean_top5_wrong: Tensor
    attacks: Sequence[AttackReport] = field(default=())
    control: AttackReport | None = None
    checks: Checks | None = None

    @property
    def count(self) -> int:
        """How many images were evaluated."""
        return len(self.y)

    @property
    def clean_error(self) -> float:
        """The fraction of the images that are wrong without an attack."""
        return self.clean_wrong.double().mean().item()

    @property
    def clean_error_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return _interval(self.clean_wrong)

    @property
    def clean_top5_error(self) -> float:
        """The fraction of the images whose label is not among the five likeliest classes."""
        return self.clean_top5_wrong.double().mean().item()

    @property
    def worst_case(self) -> Tensor:
        """(N,) bool: wrong clean, or under at least one of the attacks."""
        return torch.stack([self.clean_wrong, *(row.wrong for row in self.attacks)]).any(0)

    @property
    def adversarial_error(self) -> float:
        """The fraction that is wrong under the worst attack for each sample: a lower bound. Without attacks, clean."""
        return self.worst_case.double().mean().item()

    @property
    def adversarial_error_interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return _interval(self.worst_case)

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON takes them."""
        return {
            "data": self.data,
            "count": self.count,
            "seed": self.seed,
            "clean_error": self.clean_error,
            "clean_error_interval": list(self.clean_error_interval),
            "clean_top5_error": self.clean_top5_error,
            "adversarial_error": self.adversarial_error,
            "adversarial_error_interval": list(self.adversarial_error_interval),
            "attacks": [row.to_dict() for row in self.attacks],
            "control": self.control.to_dict() if self.control else None,
            "checks": self.checks.to_dict() if self.checks else None,
        }


def difference_p(first: Tensor, second: Tensor) -> float:
    """McNemar's p-value that two verdicts (N,) bool on the same images have one error rate; 1 where they agree."""
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
