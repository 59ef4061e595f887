"""Exact bounds of a binomial proportion: Clopper and Pearson 1934, "The use of confidence or fiducial limits"."""

import math

import torch
from torch import Tensor

from advkit.core.door import check_between, check_count
from advkit.core.errors import InputError
from advkit.core.float64 import lacks_float64

HALVINGS = 60
SHAVE = 1e-11
"""Relative amount that is taken off the result; it is larger than the rounding of the logarithms below."""


def clopper_pearson(successes: Tensor, count: int, *, alpha: float) -> Tensor:
    """Return lower confidence bounds of probabilities; each exceeds the true value with probability at most `alpha`.

    The bound is the largest p at which `successes` or more of `count` draws still have a probability of at most
    `alpha`. Equal to `scipy.stats.beta.ppf(alpha, k, n - k + 1)`.

    Args:
        successes: (N,) integers, 0 to `count`.
        count: number of draws.
        alpha: probability of failure, in (0, 1).

    Returns:
        (N,) float64.

    Raises:
        InputError: a number is outside its range.
    """
    count = check_count("count", count)
    alpha = check_between("alpha", alpha, 0, 1, ends=False)
    k, place = torch.unique(successes.cpu() if lacks_float64(successes) else successes, return_inverse=True)
    if len(k) and not 0 <= int(k[0]) <= int(k[-1]) <= count:
        raise InputError(f"expected successes from 0 to {count}, saw {int(k[0])} to {int(k[-1])}")
    return _lower(k.double(), float(count), alpha)[place]


def _lower(k: Tensor, n: float, alpha: float) -> Tensor:
    """Bisection on the logarithm of the tail, which grows with p: (U,)."""
    ratios = _ratios(k, n)
    binomial = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    low, high = torch.zeros_like(k), k / n
    for _ in range(HALVINGS):
        p = (low + high) / 2
        log_p, log_q = p.log(), torch.log1p(-p)
        steps = torch.arange(ratios.shape[1], device=k.device)
        rest = (ratios + steps * (log_p - log_q)[:, None]).logsumexp(1)
        rare = binomial + k * log_p + (n - k) * log_q + rest <= math.log(alpha)
        low, high = torch.where(rare, p, low), torch.where(rare, high, p)
    return torch.where(k > 0, low * (1 - SHAVE), 0.0)


def _ratios(k: Tensor, n: float) -> Tensor:
    """(U, J): the logarithm of C(n, k + j) / C(n, k).

    At p <= k / n the term k + j of the tail is at most exp(-j^2 / (2 n)) of the first, so 10 sqrt(n) terms are all.
    """
    j = torch.arange(min(int(n), int(10 * math.sqrt(n)) + 10), dtype=torch.float64, device=k.device)
    factors = ((n - k[:, None] - j).clamp(min=0) / (k[:, None] + j + 1)).log()
    return torch.cat([torch.zeros_like(k[:, None]), factors.cumsum(1)], 1)
