"""Digests of the input and the results of a batch, by which gaps, damage and exchanged data are found."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from advkit.core.contents import tensor_bytes
from advkit.data._stream import Batch


def digest(*tensors: Tensor) -> str:
    """Hash tensors: types, shapes and bytes."""
    made = hashlib.sha256()
    for tensor in tensors:
        made.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        made.update(tensor_bytes(tensor))
    return made.hexdigest()[:16]


def of_data(batch: Batch) -> dict[str, str]:
    """Return the digests of the images, labels and numbers of a batch."""
    return {"images": digest(batch.x), "labels": digest(batch.y), "ids": digest(batch.sample_ids)}


def of_results(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the digests of the results: the rows, which a repetition reproduces, and the rest (images and times)."""
    rest = {name for name in tensors if name.rpartition(".")[2] in ("x", "x_adv", "seconds")}
    return {"rows": _named(tensors, set(tensors) - rest), "rest": _named(tensors, rest)}


def _named(tensors: Mapping[str, Tensor], names: set[str]) -> str:
    made = hashlib.sha256()
    for name in sorted(names):
        made.update(f"{name} {digest(tensors[name])} ".encode())
    return made.hexdigest()[:16]


def of_record(record: Mapping[str, Any]) -> str:
    """Return the digest of a run.json or of a batch's record, without its own entry `digest`."""
    text = json.dumps({key: value for key, value in record.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def of_bytes(content: bytes) -> str:
    """Return the digest of a file's content, as `of_file` does."""
    return hashlib.sha256(content).hexdigest()[:16]


def of_file(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
