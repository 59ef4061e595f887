"""Fine-tuning: frozen parts, and learning rates that decrease with the distance from the output."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch

from torch import nn

from advkit.core.errors import InputError


@contextmanager
def frozen(net: nn.Module, patterns: str) -> Iterator[list[nn.Module]]:
    """Context manager: parameters whose names match a pattern get no gradient; yields the frozen modules.

    Args:
        net: the network.
        patterns: shell patterns of names such as "conv1, layer1"; a name includes all parts below it. Empty: nothing.

    Raises:
        InputError: a pattern matches nothing.
    """
    wanted = [p.strip() for p in patterns.split(",") if p.strip()]
    chosen = []
    for pattern in wanted:
        found = [p for name, p in net.named_parameters() if fnmatch(name, pattern) or fnmatch(name, f"{pattern}.*")]
        if not found:
            parts = ", ".join(name for name, _ in net.named_children())
            raise InputError(f"no part of the network is called {pattern!r}: its parts are {parts}")
        chosen += [p for p in found if p.requires_grad]
    for p in chosen:
        p.requires_grad_(False)
    try:
        yield [m for m in net.modules() if wanted and _stays(m)]
    finally:
        for p in chosen:
            p.requires_grad_(True)


def _stays(module: nn.Module) -> bool:
    """Whether it has parameters, and none is trained: its batch norm keeps its averages, too."""
    own = list(module.parameters())
    return bool(own) and not any(p.requires_grad for p in own)


def rates(net: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """Each parameter's factor on the learning rate: 1 for the last part of the network, `decay` before it, ..."""
    parts = [list(child.parameters()) for child in net.children() if any(True for _ in child.parameters())]
    while len(parts) == 1:  # a wrapper of one part
        (only,) = [c for c in net.children() if any(True for _ in c.parameters())]
        net, parts = only, [list(c.parameters()) for c in only.children() if any(True for _ in c.parameters())]
    return {p: decay ** (len(parts) - 1 - i) for i, part in enumerate(parts) for p in part}
