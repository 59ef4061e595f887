"""Errors on held-out images, clean and under attack; each process measures its share."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_count
from advkit.core.errors import InputError
from advkit.core.guard import as_weights, device_of
from advkit.core.layout import Passes
from advkit.data import Dataset, as_dataset
from advkit.training._processes import World

BATCH = 500


def measure(model: nn.Module, data: Dataset | Any, *, batch_size: int = BATCH) -> float:
    """Return the clean error: the fraction of the images of `data` that `model` gets wrong in eval mode.

    Args:
        model: callable from images to logits.
        data: a Dataset, a name such as "mnist5k", or a pair (x, y) of tensors or arrays.
        batch_size: number of images in a batch.

    Raises:
        InputError: there are no images.
    """
    batch_size = check_count("batch_size", batch_size)
    return clean_error(model, as_dataset(data, "test"), World(), batch_size)


def clean_error(model: nn.Module, data: Dataset, world: World, batch_size: int = BATCH) -> float:
    """Like `measure`, shared among processes."""

    def wrong(x: Tensor, y: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = Passes(model, x)(x)
            return logits.argmax(1) != y

    return _fraction(model, data, world, batch_size, wrong)


def adversarial_error(model: nn.Module, data: Dataset, world: World, attack: Callable[..., Any]) -> float:
    """Return the fraction that is wrong clean or under `attack`, whose random numbers are the same at each call."""

    def fooled(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        success: Tensor = attack(model, x, y, sample_ids=rows.to(x.device)).success
        return success

    return _fraction(model, data, world, BATCH, fooled)


def _fraction(
    model: nn.Module,
    data: Dataset,
    world: World,
    batch_size: int,
    verdict: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> float:
    if not len(data):
        raise InputError(f"expected images to measure the error on, got none in {data.name} {data.split}")
    device = device_of(model)
    count = torch.zeros((), dtype=torch.int64, device=device)
    with looking(model):
        own = world.share(torch.arange(len(data)))
        for start in range(0, len(own), batch_size):
            rows = own[start : start + batch_size]
            x, y = data[rows]
            count += verdict(as_weights(model, x.to(device)), y.to(device), rows).sum()
    return int(world.total(count)) / len(data)
