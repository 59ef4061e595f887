"""Weights in folders of other programs: their usual file names, and the index of weights that lie in several files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from advkit.core.errors import InputError

USUAL = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names of weights in folders, the first that is there counts; an index names the files that hold them together."""

LARGEST = 64 << 20  # bytes of an index

_BESIDE = re.compile(r"[\w-][\w.-]*")


def weights_in(folder: Path) -> Path | None:
    """Return the weights, or their index, under the first usual name that the folder has; None if it has none."""
    return next((folder / name for name in USUAL if (folder / name).is_file()), None)


def is_index(path: Path) -> bool:
    """Return whether the file's name is that of an index."""
    return path.name.endswith(".index.json")


def shards(index: Path) -> list[Path]:
    """Return the files beside an index that together hold the weights.

    Raises:
        InputError: the file is no index, a file is missing, or one lies elsewhere.
    """
    try:
        record = json.loads(index.read_bytes()) if index.stat().st_size <= LARGEST else None
    except (ValueError, RecursionError):
        record = None
    listed = record.get("weight_map") if isinstance(record, Mapping) else None
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, Mapping) else []
    if not names or not all(map(_BESIDE.fullmatch, names)) or any(is_index(Path(name)) for name in names):
        raise InputError(f"{index} is no index of weights: expected weight_map, with the names of files beside it")
    paths = [index.parent / name for name in names]
    if lost := [path.name for path in paths if not path.is_file()]:
        raise InputError(f"{index} names {lost[0]}, which is not there")
    return paths
