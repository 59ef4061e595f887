"""Weights on disk: safetensors with the card in the metadata, or torch's state dicts; nothing unpickles code."""

import pickle
import re
import warnings
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from advkit.core.errors import InputError, check_given
from advkit.core.files import atomic_write, refuse_bomb, user_path
from advkit.core.words import harmless
from advkit.models._card import Card
from advkit.models._classifier import Classifier
from advkit.models._create import create_model
from advkit.models._other_files import is_pickle, refuse_other_kinds
from advkit.models._reference import runs_code
from advkit.models._shards import is_index, shards, weights_in
from advkit.models._unwrapping import State, state_dicts, unusable, unwrapped

CARD = "advkit_card"
WEIGHTS_FILE = "model.safetensors"  # in a run folder of `advkit train`
_HALF_LIMIT = 60_000.0  # float16 ends at 65,504

TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")

_SCALAR: Any = np.float64(0).__reduce__()[0]  # the function that makes numbers of NumPy again

HARMLESS: list[Any] = [
    Namespace,
    np.dtype,
    _SCALAR,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "?")),
]
"""What training scripts save beside the weights and is data alone: their options, and numbers of NumPy."""

Found = Mapping[str, State]


def save_checkpoint(path: str | Path, classifier: Classifier, card: Card | None = None, *, half: bool = True) -> None:
    """Write weights and card to a safetensors file, atomically.

    Args:
        path: path of the file; a folder gets `model.safetensors`.
        classifier: the classifier; its `net` is stored, and `Normalize` lies in the card's options.
        card: the card to store; default: the classifier's own.
        half: whether to store kernels and matrices in 16-bit floats; vectors (biases, batch-norm statistics) stay as
            they are.
    """
    check_given("classifier", classifier, Classifier, "a network of load_model or create_model")
    path = user_path(path)
    path = path / WEIGHTS_FILE if path.is_dir() else path
    state = {k: _stored(v, half).contiguous().clone() for k, v in classifier.net.state_dict().items()}
    metadata = {CARD: (card or classifier.card).to_json()}  # one entry: safetensors writes several in random order
    atomic_write(path, lambda file: file.write(save(state, metadata)))


def _stored(tensor: Tensor, half: bool) -> Tensor:
    tensor = tensor.detach().cpu()
    fits = half and tensor.is_floating_point() and tensor.ndim > 1 and tensor.abs().amax() < _HALF_LIMIT
    return tensor.half() if fits else tensor


def load_checkpoint(path: str | Path) -> Classifier:
    """Load a classifier saved by `save_checkpoint`, in float32, on the CPU, in eval mode.

    Args:
        path: a safetensors file with a card, or the folder of a run of `advkit train`.

    Raises:
        InputError: there is no such file, it is no safetensors file with a card, or the weights do not fit the card.
    """
    found, card = read_weights(path)
    if card is None:
        raise InputError(
            f"{path} holds weights but no card: say which network they belong to, with load_model(NAME, weights=FILE)"
        )
    refuse_code(card, path)
    return restore(found, card, path)


def refuse_code(card: Card, path: str | Path) -> None:
    """Refuse a card that names a factory: a file must not choose code to run, only the caller may."""
    if runs_code(card.name):
        raise InputError(
            f"{path} holds weights of {card.name}, and building that runs its code: name it yourself, "
            f"with load_model({card.name!r}, weights={str(path)!r})"
        )


def restore(found: Found, card: Card, path: str | Path, options: Mapping[str, Any] | None = None) -> Classifier:
    """Build the card's network, with `options` over those of the card, and fill it with the weights."""
    classifier = create_model(card.name, **{**card.options, "seed": 0, **(options or {})})
    fill_from(classifier.net, found, path, note=f"; it was saved as {card.describe()}" if options else "")
    rebuilt = {**card.options, **{k: v for k, v in classifier.card.options.items() if k in (options or {})}}
    classifier.card = replace(card, options=rebuilt, source=str(path))
    return classifier.eval()


def read_weights(path: str | Path) -> tuple[Found, Card | None]:
    """Return place -> state dict for all states in a weights file, on the CPU, and its card if it has one.

    Args:
        path: a file of safetensors, one written by torch.save (its first bytes say which), the index of several such
            files, or a folder that holds one of these under its usual name.

    Raises:
        InputError: there is no such file, or it holds no plain weights.
    """
    path = user_path(path)
    if path.is_dir():
        path = weights_in(path) or path / WEIGHTS_FILE
    if not path.is_file():
        raise InputError(
            f"no weights at {path}: expected a .safetensors or .pt file, or the folder of a run of `advkit train`"
        )
    if is_index(path):
        return {"": _joined(path)}, None
    refuse_other_kinds(path)
    return (_read_torch(path), None) if _is_torch(path) else _read_safetensors(path)


def _joined(index: Path) -> State:
    """The tensors of all files that an index names."""
    state: State = {}
    for path in shards(index):
        for part in read_weights(path)[0].values():
            state |= part
    return state


def _is_torch(path: Path) -> bool:
    """Whether a file begins as torch.save writes it, a zip archive or a pickle; other files go by their suffix."""
    with path.open("rb") as file:
        start = file.read(9)
    if is_pickle(path):
        return start[8:] != b"{" or start[:2] == b"PK"  # safetensors: eight bytes of length, then JSON
    return path.suffix in TORCH_SUFFIXES and start[8:] != b"{"


def read_card(path: str | Path) -> Card | None:
    """Read the card of a safetensors file without its weights; None if it has none.

    Args:
        path: path of a safetensors file.

    Raises:
        InputError: the file is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(CARD)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file: {harmless(error)}") from error
    return Card.from_json(text) if text else None


def _read_safetensors(path: Path) -> tuple[Found, Card | None]:
    card = read_card(path)
    try:
        state = load_file(path)
    except Exception as error:  # a type of number that torch does not have, a header that lies
        raise InputError(f"{path} is not a safetensors file: {_first_line(error)}") from error
    if not state:
        raise InputError(f"{path} holds no state dict: expected names and tensors, as from model.state_dict()")
    return {"": state}, card


def _read_torch(path: Path) -> Found:
    refuse_bomb(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():  # a file, because torch.load goes by a path's suffix
            warnings.simplefilter("ignore")  # torch's remarks on archives that it then refuses
            known = torch.serialization.get_safe_globals()  # the caller's stay when ours are taken back
            with torch.serialization.safe_globals([one for one in HARMLESS if one not in known]):
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken archive raises nearly anything
        if not is_pickle(path):
            raise InputError(f"{path} is not a weights file of torch: it begins as no such file does") from error
        if not isinstance(error, pickle.UnpicklingError):
            raise InputError(f"{path} is not a weights file of torch: {_first_line(error)}") from error
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise InputError(
            f"{path} holds pickled Python objects{f' ({named[1]})' if named else ''}, which are never run: save the "
            "weights alone, with torch.save(model.state_dict(), ...)"
        ) from error
    found = state_dicts(content)
    if not found:
        raise InputError(f"{path} holds no state dict: expected names and tensors, as from model.state_dict()")
    return found


def fill(net: nn.Module, state: State, path: str | Path, *, note: str = "") -> str:
    """Copy a state dict into a network; see `fill_from`."""
    return fill_from(net, {"": state}, path, note=note)


def fill_from(net: nn.Module, found: Found, path: str | Path, *, note: str = "") -> str:
    """Copy the state dict that fits into a network; wrappings of training scripts are removed.

    Returns:
        a description of what was removed and left out; empty if nothing was.

    Raises:
        InputError: names or shapes differ, or a weight is not finite; the network is left as it was.
    """
    own = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    state, said = unwrapped(own, found, path)
    problem = _misfit(own, state)
    if problem:
        raise InputError(f"{path} does not fit this network: {harmless(problem)}{note}")
    net.load_state_dict(state, strict=False)  # the names are the same; a module's extra state is not in them
    return harmless(said)


def _misfit(own: Mapping[str, Tensor], state: State) -> str:
    """What is wrong with a state dict, in words; empty if nothing is."""
    missing, extra = [k for k in own if k not in state], [k for k in state if k not in own]
    if missing or extra:
        return "; ".join(
            f"{what} {_some(names)}" for what, names in (("it lacks", missing), ("it also has", extra)) if names
        )
    for name, tensor in own.items():
        if state[name].shape != tensor.shape:
            return f"expected {name} of {tuple(tensor.shape)}, got {tuple(state[name].shape)}"
        if state[name].is_complex() and not tensor.is_complex():
            return f"{name} is complex, expected {tensor.dtype}"
        if tensor.is_floating_point() and not state[name].is_floating_point():
            return f"{name} holds {state[name].dtype}, expected {tensor.dtype}"
    return unusable(state)


def _some(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _first_line(error: BaseException) -> str:
    return harmless((str(error).splitlines() or [type(error).__name__])[0])
