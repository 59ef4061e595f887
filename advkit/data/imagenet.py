"""ImageNet 2012 (Russakovsky et al. 2015, arXiv 1409.0575), from a folder with the published files.

It cannot be downloaded without an account at image-net.org. Under the data root lies `imagenet/`, with the folders
`train` and `val`, each with one folder a class (n01440764, ...); torchvision unpacks the published archives to that.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from advkit.core.errors import InputError
from advkit.data._class_names import imagenet_names
from advkit.data._dataset import DATASETS, check_split
from advkit.data._folders import Root, data_root
from advkit.data._images import ImageFiles, shorter_side
from advkit.data._torchvision import MissingDataError, command, line
from advkit.data.folder import class_files

CLASSES = 1000
FOLDERS = {"train": "train", "val": "val", "test": "val"}
ARCHIVES = {
    "train": "ILSVRC2012_img_train.tar",
    "val": "ILSVRC2012_img_val.tar",
    "devkit": "ILSVRC2012_devkit_t12.tar.gz",
}
META_FILE = "meta.bin"
"""Names that torchvision gives them; a message about missing files need not import it."""


@DATASETS.register("imagenet")
def imagenet(
    *,
    split: str = "test",
    root: Root = None,
    download: bool = False,
    size: int | None = 224,
    resize: int | None = None,
    grey: bool = False,
) -> ImageFiles:
    """ImageNet 2012: 1,281,167/50,000 photographs of 1,000 classes; the test split is the published validation set.

    An image's class is the rank of its folder's name among all 1,000 (torchvision's numbers), even if some are missing.

    Args:
        split: "train", or "test" or "val", which are the same images.
        size, resize, grey: size and channels of the images, see `ImageFiles`; by default 224 cut out of 256.
        root: folder that holds `imagenet/`.
        download: whether to unpack the archives in `imagenet/`, after torchvision has verified them.

    Raises:
        InputError: it is missing (the message says which files to get and where to put them), or it is broken.
    """
    check_split("imagenet", split, tuple(FOLDERS))
    home = data_root(root) / "imagenet"
    folder = home / FOLDERS[split]
    if download:
        _unpack(home, FOLDERS[split])
    elif not folder.is_dir():
        raise _missing(home, FOLDERS[split], root)
    wnids, names = class_folders(home, folder)
    present = {wnid: label for label, wnid in enumerate(wnids) if (folder / wnid).is_dir()}
    files, labels = class_files(folder, present)
    return ImageFiles("imagenet", split, names, files, labels, size=size, resize=shorter_side(size, resize), grey=grey)


def _missing(home: Path, folder: str, root: Root) -> MissingDataError:
    archives = " and ".join(ARCHIVES[part] for part in (folder, "devkit"))
    return MissingDataError(
        f"imagenet is not under {home}: put the folder {folder}/ there, or {archives} from image-net.org; "
        f"this verifies and unpacks them: {command('imagenet', root)}"
    )


def _unpack(home: Path, folder: str) -> None:
    """Let torchvision verify and unpack the archives of a split; nothing happens where that is done."""
    from torchvision.datasets import ImageNet

    try:
        ImageNet(str(home), split=folder)
    except ModuleNotFoundError as error:
        raise InputError(
            f"ImageNet's archives cannot be read without the package {error.name}: run pip install {error.name}"
        ) from error
    except Exception as error:  # a broken archive raises nearly anything
        raise InputError(f"cannot unpack imagenet in {home}: {line(error)}") from error


def class_folders(home: Path, folder: Path) -> tuple[Sequence[str], Sequence[str]]:
    """Return all folder names of the 1,000 classes in the order of their numbers, and the classes' names.

    Raises:
        InputError: a folder that stands for none of them, or too few to know their numbers.
    """
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    known = _devkit(home)
    if known:
        strangers = [name for name in found if name not in known]
        if strangers:
            raise InputError(f"{folder} holds {strangers[0]!r}, which is no class of ImageNet: move it elsewhere")
        return list(known), list(known.values())
    if len(found) != CLASSES:
        raise InputError(
            f"expected {CLASSES} class folders in {folder}, or the devkit unpacked in {home}, got {len(found)} "
            f"folders: a part of ImageNet can be read as folder:{folder}"
        )
    return found, [name for name, _ in imagenet_names()]


def _devkit(home: Path) -> dict[str, str]:
    """Folder name -> class name, in the order of the class numbers; empty without torchvision's `meta.bin`."""
    if not (home / META_FILE).is_file():
        return {}
    try:
        wnid_to_classes = torch.load(home / META_FILE, weights_only=True)[0]
        return {wnid: str(wnid_to_classes[wnid][0]) for wnid in sorted(wnid_to_classes)}
    except Exception as error:  # a broken pickle raises nearly anything
        raise InputError(
            f"{home / META_FILE} is broken ({line(error)}): remove it, torchvision makes it anew"
        ) from error
