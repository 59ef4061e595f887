"""`assert_robust`: a test that a model's error under an attack lies below a limit."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.attacks import Attack, create_attack
from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.door import check_between, check_count
from advkit.core.errors import InputError, unknown
from advkit.core.float64 import in_float64
from advkit.core.guard import Model, modules_of
from advkit.core.intervals import wilson_interval
from advkit.core.norms import get_norm
from advkit.core.steady import FUNCTION, MIXED, RANDOM, AnySize, nature
from advkit.core.wishes import as_wish
from advkit.evaluation.measure.judge import Judge
from advkit.testing._record import note
from advkit.testing._subject import Subject, outcome, subject_of

OUTCOMES = ("fail", "skip", "pass")
"""What an inconclusive measurement does to a test."""

LEEWAY = 1e-5
"""How far, relative to eps, another library's attack may leave the ball before its errors stop counting."""


@dataclass(frozen=True)
class Robustness:
    """A model's error on some images, clean and under one attack, compared with a limit.

    Attributes:
        attack: its spec or name.
        norm: norm of the ball.
        eps: radius of the ball; None if the attack does not state its radius.
        count: number of images.
        clean_errors: number of images that are wrong as they are.
        adversarial_errors: number of images that are wrong as they are or under the attack; other attacks may find
            more.
        max_error: the limit, a fraction.
        confidence: confidence of the interval.
        goal: the goal in words; empty for a class other than y.
        verdicts: number of verdicts over which the errors are means.
        nature: "random" or "depends on the batch" if the model is no function of one image; otherwise empty.
        hidden: number of images that count as right and near which the model answered NaN or infinity.
    """

    attack: str
    norm: str
    eps: float | None
    count: int
    clean_errors: float
    adversarial_errors: float
    max_error: float
    confidence: float
    goal: str = ""
    verdicts: int = 1
    nature: str = ""
    hidden: int = 0

    @property
    def clean_error(self) -> float:
        """The clean error, a fraction."""
        return self.clean_errors / self.count

    @property
    def adversarial_error(self) -> float:
        """The adversarial error, a fraction and a lower bound of the error under all attacks."""
        return self.adversarial_errors / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval around the adversarial error."""
        return wilson_interval(self.adversarial_errors, self.count, confidence=self.confidence)

    @property
    def verdict(self) -> str:
        """ "passes" or "fails" if the interval lies on one side of the limit, otherwise "inconclusive".

        It does not pass if `hidden` images would be needed to pass, if there is only one verdict on a random model, or
        if the model's answers depend on the batch.
        """
        low, high = self.interval
        if low > self.max_error:
            return "fails"
        worst = wilson_interval(self.adversarial_errors + self.hidden, self.count, confidence=self.confidence)[1]
        return "passes" if max(high, worst) <= self.max_error and not self.doubt else "inconclusive"

    @property
    def doubt(self) -> str:
        """A reason to doubt the errors, whatever the number of images; empty if there is none."""
        if self.nature == "random" and self.verdicts == 1:
            return "the model is random and was judged by one verdict: give verdicts=20"
        if self.nature == "depends on the batch":
            return "the model's answer to an image depends on the rest of its batch: look for batch norm in train mode"
        if self.hidden:
            return (
                f"the model answered NaN or infinity near {self.hidden} images that count as right: mend the model, or "
                "use float64"
            )
        return ""

    @property
    def decisive_count(self) -> float:
        """The number of images that would decide if the error did not change; inf if no number does."""
        return decisive_count(self.adversarial_error, self.max_error, confidence=self.confidence)

    def __str__(self) -> str:
        low, high = self.interval
        eps = "" if self.eps is None else f", {self.norm} eps {self.eps:g}"
        return (
            f"adversarial error {self.adversarial_error:.1%} ({self.confidence:.0%} interval {low:.1%} to {high:.1%}) "
            f"under {self.attack}{eps} on {self.count} images, clean error {self.clean_error:.1%}; "
            f"limit {self.max_error:.1%}"
            + (f"; wrong means {self.goal}" if self.goal else "")
            + (f"; means over {self.verdicts} verdicts" if self.verdicts > 1 else "")
            + (f"; {self.doubt}" if self.doubt else "")
        )


class NotRobustError(AssertionError):
    """The error is or may be above the limit; `robustness` has the figures."""

    def __init__(self, message: str, robustness: Robustness) -> None:
        super().__init__(message)
        self.robustness = robustness


class InconclusiveError(NotRobustError):
    """The limit lies inside the interval: more images are needed."""


def decisive_count(error: float, limit: float, *, confidence: float = 0.95) -> float:
    """Return the number of images from which Wilson's interval around an error excludes a limit.

    The interval is that of the score test, so it excludes p when |error - p| > z sqrt(p (1 - p) / N).

    Args:
        error: the observed error rate, a fraction.
        limit: limit of the error, a fraction.
        confidence: confidence of the interval.

    Returns:
        N, a whole number >= 1; inf if no number of images decides.
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
    goal: Any = None,
    verdicts: int = 1,
    confidence: float = 0.95,
    inconclusive: str = "fail",
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    batch_size: int = 250,
) -> Robustness:
    """Assert that the model's error under an attack is at most `max_error`, as far as these images can show.

    It passes if the interval around the error lies below the limit, fails if it lies above, and is inconclusive
    otherwise. Passing means that this attack does not succeed more often; another may.

    Args:
        model: images (N, C, H, W) within `bounds` to logits (N, K); an nn.Module is taken in eval mode and left as it
            was.
        x: images (N, C, H, W); they are moved to the model's device and type.
        y: true classes (N,).
        attack: a name or spec ("pgd(steps=100)"), an `Attack`, or any callable that `check_attack` takes.
        max_error: the limit, a fraction in [0, 1].
        eps: the radius in units of the pixels; not needed if the attack has one. A minimal attack needs it: an image
            counts as wrong if the attack succeeds within it.
        goal: what counts as an error and as an attack's success, see `advkit.goals`; default: a class other than y.
        verdicts: number of separate forward passes that judge the images; a random model needs several.
        confidence: confidence of the interval, in (0, 1).
        inconclusive: outcome of an undecided test: "fail", "skip" (pytest's) or "pass".
        seed: seed of the attack's random numbers.
        bounds: the range of the pixels.
        batch_size: number of images in a batch.

    Returns:
        The `Robustness`, also if `inconclusive="pass"` lets it pass.

    Raises:
        NotRobustError: an AssertionError: the error is above the limit.
        InconclusiveError: an AssertionError that says how many images would decide.
        InputError: the input is wrong, or the attack left ball or range.
    """
    __tracebackhide__ = True
    if inconclusive not in OUTCOMES:
        raise unknown("value of inconclusive", str(inconclusive), OUTCOMES)
    found = measure(model, x, y, max_error, attack, eps, confidence, seed, bounds, batch_size, goal, verdicts)
    note({**{name: getattr(found, name) for name in NOTED}, "low": found.interval[0], "high": found.interval[1]})
    if found.verdict == "fails":
        raise NotRobustError(str(found), found)
    if found.verdict == "inconclusive" and inconclusive != "pass":
        message = f"{found}: inconclusive" + ("" if found.doubt else f", {_advice(found)}")
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
    goal: Any = None,
    verdicts: int = 1,
) -> Robustness:
    """Measure the figures of `assert_robust`."""
    max_error = check_between("max_error", max_error, 0, 1)
    batch_size, seed = check_count("batch_size", batch_size), door.check_seed(seed)
    confidence = check_between("confidence", confidence, 0, 1, ends=False)
    subject = subject_of(create_attack(attack) if isinstance(attack, str) else attack, {})
    eps = _radius(subject, eps)
    bounds = door.check_bounds(bounds)
    model_checks.check_model(model)
    door.check_images(x, bounds)
    judge, verdicts = Judge(None if goal is None else as_wish(goal)), check_count("verdicts", verdicts)
    x, y = _placed(model, x, y, judge)
    if not len(x):
        raise InputError("expected at least one image, got none")
    if goal is not None and "goal" not in subject.accepts:
        raise InputError("the attack takes no goal=: give an attack that pursues it, such as 'pgd'")
    seen = []
    for i in range(0, len(x), batch_size):
        rows = slice(i, i + batch_size)
        ids = torch.arange(len(x), device=x.device)[rows]
        call = {"eps": eps, "seed": seed, "bounds": bounds, "sample_ids": ids, "goal": judge.wish}
        seen.append(_seen(subject, model, x[rows], y[rows], call, judge, verdicts))
    name = str(getattr(subject.attack, "spec", getattr(subject.attack, "__name__", type(subject.attack).__name__)))
    return Robustness(
        name,
        subject.norm,
        eps,
        len(x),
        _plain(sum(part.clean for part in seen)),
        _plain(sum(part.adversarial for part in seen)),
        max_error,
        confidence,
        goal="" if judge.wish is None else judge.wish.spec,
        verdicts=verdicts,
        nature=NATURES[max(part.nature for part in seen)],
        hidden=sum(part.hidden for part in seen),
    )


NATURES = {FUNCTION: "", RANDOM: "random", MIXED: "depends on the batch"}


class Seen(NamedTuple):
    """The verdicts on one batch."""

    clean: float  # how many are wrong, the mean over the verdicts
    adversarial: float  # how many are wrong as they are or under the attack
    nature: int  # of the model, see `advkit.core.steady`
    hidden: int  # not wrong, and not searched behind answers that are not finite


def _plain(number: float) -> float:
    """A whole number as an integer."""
    return int(number) if number == int(number) else number


def _radius(subject: Subject, eps: float | None) -> float | None:
    """The radius that counts, and is passed on where the attack takes one."""
    eps = _own_eps(subject.attack) if eps is None else eps
    if eps is None and subject.kind == "minimal":
        raise InputError("expected eps, the radius within which an image counts as wrong: give eps=")
    return None if eps is None else door.check_one_eps(eps)


def _own_eps(attack: Any) -> float | None:
    """The attack's radius, or that of the attack that it is wrapped around; None if it tells none."""
    own: float | None = getattr(attack, "eps", None)
    inner = getattr(attack, "attack", None)
    return own if own is not None or inner is None else _own_eps(inner)


def _placed(model: Model, x: Tensor, y: Tensor, judge: Judge) -> tuple[Tensor, Tensor]:
    """Images and labels on the model's device, in its type of float."""
    weights = (p for module in modules_of(model) for p in module.parameters(recurse=False) if p.is_floating_point())
    like = next(weights, x)
    x = x.detach().to(like.device, like.dtype)
    y = y.to(x.device) if isinstance(y, Tensor) else y
    return x, door.check_classes("labels", y, x) if judge.labelled else door.check_rows(y, x)


def _seen(
    subject: Subject, model: Model, x: Tensor, y: Tensor, call: dict[str, Any], judge: Judge, verdicts: int
) -> Seen:
    """Who is wrong as they are, and at what the attack returned, judged by forward passes of our own."""
    given = {name: call[name] for name in call if name in subject.accepts and call[name] is not None}
    if subject.kind == "minimal":
        given.pop("eps", None)
    with looking(model, x.device):
        passes = AnySize(model, len(x), model)
        logits = passes(x)
        if logits.shape[:1] != x.shape[:1]:
            model_checks.check_logits(logits, x)
        kind = nature(passes, x, logits)
        wrong = _wrong(passes, x, y, judge, verdicts)
    found = outcome(subject.attack(model, x, y, **given))
    x_adv = found.x_adv
    if x_adv.shape != x.shape:
        raise InputError(f"the attack returned shape {tuple(x_adv.shape)} for images {tuple(x.shape)}")
    _in_range(x_adv, call["bounds"])
    with looking(model, x.device):
        fooled = _wrong(AnySize(model, len(x), model), x_adv, y, judge, verdicts)
    distance = get_norm(subject.norm).size(in_float64(x_adv) - in_float64(x))
    if call["eps"] is not None:
        inside = distance <= call["eps"] * (1 + LEEWAY) + LEEWAY * (subject.norm == "linf")
        if subject.kind == "minimal":
            fooled = fooled & inside[:, None]
        else:
            _in_ball(subject, float(distance.max()), bool(inside.all()), call["eps"])
    either = wrong | fooled if verdicts == 1 else torch.where(distance[:, None] > 0, fooled, wrong)
    hidden = torch.zeros_like(either[:, 0]) if found.non_finite is None else found.non_finite & ~either.any(1)
    unsteady = found.unsteady is not None and bool(found.unsteady.any())
    kind = RANDOM if kind == FUNCTION and unsteady else kind
    return Seen(float(wrong.sum()) / verdicts, float(either.sum()) / verdicts, kind, int(hidden.sum()))


def _wrong(passes: Model, x: Tensor, y: Tensor, judge: Judge, verdicts: int) -> Tensor:
    """(N, V) bool: wrong in each of V fresh passes, in a block where the random state is not put back between them."""
    outputs = [passes(x) for _ in range(verdicts)]
    judge.check(outputs[0], x, y)
    return torch.stack([judge.wrong(output, y) for output in outputs], 1)


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
