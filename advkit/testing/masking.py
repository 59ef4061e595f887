"""`assert_not_masked`: no cheap sign shows that the model hides its gradients."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.evaluation.measure.checks import CHECKS, Checks, check_evaluation
from advkit.evaluation.measure.probes import Probes
from advkit.testing._check import names_of


class MaskedError(AssertionError):
    """There is a sign that the model hides its gradients; `checks` has all findings."""

    def __init__(self, message: str, checks: Checks) -> None:
        super().__init__(message)
        self.checks = checks


def assert_not_masked(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | None = None,
    attacks: Probes | None = None,
    surrogate: Model | None = None,
    skip: str | Iterable[str] = (),
    count: int = 128,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
) -> Checks:
    """Assert that no sign shows a low error under attack to be a defect of the attack: see `check_evaluation`.

    Signs are gradients that are zero or not finite, one step that beats many, noise that does as well as gradients, PGD
    over the whole range that does not fool every image, logits that differ from call to call, probabilities in place of
    logits, and others: `advkit.evaluation.CHECKS` lists them. Passing shows only that no sign was seen.

    Args:
        model: callable from images (N, C, H, W) within `bounds` to logits (N, K); used in eval mode and left as it was.
        x: images (N, C, H, W).
        y: true classes (N,).
        eps: linf radius of the evaluation in units of the pixels; default: a tenth of the range.
        attacks: attacks to probe with; default: FGSM, PGD and noise.
        surrogate: the same model without its defence, for attacks that transfer.
        skip: name or names of findings to ignore.
        count: number of images to use, 1 to 128.
        seed: seed of the random numbers.
        bounds: the range of the pixels.

    Returns:
        All findings.

    Raises:
        MaskedError: an AssertionError with each suspect finding, its evidence and what to do.
        InputError: the input is wrong, no image is right without an attack, or there is no such finding to skip.
    """
    __tracebackhide__ = True
    skipped = set(names_of(skip))
    for name in skipped:
        if name not in CHECKS:
            raise unknown("finding", name, CHECKS)
    options: dict[str, Any] = {"eps": eps, "attacks": attacks, "surrogate": surrogate, "count": count, "seed": seed}
    checks = check_evaluation(model, (x, y), bounds=bounds, **options)
    if checks["zero_gradients"].verdict == "skipped":
        right = checks["zero_gradients"].figures.get("of")
        if right:
            raise InputError(f"{right} images are right without an attack, too few to tell: give more")
        raise InputError(f"all {checks.samples} images are wrong without an attack: they cannot tell; check the labels")
    suspects = [finding for finding in checks.suspects if finding.name not in skipped]
    if suspects:
        lines = [f"{f.name}: {f.evidence}; {f.advice}" for f in suspects]
        head = f"{len(suspects)} of {len(CHECKS)} signs of hidden gradients on {checks.samples} images"
        raise MaskedError("\n  ".join([f"{head}, linf eps {checks.eps:g}:", *lines]), checks)
    return checks
