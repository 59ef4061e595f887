"""Perturbations confined to a part of the image: where the mask is 0, no pixel changes."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from advkit.attacks.around.stand_in import StandIn
from advkit.attacks.around.wrapper import Wrapper
from advkit.core.attack import Attack
from advkit.core.driver import Problem
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.joint_passes import View
from advkit.core.losses import Loss
from advkit.core.option_names import outer
from advkit.core.oracle import Oracle
from advkit.core.threat import Region, Threat


@dataclass(frozen=True)
class MaskedThreat(Threat):
    """A threat model in which the pixels outside the mask are fixed: their least and largest value is their own.

    Args:
        whole: the threat model without the mask.
        mask: (N, ...) bool, True where a pixel may change.
    """

    whole: Threat | None = None
    mask: Tensor | None = None

    def around(self, x: Tensor) -> Region:
        """Return the region around x (N, ...)."""
        assert self.whole is not None
        assert self.mask is not None
        whole = self.whole.around(x)
        return whole._replace(low=torch.where(self.mask, whole.low, x), high=torch.where(self.mask, whole.high, x))


class _Free(StandIn):
    """The oracle without the gradient of what cannot move: a step along it would be spent for nothing."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(oracle)
        self._free = oracle.region.low < oracle.region.high

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        values, gradient = self._oracle.loss_and_gradient(x, loss, through)
        if gradient.shape != self._free.shape:  # of a patch, which is cut off at the mask where it is put on
            return values, gradient
        return values, gradient * self._free

    def jacobian(self, x: Tensor, rows: int | Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = self._oracle.jacobian(x, rows)
        return values, gradients * self._free[:, None]


@dataclass(frozen=True, kw_only=True)
class Masked(Wrapper):
    """The attack inside, on the pixels that the mask allows. Cost: that of the attack inside.

    Args:
        mask: tensor that is True or 1 where a pixel may change. It broadcasts to the images (N, C, H, W): (H, W) is one
            mask for all images, (N, 1, H, W) one for each image.
    """

    mask: Tensor = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.mask, Tensor) or not bool(((self.mask == 0) | (self.mask == 1)).all()):
            raise InputError("expected mask as a tensor of booleans, or of 0 and 1: True where a pixel may change")

    @property
    def spec(self) -> str:
        """The Python expression, since tensors have no place in a spec."""
        return f"masked({self.attack.spec}, mask)"

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        threat, shape = problem.threat, tuple(problem.x.shape)
        try:
            mask = self.mask.to(problem.x.device).bool().expand(shape)
        except RuntimeError as error:
            raise InputError(
                f"expected a mask that broadcasts to the images {shape}, got {tuple(self.mask.shape)}"
            ) from error
        threat = MaskedThreat(threat.norm, threat.eps, threat.bounds, whole=threat, mask=mask)
        return self.attack._arrange(model, problem._replace(threat=threat))

    def _view(self, oracle: Oracle) -> Oracle:
        return _Free(oracle)  # type: ignore[return-value]


@outer
def masked(attack: Attack, mask: Tensor) -> Attack:
    """Confine an attack to the pixels where `mask` is True, see `Masked`: `masked(PGD(eps=0.3), mask)`.

    Args:
        attack: any attack.
        mask: tensor that is True or 1 where a pixel may change, and broadcasts to the images (N, C, H, W).

    Raises:
        InputError: the object is no attack or no mask; in the call: the mask does not fit the images.
    """
    return Masked(attack=attack, mask=mask)
