"""Published corrupted images: MNIST-C, CIFAR-10-C, CIFAR-100-C and ImageNet-C.

They lie under the data root in the published form: `mnist_c/KIND/test_images.npy` (Mu and Gilmer 2019, 1906.02337);
`CIFAR-10-C/KIND.npy` and `CIFAR-100-C/KIND.npy`, five severities one after the other in one file, and
`ImageNet-C/KIND/SEVERITY/WNID/*.JPEG` (Hendrycks and Dietterich 2019, arXiv 1903.12261). Nothing here downloads them.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from advkit.core.errors import InputError, unknown
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain
from advkit.data._dataset import DATASETS, MemoryDataset, check_split
from advkit.data._folders import Root, data_root
from advkit.data._images import ImageFiles, shorter_side
from advkit.data._torchvision import MissingDataError
from advkit.data.folder import class_files
from advkit.data.imagenet import class_folders
from advkit.data.mnist5k import DIGITS, padded_images

KINDS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The 15 kinds over which mCE is a mean."""

MORE_KINDS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four that are published beside them, for choosing settings."""

MNIST_KINDS = (
    "identity",
    "shot_noise",
    "impulse_noise",
    "glass_blur",
    "motion_blur",
    "shear",
    "scale",
    "rotate",
    "brightness",
    "translate",
    "stripe",
    "fog",
    "spatter",
    "dotted_line",
    "zigzag",
    "canny_edges",
)
"""Those of MNIST-C, which has one severity; "identity" is MNIST itself."""

SEVERITIES = 5
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SOURCES = {
    "mnist_c": "https://zenodo.org/records/3239543",
    "cifar10_c": "https://zenodo.org/records/2535967",
    "cifar100_c": "https://zenodo.org/records/3555552",
    "imagenet_c": "https://zenodo.org/records/2235448",
}
"""Where their authors put them."""


@DATASETS.register("mnist_c")
def mnist_c(
    *, split: str = "test", root: Root = None, download: bool = False, variant: str = "shot_noise", pad: int = 2
) -> MemoryDataset:
    """MNIST-C (Mu and Gilmer 2019): MNIST's 60,000/10,000 digits under one of 15 corruptions of one severity.

    Args:
        variant: the corruption, see `MNIST_KINDS`.
        split: "train" or "test".
        root: folder that holds `mnist_c/`.
        download: True is refused with a message that says where the files are.
        pad: the number of zeros on every side of the 28x28 pixels.

    Raises:
        InputError: an unknown corruption, or the files are not there or are not the published ones.
    """
    check_split("mnist_c", split)
    _check_kind("mnist_c", variant, MNIST_KINDS)
    home = _home("mnist_c", "mnist_c", root, download=download)
    images = _array(home / variant / f"{split}_images.npy", (None, 28, 28, 1))
    labels = _array(home / variant / f"{split}_labels.npy", (len(images),))
    stored = padded_images(torch.from_numpy(images[..., 0].copy()), pad)
    name = f"mnist_c(variant={variant})" if pad == 2 else f"mnist_c(variant={variant}, pad={pad})"
    return MemoryDataset(name, split, DIGITS, stored, torch.from_numpy(labels))


@DATASETS.register("cifar10_c")
def cifar10_c(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    variant: str = "gaussian_noise",
    severity: int = 3,
) -> MemoryDataset:
    """CIFAR-10-C (Hendrycks and Dietterich 2019): CIFAR-10's 10,000 test images under one corruption.

    Args:
        variant: the corruption: one of the 15 `KINDS` or the 4 `MORE_KINDS`.
        severity: severity of the corruption, 1 to 5.
        split: "test".
        root: folder that holds `CIFAR-10-C/`.
        download: True is refused with a message that says where the files are.

    Raises:
        InputError: an unknown corruption, or the files are not there or are not the published ones.
    """
    return _cifar("cifar10_c", "CIFAR-10-C", CIFAR10, split, root, variant, severity, download=download)


@DATASETS.register("cifar100_c")
def cifar100_c(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    variant: str = "gaussian_noise",
    severity: int = 3,
) -> MemoryDataset:
    """CIFAR-100-C: CIFAR-100's 10,000 test images under one corruption; the classes' names are their numbers.

    Args:
        variant: the corruption: one of the 15 `KINDS` or the 4 `MORE_KINDS`.
        severity: severity of the corruption, 1 to 5.
        split: "test".
        root: folder that holds `CIFAR-100-C/`.
        download: True is refused with a message that says where the files are.

    Raises:
        InputError: an unknown corruption, or the files are not there or are not the published ones.
    """
    names = tuple(str(k) for k in range(100))
    return _cifar("cifar100_c", "CIFAR-100-C", names, split, root, variant, severity, download=download)


@DATASETS.register("imagenet_c")
def imagenet_c(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    variant: str = "gaussian_noise",
    severity: int = 3,
    size: int | None = 224,
    resize: int | None = None,
) -> ImageFiles:
    """ImageNet-C (Hendrycks and Dietterich 2019): ImageNet's 50,000 validation images under one corruption.

    Args:
        variant: the corruption: one of the 15 `KINDS` or the 4 `MORE_KINDS`.
        severity: severity of the corruption, 1 to 5.
        split: "test".
        root: folder that holds `ImageNet-C/KIND/SEVERITY/WNID/*.JPEG`.
        download: True is refused with a message that says where the files are.
        size, resize: size of the images, see `ImageFiles`; the files are 224 pixels wide and stay as they are.

    Raises:
        InputError: an unknown corruption or severity, or the images are not there.
    """
    check_split("imagenet_c", split, ("test",))
    _check_kind("imagenet_c", variant, (*KINDS, *MORE_KINDS))
    folder = _home("imagenet_c", "ImageNet-C", root, download=download) / variant / str(_severity(severity))
    if not folder.is_dir():
        raise MissingDataError(f"imagenet_c has no {variant} of severity {severity} here: expected the folder {folder}")
    wnids, names = class_folders(folder.parents[1], folder)
    present = {wnid: label for label, wnid in enumerate(wnids) if (folder / wnid).is_dir()}
    files, labels = class_files(folder, present)
    shorter = size if resize is None else shorter_side(size, resize)
    return ImageFiles(
        f"imagenet_c(variant={variant}, severity={severity})", split, names, files, labels, size=size, resize=shorter
    )


def _cifar(
    name: str,
    folder: str,
    classes: tuple[str, ...],
    split: str,
    root: Root,
    kind: str,
    severity: int,
    *,
    download: bool,
) -> MemoryDataset:
    check_split(name, split, ("test",))
    _check_kind(name, kind, (*KINDS, *MORE_KINDS))
    home = _home(name, folder, root, download=download)
    labels = _array(home / "labels.npy", (None,))
    images = _array(home / f"{kind}.npy", (len(labels), 32, 32, 3))
    each, left = divmod(len(labels), SEVERITIES)
    if left:
        raise InputError(f"expected five severities of equal length in {home}, got {len(labels)} images")
    part = slice((_severity(severity) - 1) * each, severity * each)
    stored = torch.from_numpy(np.ascontiguousarray(images[part].transpose(0, 3, 1, 2)))
    return MemoryDataset(
        f"{name}(variant={kind}, severity={severity})", split, classes, stored, torch.from_numpy(labels[part].copy())
    )


def _check_kind(name: str, kind: str, kinds: tuple[str, ...]) -> None:
    if kind not in kinds:
        raise unknown(f"corruption of {name}", str(kind), kinds)


def _severity(severity: Any) -> int:
    severity = plain(severity)
    if not is_integer(severity) or severity not in range(1, SEVERITIES + 1):
        raise InputError(f"expected severity as 1, 2, 3, 4 or 5, got {shown(severity)}")
    return int(severity)


def _home(name: str, folder: str, root: Root, *, download: bool) -> Path:
    home = data_root(root) / folder
    if home.is_dir() and not download:
        return home
    said = "advkit does not download it" if download else f"{name} is not under {home}"
    raise MissingDataError(f"{said}: get it from {SOURCES[name]} and unpack it there, so that {home} is its folder")


def _array(path: Path, shape: tuple[int | None, ...]) -> Any:
    """A published array: of that shape, uint8 or integers, read without unpickling."""
    if not path.is_file():
        raise MissingDataError(f"expected the file {path}, as published")
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # of an .npy alone, and never unpickled
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is not the published file: {str(error).splitlines()[0]}") from error
    fits = found.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, found.shape, strict=True))
    if not fits or found.dtype.kind not in "ui" or (found.ndim > 1 and found.dtype != np.uint8):
        wanted = "x".join("N" if size is None else str(size) for size in shape)
        raise InputError(
            f"{path} is not the published file: expected {wanted} integers, got {found.shape} {found.dtype}"
        )
    return np.asarray(found) if found.ndim > 1 else np.asarray(found).astype(np.int64)
