"""`assert_robust`: a model's error under an attack lies below a limit, as far as the given images can tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from advkit.attacks import Attack, create_attack
from advkit.core import door
from advkit.core.classify import classify
from advkit.core.door import check_between, check_count
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model, modules_of
from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm
from advkit.testing._record import note
from advkit.testing._subject import Subject, outcome, subject_of

OUTCOMES = ("fail", "skip", "pass")
"""What an inconclusive measurement does to a test."""

LEEWAY = 1e-5
"""How far, relative to eps, another library's attack may leave the ball before its errors stop counting."""


@dataclass(frozen=True)
class Robustness:
    """A model's error on some images, clean and under one attack, held against a limit.

    Attributes:
        attack: its spec or name.
        norm: norm of the ball.
        eps: radius of the ball; None if the attack has a radius of its own that it does not tell.
        count: number of images.
        clean_errors: number of images that are wrong as they are.
        adversarial_errors: number of images that are wrong as they are or under the attack; other attacks may find
            more.
        max_error: the limit, a fraction.
        confidence: confidence of the interval.
    """

    attack: str
    norm: str
    eps: float | None
    count: int
    clean_errors: int
    adversarial_errors: int
    max_error: float
    confidence: float

    @property
    def clean_error(self) -> float:
        """A fraction."""
        return self.clean_errors / self.count

    @property
    def adversarial_error(self) -> float:
        """A fraction, and a lower bound of the error under all attacks."""
        return self.adversarial_errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, around the adversarial error."""
        return wilson_interval(self.adversarial_errors, self.count, confidence=self.confidence)

    @property
    def verdict(self) -> str:
        """ "passes" or "fails" where the interval lies on one side of the limit, "inconclusive" where it does not."""
        low, high = self.interval
        return "passes" if high <= self.max_error else "fails" if low > self.max_error else "inconclusive"

    @property
    def decisive_count(self) -> float:
        """How many images would decide if the error stayed what it is; inf where no number does."""
        return decisive_count(self.adversarial_error, self.max_error, confidence=self.confidence)

    def __str__(self) -> str:
        low, high = self.interval
        eps = "" if self.eps is None else f", {self.norm} eps {self.eps:g}"
        return (
            f"adversarial error {self.adversarial_error:.1%} ({self.confidence:.0%} interval {low:.1%} to {high:.1%}) "
            f"under {self.attack}{eps} on {self.count} images, clean error {self.clean_error:.1%}; "
            f"limit {self.max_error:.1%}"
        )


class NotRobustError(AssertionError):
    """The error lies above the limit, or may; `robustness` has the figures."""

    def __init__(self, message: str, robustness: Robustness) -> None:
        super().__init__(message)
        self.robustness = robustness


class InconclusiveError(NotRobustError):
    """The limit lies inside the interval: more images are needed."""


def decisive_count(error: float, limit: float, *, confidence: float = 0.95) -> float:
    """The number of images from which Wilson's interval around an error excludes a limit.

    The interval is that of the score test, so it excludes p when |error - p| > z sqrt(p (1 - p) / N).

    Args:
        error: the rate seen, a fraction.
        limit: limit of the error, a fraction.
        confidence: confidence of the interval.

    Returns:
        N, a whole number >= 1; inf where no number of images decides.
    """
    if error == limit:
        return 1 if limit == 1 else math.inf
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return max(1, math.floor(z * z * limit * (1 - limit) / (error - limit) ** 2) + 1)


def assert_robust(
    model: Model,
    x: Tensor,
    y: Tensor,
    attack: str | Attack | Callable[..., Any] = "pgd",
    *,
    max_error: float,
    eps: float | None = None,
    confidence: float = 0.95,
    inconclusive: str = "fail",
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    batch_size: int = 250,
) -> Robustness:
    """The model's error under an attack is at most `max_error`, as far as these images can tell.

    Passes where the interval around the error lies below the limit, fails where it lies above, and is inconclusive
    otherwise. Passing says that this attack does not succeed more often; another may.

    Args:
        model: images (N, C, H, W) within `bounds` to logits (N, K); an nn.Module is taken in eval mode and left as it
            was.
        x: images (N, C, H, W); they are moved to the model's device and type.
        y: true classes (N,).
        attack: a name or spec ("pgd(steps=100)"), an `Attack`, or any callable that `check_attack` takes.
        max_error: the limit, a fraction in [0, 1].
        eps: the radius in units of the pixels; may be left out where the attack has one. A minimal attack needs it: an
            image counts as wrong where the attack succeeds within it.
        confidence: confidence of the interval, in (0, 1).
        inconclusive: outcome of a test that decides nothing: "fail", "skip" (pytest's) or "pass".
        seed: seed of the attack's random numbers.
        bounds: the range of the pixels.
        batch_size: number of images in a batch.

    Returns:
        The `Robustness`, also where `inconclusive="pass"` let it through.

    Raises:
        NotRobustError: an AssertionError: the error is above the limit.
        InconclusiveError: an AssertionError that says how many images would decide.
        InputError: wrong input, or an attack that left ball or range.
    """
    __tracebackhide__ = True
    if inconclusive not in OUTCOMES:
        raise unknown("value of inconclusive", str(inconclusive), OUTCOMES)
    found = measure(model, x, y, max_error, attack, eps, confidence, seed, bounds, batch_size)
    note({**{name: getattr(found, name) for name in NOTED}, "low": found.interval[0], "high": found.interval[1]})
    if found.verdict == "fails":
        raise NotRobustError(str(found), found)
    if found.verdict == "inconclusive" and inconclusive != "pass":
        message = f"{found}: inconclusive, {_advice(found)}"
        if inconclusive == "skip":
            import pytest

            pytest.skip(message)
        raise InconclusiveError(message, found)
    return found


NOTED = ("attack", "norm", "eps", "count", "clean_error", "adversarial_error", "max_error", "verdict")


def _advice(found: Robustness) -> str:
    needed = found.decisive_count
    if math.isinf(needed):
        return "and no number of images decides at this rate; move the limit"
    return f"about {needed:,} images would decide at this rate; give more, move the limit, or set inconclusive='skip'"


def measure(
    model: Model,
    x: Tensor,
    y: Tensor,
    max_error: float,
    attack: Any,
    eps: float | None,
    confidence: float,
    seed: int,
    bounds: tuple[float, float],
    batch_size: int,
) -> Robustness:
    """The figures behind `assert_robust`, see there."""
    if isinstance(max_error, bool) or not isinstance(max_error, int | float) or not 0 <= max_error <= 1:
        raise InputError(f"expected max_error, a fraction between 0 and 1, got {max_error!r}")
    check_count("batch_size", batch_size)
    check_between("confidence", confidence, 0, 1, ends=False)
    subject = subject_of(create_attack(attack) if isinstance(attack, str) else attack, {})
    eps = _radius(subject, eps)
    bounds = door.check_bounds(bounds)
    door.check_model(model)
    door.check_images(x, bounds)
    x, y = _placed(model, x, y)
    if not len(x):
        raise InputError("expected at least one image, got none")
    clean = adversarial = 0
    for i in range(0, len(x), batch_size):
        rows = slice(i, i + batch_size)
        ids = torch.arange(len(x), device=x.device)[rows]
        call = {"eps": eps, "seed": seed, "bounds": bounds, "sample_ids": ids}
        wrong, fooled = _errors(subject, model, x[rows], y[rows], call)
        clean, adversarial = clean + int(wrong.sum()), adversarial + int((wrong | fooled).sum())
    name = str(getattr(subject.attack, "spec", getattr(subject.attack, "__name__", type(subject.attack).__name__)))
    return Robustness(name, subject.norm, eps, len(x), clean, adversarial, float(max_error), confidence)


def _radius(subject: Subject, eps: float | None) -> float | None:
    """The radius that counts, and is passed on where the attack takes one."""
    eps = _own_eps(subject.attack) if eps is None else eps
    if eps is None and subject.kind == "minimal":
        raise InputError("expected eps, the radius within which an image counts as wrong: give eps=")
    if isinstance(eps, Tensor) and eps.ndim:
        raise InputError("expected eps as one number for all images, got a tensor")
    return None if eps is None else float(door.check_eps(eps))


def _own_eps(attack: Any) -> float | None:
    """The attack's radius, or that of the attack that it is wrapped around; None if it tells none."""
    own: float | None = getattr(attack, "eps", None)
    inner = getattr(attack, "attack", None)
    return own if own is not None or inner is None else _own_eps(inner)


def _placed(model: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Images and labels on the model's device, in its type of float."""
    weights = (p for module in modules_of(model) for p in module.parameters(recurse=False) if p.is_floating_point())
    like = next(weights, x)
    x = x.detach().to(like.device, like.dtype)
    return x, door.check_classes("labels", y.to(x.device) if isinstance(y, Tensor) else y, x)


def _errors(subject: Subject, model: Model, x: Tensor, y: Tensor, call: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """(N,) bool twice: wrong as they are; wrong at what the attack returned, judged by a forward pass of our own."""
    given = {name: call[name] for name in call if name in subject.accepts and call[name] is not None}
    if subject.kind == "minimal":
        given.pop("eps", None)
    wrong = _predicted(model, x, y) != y
    x_adv = outcome(subject.attack(model, x, y, **given)).x_adv
    if x_adv.shape != x.shape:
        raise InputError(f"the attack returned shape {tuple(x_adv.shape)} for images {tuple(x.shape)}")
    _in_range(x_adv, call["bounds"])
    fooled = _predicted(model, x_adv, y) != y
    distance = get_norm(subject.norm).size(x_adv.double() - x.double())
    if call["eps"] is not None:
        inside = distance <= call["eps"] * (1 + LEEWAY) + LEEWAY * (subject.norm == "linf")
        if subject.kind == "minimal":
            return wrong, fooled & inside
        _in_ball(subject, float(distance.max()), bool(inside.all()), call["eps"])
    return wrong, fooled


def _predicted(model: Model, x: Tensor, y: Tensor) -> Tensor:
    logits = classify(model, x)
    door.check_answer(logits, x, y)
    return logits.argmax(1)


def _in_ball(subject: Subject, distance: float, inside: bool, eps: float) -> None:
    if not inside:
        raise InputError(
            f"the attack returned an image at {subject.norm} distance {distance:g}, eps is {eps:g}: its errors do not "
            "count; check_attack tells more"
        )


def _in_range(x_adv: Tensor, bounds: tuple[float, float]) -> None:
    low, high = (float(value) for value in torch.aminmax(x_adv))
    if not (bounds[0] - LEEWAY <= low and high <= bounds[1] + LEEWAY):
        raise InputError(
            f"the attack returned pixels of {low:g} to {high:g}, the bounds are {bounds}: its errors do not count"
        )
