"""Data sets: `load_data("mnist5k")`, `load_data("folder:PATH")`; images in [0, 1] with their labels.

data = load_data("mnist5k", split="test")
x, y = data[:100]  # (100, 1, 32, 32) float32 in [0, 1], (100,) int64
"""

from advkit.data import distorted_mnist, folder, mnist5k, published  # noqa: F401  (they register their data sets)
from advkit.data._dataset import DATASETS, Dataset, MemoryDataset, list_datasets, load_data
from advkit.data._files import atomic_write, data_root
from advkit.data.folder import FolderDataset

__all__ = [
    "DATASETS",
    "Dataset",
    "FolderDataset",
    "MemoryDataset",
    "atomic_write",
    "data_root",
    "list_datasets",
    "load_data",
]
