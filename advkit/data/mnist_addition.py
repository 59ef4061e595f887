"""`mnist_addition`: two distorted digits in two channels, labelled by their sum.

Jaderberg et al. 2015, appendix A.1, arXiv 1506.02025: channels of 42x42 pixels, each digit turned, scaled and moved on
its own (RTS), 19 classes.
"""

import os

import torch
from torch import Tensor

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data._dataset import DATASETS, Dataset
from advkit.data.distorted_mnist import DistortedMNIST

SUMS = tuple(map(str, range(19)))


@DATASETS.register("mnist_addition")
class MNISTAddition(Dataset):
    """Pairs of distorted digits, (2, 42, 42), made when they are read; the label is the sum of the two.

    Image i depends on `seed`, split and i alone. Its first channel is image i of `distorted_mnist(seed=2 * seed)`, its
    second one is drawn from `distorted_mnist(seed=2 * seed + 1)`, so that no two rows share a distortion of the first.

    Args:
        source: data set of the digits, "mnist5k" (the embedded ones) or "mnist".
        strength: share of each range that the distortions take, from 0 (upright in the middle) to 1, the paper's. A
            network learns to read at 0, and to find as it grows.
        copies: number of pairs for each first digit; default: 10 in the training split, 1 in the test split.
        seed: seed of the pairs and of the distortions; the splits draw different ones.
        split, root, download: options of the source, see `load_data`.

    Attributes:
        addends: labels of the two digits of each image (N, 2).

    Raises:
        InputError: no such source or split, copies below 1, a strength outside [0, 1], a negative seed; or the source
            is not there.
    """

    def __init__(
        self,
        *,
        split: str = "test",
        root: str | os.PathLike[str] | None = None,
        download: bool = False,
        source: str = "mnist5k",
        strength: float = 1.0,
        copies: int | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise InputError(f"expected seed as a whole number of at least 0, got {seed!r}")
        where = {"split": split, "root": root, "download": download, "source": source}
        self._first, self._second = (
            DistortedMNIST(**where, strength=strength, copies=copies, seed=2 * seed + channel)  # type: ignore[arg-type]
            for channel in (0, 1)
        )
        self.name, self.split, self.classes = _name(source, strength, seed), split, SUMS
        draws = Draws(2 * seed + (split == "train"), torch.arange(len(self._first), device="cpu"))
        self._partner = (draws.uniform(0, (), stream=1) * len(self._second)).long()  # (N,)
        self.addends = torch.stack([self._first.labels, self._second.labels[self._partner]], 1)
        self.labels = self.addends.sum(1)
        _, *side = self._first.input_shape
        self.input_shape = (2, side[0], side[1])

    def _images(self, rows: Tensor) -> Tensor:
        return torch.cat([self._first[rows][0], self._second[self._partner[rows]][0]], 1)


def _name(source: str, strength: float, seed: int) -> str:
    """What `load_data` takes for these options."""
    given = {"source": (source, "mnist5k"), "strength": (strength, 1), "seed": (seed, 0)}
    changed = [f"{key}={value}" for key, (value, default) in given.items() if value != default]
    return f"mnist_addition({', '.join(changed)})" if changed else "mnist_addition"
