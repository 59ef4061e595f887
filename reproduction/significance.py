"""Whether a difference is more than chance: paired tests over seeds and over images, and intervals of a mean.

Over seeds the differences of pairs are taken as normal (Student 1908). Over images only their signs count, which for
right and wrong is McNemar's test, exact.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from advkit.core.intervals import mcnemar


class Answer(NamedTuple):
    """The result of a test of `first - second`."""

    sign: int  # -1: first is smaller, 1: larger, 0: no direction
    p: float  # two-sided; NaN where the test cannot judge


def paired_t(first: Sequence[float], second: Sequence[float]) -> Answer:
    """Compute Student's paired t-test of two equally long rows of figures, two-sided.

    Args:
        first: figure of each seed.
        second: figure of each seed to compare with.

    Returns:
        The sign of the mean difference and the p-value. The p-value is NaN with fewer than two pairs, and
        where all differences are equal but not zero: then nothing shows how much they vary.
    """
    d = [a - b for a, b in zip(first, second, strict=True)]
    mean = math.fsum(d) / len(d) if d else 0.0
    sign = (mean > 0) - (mean < 0)
    spread = deviation(d)
    if max((abs(value) for value in d), default=0.0) == 0 and len(d) > 1:
        return Answer(0, 1.0)
    if len(d) < 2 or spread <= 1e-12 * abs(mean):
        return Answer(sign, math.nan)
    return Answer(sign, t_tail(abs(mean) / spread * math.sqrt(len(d)), len(d) - 1))


def signs(first: Sequence[float], second: Sequence[float]) -> Answer:
    """Compute the exact two-sided sign test of two rows of numbers of the same images; McNemar's for right and wrong.

    Args:
        first: number of each image; NaN leaves the image out.
        second: number of each image to compare with.
    """
    larger = sum(a > b for a, b in zip(first, second, strict=True))
    smaller = sum(a < b for a, b in zip(first, second, strict=True))
    return Answer((larger > smaller) - (larger < smaller), mcnemar(larger, smaller))


def deviation(values: Sequence[float]) -> float:
    """Compute the standard deviation with n - 1 in the denominator; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> tuple[float, float] | None:
    """Compute Student's interval of a mean; None for fewer than two values.

    Args:
        values: the figures, one for each seed.
        confidence: probability that the interval covers the mean.
    """
    n = len(values)
    if n < 2:
        return None
    mean, half = math.fsum(values) / n, t_quantile(1 - confidence, n - 1) * deviation(values) / math.sqrt(n)
    return mean - half, mean + half


def t_tail(t: float, degrees: int) -> float:
    """Compute the probability that |T| exceeds t under Student's distribution, by its finite sums.

    Source: Abramowitz and Stegun 1964, equations 26.7.3 and 26.7.4.

    Args:
        t: value of the statistic, at least 0.
        degrees: degrees of freedom, at least 1.
    """
    theta = math.atan2(t, math.sqrt(degrees))
    sine, cosine = math.sin(theta), math.cos(theta)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(degrees // 2):
        total += term
        term *= cosine * cosine * (2 * k + 1 + odd) / (2 * k + 2 + odd)
    inside = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return min(1.0, max(0.0, 1 - inside))


def t_quantile(alpha: float, degrees: int) -> float:
    """Compute the t that |T| exceeds with probability alpha, by bisection.

    Args:
        alpha: probability, in (0, 1).
        degrees: degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while t_tail(high, degrees) > alpha:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, degrees) > alpha else (low, middle)
    return high
