"""How far a perturbation moves the activations, layer by layer, compared with noise of the same size.

Szegedy et al. 2013, sec. 4.3 (arXiv 1312.6199) bound how layers can amplify; this measures how they do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advkit.core.door import check_bounds, check_count, check_images, check_seed
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.insight._named_layers import AXES, activations, layer_names


@dataclass(frozen=True)
class Movement:
    """Relative movement `|phi(x') - phi(x)| / |phi(x)|` in l2, layer by layer; L layers.

    Attributes:
        layers: names of the layers in the order of use; the first is "input".
        adversarial: movement of the adversarial images (L, N).
        noise: mean movement over several draws of noise of the same size (L, N).
    """

    layers: tuple[str, ...]
    adversarial: Tensor
    noise: Tensor


def shuffled(delta: Tensor, draws: Draws, step: int = 0) -> Tensor:
    """Return noise of delta's size in l0, l1, l2 and linf: its entries (N, ...) in random order with random signs.

    Args:
        delta: perturbation (N, ...).
        draws: random numbers of the samples.
        step: number of the draw; another number gives other noise.

    Raises:
        InputError: the step is no integer of 0 or more.
    """
    step = check_count("step", step, least=0)
    order = draws.uniform(step, tuple(delta.shape[1:]), stream=1).flatten(1).argsort(1).to(delta.device)
    signs = (draws.uniform(step, tuple(delta.shape[1:]), stream=2) < 0.5).to(delta) * 2 - 1
    return delta.flatten(1).gather(1, order).view_as(delta) * signs


def within(x: Tensor, noise: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Return x + noise; an entry that leaves the bounds changes its sign, and is clipped if both signs leave them."""
    low, high = bounds
    there = x + noise
    return torch.where((there < low) | (there > high), x - noise, there).clamp(low, high)


def movement(
    model: nn.Module,
    x: Tensor,
    x_adv: Tensor,
    *,
    layers: Sequence[str] | None = None,
    repeats: int = 4,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
) -> Movement:
    """Measure how far adversarial images, and noise of the same size, lie from the clean images in every layer.

    Noise is the perturbation with its entries shuffled and signs drawn. An entry that leaves `bounds` changes its sign,
    so the noise keeps every norm, unless an entry is too large for either side: then it is clipped.

    Args:
        model: any network; it is left as it was.
        x, x_adv: clean and adversarial images (N, C, H, W).
        layers: names of layers; by default every module without submodules that returns a tensor.
        repeats: number of draws of noise to average.
        seed: seed of the noise.
        bounds: range of the pixels.

    Raises:
        InputError: shapes that differ, pixels outside `bounds`, or an unknown layer.
    """
    bounds, repeats, seed = check_bounds(bounds), check_count("repeats", repeats), check_seed(seed)
    for images in (x, x_adv):
        check_images(images, bounds, AXES)
    if x.shape != x_adv.shape:
        raise InputError(f"expected x and x_adv of one shape, got {tuple(x.shape)} and {tuple(x_adv.shape)}")
    names = leaves(model) if layers is None else list(layers)
    clean = activations(model, x, names)
    moved = _distances(clean, activations(model, x_adv, names), x, x_adv)
    draws = Draws(seed, torch.arange(len(x), device=x.device))
    noises = []
    for i in range(repeats):
        noisy = within(x, shuffled(x_adv - x, draws, i), bounds)
        noises.append(_distances(clean, activations(model, noisy, names), x, noisy))
    return Movement(("input", *clean), moved, torch.stack(noises).mean(0))


def leaves(model: nn.Module) -> list[str]:
    """List the modules without submodules, except for dropout and similar modules.

    Args:
        model: any network.
    """
    idle = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
    return [
        name
        for name, module in zip(layer_names(model), _modules(model), strict=True)
        if not list(module.children()) and not isinstance(module, idle)
    ]


def _modules(model: nn.Module) -> list[nn.Module]:
    return [module for name, module in model.named_modules() if name not in ("", "net")]


def _distances(clean: dict[str, Tensor], other: dict[str, Tensor], x: Tensor, moved: Tensor) -> Tensor:
    pairs = [(x, moved), *((clean[name], other[name]) for name in clean)]
    return torch.stack([_relative(a.double().flatten(1), b.double().flatten(1)) for a, b in pairs]).cpu()


def _relative(a: Tensor, b: Tensor) -> Tensor:
    share: Tensor = (b - a).norm(dim=1) / a.norm(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    return share
