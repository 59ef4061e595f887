"""Images made from a class only, as in Nguyen, Yosinski, Clune 2014, section 2 (arXiv 1412.1897): see `Fooling`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.attacks.fooling.fooling import Fooling
from advkit.core import door
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.option_numbers import shown


@dataclass(frozen=True)
class FoolingImages:
    """Meaningless images that a network assigns to a class.

    Attributes:
        images: (N, ...) within the bounds.
        classes: (N,) int64, the classes to be seen.
        confidence: (N,) float64, the softmax probability of that class.
        reached: (N,) bool, True where the requested confidence is reached.
    """

    images: Tensor
    classes: Tensor
    confidence: Tensor
    reached: Tensor


def fooling_images(
    model: Model,
    classes: Sequence[int] | Tensor,
    *,
    shape: tuple[int, ...],
    attack: Fooling | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FoolingImages:
    """Make noise that a network assigns to the given classes.

    Args:
        model: callable that takes images (N, *shape) and returns logits (N, K).
        classes: the class that each image is to show.
        shape: the shape (C, H, W) of one image.
        attack: the attack with its confidence and steps; default: `Fooling()`.
        seed: seed of the noise.
        bounds: the range of the pixels.
        device, dtype: device and type of the images.

    Raises:
        InputError: no such class or device, a wrong shape, or a type without fractions.
    """
    attack = Fooling() if attack is None else attack
    place = find_device(device)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InputError(f"expected dtype as a floating-point type such as torch.float32, got {shown(dtype)}")
    try:
        target = torch.as_tensor(classes, device=place)
    except (TypeError, ValueError, RuntimeError):
        target = None
    if target is None or target.ndim != 1 or target.is_floating_point():
        raise InputError(f"expected classes as integers (N,), got {shown(classes)}")
    shape = door.check_shape("shape", shape)
    x = torch.full((len(target), *shape), sum(door.check_bounds(bounds)) / 2, device=place, dtype=dtype)
    found = attack(model, x, (target == 0).long(), target=target, seed=seed, bounds=bounds, stop="never")
    confidence = found.logits.double().softmax(1).gather(1, target.long()[:, None]).squeeze(1)
    return FoolingImages(found.x_adv, target.long(), confidence, found.success & (confidence >= attack.confidence))
