"""Assertions on the result of an attack, for your own tests."""

import torch
from torch import Tensor

from advkit.core import door
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.core.threat import Threat

RELATIVE = 1e-6
"""By how much an l2 or l1 distance may exceed eps: x + delta is rounded to the type of the images."""


def assert_in_threat(x: Tensor, x_adv: Tensor, threat: Threat) -> None:
    """Assert that every image lies in the ball around its clean image and within the bounds, measured in float64.

    linf, l0 and l0_pixels are exact to the last bit, l2 and l1 to 1e-6 relative.

    Args:
        x: clean images (N, ...).
        x_adv: adversarial images (N, ...).
        threat: the ball and the range of the pixels.

    Raises:
        AssertionError: an image lies outside; the message has the worst sample with its distance or pixel.
        InputError: the images are no tensors, their shapes differ, or the eps of the threat is none.
    """
    if not isinstance(x, Tensor) or not isinstance(x_adv, Tensor):
        raise InputError(f"expected images as two tensors, got {type(x).__name__} and {type(x_adv).__name__}")
    if x.shape != x_adv.shape:
        raise InputError(f"expected adversarial images of shape {tuple(x.shape)}, got {tuple(x_adv.shape)}")
    eps = torch.as_tensor(door.check_eps(threat.eps, x), dtype=torch.float64, device=x.device).expand(len(x))
    if not x.numel():
        return
    low, high = (x.new_tensor(bound).double() for bound in threat.bounds)
    wide = x_adv.detach().double()
    beyond = torch.maximum(low - wide, wide - high).nan_to_num(nan=torch.inf).flatten(1).amax(1)
    worst = int(beyond.argmax())
    if beyond[worst] > 0:
        raise AssertionError(
            f"sample {worst} leaves the bounds ({threat.bounds[0]:g}, {threat.bounds[1]:g}) "
            f"by {float(beyond[worst]):.3g}"
        )
    distance = get_norm(threat.norm).size(wide - x.detach().double())
    slack = 1 + (RELATIVE if threat.norm in ("l2", "l1") else 0)
    excess = torch.where(distance > eps * slack, distance - eps, -torch.inf)
    worst = int(excess.argmax())
    if excess[worst] > -torch.inf:
        raise AssertionError(
            f"sample {worst} is at {threat.norm} distance {float(distance[worst]):.17g}, "
            f"eps is {float(eps[worst]):.17g}"
        )
