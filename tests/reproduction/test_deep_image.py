"""Deep Image's augmentations one by one: what is trained, and what is shown."""

import pytest
import torch

from advkit.core.draws import Draws
from advkit.data import load_data
from advkit.models import create_model
from advkit.reproduction.papers.deep_image import CLEAN, NONE, ONE_BY_ONE, TABLE, TOGETHER, _measure, changes
from advkit.reproduction.study import declared
from advkit.training.augment import deep_image

DATA = "mnist5k(channels=3)"


@pytest.mark.parametrize(("budget", "side"), [("small", 32), ("paper", 224)])
def test_networks_differ_in_their_augmentation_alone(budget, side):
    trainings = declared("deep_image", budget).trainings
    assert {row: training.recipe.augment for row, training in trainings.items()} == {NONE: None, **changes(side)}
    assert len({str(training.recipe).replace(str(training.recipe.augment), "") for training in trainings.values()}) <= 2


def test_the_changes_are_the_papers_without_the_mirror():
    assert tuple(ONE_BY_ONE.values()) == deep_image().parts[:-1]
    assert changes(32)[TOGETHER].parts == deep_image().parts[:-1]
    assert changes(32)["mirror"] == deep_image().parts[-1]


def test_the_changes_keep_the_size_and_move_by_shares_of_it():
    for side in (32, 224):
        x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        shown = {name: change(x, Draws(0, torch.arange(2))) for name, change in changes(side).items()}
        assert {image.shape for image in shown.values()} == {x.shape}
        assert all(not torch.equal(shown[name], x) for name in ("mirror", "crop", "scales"))
        assert changes(side)["crop"].padding * 8 == side


def test_every_error_is_that_on_images_changed_once_and_differs_by_seed():
    network = create_model("lenet5", input_shape=(3, 32, 32), seed=0).eval()
    found = _measure({NONE: network}, 3, data=DATA)
    assert set(found) == {TABLE.cell(NONE, column) for column in TABLE.columns}
    x, y = load_data(DATA)[:]
    for column, shown in ((CLEAN, x), ("stretch", changes(32)["stretch"](x, Draws(3, torch.arange(len(x)))))):
        with torch.no_grad():
            missed = (network(shown).argmax(1) != y).double()
        assert list(found[TABLE.cell(NONE, column)].samples) == missed.tolist()
    other = _measure({NONE: network}, 4, data=DATA)
    assert found[TABLE.cell(NONE, CLEAN)] == other[TABLE.cell(NONE, CLEAN)]
    assert any(found[cell].samples != other[cell].samples for cell in found)
