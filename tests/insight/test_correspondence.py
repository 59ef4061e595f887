"""Correspondence between parts: networks and images for which the distances are known."""

import pytest
import torch
from torch import nn

from advkit.core.errors import InputError, UnknownNameError
from advkit.insight import correspondence
from advkit.insight.correspondence import random_boxes


class Quarters(nn.Module):
    """One unit for each quarter of an 8x8 image, the sum of its pixels; `sums` is the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.sums = nn.AvgPool2d(4, divisor_override=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sums(x).flatten(1)


QUARTER = [(0, 0, 4, 4), (0, 4, 4, 8), (4, 0, 8, 4), (4, 4, 8, 8)]


def test_the_distances_of_a_network_that_sees_quarters_are_known():
    """Hiding quarter q lowers unit q alone: two of four signs differ between images unless they share q."""
    x = torch.rand(3, 1, 8, 8) * 0.5 + 0.5
    parts = {
        "same": [QUARTER[1]] * 3,
        "two alike": [QUARTER[0], QUARTER[0], QUARTER[3]],
        "all apart": [QUARTER[0], QUARTER[1], QUARTER[2]],
    }
    found = correspondence(Quarters(), x, parts, layer="sums", value=0.0, random=4)
    assert found.names == tuple(parts)
    assert found.distances.tolist() == [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0.5, 0.5]]
    assert found.mean.tolist() == pytest.approx([0, 1 / 3, 0.5])


def test_a_change_up_and_a_change_down_differ():
    x = torch.stack([torch.ones(1, 8, 8), torch.zeros(1, 8, 8)])  # grey darkens the first and lightens the second
    found = correspondence(Quarters(), x, {"a": [QUARTER[2]] * 2}, layer="sums", random=3)
    assert found.distances.tolist() == [[0.25]]


def test_a_detector_that_follows_the_part_relates_it_wherever_it_lies():
    """The largest product with the part's pattern over the image: it falls if the part is hidden, and only then."""
    generator = torch.Generator().manual_seed(0)
    x = 0.2 * torch.rand(6, 1, 16, 16, generator=generator)
    corners = torch.randint(12, (6, 2), generator=generator).tolist()
    boxes = [(r, c, r + 4, c + 4) for r, c in corners]
    for image, (top, left, bottom, right) in zip(x, boxes, strict=True):
        image[:, top:bottom, left:right] = 1
    net = nn.Sequential(nn.Conv2d(1, 1, 4, bias=False), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    nn.init.ones_(net[0].weight)
    found = correspondence(net, x, {"part": boxes}, layer="2", value=0.0, random=30)
    assert found.mean.tolist() == [0]
    assert found.rank.item() == int((found.random_mean == 0).sum())
    assert found.random_mean.mean() > 0.2  # some boxes meet the part and some do not
    assert found.random.shape == (30, 15)


def test_random_boxes_have_the_sizes_of_the_parts_and_fill_the_image():
    parts = [[(0, 0, 3, 5)] * 2, [(2, 2, 10, 4)] * 2]
    boxes = random_boxes(parts, (10, 12), count=400, seed=0)
    assert boxes.shape == (400, 2, 4)
    extent = boxes[..., 2:] - boxes[..., :2]
    assert extent[::2].reshape(-1, 2).unique(dim=0).tolist() == [[3, 5]]
    assert extent[1::2].reshape(-1, 2).unique(dim=0).tolist() == [[8, 2]]
    assert boxes.amin((0, 1)).tolist()[:2] == [0, 0]
    assert boxes[..., 2:].amax((0, 1)).tolist() == [10, 12]
    assert boxes[::2, :, 0].unique().tolist() == list(range(8))
    assert not torch.equal(boxes[:, 0], boxes[:, 1])
    assert not torch.equal(boxes, random_boxes(parts, (10, 12), count=400, seed=1))


def test_the_network_and_the_images_are_left_as_they_were():
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train(), torch.rand(2, 1, 8, 8)
    before = x.clone()
    a, b = (correspondence(net, x, {"a": [QUARTER[0]] * 2}, layer="2", random=2) for _ in range(2))
    assert torch.equal(a.distances, b.distances)
    assert torch.equal(a.random, b.random)
    assert torch.equal(x, before)
    assert net.training
    assert net[1].num_batches_tracked == 0


@pytest.mark.parametrize(
    ("count", "parts", "message"),
    [
        (1, {"a": [(0, 0, 2, 2)]}, "two images or more"),
        (2, {}, "one part or more, got 2 and 0"),
        (2, {"nose": [(0, 0, 2, 2)]}, "a box of part 'nose' in each of 2 images, got 1"),
        (2, {"nose": [(0, 0, 2, 2), (4, 4, 4, 6)]}, "within 8x8 pixels"),
        (2, {"nose": [(0, 0, 2, 2), (4, 4, 6, 9)]}, "within 8x8 pixels"),
    ],
)
def test_wrong_parts_are_named(count, parts, message):
    with pytest.raises(InputError, match=message):
        correspondence(Quarters(), torch.rand(count, 1, 8, 8), parts, layer="sums")
    with pytest.raises(UnknownNameError, match="did you mean 'sums'"):
        correspondence(Quarters(), torch.rand(2, 1, 8, 8), {"a": [QUARTER[0]] * 2}, layer="sum")
