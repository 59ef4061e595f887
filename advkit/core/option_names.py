"""Names of options: who writes another is told what the option is called here."""

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, Self

from advkit.core.errors import InputError, UnknownNameError, unknown

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


class NamedOptions:
    """A class whose options are given by name alone; one with a constructor of its own takes what that takes."""

    _calls: ClassVar[Mapping[str, str]] = EXAMPLES

    def __new__(cls, *args: Any, **options: Any) -> Self:
        """Refuse what has no name, such as a model, and names of options that do not exist.

        Raises:
            InputError: something has no name.
            UnknownNameError: there is no such option.
        """
        known = _options_of(cls)  # type: ignore[arg-type]  # a class has a hash
        if known is None:
            return super().__new__(cls)
        first, example = next((one for one in cls._calls.items() if one[0] in known), ("", ""))
        call = f"{cls.__name__}({example})"
        if args:
            raise InputError(f"{cls.__name__} takes options by name, and the model in the call: {call}(model, x, y)")
        for option in options:
            if option not in known:
                error = unknown_option(f"option of {cls.__name__}", option, known)
                inside = first in ("attack", "loss")
                raise UnknownNameError(f"{error}; the rest belongs inside, as in {call}") if inside else error
        return super().__new__(cls)
