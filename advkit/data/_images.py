"""Images in files on the disk: only names and labels are held in memory, and errors name the broken files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from advkit.core.errors import InputError
from advkit.core.option_numbers import is_huge, shown
from advkit.core.plain import is_integer, plain
from advkit.data._dataset import Dataset

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What PIL raises for a file that it cannot read."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision.datasets.folder, which takes a second to import."""


class ImageFiles(Dataset):
    """Images that PIL decodes when they are read, 8 bits a channel.

    They are read as torchvision's ImageFolder reads them: transparency and the orientation in a camera's notes (EXIF)
    are ignored, and of several pictures in a file the first is taken.

    Args:
        name, split, classes: the attributes of the data set, see `Dataset`.
        files: paths of the images, in the order of the set.
        labels: (N,) integers in 0 .. K - 1.
        size: side of the square images (C, size, size): the shorter side is resized to `resize`, then the centre is cut
            out, as torchvision's Resize (bilinear, antialiased) and CenterCrop do. None: all have one size already.
        resize: length of the shorter side before the cut; default: `size`.
        grey: True gives one channel instead of red, green and blue.

    Raises:
        InputError: sizes are impossible, images have several sizes and `size` is not given, or a file's header is
            broken (without `size` all headers are read; the message counts the broken ones and names the first). Other
            broken files raise this when they are decoded.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: Sequence[str],
        files: Sequence[Path],
        labels: Sequence[int],
        *,
        size: int | None = None,
        resize: int | None = None,
        grey: bool = False,
    ) -> None:
        size, resize = check_size(size, resize)
        self.name, self.split, self.classes = name, split, tuple(classes)
        self.files, self.labels = list(files), torch.tensor(labels, dtype=torch.int64, device="cpu")
        self.size, self.resize, self.grey = size, resize or size, grey
        height, width = _common_size(self.files, name) if size is None else (size, size)
        self.input_shape = (1 if grey else 3, height, width)

    def broken(self) -> Iterator[tuple[Path, str]]:
        """Decode every image; return the files that cannot be read, each with the reason."""
        for file in self.files:
            try:
                self._decode(file)
            except UNREADABLE as error:
                yield file, str(error)

    def _images(self, rows: Tensor) -> Tensor:
        images, broken = torch.empty(len(rows), *self.input_shape, device="cpu"), []
        for image, row in zip(images, rows.tolist(), strict=True):
            try:
                image.copy_(self._decode(self.files[row]))
            except UNREADABLE as error:
                broken.append(f"{self.files[row]} ({error})")
        if broken:
            raise _broken(broken, len(rows))
        return images

    def _decode(self, file: Path) -> Tensor:
        """One image, (C, H, W) float32 in [0, 1]."""
        with Image.open(file) as opened:
            if opened.mode.startswith(("I", "F")):
                raise ValueError(f"expected 8 bits a channel, got mode {opened.mode}: save it as 8-bit PNG")
            if isinstance(opened.info.get("transparency"), bytes):
                del opened.info["transparency"]  # the colours do not depend on it, and PIL would warn
            image = opened.convert("L" if self.grey else "RGB")
        if self.size is not None:
            image = _resize_and_crop(image, self.resize or self.size, self.size)
        pixels = torch.from_numpy(np.array(image)).reshape(image.height, image.width, -1)
        return pixels.permute(2, 0, 1).float().div_(255)


def check_size(size: Any, resize: Any) -> tuple[int | None, int | None]:
    """Return both as Python's numbers; raise InputError unless images can be resized to `resize` and cut to `size`."""
    size, resize = plain(size), plain(resize)
    whole = all(side is None or (is_integer(side) and not is_huge(side)) for side in (size, resize))
    if not whole or (size is not None and size < 1) or (resize is not None and (size is None or resize < size)):
        raise InputError(f"expected size >= 1 and resize >= size, got size={shown(size)}, resize={shown(resize)}")
    return size, resize


def shorter_side(size: int | None, resize: int | None) -> int | None:
    """Return the length of the shorter side before the cut: by default 256 / 224 of the cut's."""
    return resize if size is None or resize is not None else round(size * 256 / 224)


def is_image(file: Path) -> bool:
    """Return whether torchvision reads files with this suffix, in upper or lower case."""
    return file.name.lower().endswith(SUFFIXES)


def some(things: Sequence[object], most: int = 5) -> str:
    """Write the first few entries of a list, and how many more there are."""
    more = f" and {len(things) - most} more" if len(things) > most else ""
    return ", ".join(map(str, things[:most])) + more


def _resize_and_crop(image: Image.Image, shorter: int, size: int) -> Image.Image:
    """torchvision's Resize(shorter) and CenterCrop(size) on a PIL image."""
    from torchvision.transforms import functional  # here: the import takes a second that `--help` need not wait for

    resized: Image.Image = functional.center_crop(functional.resize(image, [shorter]), [size])
    return resized


def _common_size(files: Sequence[Path], name: str) -> tuple[int, int]:
    """(height, width) of all images, from their headers."""
    first: dict[tuple[int, int], Path] = {}
    broken = []
    for file in files:
        try:
            with Image.open(file) as image:
                first.setdefault((image.height, image.width), file)
        except UNREADABLE as error:
            broken.append(f"{file} ({error})")
    if broken:
        raise _broken(broken, len(files))
    if len(first) > 1:
        found = " and ".join(f"{height}x{width} ({file.name})" for (height, width), file in list(first.items())[:2])
        raise InputError(f"expected images of one size in {name}, got {found}: give size=, such as size=224")
    return next(iter(first))


def _broken(broken: Sequence[str], count: int) -> InputError:
    return InputError(f"{len(broken)} of {count} files cannot be read as images; mend or remove them: {some(broken)}")
