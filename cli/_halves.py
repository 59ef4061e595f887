"""Two halves of the images: one perturbation is found on the first, and judged on the second."""

from typing import Any

import torch

from advkit.cli.evaluate import loaded
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.data._selection import Selection
from advkit.data._stream import chosen, how_many
from advkit.models import Classifier


def network_and_halves(model: str | None, options: dict[str, Any]) -> tuple[Classifier, Dataset, Dataset]:
    """Load the network and the images, and part these at random, the same way each time.

    Args:
        model: name of the network.
        options: options of the command: data, count, device and the like.

    Raises:
        InputError: no network is named, or there are fewer than two images.
    """
    if model is None:
        raise InputError("give --model NAME, such as --model lenet5: advkit models lists them")
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    options = options | {"device": str(find_device(options["device"], float64=True))}
    how_many(1, options["count"])
    classifier, images = loaded(model, options["device"], options)
    rows = chosen(len(images), options["count"])
    if len(rows) < 2:
        raise InputError(f"expected two images or more, one half to learn from and one to judge, got {len(rows)}")
    mixed = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))]
    first, second = (Selection(images, mixed[start::2].sort().values) for start in (0, 1))
    return classifier, first, second
