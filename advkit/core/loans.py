"""What a pass borrows: for its length an entry of a module is another one, and then it is what it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

DISTRIBUTED = (nn.parallel.DistributedDataParallel, nn.DataParallel)
"""Wrappers that run a model on several devices, or in several processes."""

_NOTHING = object()


def lends(modules: Sequence[nn.Module]) -> bool:
    """Return whether these modules run as they are; a model that is compiled or distributed has a code of its own.

    Args:
        modules: all modules of a model.
    """
    own = (torch.jit.ScriptModule, *DISTRIBUTED)
    return not any(isinstance(m, own) or hasattr(m, "_orig_mod") or m._compiled_call_impl is not None for m in modules)


class Borrowed:
    """A forward that a module borrows. It answers as the module's own does."""


class Loan(NamedTuple):
    """An entry of a module that is another one during a pass."""

    place: dict[str, Any]
    """The module's `__dict__`, or its `_parameters`."""
    name: str
    value: Any


@contextmanager
def lent(loans: Sequence[Loan]) -> Iterator[None]:
    """Context manager: inside, the modules hold what they borrow; on leaving, also by an exception, their own."""
    own = [place.get(name, _NOTHING) for place, name, _ in loans]
    try:
        for place, name, value in loans:
            place[name] = value
        yield
    finally:
        for (place, name, _), value in zip(loans, own, strict=True):
            if value is _NOTHING:
                place.pop(name, None)
            else:
                place[name] = value
