"""State dicts as training scripts save them: inside larger dictionaries, with prefixed names, beside other copies.

Names and shapes decide. A wrapping or a prefix is removed only if the rest is the network's own state.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.core.errors import InputError, warn
from advkit.core.words import harmless

USUAL = ("", "state_dict", "model_state_dict", "model", "net", "network", "model_state", "params", "weights", "ema")
"""Names under which training scripts keep a state dict, the likeliest first; "" is the file itself."""

INSIDE = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of a name that wrappers of PyTorch add, at its beginning or further inside."""

DEEPEST = 3  # dictionaries within dictionaries that are looked into

State = dict[str, Tensor]


class Found(NamedTuple):
    """A state that fits, and a description of what was removed.

    Attributes:
        state: names and tensors, with the network's names.
        said: a description of what was removed and left out; empty if nothing was.
    """

    state: State
    said: str


def state_dicts(content: Any, key: str = "", depth: int = 0) -> dict[str, State]:
    """Return place -> names and tensors, for every dictionary in a file's content that holds named tensors."""
    found: dict[str, State] = {}
    if not isinstance(content, Mapping):
        return found
    state = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if state:
        found[key] = state
    for name, value in content.items() if depth < DEEPEST else ():
        found |= state_dicts(value, f"{key}.{name}" if key else str(name), depth + 1)
    return found


def unwrapped(own: Mapping[str, Tensor], found: Mapping[str, State], path: object) -> Found:
    """Return the state that fits the network, among all in a file.

    Args:
        own: the network's own names and tensors.
        found: the states in the file, not empty, see `state_dicts`.
        path: path of the file, for the message.

    Returns:
        The state that fits. If none does, the nearest, so that the caller can say what differs.

    Raises:
        InputError: several states fit, and none has a usual name.
    """
    fitting = {key: fit for key, state in found.items() if (fit := _fitted(own, state))}
    if not fitting:
        return Found(nearest(own, found), "")
    usual = [key for name in USUAL for key in fitting if key.rpartition(".")[2] == name]
    if len(fitting) > 1 and not usual:
        raise InputError(
            f"{path} holds several state dicts, {harmless(', '.join(sorted(fitting)))}: save the wanted one alone"
        )
    key = (usual or list(fitting))[0]
    state, parts = fitting[key]
    under = [f"the state dict under {key!r}"] if key else []
    beside = [f"{other!r} fits too" for other in fitting if other != key]
    return Found(state, ", ".join([*under, *beside, *parts]))


def _fitted(own: Mapping[str, Tensor], state: State) -> tuple[State, list[str]] | None:
    """The state under the network's names, and what was done to them; None if it does not fit."""
    for renamed, what in _renamings(own, state):
        if own.keys() == renamed.keys() and all(renamed[name].shape == own[name].shape for name in own):
            kept = {id(tensor) for tensor in renamed.values()}
            others = [name for name, tensor in state.items() if id(tensor) not in kept]
            _warn_of_normalisation(others)
            return renamed, [*what, *([f"left out {_some(others)}"] if others else [])]
    return None


def _renamings(own: Mapping[str, Tensor], state: State) -> Iterator[tuple[State, list[str]]]:
    """The state under other names: as it is, without prefixes, without what wrappers add, with a prefix of our own."""
    yield state, []
    bare, without = state, []
    if not any(part in INSIDE for name in own for part in name.split(".")):
        bare = {_bare(name): tensor for name, tensor in state.items()}
        parts = sorted({part for name in state for part in name.split(".") if part in INSIDE})
        without = [f"{part!r} taken out of the names" for part in parts]
    for names, what in ((state, []), (bare, without))[: 1 + (len(bare) == len(state) and bool(without))]:
        yield names, what
        for prefix in _prefixes(own, names):
            stripped = {name[len(prefix) :]: t for name, t in names.items() if name.startswith(prefix)}
            yield stripped, [*what, f"prefix {prefix!r} taken off"]
        for prefix in _common(own):
            yield {prefix + name: t for name, t in names.items()}, [*what, f"prefix {prefix!r} put before the names"]


def _common(own: Mapping[str, Tensor]) -> list[str]:
    """The prefixes that all names of the network share."""
    first = next(iter(own), "")
    ends = [i + 1 for i, letter in enumerate(first) if letter == "."]
    return [first[:end] for end in ends if all(name.startswith(first[:end]) for name in own)]


def _warn_of_normalisation(names: Sequence[str]) -> None:
    inside = [name for name in names if name.rpartition(".")[2] in ("mean", "std", "mu", "sigma")]
    if inside:
        warn(
            f"the file also holds {harmless(_some(inside))}, which is left out: if the images were normalised by it, "
            "give mean= and std= with the model"
        )


def _prefixes(own: Mapping[str, Tensor], names: State) -> list[str]:
    """The prefixes of the network's longest name in the file, the shortest first."""
    last = max(own, key=len, default="")
    return sorted({name.removesuffix(last) for name in names if last and name.endswith(f".{last}")}, key=len)


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in INSIDE)


def nearest(own: Mapping[str, Tensor], found: Mapping[str, State]) -> State:
    """Return the state that shares most names with the network, under any of its possible prefixes."""
    every = [renamed for state in found.values() for renamed in _likely(own, state)]
    return max(every, key=lambda state: len(own.keys() & state.keys()))


def _likely(own: Mapping[str, Tensor], state: State) -> list[State]:
    """The renamings, and those by prefixes that any of the network's names may have."""
    bare = {_bare(name): tensor for name, tensor in state.items()}
    heads = ("net.", "model.", "backbone.", "encoder.")
    shorter = [{name.removeprefix(prefix): t for name, t in bare.items()} for prefix in heads]
    return [*(renamed for renamed, _ in _renamings(own, state)), bare, *shorter]


def _some(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def unusable(state: Mapping[str, Tensor]) -> str:
    """Say why these tensors cannot be weights; empty if they can."""
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            return f"{name} is sparse, quantised or without data: save it as a plain tensor"
    broken = [n for n, t in state.items() if (t.is_floating_point() or t.is_complex()) and not _is_finite(t)]
    return f"{_some(broken)} holds NaN or infinity" if broken else ""


def _is_finite(tensor: Tensor) -> bool:
    plain = tensor.float() if tensor.itemsize == 1 else tensor  # torch asks no 8-bit float
    return bool(plain.isfinite().all())
