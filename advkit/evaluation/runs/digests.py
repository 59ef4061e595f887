"""Digests: what a batch was measured on, and what came out, so that holes, damage and exchanged data are found."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from advkit.evaluation.measure.stream import Batch


def digest(*tensors: Tensor) -> str:
    """A hash of some tensors: types, shapes and bytes."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor_bytes(tensor))
    return made.hexdigest()[:16]


def tensor_bytes(tensor: Tensor) -> bytes:
    """The values as they lie in memory."""
    # One value may have any stride.
    flat = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def of_data(batch: Batch) -> dict[str, str]:
    """The digests of the images, the labels and the numbers of a batch as the data gave them."""
    return {"images": digest(batch.x), "labels": digest(batch.y), "ids": digest(batch.sample_ids)}


def of_results(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The digests of what was found: the rows, which a repetition finds again, and the rest: images and times."""
    rest = {name for name in tensors if name.rpartition(".")[2] in ("x", "x_adv", "seconds")}
    return {"rows": _named(tensors, set(tensors) - rest), "rest": _named(tensors, rest)}


def _named(tensors: Mapping[str, Tensor], names: set[str]) -> str:
    made = hashlib.sha256()
    for name in sorted(names):
        made.update(f"{name} {digest(tensors[name])} ".encode())
    return made.hexdigest()[:16]


def of_record(record: Mapping[str, Any]) -> str:
    """The digest of a run.json, or of what a batch says of itself, without its own entry `digest`."""
    text = json.dumps({key: value for key, value in record.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_file(path: Path) -> str:
    """The digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
