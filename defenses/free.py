"""Free adversarial training: Shafahi et al. 2019, algorithm 1 (arXiv 1904.12843)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.core.door import check_count, check_finite_eps, check_positive
from advkit.core.losses import surprise
from advkit.defenses._carry import carry, gradients
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("free")
@dataclass(frozen=True, kw_only=True)
class Free(TrainingLoss):
    """J(theta, x + delta, y), delta kept from call to call; the one pass moves the weights and delta.

    The loop makes `replays` steps in a row on each batch, as `advkit train` does:

        for _ in range(loss.replays):
            optimizer.zero_grad(); loss(model, x, y).backward(); optimizer.step()

    delta starts at 0, moves by `step_size` along the sign of its gradient at each call, and is carried over to the next
    batch, as in the paper. It lives in the loss, so each training has a loss of its own; `state_dict` and
    `load_state_dict` save it. The pass is made in the caller's mode: batch norm updates once, dropout draws one mask.

    Args:
        eps: radius of the linf ball.
        replays: steps on each batch; m in the paper.
        step_size: length of a step of delta; eps by default, as in the paper.
        bounds: range of the pixels.
    """

    makes_first = False
    paper = "Shafahi et al. 2019, arXiv 1904.12843"

    eps: float
    replays: int = 8
    step_size: float | None = None
    kept: dict[str, Tensor] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite_eps(self.eps)
        check_count("replays", self.replays)
        check_positive("step_size", self.step_size, optional=True)

    @property
    def steps_a_batch(self) -> int:
        """`replays`."""
        return self.replays

    @property
    def passes(self) -> int:
        """One."""
        return 1

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the images with the current delta."""
        return (x + self._delta(x)).clamp(*self.bounds)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy of the examples; delta stays."""
        return network.mean(lambda logits: surprise(logits, y).mean(), x_adv)

    def batch_loss(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """One pass with all gradients; without gradients the value alone."""
        if not torch.is_grad_enabled():
            return super().batch_loss(network, x, y)
        trained = network.trained
        delta = self._delta(x).requires_grad_()
        loss = self.value(network, x, (x + delta).clamp(*self.bounds), y)
        by_delta, *by_parameter = gradients(loss, [delta, *trained])
        if by_delta is not None:
            step = self.eps if self.step_size is None else self.step_size
            self._keep((delta.detach() + step * by_delta.sign()).clamp(-self.eps, self.eps))
        return carry(loss.detach(), by_parameter, trained)

    def at(self, share: float) -> "Free":
        """As every loss; what is kept stays one."""
        smaller = super().at(share)
        object.__setattr__(smaller, "kept", self.kept)
        return smaller

    def _delta(self, x: Tensor) -> Tensor:
        """A copy of the first rows of what is kept; zeros where that is too short or of another kind."""
        delta, old = torch.zeros_like(x), self.kept.get("delta")
        if old is not None and old.shape[1:] == x.shape[1:]:
            n = min(len(x), len(old))
            delta[:n] = old[:n].to(x)
        return delta

    def _keep(self, delta: Tensor) -> None:
        old = self.kept.get("delta")
        if old is not None and old.shape[1:] == delta.shape[1:] and len(old) > len(delta):
            delta = torch.cat([delta, old[len(delta) :].to(delta)])
        self.kept["delta"] = delta

    def state_dict(self) -> dict[str, Any]:
        """Return what is kept from call to call."""
        return dict(self.kept)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Args:
            state: the result of `state_dict`.
        """
        self.kept.clear()
        self.kept.update(state)
