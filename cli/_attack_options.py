"""Every hyperparameter of every attack as an option, derived from the signatures in the registry."""

import inspect
import types
import typing
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from advkit.attacks import ATTACKS, Attack, create_attack
from advkit.core.errors import InputError, unknown
from advkit.core.registry import Spec, parse_spec

OWN = ("eps", "norm", "target")
"""Options that the command explains itself; the others are listed per attack."""


class Hyperparameter(NamedTuple):
    """One option of one attack."""

    name: str
    kind: Any  # its annotation
    default: Any


def hyperparameters(attack: str) -> dict[str, Hyperparameter]:
    """What the attack of this name takes, in the order of its definition."""
    factory = ATTACKS.factory(attack)
    hints = typing.get_type_hints(factory)
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: Hyperparameter(p.name, hints.get(p.name, Any), p.default) for p in parameters}


def flag(name: str) -> str:
    """`step_size` -> `--step-size`."""
    return f"--{name.replace('_', '-')}"


def derived_options() -> list[click.Option]:
    """One option for each hyperparameter of any attack; its help says which attacks take it, with their defaults."""
    takers: dict[str, dict[str, Hyperparameter]] = defaultdict(dict)
    for attack in ATTACKS.names():
        for name, parameter in hyperparameters(attack).items():
            if name not in OWN:
                takers[name][attack] = parameter
    return [_option(name, by_attack) for name, by_attack in takers.items()]


def _option(name: str, takers: Mapping[str, Hyperparameter]) -> click.Option:
    remark = "; ".join(f"{attack}: {_said(p.default)}" for attack, p in takers.items())
    if all(p.kind is bool for p in takers.values()):
        return click.Option([f"{flag(name)}/--no-{flag(name)[2:]}", name], default=None, help=f"[{remark}]")
    kinds = {_kind_name(p.kind) for p in takers.values()}
    return click.Option([flag(name), name], metavar="|".join(sorted(kinds)), help=f"[{remark}]")


def _said(default: Any) -> str:
    return "needed" if default is inspect.Parameter.empty else "set by the attack" if default is None else f"{default}"


def _plain(kind: Any) -> set[Any]:
    """The types that an annotation allows, None left out."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return set(typing.get_args(kind)) - {types.NoneType} if union else {kind}


def _kind_name(kind: Any) -> str:
    plain = _plain(kind)
    return "NUMBER" if plain & {int, float} else "WORD" if plain == {str} else "VALUE"


def parse_value(attack: str, parameter: Hyperparameter, text: Any) -> Any:
    """A value as typed, as the type that the attack's signature asks for.

    Raises:
        InputError: the text is not of that type.
    """
    if not isinstance(text, str):
        return text
    plain = _plain(parameter.kind)
    if plain == {str}:
        return text
    try:
        value = parse_spec(f"attack(value={text})").options["value"]
    except InputError:
        value = Spec(text)
    word = isinstance(value, Spec) and not value.options
    if str in plain and word:
        return value.name
    if float in plain and isinstance(value, int) and not isinstance(value, bool):
        return value
    if plain <= {int, float, str} and (isinstance(value, bool) or not isinstance(value, tuple(plain))):
        wanted = "a number" if float in plain else "a whole number"
        raise InputError(f"{flag(parameter.name)} of attack {attack!r}: expected {wanted}, got {text!r}")
    return value


def build_attack(text: str, given: Mapping[str, Any]) -> Attack:
    """The attack of a name or spec, with the options that the user gave as flags (None: not given) on top.

    Raises:
        InputError: an unknown attack, an option that it does not take, or a value that it refuses.
    """
    spec = parse_spec(text)
    known = hyperparameters(spec.name)
    options = {}
    for name, value in given.items():
        if value is None:
            continue
        if name not in known:
            raise _not_taken(spec.name, name, known)
        options[name] = parse_value(spec.name, known[name], value)
    try:
        return create_attack(spec, **options)
    except TypeError as error:  # a value in the spec that cannot even be compared
        raise InputError(f"attack {text!r}: {error}") from error


def _not_taken(attack: str, name: str, known: Mapping[str, Hyperparameter]) -> InputError:
    if name == "eps":
        return InputError(f"attack {attack!r} looks for the nearest adversarial point and takes no --eps: leave it out")
    return unknown(f"option of attack {attack!r}", flag(name), (flag(other) for other in known))
