"""The uncertainty of error rates: Wilson's interval (1927) for one, McNemar's exact test (1947) for two."""

from math import exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import Any

from advkit.core.door import check_between
from advkit.core.errors import InputError
from advkit.core.option_numbers import is_huge
from advkit.core.plain import is_integer, is_real, kind, plain


def wilson_interval(errors: float, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval around `errors / count` that covers the true rate with probability of about `confidence`.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927. Unlike the
    textbook's normal interval it stays inside [0, 1], and it has a width even if none or all of the images are wrong.
    It accounts for the sampling of the images only.

    Args:
        errors: number of wrong images, 0 to `count`; a mean over verdicts need not be whole.
        count: number of images, at least 1.
        confidence: the wished coverage, in (0, 1).

    Returns:
        Lower and upper end, fractions in [0, 1].

    Raises:
        InputError: a number outside its range, or none.
    """
    errors, count = _number("errors", errors), _whole("count", count)
    if count < 1 or not 0 <= errors <= count:
        raise InputError(f"expected 0 <= errors <= count and count >= 1, got errors {errors} and count {count}")
    confidence = check_between("confidence", confidence, 0, 1, ends=False)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = errors / count
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(rate * (1 - rate) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    low = 0.0 if errors == 0 else max(0.0, centre - half)
    high = 1.0 if errors == count else min(1.0, centre + half)
    return low, high


def mirrored(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of an accuracy from that of its error."""
    return 1 - interval[1], 1 - interval[0]


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p-value for the hypothesis that two error rates on the SAME images are equal.

    Only images with different verdicts count: if the rates are equal, each of these is a fair coin.
    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.

    Args:
        first_only: number of images that are wrong in the first case and right in the second.
        second_only: number of images that are right in the first case and wrong in the second.

    Returns:
        A probability in [0, 1]; 1 if no image differs.

    Raises:
        InputError: a number is negative, or no whole one.
    """
    first_only, second_only = _whole("first_only", first_only), _whole("second_only", second_only)
    if first_only < 0 or second_only < 0:
        raise InputError(f"expected two counts >= 0, got first_only {first_only} and second_only {second_only}")
    flips, fewer = first_only + second_only, min(first_only, second_only)
    # summed as logarithms: 2^-flips underflows from about a thousand images
    logs = (lgamma(flips + 1) - lgamma(k + 1) - lgamma(flips - k + 1) - flips * log(2) for k in range(fewer + 1))
    return min(1.0, 2 * sum(exp(value) for value in logs))


def _number(name: str, value: Any) -> float:
    value = plain(value)
    if not is_real(value) or is_huge(value):
        raise InputError(f"expected {name} as a number, got {kind(value)}")
    found: float = value
    return found


def _whole(name: str, value: Any) -> int:
    value = plain(value)
    if not is_integer(value) or is_huge(value):
        raise InputError(f"expected {name} as a whole number, got {kind(value)}")
    return int(value)
