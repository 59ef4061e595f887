"""AWP, adversarial weight perturbation: Wu, Xia, Wang 2020, section 4 (arXiv 2004.05884)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advkit.core.door import check_positive
from advkit.core.errors import InputError
from advkit.core.guard import modules_of
from advkit.defenses._carry import carry, gradients
from advkit.defenses._loss import TrainingLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("awp")
@dataclass(frozen=True, kw_only=True)
class AWP(TrainingLoss):
    """The loss inside, at weights moved by `gamma |w| g / |g|` in each layer, where g is its gradient.

    `AWP(loss=TRADES(attack=PGD(eps=0.3)))`, or "awp(eps=0.3, steps=10)" for PGD training inside (alpha 0). Kernels and
    matrices move; biases and norms do not. The example is made once, at the original weights.

    It makes two passes in the caller's mode: the first gives g and leaves no trace on buffers; the second gives the
    loss and its parameter gradients, which are stored and passed on by `backward`. The weights are restored on return.
    Batch norm updates as often as the loss inside does. The loss cannot be differentiated twice.

    Args:
        loss: any training loss that makes its examples first.
        gamma: length of the move relative to the norm of each layer's weights, above 0.
        bounds: range of the pixels; the loss inside has its own.

    Raises:
        InputError: the loss is none, or one that makes its examples on the way; or gamma is out of its range.
    """

    makes_first = False
    paper = "Wu et al. 2020, arXiv 2004.05884"

    loss: TrainingLoss
    gamma: float = 5e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("gamma", self.gamma)
        if not isinstance(self.loss, TrainingLoss) or not self.loss.makes_first:
            raise InputError(f"expected a training loss that makes its examples first, got {self.loss!r}")

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the examples of the loss inside."""
        return self.loss.examples(network, x, y)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the loss inside at the moved weights, with its gradients."""
        trained = network.trained
        with torch.inference_mode(False), torch.enable_grad():
            with buffers_kept(network.model):
                by_weight = gradients(self.loss.value(network, x, x_adv, y), trained)
            with moved(trained, by_weight, self.gamma):
                value = self.loss.value(network, x, x_adv, y)
                by_parameter = gradients(value, trained) if trained else ()
        return carry(value.detach(), by_parameter, trained)


@contextmanager
def moved(weights: list[nn.Parameter], gradient: tuple[Tensor | None, ...], gamma: float) -> Iterator[None]:
    """Context manager: kernels and matrices are moved by `gamma` of their norm along the gradient, and restored.

    They are written through `.data`, which raises no version: a graph of the caller's may hold them, and its backward
    pass finds them restored. A graph made inside must be differentiated inside.
    """
    pairs = [(w, g) for w, g in zip(weights, gradient, strict=True) if w.ndim > 1 and g is not None]
    before = [w.detach().clone() for w, _ in pairs]
    try:
        for (w, g), old in zip(pairs, before, strict=True):
            w.data.copy_(old + gamma * old.norm() / (g.norm() + 1e-12) * g)
        yield
    finally:
        for (w, _), old in zip(pairs, before, strict=True):
            w.data.copy_(old)


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Context manager: every buffer of the model is restored on leaving, with its version where a graph may hold it."""
    saved = [(b, b.clone()) for m in modules_of(model) for b in m._buffers.values() if b is not None]
    try:
        yield
    finally:
        for buffer, old in saved:
            buffer.data.copy_(old)
