"""An augmented Lagrangian of one constraint a row: penalty P2 and its two coefficients (Rony et al. 2020, section 2).

P2(y, rho, mu) = mu y + mu rho y^2 + rho^2 y^3 / 6 where y >= 0, mu y / (1 - rho y) where y < 0 (arXiv 2011.11857).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Lagrangian(NamedTuple):
    """The coefficients of the penalty on a constraint y < 0; y is (M,) float64 throughout."""

    mu: Tensor  # (M,) float64: the multiplier
    rho: Tensor  # (M,) float64: the weight of the penalty
    before: Tensor  # (M,) float64: the constraint at the last look

    def slope(self, y: Tensor) -> Tensor:
        """(M,): the derivative of P2 by y."""
        above = self.mu + 2 * self.mu * self.rho * y + self.rho**2 * y**2 / 2
        return torch.where(y >= 0, above, self.mu / (1 - self.rho * y.clamp(max=0)) ** 2)

    def updated(
        self, y: Tensor, met: Tensor, i: int, *, alpha: float, every: int, tau: float, gamma: float
    ) -> "Lagrangian":
        """Return the coefficients after the i-th check of the constraint; the first check only stores its value.

        Args:
            y: the constraint.
            met: (M,) bool, True where the row has met the constraint at least once.
            i: number of the check, counted from 0.
            alpha: decay of mu, which is a running mean of the slope.
            every: number of checks between two changes of the weight rho.
            tau: rho is kept if y has shrunk below this share of its last value, or if the row has met the constraint.
            gamma: factor by which rho grows otherwise.
        """
        if i == 0:
            return self._replace(before=y)
        new = self
        if (i + 1) % every == 0:
            new = self._replace(rho=torch.where(met | (y < tau * self.before), self.rho, gamma * self.rho), before=y)
        return new._replace(mu=(alpha * self.mu + (1 - alpha) * new.slope(y)).clamp(1e-6, 1e12))
