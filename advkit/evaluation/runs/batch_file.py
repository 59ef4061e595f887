"""The file of one batch of a run: its columns, its images, and digests by which damage is found."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.files import check_readable, refusal
from advkit.data._stream import Batch
from advkit.evaluation.measure.tally import Columns
from advkit.evaluation.runs.digests import of_data, of_file, of_record, of_results


def write_batch(
    file: IO[bytes],
    number: int,
    batch: Batch,
    columns: Sequence[Columns],
    images: Sequence[Tensor],
    pngs: Mapping[str, str],
) -> None:
    """Write a batch with digests of its data and of the results.

    Args:
        file: open binary file, which is filled.
        number: number of the batch.
        batch: the batch as the data gave it.
        columns: columns of the clean pass, of each attack and of the control.
        images: the clean images and the adversarial ones of each attack; none if they are not kept.
        pngs: digests of the PNG files of the batch, by their names in the folder of the run.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    tensors = dict(columns[0])
    for i, row in enumerate(columns[1:]):
        tensors.update({f"{i}.{name}": column for name, column in row.items()})
    if images:
        tensors.update({"x": images[0], **{f"{i}.x_adv": found for i, found in enumerate(images[1:])}})
    content = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    said = {
        "number": str(number),
        **of_data(batch),
        **of_results(content),
        **({"png": json.dumps(pngs)} if pngs else {}),
    }
    said["digest"] = of_record(said)
    try:
        safetensors.torch.save_file(content, file.name, said)  # without a copy of all in memory
    except SafetensorError as error:
        raise refusal(error) or OSError(str(error)) from error


class BatchFile:
    """The file of one batch, opened for reading; tensors are read when they are used.

    Attributes:
        digests: record of digests in the file; empty in format 1.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Args:
            path: the file of the batch.

        Raises:
            InputError: the file is missing or cannot be read.
        """
        self._file = _opened(path)
        self.digests: dict[str, str] = dict(self._file.metadata() or {})
        self._home = path.parent.parent

    def columns(self, attacks: int) -> list[Columns]:
        """Return the columns of the clean pass, of each attack and of the control.

        Args:
            attacks: number of attacks of the run, the control included.
        """
        parts: list[dict[str, str]] = [{} for _ in range(1 + attacks)]
        for key in self._file.keys():  # noqa: SIM118  (no mapping)
            if (name := key.rpartition(".")[2]) not in ("x", "x_adv"):
                parts[_owner(key) + 1][name] = key
        return [_Stored(self._file, keys) for keys in parts]

    def images(self, attack: int | None) -> Tensor | None:
        """Return the images (N, C, H, W) of an attack, or the clean ones; None if the run kept no images.

        Args:
            attack: position of the attack; None for the clean images.
        """
        key = "x" if attack is None else f"{attack}.x_adv"
        return self._file.get_tensor(key) if key in self._file.keys() else None  # noqa: SIM118

    def damage(self, number: int, attacks: int, listed: str, *, images: bool) -> str | None:
        """Return what is wrong with the content; None if it is intact.

        Args:
            number: number that the batch must have.
            attacks: number of attacks of the run, the control included.
            listed: digest of the rows that the batch must have.
            images: whether to check the images and times too, which takes as long as reading them.

        Raises:
            SafetensorError: a tensor cannot be read.
        """
        said = self.digests
        if strange := [key for key in self._file.keys() if _owner(key) >= attacks]:  # noqa: SIM118
            return f"it holds {strange[0]!r}, which belongs to no attack of the run"
        names = [n for n in self._file.keys() if images or n.rpartition(".")[2] not in ("x", "x_adv", "seconds")]  # noqa: SIM118
        found = of_results({name: self._file.get_tensor(name) for name in names})
        if said.get("digest") != of_record(said):
            return "its digests are not those that were written"
        if said["number"] != str(number):
            return f"it is the file of batch {said.get('number')}"
        if said["rows"] != found["rows"] or (images and said["rest"] != found["rest"]):
            return "its content is not what was written"
        if listed != said["rows"]:
            return "it is not the batch that run.json lists"
        return self._spoilt_png() if images else None

    def _spoilt_png(self) -> str | None:
        """What is wrong with the PNG files beside the batch, by the first of them."""
        for name, digest in json.loads(self.digests.get("png", "{}")).items():
            path = self._home / name
            if not path.is_file():
                return f"{name} is missing"
            if of_file(path) != digest:
                return f"{name} is not what was written"
        return None


def _opened(path: Path) -> Any:
    check_readable(path)  # safetensors would call it missing
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {path}: {error}; remove the file and go on with --resume") from error


def _owner(key: str) -> int:
    """The attack that a tensor of a batch's file belongs to, by its place; -1 for the clean pass."""
    head, dot, _ = key.rpartition(".")
    return int(head) if head.isdecimal() else sys.maxsize if dot else -1


class _Stored(Mapping[str, Tensor]):
    """The columns of one pass over a batch, in its file."""

    def __init__(self, file: Any, keys: dict[str, str]) -> None:
        self._file, self._keys = file, keys

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(self._keys[name])
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
