"""`folder:PATH`: one's own images, one folder a class, read from the disk when asked for."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advkit.core.errors import AdvkitWarning, InputError, unknown
from advkit.data._dataset import DATASETS, Dataset

SPLITS = ("train", "val", "test")


@DATASETS.register("folder")
class FolderDataset(Dataset):
    """The images under `path`, sorted by class and file name; only file names and labels are held in memory.

    A class is a folder and its index the folder's rank among the sorted names; where every name is a whole number, it
    is that number, so ImageNet's indices stay what they are ("0002" is class 2, also without folders 0 and 1).
    A folder that holds nothing but folders named train, val or test has those splits, and a class has the same index in
    all of them; any other folder is its own "test" split.

    Args:
        path: the folder.
        split: "train", "val" or "test".
        size: side of the square images (C, size, size): the shorter side is resized to `resize`, then the centre is cut
            out, as torchvision's Resize (bilinear, antialiased) and CenterCrop do. None: all have one size already.
        resize: length of the shorter side before the cut; default `size`.
        grey: one channel instead of red, green and blue.
        root, download: ignored; every data set takes them.

    Raises:
        InputError: no such folder, split or image; images of several sizes without `size`; files that are no images
            (all are counted and the first named). A file that is found broken when it is decoded raises then.

    Warns:
        AdvkitWarning: files that are left out because their suffix is not that of an image.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        split: str = "test",
        size: int | None = None,
        resize: int | None = None,
        grey: bool = False,
        root: str | os.PathLike[str] | None = None,
        download: bool = False,
    ) -> None:
        if (size is not None and size < 1) or (resize is not None and (size is None or resize < size)):
            raise InputError(f"expected size >= 1 and resize >= size, got size={size}, resize={resize}")
        self.path, self.split, self.name = Path(path).expanduser(), split, f"folder:{path}"
        self.size, self.resize, self.grey = size, resize or size, grey
        home, names = _split(self.path, split)
        self.classes, numbers = _classes(names, self.path)
        self.files, labels = _files(home, numbers)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        height, width = _common_size(self.files, self.path) if size is None else (size, size)
        self.input_shape = (1 if grey else 3, height, width)

    def _images(self, rows: Tensor) -> Tensor:
        images, broken = torch.empty(len(rows), *self.input_shape), []
        for image, row in zip(images, rows.tolist(), strict=True):
            try:
                image.copy_(self._decode(self.files[row]))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                broken.append(f"{self.files[row]} ({error})")
        if broken:
            raise _broken(broken, len(rows))
        return images

    def _decode(self, file: Path) -> Tensor:
        """One image, (C, H, W) float32 in [0, 1]."""
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"expected 8 bits a channel, got mode {opened.mode}: save it as 8-bit PNG")
            image = opened.convert("L" if self.grey else "RGB")
        if self.size is not None:
            image = _resize_and_crop(image, self.resize or self.size, self.size)
        pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)
        return pixels.permute(2, 0, 1).float().div_(255)


def _resize_and_crop(image: Image.Image, shorter: int, size: int) -> Image.Image:
    """torchvision's Resize(shorter) and CenterCrop(size) on a PIL image."""
    from torchvision.transforms import functional  # here: the import takes a second that `--help` need not wait for

    resized: Image.Image = functional.center_crop(functional.resize(image, [shorter]), [size])
    return resized


def _folders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _split(path: Path, split: str) -> tuple[Path, list[str]]:
    """The folder of this split, and the names of the class folders in any split."""
    if not path.is_dir():
        raise InputError(f"expected a folder with one folder a class, got {str(path)!r}: no such folder")
    names = _folders(path)
    if names and set(names) <= set(SPLITS):
        if split not in names:
            raise unknown(f"split of folder:{path}", split, names)
        return path / split, sorted({name for part in names for name in _folders(path / part)})
    if split != "test":
        raise InputError(f"folder:{path} has no split {split!r}: move its class folders into {path / split}")
    return path, names


def _classes(names: Sequence[str], path: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """The name of every class index, and the index of every folder."""
    if not names:
        raise InputError(f"expected one folder a class in {path}, found no folder")
    if not all(name.isascii() and name.isdecimal() for name in names):
        return tuple(names), {name: rank for rank, name in enumerate(names)}
    numbers = {name: int(name) for name in names}
    if len(set(numbers.values())) < len(names):
        raise InputError(f"two folders in {path} stand for the same number: rename one, such as '1' beside '01'")
    if max(numbers.values()) > 1_000_000:
        raise InputError(f"expected class numbers up to 1000000 in {path}, got {max(numbers.values())}")
    return tuple(map(str, range(max(numbers.values()) + 1))), numbers


def _files(home: Path, numbers: dict[str, int]) -> tuple[list[Path], list[int]]:
    """The image files of one split and their labels."""
    known = set(Image.registered_extensions())
    files: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for name, number in sorted(numbers.items(), key=lambda item: (item[1], item[0])):
        inside = sorted(file for file in (home / name).rglob("*") if file.is_file() and not file.name.startswith("."))
        images = [file for file in inside if file.suffix.lower() in known]
        others += [file for file in inside if file.suffix.lower() not in known]
        files += images
        labels += [number] * len(images)
    if others:
        message = (
            f"{len(others)} files under {home} are left out: their suffix is not that of an image: {_some(others)}"
        )
        warnings.warn(message, AdvkitWarning, stacklevel=4)
    if not files:
        raise InputError(f"found no image in the class folders of {home}: expected such files as {home}/CLASS/NAME.png")
    return files, labels


def _common_size(files: Sequence[Path], path: Path) -> tuple[int, int]:
    """(height, width) of all images, from their headers."""
    first: dict[tuple[int, int], Path] = {}
    broken = []
    for file in files:
        try:
            with Image.open(file) as image:
                first.setdefault((image.height, image.width), file)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            broken.append(f"{file} ({error})")
    if broken:
        raise _broken(broken, len(files))
    if len(first) > 1:
        found = " and ".join(f"{height}x{width} ({file.name})" for (height, width), file in list(first.items())[:2])
        raise InputError(f"expected images of one size in {path}, got {found}: give size=, such as size=224")
    return next(iter(first))


def _broken(broken: Sequence[str], count: int) -> InputError:
    return InputError(f"{len(broken)} of {count} files cannot be read as images; mend or remove them: {_some(broken)}")


def _some(things: Sequence[object], most: int = 5) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + more
