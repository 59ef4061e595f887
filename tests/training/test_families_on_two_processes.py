"""Every kind of network and every defence trains on two processes: the processes agree, and with one process too."""

import warnings
from dataclasses import replace

import pytest
import torch
from helpers.children import ranks
from helpers.training import toy_data

from advkit.data import MemoryDataset
from advkit.defenses import create_defense, list_defenses
from advkit.training import Recipe, build, train

BASE = Recipe(
    model="mlp", data="toy", input_shape=(1, 32, 32), num_classes=3, epochs=1, batch_size=8, lr=0.01, width=1 / 16
)
FIXED = "pgd(eps=0.1, steps=1, random_start=False)"
NETWORKS = {
    "googlenet": {"model": "googlenet", "defense": FIXED},
    "stn_cnn": {"model": "stn_cnn", "options": {"sampler": "nearest"}},
    "vgg11": {"model": "vgg11"},
}
CASES = NETWORKS | {name: {"defense": f"{name}(eps=0.1)"} for name in list_defenses() if name != "adversarial"}


def outcome(name):
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    recipe = replace(BASE, **CASES[name])
    loss = create_defense(recipe.defense) if recipe.defense else None
    model = build(recipe)
    train(model, images(16), recipe=recipe, loss=loss, test=images(4, "test"), device="cpu")
    return torch.cat([p.detach().flatten().double() for p in model.parameters()])


def images(n, split="train"):
    small = toy_data(n, split)
    x, y = small[torch.arange(n)]
    return MemoryDataset("toy", split, "abc", torch.nn.functional.interpolate(x, (32, 32)), y)


def rank(number, home):
    found = {}
    for name in CASES:
        try:
            found[name] = outcome(name)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    torch.save(found, home / f"{number}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    home = tmp_path_factory.mktemp("two")
    assert ranks(lambda number: rank(number, home), home) == [0, 0]
    return [torch.load(home / f"{number}.pt") for number in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_the_processes_agree(two, name):
    first, second = (found[name] for found in two)
    assert not isinstance(first, str), first
    assert torch.equal(first, second)
    assert first.isfinite().all()


@pytest.mark.parametrize("name", NETWORKS)
def test_two_processes_train_as_one(two, name):
    assert torch.allclose(two[0][name], outcome(name), atol=1e-4)
