"""Data sets: `load_data("mnist5k")`, `load_data("folder:PATH")`; images in [0, 1] with their labels.

data = load_data("mnist5k", split="test")
x, y = data[:100]  # (100, 1, 32, 32) float32 in [0, 1], (100,) int64
"""

# isort: off
from advkit.data import mnist5k, published, distorted_mnist, norb, caltech  # noqa: F401
from advkit.data import imagenet, corrupted, folder, archive, table, factory, mnist_addition  # noqa: F401

# isort: on  (they register their data sets, in the order in which they are listed)
from advkit.core.files import atomic_write
from advkit.data._class_names import has_names, imagenet_names, read_names, renumbered
from advkit.data._dataset import DATASETS, Dataset, MemoryDataset
from advkit.data._folders import data_root
from advkit.data._images import ImageFiles
from advkit.data._inventory import SplitFacts, inventory, places, size_on_disk, splits
from advkit.data._loading import (
    FORMS,
    check_named,
    list_datasets,
    load_data,
    matching,
    of_your_own,
    registered,
)
from advkit.data._reading import as_dataset
from advkit.data._selection import selected
from advkit.data._torchvision import MissingDataError
from advkit.data.folder import FolderDataset

__all__ = [
    "DATASETS",
    "FORMS",
    "Dataset",
    "FolderDataset",
    "ImageFiles",
    "MemoryDataset",
    "MissingDataError",
    "SplitFacts",
    "as_dataset",
    "atomic_write",
    "check_named",
    "data_root",
    "has_names",
    "imagenet_names",
    "inventory",
    "list_datasets",
    "load_data",
    "matching",
    "of_your_own",
    "places",
    "read_names",
    "registered",
    "renumbered",
    "selected",
    "size_on_disk",
    "splits",
]
