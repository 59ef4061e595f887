"""Co-localisation: what counts as found, by whom and of which class."""

import math

import pytest
import torch

from advkit.data import load_data
from advkit.insight import load_colocaliser
from advkit.models import Classifier
from advkit.reproduction.papers.jaderberg_colocalisation import (
    ALL,
    ALONE,
    BY_CHANCE,
    CLUTTERED,
    FRAME,
    TABLE,
    _measure,
    crops_by_chance,
    found_by_class,
    localiser,
)
from advkit.reproduction.study import declared
from advkit.training import build

DATA = {ALONE: "distorted_mnist(variant=cluttered, patches=0)", CLUTTERED: "distorted_mnist:cluttered"}


def test_the_co_localiser_that_ships_finds_nearly_all_and_chance_few():
    """Half an overlap of squares of 28 pixels that are shifted by d: (28 - |dx|)(28 - |dy|) / union >= 1/2."""
    net = Classifier(load_colocaliser())
    found = _measure({ALONE: net, CLUTTERED: net}, 0, data=DATA)
    assert found[TABLE.cell(ALL, CLUTTERED)].value > 0.98
    assert found[TABLE.cell(ALL, ALONE)].value > 0.9
    shift = (torch.arange(33)[:, None] - 32 * torch.rand(4000, generator=torch.Generator().manual_seed(0))).abs()
    one = (28 - shift).clamp(min=0).flatten()
    order = torch.randperm(len(one), generator=torch.Generator().manual_seed(1))
    common = one * one[order]
    expected = (common / (2 * 28**2 - common) >= 0.5).double().mean().item()
    for column in DATA:
        assert found[TABLE.cell(BY_CHANCE, column)].value == pytest.approx(expected, abs=4 * math.sqrt(expected / 1000))
    assert set(found) == {TABLE.cell(row, column) for row in TABLE.printed for column in TABLE.columns}


def test_a_class_counts_its_own_digits_alone():
    found = found_by_class(torch.tensor([1.0, 0, 1, 1]), torch.tensor([3, 3, 0, 3]), ALONE)
    assert found[TABLE.cell("3", ALONE)].value == pytest.approx(2 / 3)
    assert found[TABLE.cell("0", ALONE)].value == 1
    assert found[TABLE.cell(ALL, ALONE)].value == 0.75
    assert math.isnan(found[TABLE.cell("7", ALONE)].value)


def test_crops_by_chance_fill_the_canvas_and_differ_by_seed():
    boxes = crops_by_chance(5000, 60, 0)
    assert boxes.shape == (5000, 4)
    assert (boxes.min() >= 0) & (boxes.max() <= 60)
    torch.testing.assert_close(boxes[:, 2:] - boxes[:, :2], torch.full((5000, 2), float(FRAME)))
    assert boxes[:, :2].min() < 0.1
    assert boxes[:, 2:].max() > 59.9
    assert not torch.equal(boxes, crops_by_chance(5000, 60, 1))


@pytest.mark.parametrize(("budget", "side"), [("small", 60), ("paper", 84)])
def test_networks_start_in_the_middle_and_differ_by_seed(budget, side):
    recipe = declared("jaderberg_colocalisation", budget).trainings[CLUTTERED].recipe
    net, other = build(recipe), build(recipe, seed=1)
    x = torch.rand(2, 1, side, side)
    low, high = (side - FRAME) / 2, (side + FRAME) / 2
    torch.testing.assert_close(net.net.boxes(x), torch.tensor([[low, low, high, high]]).expand(2, 4))
    assert net.card.input_shape == (1, side, side)
    assert any(not torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    assert localiser(input_shape=(1, side, side)).net.side == side


def test_the_boxes_of_a_digit_alone_hold_all_of_its_ink():
    digits = load_data(DATA[ALONE])
    x, _ = digits[:50]
    for image, (top, left, bottom, right) in zip(x, digits.boxes(torch.arange(50)).long().tolist(), strict=True):
        image[:, top:bottom, left:right] = 0
        assert not image.any()
