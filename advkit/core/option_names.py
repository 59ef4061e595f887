"""Names of options: who writes another is told what the option is called here."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cache, wraps
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

from advkit.core.errors import InputError, UnknownNameError, unknown
from advkit.core.option_numbers import shown

P = ParamSpec("P")
Made = TypeVar("Made")

ELSEWHERE = {
    "alpha": "step_size",
    "abs_stepsize": "step_size",
    "eps_iter": "step_size",
    "eps_step": "step_size",
    "stepsize": "step_size",
    "epsilon": "eps",
    "epsilons": "eps",
    "iterations": "steps",
    "max_iter": "steps",
    "max_iterations": "steps",
    "n_iter": "steps",
    "nb_iter": "steps",
    "num_iter": "steps",
    "num_steps": "steps",
    "n_queries": "queries",
    "max_queries": "queries",
    "n_restarts": "restarts",
    "num_random_init": "restarts",
    "rand_init": "random_start",
    "random_init": "random_start",
    "kappa": "confidence",
    "learning_rate": "lr",
    "binary_search_steps": "searches",
    "targeted": "target",
    "nb_replays": "replays",
}
"""Names in Foolbox, torchattacks, ART, cleverhans, adv-lib and AutoAttack -> the name here."""

INSIDE = ("attack", "loss")
"""Options that hold another object with options of its own."""

EXAMPLES = {"attack": "attack=PGD(eps=0.1)", "eps": "eps=0.1"}
"""Options, and each as part of a call."""


def unknown_option(what: str, option: str, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an option that does not exist.

    Args:
        what: the owner of the option, such as "option of PGD".
        option: the name that was given.
        known: names of the options that there are.
    """
    known = list(known)
    if ELSEWHERE.get(option) in known:
        return UnknownNameError(f"unknown {what} {option!r}; it is called {ELSEWHERE[option]!r} here")
    return unknown(what, option, known)


@cache
def _options_of(cls: type) -> tuple[str, ...] | None:
    """The options that a class takes by name alone; None where it takes others too."""
    _, *parameters = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
    named = all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
    return tuple(parameter.name for parameter in parameters) if named else None


@cache
def _options_of_call(cls: Any) -> tuple[str, ...]:
    """The options by name alone of a call of its objects."""
    parameters = inspect.signature(cls.__call__).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


class NamedOptions:
    """A class whose options are given by name alone; one with a constructor of its own takes what that takes."""

    _calls: ClassVar[Mapping[str, str]] = EXAMPLES

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse what has no name, such as a model, and options that it has not: some belong elsewhere.

        Raises:
            InputError: something has no name, or an option belongs to the object inside or to the call.
            UnknownNameError: there is no such option.
        """
        known = _options_of(cls)  # type: ignore[arg-type]  # a class has a hash
        if known is None:
            return super().__new__(cls)
        first, example = next((one for one in cls._calls.items() if one[0] in known), ("", ""))
        call = f"{cls.__name__}({example})"
        if args:
            raise InputError(f"{cls.__name__} takes options by name, and the model in the call: {call}(model, x, y)")
        for option in (option for option in options if option not in known):
            check_option_place(option, options[option], cls, options.get(first) if first in INSIDE else None, call)
            error = unknown_option(f"option of {cls.__name__}", option, known)
            raise UnknownNameError(f"{error}; the rest belongs inside, as in {call}") if first in INSIDE else error
        return super().__new__(cls)

    @classmethod
    def _giver(cls, option: str) -> str:
        """The name of the function that gives one of its objects this option from outside, such as "restarts"."""
        return ""


def _innermost(inside: Any) -> Any:
    deeper = (getattr(inside, name, None) for name in INSIDE)
    found = next((one for one in deeper if isinstance(one, NamedOptions)), None)
    return inside if found is None else _innermost(found)


def check_option_place(option: str, value: Any, owner: type, inside: Any, call: str) -> None:
    """Say where an option belongs that a class or function has not, unless nothing near has it either.

    Args:
        option: name of the option.
        value: what was given as its value.
        owner: class of what is made.
        inside: the object inside, or what was given as it.
        call: how the object is made, with "PGD(eps=0.1)" for the innermost one.

    Raises:
        InputError: the option belongs inside, around it, or to the call.
    """
    inside = _innermost(inside)
    one, places = f"{option}={shown(value)}", []
    kind: Any = type(inside)
    within = _options_of(kind) or () if isinstance(inside, NamedOptions) else ()
    if option in within:
        options = f"eps=0.1, {one}" if "eps" in within and option != "eps" else one
        places.append(f"the attack inside, as in {call.replace('PGD(eps=0.1)', f'{kind.__name__}({options})')}")
    if option in _options_of_call(owner) and (option, bool(places)) != ("eps", True):
        places.append(f"the call: attack(model, x, y, {one})")
    if not places and issubclass(owner, NamedOptions) and (function := owner._giver(option)):
        raise InputError(f"{option} goes around the attack: {function}({call}, {shown(value)})")
    if places:
        raise InputError(f"{option} belongs to {', or to '.join(places)}")


def outer(make: Callable[P, Made]) -> Callable[P, Made]:
    """Decorator of a function (attack, ...) -> attack: an option that it has not is told where it belongs.

    Args:
        make: the function; its first argument is the attack inside.
    """
    first, *others = inspect.signature(make).parameters.values()
    more = ", ..." * any(parameter.default is parameter.empty for parameter in others)
    known, call = [first.name, *(parameter.name for parameter in others)], f"{make.__name__}(PGD(eps=0.1){more})"

    @wraps(make)
    def made(*args: P.args, **options: P.kwargs) -> Made:
        for option in (option for option in options if option not in known):
            inside = options.get(first.name, args[0] if args else None)
            check_option_place(option, options[option], type(inside), inside, call)
            raise unknown_option(f"option of {make.__name__}", option, known)
        return make(*args, **options)

    return made
