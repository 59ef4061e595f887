"""How many small operations a step of an attack makes beside its passes, and how often it waits."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from advkit.core import attack as attack_module

_SHAPES = {"view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "as_strided", "alias", "detach"}
_PARTS = {"permute", "transpose", "t", "slice", "select", "split", "unbind", "squeeze", "unsqueeze", "diagonal"}

VIEWS = frozenset(_SHAPES | _PARTS)
"""Operations that move no data and launch nothing."""

TYPES = frozenset({"promote_types", "result_type", "can_cast"})
"""Questions about types, which touch no tensor."""


class Count(TorchDispatchMode):
    """The operations inside the block, by name, without views."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[1]
        if name not in VIEWS | TYPES:
            self.names[name] += 1
        return func(*args, **(kwargs or {}))


def network() -> nn.Module:
    """A small network in eval mode whose answers differ from image to image.

    It does not convolve: on a CPU two more operations would lay the images and the gradient out for a convolution.
    """
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10)).eval()


class _Watched:
    """An attack whose steps are counted."""

    def __init__(self, attack: Any, notes: list[Counter[str]]) -> None:
        self._attack, self._notes = attack, notes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._attack, name)

    def step(self, oracle: Any, state: Any, i: int) -> Any:
        with Count() as count:
            state = self._attack.step(oracle, state, i)
        self._notes.append(count.names)
        return state


@contextmanager
def watching() -> Iterator[list[Counter[str]]]:
    """Inside the block every attack's steps are counted, one entry each."""
    notes: list[Counter[str]] = []
    drive: Callable[..., Any] = attack_module.drive
    attack_module.drive = lambda attack, *rest: drive(_Watched(attack, notes), *rest)
    try:
        yield notes
    finally:
        attack_module.drive = drive


def passes(model: nn.Module, x: Tensor) -> int:
    """The operations of one pass there and back, from a given derivative with respect to the logits."""
    with Count() as count:
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
    weights = torch.ones_like(logits)
    with count:
        torch.autograd.grad(logits, leaf, weights)
    return sum(count.names.values())
