"""The attacks and the control of an evaluation: accepted forms and defaults."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_one_eps
from advkit.core.errors import InputError
from advkit.evaluation.measure.aims import aimed

EPS = {"linf": 0.1, "l2": 1.0, "l1": 10.0, "l0": 20.0, "l0_pixels": 10.0}
"""Radius by default, by norm, for an attack that has none of its own."""


def asked_attacks(
    attacks: Sequence[Attack | str] | Attack | str, eps: float | str | None = None, data: Any = None
) -> list[Attack]:
    """Convert objects and spec strings such as "pgd(eps=8/255)" to attacks; budget attacks without eps get one.

    Args:
        attacks: one or several.
        eps: radius of the budget attacks that have none of their own; default: `EPS`.
        data: the data, whose names of classes a spec's `target` may use.

    Raises:
        InputError: an attack is unknown or refuses a value, or the object is no attack.
    """
    if not isinstance(attacks, Attack | str | Iterable):
        raise InputError(f"expected attacks such as [FGSM(eps=0.1), 'pgd(eps=8/255)'], got {type(attacks).__name__}")
    eps = None if eps is None else check_one_eps(eps)
    listed = [attacks] if isinstance(attacks, Attack | str) else list(attacks)
    return [_attack(attack, eps, data) for attack in listed]


def one_attack(attack: Any, data: Any = None) -> Attack:
    """Convert an object or a spec string to one attack.

    Args:
        attack: the attack, or a list of one.
        data: the data, whose names of classes a spec's `target` may use.

    Raises:
        InputError: it is none, or several.
    """
    found = asked_attacks(attack, data=data)
    if len(found) != 1:
        raise InputError(f"expected one attack such as FGSM(eps=0.1), got {len(found)}")
    return found[0]


def _attack(asked: Attack | str, eps: float | str | None = None, data: Any = None) -> Attack:
    if isinstance(asked, Attack):
        without = eps is not None and asked.kind == "budget" and getattr(asked, "eps", 0) is None
        return asked.having(eps=eps) if without else asked
    if not isinstance(asked, str):
        raise InputError(
            f"expected attacks as objects such as FGSM(eps=0.1) or specs such as 'pgd(eps=8/255)', got {asked!r}"
        )
    try:
        spec = aimed(asked, data)
        attack = ATTACKS.create(spec)
        if attack.kind == "budget" and getattr(attack, "eps", None) is None:
            attack = ATTACKS.create(spec, eps=EPS.get(attack.norm, 0.1) if eps is None else eps)
    except TypeError as error:  # a value in the spec of a type that cannot even be compared
        raise InputError(f"attack {asked!r} does not take these values: {error}") from error
    return attack


def asked_control(control: Attack | str | None, attacks: Sequence[Attack], *, run: bool) -> Attack | None:
    """Convert the control to an attack; "auto" is random noise in the first attack's norm in a run, else none.

    Raises:
        InputError: the attack is unknown, or refuses a value.
    """
    if control != "auto":
        return None if control is None else _attack(control)
    return noise_like(attacks[0]) if run and attacks else None


def radius_of(attack: Attack) -> float | None:
    """Return the radius of a budget attack in units of the pixels; None if no radius limits the attack."""
    eps: float | None = getattr(attack, "eps", None) if attack.kind == "budget" else None
    return None if eps is None or math.isinf(eps) else eps


def noise_like(attack: Attack) -> Attack | None:
    """Return random noise of the attack's norm and eps; None if there is no such noise.

    A patch, a flow or new colours change a few pixels, or all, by any amount: no ball measures them, and noise of their
    largest change would be far more than they are.
    """
    norms = getattr(ATTACKS.factory("noise"), "norms", ())
    if _is_free(attack) or attack.norm not in norms:
        return None
    return ATTACKS.create("noise", eps=radius_of(attack), norm=attack.norm)


def _is_free(attack: Any) -> bool:
    """Whether the attack is made for no ball, so that its eps is infinite by default, and none was given."""
    inside = attack
    while isinstance(getattr(inside, "attack", None), Attack):
        inside = inside.attack
    return getattr(type(inside), "eps", None) == math.inf == getattr(attack, "eps", None)
