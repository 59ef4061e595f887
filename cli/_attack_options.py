"""Conversion of the user's options to the attack: values in the types of its signature."""

from collections.abc import Mapping
from typing import Any

from advkit.attacks import ATTACKS, Attack, create_attack
from advkit.cli._derived import Parameter, flag, parameters, parse_value
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.evaluation.measure.aims import aimed, not_aimed


def build_attack(text: str, given: Mapping[str, Any], data: Dataset | None = None) -> Attack:
    """Create the attack of a name or spec; the user's flags (None: not given) override the spec.

    Args:
        text: a name or spec; its `target` may be the name of a class.
        given: values by option.
        data: data whose classes the names are; while there are none, a target that can only be such a name is left out.

    Raises:
        InputError: the attack or an option is unknown, or the attack refuses a value.
    """
    spec = not_aimed(text) if data is None else aimed(text, data)
    known = parameters(ATTACKS.factory(spec.name))
    options = {}
    for name, value in given.items():
        if value is not None and name not in known:
            raise _not_taken(spec.name, name, known)
        if value is not None:
            options[name] = parse_value(f"attack {spec.name!r}", known[name], value)
    try:
        return create_attack(spec, **options)
    except TypeError as error:  # a value in the spec of a type that cannot even be compared
        raise InputError(f"attack {text!r} does not take these values: {error}") from error


def _not_taken(attack: str, name: str, known: Mapping[str, Parameter]) -> InputError:
    if name == "eps":
        return InputError(f"attack {attack!r} looks for the nearest adversarial point and takes no --eps: leave it out")
    takers = [other for other in ATTACKS.names() if name in parameters(ATTACKS.factory(other))]
    others = f"{', '.join(takers[:3])} and {len(takers) - 3} more" if len(takers) > 3 else ", ".join(takers)
    own = ", ".join(flag(other) for other in known)
    return InputError(f"attack {attack!r} takes no {flag(name)} (that is an option of {others}); it takes {own}")
