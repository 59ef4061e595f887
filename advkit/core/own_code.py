"""What the user's own code does: that of the classes and functions behind a model, and what they name.

A library's code is read by name alone: every version writes it anew, and its version is noted elsewhere.
"""

import dis
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any, cast

from torch import Tensor, nn

from advkit.core.contents import DEPTH, Words, frozen, hooks_of, name_of, sha

LIBRARIES = ("advkit", "torch", "torchvision")
"""Packages that count as libraries wherever they lie, also while somebody works on them."""

NOTHING: Mapping[str, Any] = MappingProxyType({})


def code_digests(model: Callable[..., Any]) -> dict[str, str]:
    """Return digests of the user's own code behind the model, by the names of classes and functions.

    Read are `forward` and what it names: methods and attributes of the class, functions, classes, numbers, tensors and
    lists that are globals, also those of other files of the user; and what its functions enclose. Left out is what
    libraries define. A docstring, a comment and another place in the file change nothing.

    Args:
        model: the network, or a plain function.
    """
    read = Code()
    words = _of_network(model, read) if isinstance(model, nn.Module) else _of_function(model, read)
    return {name: sha(part) for name, part in sorted(words.items())}


def _of_network(model: nn.Module, read: "Code") -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for module in model.modules():
        kept = [value for value in vars(module).values() if isinstance(value, FunctionType | MethodType | partial)]
        words = [*read.methods(type(module), ["forward"]), *map(read.other, kept)]
        if words:
            found.setdefault(name_of(type(module)), []).extend(words)
    hooks = hooks_of(model, read)
    return {**found, "<hooks>": [*hooks]} if any(any(both) for both in hooks) else found


def _of_function(model: Callable[..., Any], read: "Code") -> dict[str, list[object]]:
    if isinstance(model, FunctionType | MethodType | partial):
        return {getattr(model, "__qualname__", "partial"): [read.other(model)]}
    return {name_of(type(model)): [read.other(model), *read.methods(type(model), ["__call__"])]}


class Code(Words):
    """The reading of code: functions with what they name, networks and tensors by their values."""

    def __init__(self) -> None:
        super().__init__()
        self._read: set[tuple[int, int]] = set()

    def methods(self, kind: type, names: list[str], held: Mapping[str, Any] = NOTHING) -> list[object]:
        """Return what stands for attributes of a class, as far as it and the classes above it are the user's own.

        Args:
            kind: the class.
            names: the names of the attributes; those that it lacks are passed over.
            held: the attributes of the object itself; those that its methods look up are read.
        """
        owners = [vars(base) for base in kind.__mro__ if is_own(base)]
        found = [(name, _bare(own[name])) for own in owners for name in names if name in own]
        return [
            (name, self.function(part, kind, held) if isinstance(part, FunctionType) else self._value(part, []))
            for name, part in found
        ]

    def plain(self, value: Any) -> object:
        """Return type and value; of a class of the user's own what its functions do."""
        if not (is_own(value) and self._is_new(value)):
            return super().plain(value)
        return (name_of(value), self.methods(value, [name for name, part in vars(value).items() if _is_code(part)]))

    def other(self, value: Any) -> object:
        """Return what stands for a tensor, an array, a function or any other value."""
        if isinstance(value, MethodType):
            owner, function = value.__self__, cast(FunctionType, value.__func__)
            return (self._object(owner), self.function(function, type(owner)))
        return super().other(value)

    def function(self, value: FunctionType, kind: type | None = None, held: Mapping[str, Any] = NOTHING) -> object:
        """Return what a function does.

        Args:
            value: the function.
            kind: the class whose method it is.
            held: the attributes of the object whose method it is.
        """
        value = value if is_own(value) else getattr(value, "__wrapped__", value)
        if not (is_own(value) and self._is_new(value, held)):
            return name_of(value)
        asked, attributes = looked_up(value.__code__)
        kept = [(name, frozen(held[name], DEPTH, self)) for name in attributes if name in held]
        methods = [] if kind is None else self.methods(kind, attributes, held)
        named = [(name, self._value(part, attributes)) for name, part in named_by(value, asked, attributes)]
        return (super().function(value), kept, methods, named)

    def enclosed(self, value: Any) -> object:
        """Return what stands for a value inside of a function."""
        return self._network(value) if isinstance(value, nn.Module) else super().enclosed(value)

    def _network(self, value: nn.Module) -> object:
        """What stands for a network that a function encloses or names: its values, and its code."""
        return (frozen(value, DEPTH, self), [self.methods(type(module), ["forward"]) for module in value.modules()])

    def _value(self, value: Any, attributes: list[str]) -> object:
        """What a name stands for; of an object the attributes that are looked up, or all if it is handed on."""
        if isinstance(value, nn.Module):
            return self._network(value)
        if isinstance(function := _bare(value), FunctionType):
            return self.function(function)
        if isinstance(value, type | Tensor | MethodType | partial) or not hasattr(value, "__dict__"):
            return frozen(value, DEPTH, self)
        held = vars(value)
        kept = [(name, frozen(held[name], DEPTH, self)) for name in attributes if name in held]
        called = self.methods(type(value), ["__call__", *attributes], held)
        return (name_of(type(value)), kept, called) if kept or called else self.other(value)

    def _is_new(self, value: Any, held: Mapping[str, Any] = NOTHING) -> bool:
        """Whether it was not read before, of this object: a function may name itself."""
        known = (id(value), id(held)) in self._read
        self._read.add((id(value), id(held)))
        return not known


def is_own(thing: Any) -> bool:
    """Return whether a function, a class or a module of Python was written by the user.

    Args:
        thing: it; other objects are nobody's own.
    """
    if not isinstance(thing, FunctionType | ModuleType | type):
        return False
    name = str(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)
    top = name.partition(".")[0]
    if top in LIBRARIES:
        return False
    if isinstance(thing, FunctionType):
        return not _installed(thing.__code__.co_filename)
    file = getattr(thing if isinstance(thing, ModuleType) else sys.modules.get(name), "__file__", None)
    return not _installed(file) if file else top not in sys.stdlib_module_names  # a user may give a file that name


@lru_cache(maxsize=1024)
def _installed(file: str) -> bool:
    """Whether a file belongs to a library, or was made up by torch or is part of Python itself."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return file.startswith(("<eval_with_key", "<frozen")) or any(Path(file).is_relative_to(place) for place in places)


def looked_up(code: CodeType) -> tuple[list[str], list[str]]:
    """Return the names of globals and those of attributes that code looks up, that of functions inside of it too.

    Args:
        code: the code of a function.
    """
    found: tuple[set[str], set[str]] = (set(), set())
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            found[0].add(str(step.argval))
        elif step.opname.startswith(("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER")):
            found[1].add(str(step.argval))
        elif isinstance(step.argval, CodeType):
            for names, more in zip(found, looked_up(step.argval), strict=True):
                names.update(more)
    return sorted(found[0]), sorted(found[1])


def named_by(function: FunctionType, asked: list[str], attributes: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the globals that a function names, and what it takes from other files of the user's.

    Args:
        function: the function.
        asked: names of globals.
        attributes: names of attributes.
    """
    for name in asked:
        value = function.__globals__.get(name, ModuleType)  # those of Python itself are no globals
        if isinstance(value, ModuleType) and is_own(value):
            yield from ((part, vars(value)[part]) for part in attributes if part in vars(value))
        elif value is not ModuleType and not isinstance(value, ModuleType):
            yield name, value


def _is_code(value: Any) -> bool:
    return isinstance(_bare(value), FunctionType)


def _bare(value: Any) -> Any:
    """The function behind a property, a static method or a method of a class."""
    if isinstance(value, property):
        return value.fget
    return value.func if isinstance(value, cached_property) else getattr(value, "__wrapped__", value)
