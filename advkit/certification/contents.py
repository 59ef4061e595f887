"""What a network's answer depends on, as far as its modules show it: a key that tells when it was changed.

It holds modules, tensors and functions by weak references, so that nothing is kept alive by it.
"""

import weakref
from typing import Any

import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None), type, torch.dtype, torch.device)
"""Types whose values are compared; others are compared by identity."""

INTERNAL = frozenset(vars(nn.Module()))
"""Attributes that every module has."""

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


def contents_of(model: nn.Module) -> tuple[object, ...]:
    """Return what two recordings of the model must have in common; equal keys: nothing that shows was changed.

    These are its modules, their classes, hooks, parameters and buffers by identity, and their attributes. Numbers,
    words, and containers of them are compared by value, and so are the attributes of an object that is an attribute.
    Not seen are globals, closures, attributes of classes, objects deeper inside, and values inside of arrays. The mode
    and the counters of a class (`counters`) are left out.

    Args:
        model: the network.
    """
    seen: set[int] = set()
    everywhere = torch.nn.modules.module
    hooks = (tuple(everywhere._global_forward_pre_hooks), tuple(everywhere._global_forward_hooks))
    return (hooks, *(_module(module, seen) for module in model.modules()))


def _module(module: nn.Module, seen: set[int]) -> object:
    if id(module) in seen:
        return Same(module)
    seen.add(id(module))
    left_out = getattr(type(module), "counters", ())
    tensors = [(name, _only(t)) for named in (module._parameters, module._buffers) for name, t in named.items()]
    plain = [
        (name, _frozen(value, DEPTH, seen))
        for name, value in vars(module).items()
        if name not in INTERNAL and name not in left_out
    ]
    parts = [(name, _only(part)) for name, part in module._modules.items()]
    hooks = (tuple(module._forward_pre_hooks), tuple(module._forward_hooks))
    return (Same(module), _only(getattr(type(module), "forward", None)), hooks, tensors, parts, plain)


def _only(value: Any) -> Same | None:
    return None if value is None else Same(value)


def _frozen(value: Any, depth: int, seen: set[int], *, opened: bool = False) -> object:
    """The value, for comparison with a later one; `opened`: it is inside of an object, and objects in it stay shut."""
    if isinstance(value, PLAIN):
        return (type(value), value)
    if isinstance(value, nn.Module):  # one that is not registered
        return tuple(_module(part, seen) for part in value.modules()) if id(value) not in seen else Same(value)
    if isinstance(value, Tensor):
        return None if value.grad_fn is not None else Same(value)  # the first is a result of the last pass
    if isinstance(value, list | tuple | set | frozenset | dict):
        return _container(value, depth, seen, opened=opened)
    if not opened and hasattr(value, "__dict__"):
        is_weak = type(value).__weakrefoffset__  # else its attributes say enough: no object is kept alive
        return (Same(value) if is_weak else type(value), _container(vars(value), depth, seen, opened=True))
    return Same(value)


def _container(value: Any, depth: int, seen: set[int], *, opened: bool) -> object:
    if not depth or len(value) > LONG:
        return (Same(value), len(value))
    if isinstance(value, dict):
        value = [entry for pair in value.items() for entry in pair]
    return (type(value), [_frozen(entry, depth - 1, seen, opened=opened) for entry in value])
