"""The probe of a training with a defence: FGSM and PGD at the radius of the defence."""

from typing import Any

from advkit.attacks import FGSM, PGD
from advkit.core.errors import InputError
from advkit.core.option_numbers import shown
from advkit.training import Probe

STEPS = 10


def probe_for(loss: Any, *, count: int = 200) -> Probe | None:
    """Return the probe of a defence, for `train(..., probe=)`; None if it has no radius.

    Args:
        loss: a defence with `eps`, or with `attack` or `loss` that has one.
        count: number of images.

    Raises:
        InputError: it is no training loss, such as the spec of one; or the number is below 1.
    """
    if not callable(loss) or isinstance(loss, type):
        raise InputError(f"expected loss as a defence such as create_defense('pgd(eps=0.1)'), got {shown(loss)}")
    found = radius_of(loss)
    if found is None or found[1] not in PGD.norms:
        return None
    eps, norm = found
    return Probe(one_step=FGSM(eps=eps, norm=norm), many_steps=PGD(eps=eps, norm=norm, steps=STEPS), count=count)


def radius_of(loss: Any) -> tuple[float, str] | None:
    """Return the radius that a defence trains at, in units of the pixels, and its norm; None if it has none.

    Args:
        loss: a defence with `eps`, or with `attack` or `loss` that has one.
    """
    inside = getattr(loss, "attack", None) or getattr(loss, "loss", None)
    eps = getattr(loss, "eps", None)
    if eps is None:
        return None if inside is None else radius_of(inside)
    return eps, getattr(loss, "norm", "linf")
