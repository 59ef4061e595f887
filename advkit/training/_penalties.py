"""Penalties of the lecture: L1, L2, and the KL divergence that makes hidden units sparse."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.training._recipe import Recipe

_TO_UNIT: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Sigmoid: lambda a: a,
    nn.Tanh: lambda a: (a + 1) / 2,
    nn.ReLU: lambda a: -torch.expm1(-a),
}
"""Functions from the activations of a layer to [0, 1)."""


class Penalties:
    """`l1 sum |w| + l2/2 sum w^2 + sparsity sum_j KL(rho || rho_j)`, with the weights of a recipe.

    w are the kernels and matrices. rho is `sparsity_target`; rho_j is the mean activation of hidden unit j over the
    batch (for a map, also over its positions), with `KL(p || q) = p ln(p / q) + (1 - p) ln((1 - p) / (1 - q))`. This
    requires activations in [0, 1]: a sigmoid's are, a tanh's are mapped by (a + 1) / 2, and a rectifier's by
    1 - exp(-a), which barely changes small ones. The penalty uses the rectifiers, sigmoids and tanhs that are modules,
    in the last pass in train mode.

    Args:
        model: the network; its parameters and layers are looked up once.
        recipe: recipe that gives the weights of the penalties.

    Raises:
        InputError: `sparsity` needs such a layer, or `l1` or `l2` a trained matrix, and the network has none.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.l1, self.l2, self.sparsity, self.rho = recipe.l1, recipe.l2, recipe.sparsity, recipe.sparsity_target
        self.weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        self.layers = [m for m in model.modules() if type(m) in _TO_UNIT] if self.sparsity else []
        if self.sparsity and not self.layers:
            raise InputError("sparsity needs hidden layers of ReLU, Sigmoid or Tanh modules, got a network without")
        if (self.l1 or self.l2) and not self.weights:
            raise InputError("l1 and l2 are on kernels and matrices, got a network that trains none: are they frozen?")
        self._means: dict[nn.Module, Tensor] = {}
        self._late = (recipe.l1, recipe.l1_from)

    def at(self, done: float) -> None:
        """Set the weights for this point of the training: L1 may begin later.

        Args:
            done: share of the steps that are done, in [0, 1].
        """
        l1, begin = self._late
        self.l1 = l1 if done >= begin else 0.0

    def __bool__(self) -> bool:
        return bool(self.l1 or self.l2 or self.sparsity)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context manager: passes inside store their mean activations; it surrounds the whole training."""
        hooks = [layer.register_forward_hook(self._keep) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            self._means.clear()

    def _keep(self, layer: nn.Module, _: object, output: Tensor) -> None:
        if not layer.training:  # an attack's pass, or a measurement's
            return
        a = _TO_UNIT[type(layer)](wide(output))
        self._means[layer] = a.mean([d for d in range(a.ndim) if d != 1])  # (units,)

    def __call__(self, mean: Callable[[Tensor], Tensor] = lambda value: value) -> Tensor:
        """Return the penalty, a scalar; `mean` averages the units' activations over all processes."""
        parts = []
        if self.l1:
            parts.append(self.l1 * torch.stack([w.abs().sum() for w in self.weights]).sum())
        if self.l2:
            parts.append(self.l2 / 2 * torch.stack([w.square().sum() for w in self.weights]).sum())
        if self.sparsity:
            if not self._means:
                raise InputError("sparsity found no activation: the loss makes no pass through the network's layers")
            kinds = torch.stack([divergence(mean(q), self.rho).sum() for q in self._means.values()])
            parts.append(self.sparsity * kinds.sum())
            self._means.clear()  # they hold the pass's graph
        return torch.stack(parts).sum()


def divergence(q: Tensor, p: float) -> Tensor:
    """KL(Bernoulli(p) || Bernoulli(q)) of each entry; q is clamped away from 0 and 1, where it is infinite."""
    q = q.clamp(1e-6, 1 - 1e-6)
    return p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))
