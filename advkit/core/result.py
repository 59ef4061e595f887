"""The result of an attack."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any, ClassVar

import torch
from torch import Tensor

from advkit.core.intervals import wilson_interval
from advkit.core.saved import alike
from advkit.core.sheet import Sheet, Table
from advkit.core.shown import Shown, sheet_of
from advkit.core.words import CAVEAT, percent, short, span


def _left_out() -> Tensor:
    """Stands for no sample; the result makes it (N,) False."""
    return torch.zeros(0, dtype=torch.bool, device="cpu")


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """The outcome of an attack, one row a sample.

    Attributes:
        x_adv: the images found (N, C, H, W), of x's type, device and memory format; for a sample that was never fooled
            the strongest point visited (budget attack) or a copy of x (minimal attack).
        success: (N,) bool, the verdict of a forward pass on the returned `x_adv`: the goal leads, ties do not count.
        distance: (N,) float64, the size of x_adv - x in the attack's norm; inf where a minimal attack failed.
        queries: (N,) int64, forward passes per sample, the verdict and the clean image's included.
        gradients: (N,) int64, backward passes per sample.
        logits: (N, K) of x_adv, as the model returned them.
        zero_gradient: (N,) bool, the gradient was exactly zero at a point that was not adversarial.
        non_finite: (N,) bool, the model answered NaN or infinity, or the goal NaN, at some point of the search; such a
            point never counts as a success, and what lies behind it was not searched.
        unsteady: (N,) bool, the verdict repeated an image seen before and the model answered otherwise: it is random,
            or an image's answer depends on the rest of its batch. Costs no query; False proves nothing: `evaluate` and
            `assert_robust` also ask one image of each batch again, alone.
        size: (N,) float64, the attack's own measure of the change, where it is no matter of an lp ball: the attack's
            `measures` says what it is. None for all other attacks.
    """

    pictured: ClassVar[bool] = False  # the picture needs x and y: `result.plot(x, y)`

    x_adv: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    gradients: Tensor
    logits: Tensor
    zero_gradient: Tensor
    non_finite: Tensor = field(default_factory=_left_out)
    unsteady: Tensor = field(default_factory=_left_out)
    size: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("non_finite", "unsteady"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, torch.zeros_like(self.success))

    def __len__(self) -> int:
        return len(self.x_adv)

    def _brief(self) -> str:
        return f"{len(self):,} samples, {int(self.success.sum()):,} fooled"

    def __eq__(self, other: object) -> bool:
        return alike(vars(self), vars(other)) if isinstance(other, Result) else NotImplemented

    def __hash__(self) -> int:
        return hash((Result, len(self), int(self.queries.sum())))

    @property
    def robust_accuracy(self) -> float:
        """The fraction of the samples on which the attack did not reach its goal: an upper bound; NaN without any."""
        return 1 - float(self.success.double().mean())

    @property
    def robust_accuracy_interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the robust accuracy; (0, 1) without samples."""
        return wilson_interval(int((~self.success).sum()), len(self)) if len(self) else (0.0, 1.0)

    def records(self) -> list[dict[str, Any]]:
        """Return one row a sample, without images and logits."""
        names = ("success", "distance", "queries", "gradients", "zero_gradient", "non_finite", "unsteady")
        columns = {"prediction": self.logits.argmax(1)} if self.logits.ndim == 2 and self.logits.shape[1] else {}
        columns |= {name: getattr(self, name) for name in names}
        columns |= {} if self.size is None else {"size": self.size}
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]


def better_of(first: Result, second: Result, prefer: Tensor) -> Result:
    """Combine two results on the same images: the stronger of each sample. The costs are added.

    A success is better than a failure; otherwise the second result is taken if `prefer` (N,) bool is True.
    """
    take = (second.success & ~first.success) | ((second.success == first.success) & prefer)

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(take.view(-1, *[1] * (a.ndim - 1)), b, a)

    return Result(
        x_adv=pick(first.x_adv, second.x_adv),
        success=first.success | second.success,
        distance=pick(first.distance, second.distance),
        queries=first.queries + second.queries,
        gradients=first.gradients + second.gradients,
        logits=pick(first.logits, second.logits),
        zero_gradient=first.zero_gradient | second.zero_gradient,
        non_finite=first.non_finite | second.non_finite,
        unsteady=first.unsteady | second.unsteady,
        size=None if first.size is None or second.size is None else pick(first.size, second.size),
    )


@sheet_of.register
def _(result: Result) -> Sheet:
    count, fooled = len(result), int(result.success.sum())
    if not count:
        return ["No samples."]
    moved = result.distance[result.success & (result.distance > 0)].tolist()
    rows = [
        ("success", f"{fooled:,} of {count:,}, {percent(fooled / count)}"),
        ("robust accuracy", f"{percent(result.robust_accuracy)} ({span(result.robust_accuracy_interval)})"),
        ("median distance of what was changed and fooled", short(median(moved) if moved else None)),
        *_measured(result),
        ("queries a sample", f"{result.queries.double().mean():.1f}"),
        ("gradients a sample", f"{result.gradients.double().mean():.1f}"),
    ]
    seen = {
        "gradient was exactly zero": result.zero_gradient,
        "answer was not finite": result.non_finite,
        "answer changed when asked again": result.unsteady,
    }
    rows += [(name, f"{int(flag.sum()):,} of {count:,}") for name, flag in seen.items() if bool(flag.any())]
    return [Table(("", "found"), rows), CAVEAT]


def _measured(result: Result) -> list[tuple[str, str]]:
    """The row of an attack that measures its change in its own way."""
    if result.size is None:
        return []
    moved = result.size[result.success & (result.size > 0)].tolist()
    return [("median of the same by the attack's own measure", short(median(moved) if moved else None))]
