"""What excites a unit: the images of a data set with the largest activations, and directions of several units.

Zeiler, Fergus 2013, sec. 4 (arXiv 1311.2901): the top nine of a map with their patches. Szegedy et al. 2013, sec. 3
(arXiv 1312.6199): `x' = argmax <phi(x), v>` for a unit, v = e_i, and for a random v.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_count, generator
from advkit.core.guard import as_weights
from advkit.data import Dataset, as_dataset
from advkit.insight._named_layers import check_units, run_to
from advkit.insight.fields import receptive_fields


@dataclass(frozen=True)
class Top:
    """The strongest activations of a map over a data set in falling order, at most one for each image.

    Attributes:
        layer: name of the layer.
        unit: number of the map or unit.
        values: activations (k,), the largest first.
        rows: numbers of the images in the data set (k,).
        positions: row and column in the map (k, 2); 0, 0 in a linear layer.
        boxes: box of pixels that the unit sees of each image: (top, left, bottom, right), bottom and right excluded.
    """

    layer: str
    unit: int
    values: Tensor
    rows: Tensor
    positions: Tensor
    boxes: list[tuple[int, int, int, int]]

    def patches(self, data: Dataset | Any) -> list[Tensor]:
        """Return the parts of the images that the unit sees, (C, h, w) each; sizes differ at the border.

        Args:
            data: the images among which they were found, as `top_activations` takes them.
        """
        images, _ = as_dataset(data, "test")[self.rows]
        pairs = zip(images, self.boxes, strict=True)
        return [image[:, top:bottom, left:right] for image, (top, left, bottom, right) in pairs]


@dataclass(frozen=True)
class Activity:
    """How strongly every unit of a layer responds to a data set.

    Attributes:
        layer: name of the layer.
        largest: largest activation of each unit over all images and places (M,).
        share: fraction of images in which a unit is above 0 anywhere (M,).
    """

    layer: str
    largest: Tensor
    share: Tensor

    @property
    def dead(self) -> Tensor:
        """Whether a unit is above 0 in no image: (M,) bool."""
        return self.share == 0


def peaks(model: nn.Module, data: Dataset, *, layer: str, batch_size: int = 100) -> tuple[Tensor, Tensor]:
    """Return the largest activation of every unit in every image, and its place in the map.

    Args:
        model: any network; it is left as it was.
        data: the images.
        layer: name of the layer.
        batch_size: number of images in a pass.

    Returns:
        Values (N, M) and places (N, M), `row * width + column`, on the CPU.
    """
    values, places = [], []
    with looking(model):
        for x, _ in data.batches(batch_size):
            output = run_to(model, as_weights(model, x), layer)
            best = output.reshape(*output.shape[:2], -1).max(2)
            values.append(best.values.cpu())
            places.append(best.indices.cpu())
    return torch.cat(values), torch.cat(places)


def activity(model: nn.Module, data: Dataset | Any, *, layer: str, batch_size: int = 100) -> Activity:
    """Measure how strongly each unit of a layer responds to a data set, and in how many images it is above 0.

    Args:
        model: any network; it is left as it was.
        data: the images: a data set, the name of one (its test split), a pair (x, y), a loader or a set of torch.
        layer: name of the layer.
        batch_size: number of images in a pass.

    Raises:
        InputError: no such layer, or data of another form.
    """
    values, _ = peaks(model, as_dataset(data, "test"), layer=layer, batch_size=batch_size)
    return Activity(layer, values.amax(0), (values > 0).double().mean(0))


def top_activations(
    model: nn.Module,
    data: Dataset | Any,
    *,
    layer: str,
    units: list[int] | None = None,
    count: int = 9,
    batch_size: int = 100,
) -> list[Top]:
    """Find the images that excite units of a layer most, with the place of the activation and the patch that it sees.

    Args:
        model: any network; it is left as it was.
        data: the images: a data set, the name of one (its test split), a pair (x, y), a loader or a set of torch.
        layer: name of the layer.
        units: numbers of maps or units; by default all.
        count: number of images for each unit.
        batch_size: number of images in a pass.

    Raises:
        InputError: no such layer or unit, or data of another form.
    """
    data = as_dataset(data, "test")
    count = check_count("count", count)
    values, places = peaks(model, data, layer=layer, batch_size=batch_size)
    units = list(range(values.shape[1])) if units is None else check_units(units, values.shape[1], layer)
    width = _map_width(model, data, layer)
    best = values[:, units].topk(min(count, len(values)), 0)  # (k, U)
    found = []
    for i, unit in enumerate(units):
        rows = best.indices[:, i]
        place = places[rows, unit]
        positions = torch.stack([place // width, place % width], 1)
        pairs = [(int(row), int(column)) for row, column in positions]
        boxes = receptive_fields(model, data.input_shape, layer=layer, positions=pairs)
        found.append(Top(layer, unit, best.values[:, i], rows, positions, boxes))
    return found


def _map_width(model: nn.Module, data: Dataset, layer: str) -> int:
    with looking(model):
        output = run_to(model, as_weights(model, data[:1][0]), layer)
    return output.shape[3] if output.ndim == 4 else 1


@dataclass(frozen=True)
class Direction:
    """The images of a data set that lie farthest along a direction of a layer's units.

    Attributes:
        vector: direction (M,), of length 1.
        values: `<phi(x), v>` of the images (k,), the largest first.
        rows: numbers of these images in the data set (k,).
    """

    vector: Tensor
    values: Tensor
    rows: Tensor


def directions(
    model: nn.Module,
    data: Dataset | Any,
    *,
    layer: str,
    units: list[int],
    random: int = 0,
    seed: int = 0,
    count: int = 8,
    batch_size: int = 100,
) -> list[Direction]:
    """Find the images that most excite single units, and those that most excite random combinations of all units.

    The value of a map is its largest activation. Random directions are normal vectors scaled to length 1.

    Args:
        model: any network; it is left as it was.
        data: the images, such as a test split that the network has not seen; in the forms that `activity` takes.
        layer: name of the layer.
        units: numbers of the single units.
        random: number of random directions, given after the units.
        seed: seed of the random directions.
        count: number of images for each direction.
        batch_size: number of images in a pass.

    Raises:
        InputError: no such layer or unit, or data of another form.
    """
    random, count, draws = check_count("random", random, least=0), check_count("count", count), generator(seed)
    phi, _ = peaks(model, as_dataset(data, "test"), layer=layer, batch_size=batch_size)
    phi = phi.double()
    units = check_units(units, phi.shape[1], layer)
    drawn = torch.randn(random, phi.shape[1], generator=draws, dtype=torch.float64)
    vectors = torch.cat([torch.eye(phi.shape[1], dtype=torch.float64)[units], nn.functional.normalize(drawn, dim=1)])
    best = (phi @ vectors.T).topk(min(count, len(phi)), 0)  # (k, D)
    return [Direction(v, best.values[:, i], best.indices[:, i]) for i, v in enumerate(vectors)]
