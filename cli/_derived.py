"""Options derived from the signature of a dataclass or function: names, types, and parsing of values."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import click

from advkit.cli._sources import Field, fields, names
from advkit.core.errors import InputError
from advkit.core.registry import Spec, parse_spec


class Parameter(NamedTuple):
    """One parameter of a signature."""

    name: str
    kind: Any  # its annotation
    default: Any


def parameters(factory: Callable[..., Any]) -> dict[str, Parameter]:
    """Return the parameters of a dataclass or function, in the order of definition."""
    hints = typing.get_type_hints(factory.func if isinstance(factory, partial) else factory)
    signature = inspect.signature(factory)
    return {p.name: Parameter(p.name, hints.get(p.name, Any), p.default) for p in signature.parameters.values()}


def flag(name: str) -> str:
    """`step_size` -> `--step-size`."""
    return f"--{name.replace('_', '-')}"


def derived_options() -> list[click.Option]:
    """Make one option for each hyperparameter of any attack; its help lists the attacks with their defaults."""
    takers: dict[str, dict[str, Field]] = {}
    for attack in names("attack"):
        for name, field in fields("attack", attack).items():
            takers.setdefault(name, {})[attack] = field
    return [option(name, by_attack) for name, by_attack in takers.items()]


def option(name: str, takers: Mapping[str, Field]) -> click.Option:
    """Make an option without default for a parameter of several owners (name -> parameter)."""
    kinds = [field.kinds for field in takers.values()]
    if all(kind == {"bool"} for kind in kinds):
        return click.Option([f"{flag(name)}/--no-{flag(name)[2:]}", name], default=None, help=_help(takers))
    return click.Option(
        [flag(name), name], metavar="|".join(sorted({_word(kind) for kind in kinds})), help=_help(takers)
    )


def _help(takers: Mapping[str, Field]) -> str:
    """Each sentence once, with the defaults of those whom it holds for: "The number of steps. [bim: 10; pgd: 40]"."""
    groups: dict[str, dict[str, list[str]]] = {}
    for owner, field in takers.items():
        groups.setdefault(field.sentence, {}).setdefault(field.default, []).append(owner)
    said = []
    for sentence, defaults in groups.items():
        shown = [f"{', '.join(owners)}: {default}".removeprefix(": ") for default, owners in defaults.items()]
        said.append(f"{sentence} [{'; '.join(shown)}]")
    return " ".join(said)


def said(parameter: Parameter) -> str:
    """Write the default for the help."""
    if parameter.default is inspect.Parameter.empty:
        return "needed"
    if isinstance(parameter.default, bool):
        return "yes" if parameter.default else "no"
    return "none" if parameter.default is None else str(parameter.default)


def _plain(kind: Any) -> set[Any]:
    """The types that an annotation allows, None left out."""
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return set(typing.get_args(kind)) - {types.NoneType} if union else {kind}


def _word(kinds: frozenset[str]) -> str:
    return "NUMBER" if kinds & {"int", "float"} else "WORD" if kinds == {"str"} else "VALUE"


def parse_value(owner: str, parameter: Parameter, text: Any) -> Any:
    """Convert a typed value to the type of the signature; values that are no text stay.

    Args:
        owner: the owner of the parameter, for the message: "attack 'pgd'".
        parameter: the parameter's name and annotation.
        text: the value as typed, such as "40", "8/255", "none" or "dlr".

    Raises:
        InputError: the text is not of that type.
    """
    plain = _plain(parameter.kind)
    if not isinstance(text, str) or plain == {str}:
        return text
    value = _literal(text)
    if value is None and types.NoneType in typing.get_args(parameter.kind):
        return None
    if str in plain and isinstance(value, Spec) and not value.options:
        return value.name
    if plain <= {int, float, str} and not _fits(value, plain):
        wanted = "a number" if float in plain else "a whole number"
        raise InputError(f"{flag(parameter.name)} of {owner}: expected {wanted}, got {text!r}")
    return value


def _fits(value: Any, plain: set[Any]) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, tuple(plain)) or (float in plain and isinstance(value, int))


def _literal(text: str) -> Any:
    """A number, fraction, tuple, word or spec; anything else as a word."""
    if text.lower() == "none":
        return None
    try:
        return parse_spec(f"x(value={text})").options["value"]
    except (InputError, KeyError):
        return Spec(text)
