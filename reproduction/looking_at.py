"""What the papers' measurements share: the images of a split, and which of them a model gets wrong."""

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor

from advkit.core.attack import Attack
from advkit.core.classify import classify
from advkit.core.guard import Model, device_of
from advkit.data import Dataset, load_data
from advkit.data.distorted_mnist import DistortedMNIST
from advkit.reproduction.study import Cell, Measured, Networks

BATCH = 500
HELD = 100_000
"""Distorted digits are kept in memory up to this number of images."""


@lru_cache(maxsize=8)
def data_of(spec: str, split: str) -> Dataset:
    """Load a split of a data set once for all networks that see it; distorted digits are made once and kept.

    Args:
        spec: spec of the data set.
        split: "test" or "train".
    """
    data = load_data(spec, split=split)
    return data.held() if isinstance(data, DistortedMNIST) and len(data) <= HELD else data


def digits_of(spec: str, count: int | None = None, *, split: str = "test") -> tuple[Tensor, Tensor]:
    """Load the first images and labels of a split of a data set.

    Args:
        spec: spec of the data set.
        count: number of images; by default all.
        split: "test" or "train".
    """
    data = data_of(spec, split)
    return data[: len(data) if count is None else min(count, len(data))]


def logits_of(model: Model, x: Tensor) -> Tensor:
    """Compute the logits (N, K), batch by batch."""
    return torch.cat([classify(model, part.to(device_of(model))).cpu() for part in torch.split(x, BATCH)])


def wrong(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Return (N,): 1 where the model is wrong, else 0."""
    return (logits_of(model, x).argmax(1) != y).double()


def error(model: Model, x: Tensor, y: Tensor) -> Measured:
    """Measure the error, with the verdict on each image."""
    return Measured.of(wrong(model, x, y))


def errors(networks: Networks, seed: int, *, cells: Mapping[str, Cell], data: str) -> dict[Cell, Measured]:
    """Measure the error of each network on the test split.

    Args:
        networks: trained networks by name.
        seed: ignored, since nothing is drawn.
        cells: cells of the errors, by the name of the network.
        data: spec of the data set.
    """
    x, y = digits_of(data)
    return {cells[name]: error(network, x, y) for name, network in networks.items()}


def attacked(
    model: Model, x: Tensor, y: Tensor, attack: Attack, *, seed: int = 0, bounds: tuple[float, float] = (0, 1)
) -> Tensor:
    """Return the strongest images that the attack finds, also for images that are misclassified without an attack.

    Args:
        model: the network.
        x: images (N, C, H, W) in [0, 1].
        y: classes (N,).
        attack: the attack.
        seed: seed of its random numbers.
        bounds: range of the pixels of the images that it makes.
    """
    device, found = device_of(model), []
    for start in range(0, len(x), BATCH):
        rows = torch.arange(start, min(start + BATCH, len(x)))
        result = attack(
            model, x[rows].to(device), y[rows].to(device), sample_ids=rows.to(device), seed=seed, bounds=bounds,
            stop="never",
        )  # fmt: skip
        found.append(result.x_adv.cpu())
    return torch.cat(found)


def confidence_on_mistakes(model: Model, x: Tensor, y: Tensor) -> Measured:
    """Return the mean probability of the predicted class over the misclassified images."""
    sure, given = logits_of(model, x).softmax(1).max(1)
    return Measured.of(torch.where(given != y, sure.double(), math.nan))
