"""What a network's answer depends on, as far as its modules show it: a key that tells when it was changed.

The key holds modules, tensors and functions by weak references, so that nothing is kept alive by it. The digests hold
their values, so that they say the same in another process.
"""

import hashlib
import inspect
import sys
import weakref
from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.loans import Borrowed

PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)
"""Types whose values are compared; others are compared by identity."""

INTERNAL = frozenset(vars(nn.Module()))
"""Attributes that every module has."""

NOTES_OF_COMPILERS = ("_torchdynamo_", "_compile_kwargs", "_is_torch_compile")
"""Beginnings of the attributes in which torch, and Lightning once it is imported, note how a module was compiled."""

DEPTH = 4
"""Levels of containers inside of each other that are looked at."""

LONG = 1_000
"""Entries from which on a container is compared by identity."""


class Same:
    """A value that is equal to itself alone, also once it is gone.

    Args:
        value: the value; it is kept alive only if Python has no weak references to its type.
    """

    __slots__ = ("_get",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any) -> None:
        try:
            self._get: Any = weakref.ref(value)
        except TypeError:
            self._get = lambda: value

    def __eq__(self, other: object) -> bool:
        value = self._get()
        return isinstance(other, Same) and value is not None and value is other._get()


class Identities:
    """The reading of a key that is compared within a process: what is no plain value is equal to itself alone."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def first(self, module: nn.Module) -> bool:
        """Whether the module was not met before."""
        known = id(module) in self._seen
        self._seen.add(id(module))
        return not known

    def plain(self, value: Any) -> object:
        """Return a number, word, type and the like."""
        return (type(value), value)

    def other(self, value: Any) -> object:
        """Return what stands for a module, a tensor, a function or any other value."""
        return Same(value)

    def code(self, kind: type[nn.Module]) -> object:
        """Return what stands for the code of a class."""
        return _only(getattr(kind, "forward", None), self)

    def shut(self, value: Any) -> bool:
        """Whether the attributes of an object are left alone."""
        return False

    def opened(self, value: Any) -> object:
        """Return what stands for an object whose attributes are read besides."""
        return Same(value) if type(value).__weakrefoffset__ else type(value)  # no object is kept alive

    def hooks(self, hooks: Mapping[int, Any]) -> object:
        """Return what stands for the hooks: their numbers, which no second hook gets."""
        return tuple(hooks)

    def many(self, entries: list[object], value: Any) -> object:
        """Return what stands for a container of these entries."""
        return (type(value), entries)


class Words(Identities):
    """The reading of a digest: words that are the same in every process with one version of Python.

    A tensor or an array is its values, a function its code, defaults and the plain values and functions that it
    encloses; of torch's and Python's own functions, and of other objects, the name is read.

    Args:
        model: the network; its parameters and buffers are not read.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        super().__init__()
        tensors = () if model is None else (*model.parameters(), *model.buffers())
        self._own = {id(tensor) for tensor in tensors}

    def plain(self, value: Any) -> object:
        """Return type and value."""
        return (name_of(value), "") if isinstance(value, type) else (name_of(type(value)), repr(value))

    def other(self, value: Any) -> object:
        """Return what stands for a tensor, an array, a function or any other value."""
        if isinstance(value, Tensor | np.ndarray):
            return (name_of(type(value)), "registered" if id(value) in self._own else _values(value))
        if isinstance(value, partial):
            given = [*value.args, *(part for pair in sorted(value.keywords.items()) for part in pair)]
            return ("partial", self.other(value.func), *(self.enclosed(part) for part in given))
        if isinstance(value, MethodType):
            return (self._object(value.__self__), self.other(value.__func__))
        if isinstance(value, FunctionType):
            return self.function(value)
        return name_of(value) if callable(value) and hasattr(value, "__qualname__") else self._object(value)

    def function(self, value: FunctionType) -> object:
        """Return name, code, defaults and what is enclosed; of a function of torch's the name."""
        of_torch = (value.__module__ or "").partition(".")[0] == "torch"
        if of_torch or id(value) in self._seen:  # a function may enclose itself
            return name_of(value)
        self._seen.add(id(value))
        closure = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        cells = [cell.cell_contents for name, cell in closure if cell != CellType() and name != "__class__"]
        kept = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *cells]
        return (value.__qualname__, _code(value.__code__), *(self.enclosed(part) for part in kept))

    def _object(self, value: Any) -> object:
        """The type and the plain attributes; of a module and of an object of torch's the type."""
        kept = {} if isinstance(value, nn.Module) or self.shut(value) else getattr(value, "__dict__", {})
        plain = [(name, self.plain(part)) for name, part in sorted(kept.items()) if isinstance(part, PLAIN)]
        return (name_of(type(value)), plain)

    def code(self, kind: type[nn.Module]) -> object:
        """Return nothing: the code of classes is written anew by every version."""
        return None

    def shut(self, value: Any) -> bool:
        """Whether it is a function, which `other` reads, or an object of torch's, which notes addresses."""
        return isinstance(value, FunctionType | MethodType) or type(value).__module__.partition(".")[0] == "torch"

    def opened(self, value: Any) -> object:
        """Return what stands for an object whose attributes are read besides."""
        return self.other(value)

    def hooks(self, hooks: Mapping[int, Any]) -> object:
        """Return what stands for the functions, in the order of their calls."""
        return [self.other(hook) for hook in hooks.values()]

    def many(self, entries: list[object], value: Any) -> object:
        """Return what stands for a container; the order in a set differs between processes."""
        return (name_of(type(value)), sorted(entries, key=repr) if isinstance(value, set | frozenset) else entries)

    def enclosed(self, value: Any) -> object:
        """Return what stands for a value inside of a function; containers there often collect what calls leave."""
        return self.plain(value) if isinstance(value, PLAIN) else self.other(value)


def contents_of(model: nn.Module) -> tuple[object, ...]:
    """Return what two recordings of the model must have in common; equal keys: nothing that shows was changed.

    These are its modules, their classes, hooks, parameters and buffers by identity, and their attributes. Numbers,
    words, and containers of them are compared by value, and so are the attributes of an object that is an attribute.
    Not seen are globals, closures, attributes of classes, objects deeper inside, and values inside of arrays. The mode
    and the counters of a class (`counters`) are left out.

    Args:
        model: the network.
    """
    read = Identities()
    return (hooks_of(model, read), *(_module(module, read) for module in model.modules()))


def digests_of(model: nn.Module) -> dict[str, Any]:
    """Return digests of the model's hooks (None: it has none) and attributes, equal in every process.

    They see what `contents_of` sees, by value: of functions and arrays too. The values of parameters and buffers are
    not in it. Globals, containers inside of functions and the code of classes are not seen. Attributes of all modules
    have a digest for each name; that of the modules and of the names of their tensors is called "<modules>".

    Args:
        model: the network.
    """
    read = Words(model)
    hooks = hooks_of(model, read)
    found: dict[str, list[object]] = {"": []}
    for place, module in enumerate(model.modules()):
        if not read.first(module):
            found[""].append(read.other(module))
            continue
        *rest, plain = _parts(module, read)
        found[""].append(rest)
        for name, value in plain:
            found.setdefault(name, []).append((place, value))
    attributes = {name or "<modules>": sha(values) for name, values in sorted(found.items())}
    return {"hooks": sha(hooks) if any(any(both) for both in hooks) else None, "attributes": attributes}


def hooks_of(model: nn.Module, read: Identities) -> list[tuple[object, object]]:
    """Return the forward hooks of all modules, those of torch's global ones first, as they are read.

    Args:
        model: the network.
        read: the reading.
    """
    everywhere = torch.nn.modules.module
    owners = [
        (everywhere._global_forward_pre_hooks, everywhere._global_forward_hooks),
        *((module._forward_pre_hooks, module._forward_hooks) for module in model.modules()),
    ]
    return [(read.hooks(before), read.hooks(after)) for before, after in owners]


def _module(module: nn.Module, read: Identities) -> object:
    return _parts(module, read) if read.first(module) else read.other(module)


def _parts(module: nn.Module, read: Identities) -> tuple[object, object, object, object, list[tuple[str, object]]]:
    """What the module is, its code, its tensors, the modules in it, and its attributes by name."""
    tensors = [(name, _only(t, read)) for named in (module._parameters, module._buffers) for name, t in named.items()]
    plain = [
        (name, frozen(value, DEPTH, read))
        for name, value in vars(module).items()
        if name not in INTERNAL and not is_left_out(module, name)
    ]
    parts = [(name, _only(part, read)) for name, part in module._modules.items()]
    return (read.other(module), read.code(type(module)), tensors, parts, plain)


def is_left_out(module: nn.Module, name: str) -> bool:
    """Return whether an attribute says nothing about the answer.

    A class names in a tuple `counters` what calls change; a compiled module notes addresses. The wrapper of
    `torch.compile` holds how the module was compiled, and hands what others write on it down to the module. What a
    module borrows for a pass answers as its own does.

    Args:
        module: the module.
        name: name of the attribute.
    """
    compiled = "_orig_mod" in module._modules and type(module).__module__.startswith("torch._dynamo")
    return (
        compiled
        or name in getattr(type(module), "counters", ())
        or name.startswith(NOTES_OF_COMPILERS)
        or isinstance(vars(module)[name], Borrowed)
    )


def _only(value: Any, read: Identities) -> object:
    return None if value is None else read.other(value)


def frozen(value: Any, depth: int, read: Identities, *, opened: bool = False) -> object:
    """Return the value, for comparison with a later one.

    Args:
        value: it.
        depth: levels of containers that are looked at.
        read: the reading.
        opened: whether it is inside of an object; objects in it stay shut.
    """
    if isinstance(value, PLAIN):
        return read.plain(value)
    if isinstance(value, nn.Module):  # one that is not registered
        return tuple(_module(part, read) for part in value.modules())
    if isinstance(value, Tensor):
        return None if value.grad_fn is not None else read.other(value)  # the first is a result of the last pass
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _container(value, depth, read, opened=opened)
    if not opened and hasattr(value, "__dict__") and not read.shut(value):
        return (read.opened(value), _container(vars(value), depth, read, opened=True))
    return read.other(value)


def _container(value: Any, depth: int, read: Identities, *, opened: bool) -> object:
    if not depth or len(value) > LONG:
        return (read.other(value), len(value))
    entries = [entry for pair in value.items() for entry in pair] if isinstance(value, dict) else value
    return read.many([frozen(entry, depth - 1, read, opened=opened) for entry in entries], value)


def name_of(thing: Any) -> str:
    """Return the name without its module, which is another one for a file that is run than for one that is imported.

    Args:
        thing: a class or a function.
    """
    return str(thing.__qualname__)


def sha(words: object) -> str:
    """Return a digest of what was read, 16 digits.

    Args:
        words: lists and tuples of words and numbers.
    """
    return hashlib.sha256(repr(words).encode()).hexdigest()[:16]


def _values(value: Any) -> tuple[str, tuple[int, ...], str]:
    """Type, shape and bytes of a tensor or an array; of an array of objects the shape alone."""
    array = tensor_bytes if isinstance(value, Tensor) else np.ndarray.tobytes
    data = b"" if str(value.dtype) == "object" else array(value)
    return (str(value.dtype), tuple(value.shape), hashlib.sha256(data).hexdigest())


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the values as bytes."""
    # One value may have any stride.
    flat = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def _code(code: CodeType) -> tuple[object, ...]:
    """What a function does, without its docstring and the place where it was written."""
    consts = [
        _code(c) if isinstance(c, CodeType) else sorted(map(repr, c)) if isinstance(c, frozenset) else repr(c)
        for c in code.co_consts[_has_docstring(code) :]
    ]
    return (hashlib.sha256(code.co_code).hexdigest(), code.co_names, consts)


def _has_docstring(code: CodeType) -> bool:
    """Whether the first constant is the docstring; a lambda and a comprehension have none."""
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & inspect.CO_HAS_DOCSTRING)
    return not code.co_name.startswith("<") and isinstance((*code.co_consts, None)[0], str)
