"""`advkit certify --method smoothing`: bounds of the smoothed classifier's error, and Cohen's curve."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from advkit.attacks import PGD
from advkit.core.errors import AdvkitWarning, InputError
from advkit.defenses import Smoothed, certified_accuracy


def smoothed_figures(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    sigma: float | None = None,
    draws: int = 10_000,
    alpha: float = 0.001,
    seed: int = 0,
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return the certified images (N,), the fooled images (N,), and the figures that only smoothing has.

    Raises:
        InputError: sigma is missing.
    """
    if sigma is None:
        raise InputError("smoothing needs --sigma, the standard deviation of its noise, such as --sigma 0.25")
    smoothed = Smoothed(model, sigma)
    x_adv = PGD(eps=eps, norm="l2", steps=20)(smoothed, x, y).x_adv
    with warnings.catch_warnings():  # the table says it itself
        warnings.filterwarnings("ignore", ".* draws decide nothing", AdvkitWarning)
        found = smoothed.certify(x, n=draws, alpha=alpha, seed=seed)
        said = smoothed.predict(x_adv, min(draws, 1000), alpha, seed=seed)
    furthest = sigma * torch.special.ndtri(torch.tensor(alpha ** (1 / draws), dtype=torch.float64)).item()
    radii = sigma / 2 * torch.arange(math.floor(2 * max(furthest, 0) / sigma) + 1, dtype=torch.float64)
    curve = certified_accuracy(found, y, radii).tolist()
    figures = {
        "exact": False,  # a certificate may be wrong, with probability alpha
        "sigma": sigma,
        "draws": draws,
        "alpha": alpha,
        "seed": seed,
        "furthest": furthest,  # the radius if all draws agree; where it is not above 0, nothing can be certified
        "fewest": math.floor(math.log2(1 / alpha)) + 1,  # draws from which on it is
        "abstained": int((found.classes < 0).sum()) / len(x),
        "radii": radii.tolist(),
        "certified_accuracy": curve,
    }
    return (found.classes == y) & (found.radius > eps), (said >= 0) & (said != y), figures
