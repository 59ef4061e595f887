"""Import and call code that the caller names as `package.module:function`, with one-line errors."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from advkit.core.errors import InputError, unknown


def add_current_folder() -> None:
    """Make modules in the current folder importable, as `python -m` does; installed modules come first.

    The folder stays on the path, since a factory or a network may import its neighbours later.
    """
    here = os.getcwd()
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)


def needed(package: str, what: str, extra: str) -> Any:
    """Import an optional package.

    Args:
        package: name of the package.
        what: what needs it, for the message.
        extra: extra of advkit that brings it.

    Raises:
        InputError: the package is missing; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"{what} needs the package {package}: pip install 'advkit[{extra}]'") from error


def find(name: str, module: str, attribute: str, kind: str) -> Any:
    """Import a module and return its object `attribute`.

    Args:
        name: the whole reference, for the message.
        module: name of the module; one in the current folder is found too.
        attribute: name in the module, with dots for what lies deeper.
        kind: what the object makes, for the message ("model").

    Raises:
        InputError: there is no such module, or it has nothing of that name.
    """
    try:
        add_current_folder()
        with staying(name):
            found: Any = importlib.import_module(module)
    except (ImportError, ValueError, SyntaxError) as error:
        raise InputError(f"cannot import {module!r} for the {kind} {name!r}: {error}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise InputError(f"module {module!r} has no {attribute!r}: expected package.module:factory, got {name!r}")
        found = getattr(found, part)
    return found


def parameters_of(build: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function; none for a built-in without a signature."""
    try:
        return inspect.signature(build).parameters
    except (TypeError, ValueError):
        return {}


def call(name: str, build: Any, options: Mapping[str, Any], **offered: Any) -> Any:
    """Call a function with `options`, and with those of the `offered` values that it takes.

    Raises:
        InputError: the object is no function, does not take an option, needs one that is missing, or calls `sys.exit`.
    """
    if not callable(build):
        return build
    known = parameters_of(build)
    if known and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        for option in options.keys() - known.keys():
            raise unknown(f"option of {name}", option, known)
    given = {**{key: value for key, value in offered.items() if key in known}, **options}
    for parameter in known.values():
        optional = parameter.default is not parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if not optional and parameter.name not in given:
            raise InputError(f"{name} needs {parameter.name}=: give it as an option, or name a factory that does not")
    places = [given.pop(p.name) for p in known.values() if p.kind is p.POSITIONAL_ONLY and p.name in given]
    with staying(name):
        return build(*places, **given)


@contextmanager
def staying(name: str) -> Iterator[None]:
    """Inside, foreign code that would end the program ends itself alone, and its errors say whose they are.

    Args:
        name: what the caller named, for the message.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        error.add_note(f"raised by the code of {name}")
        raise
    except SystemExit as error:
        raise InputError(f"{name} would have ended the program, by sys.exit({error.code!r})") from error
