"""Under `torch.set_default_device` the images and the network keep their device, and so does all that is made of them.

The device "meta" stands in for a GPU: a tensor that strays there has no values.
"""

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import advkit
from advkit import evaluate
from advkit.attacks import create_attack, list_attacks
from advkit.core.norms import get_norm
from advkit.data import MemoryDataset, load_data
from advkit.data._stream import chosen
from advkit.defenses import Smoothed, Transformed, list_transforms

SHORT = {
    "steps": 2,
    "queries": 20,
    "max_queries": 20,
    "searches": 1,
    "restarts": 1,
    "epochs": 1,
    "population": 8,
    "generations": 2,
}
X, Y = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(576, 4)).eval()


@pytest.fixture
def elsewhere(network: nn.Module) -> Iterator[None]:
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", list_attacks())
def test_an_attack_runs_where_its_images_are(name: str, network: nn.Module) -> None:
    factory = create_attack(name)
    options = {field.name for field in dataclasses.fields(factory)} & SHORT.keys()  # type: ignore[arg-type]
    attack = create_attack(name, **{option: SHORT[option] for option in options})
    result = attack(
        network, X, Y, **({"eps": max(0.1, get_norm(attack.norm).grain)} if attack.kind == "budget" else {})
    )
    assert result.x_adv.device == X.device
    assert result.x_adv.shape == X.shape


@pytest.mark.parametrize("room", ["core", "attacks", "data", "evaluation"])
def test_no_tensor_of_our_own_is_made_without_a_device(room: str) -> None:
    made = {
        "tensor",
        "zeros",
        "ones",
        "full",
        "empty",
        "arange",
        "eye",
        "rand",
        "randn",
        "linspace",
        "randperm",
        "randint",
    }
    loose = []
    for file in (Path(advkit.__file__).parent / room).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"torch.{name}" for name in made}:
                given = {keyword.arg for keyword in node.keywords}
                loose += [] if given & {"device", "out", None} else [f"{file.name}:{node.lineno}"]
    assert loose == []


@pytest.mark.usefixtures("elsewhere")
def test_data_are_read_and_chosen() -> None:
    data = load_data("mnist5k")
    for x, _ in (
        data[:3],
        data[[0, 1]],
        data[torch.tensor([4], device="cpu")],
        data[torch.zeros(1000, device="cpu") > 0],
    ):
        assert x.device.type == "cpu"
    assert float(data[0][0].max()) == 1
    assert all(chosen(9, count).device.type == "cpu" for count in (None, 4))


@pytest.mark.usefixtures("elsewhere")
def test_an_evaluation_gives_the_figures_of_any_other(network: nn.Module, tmp_path: Path) -> None:
    data, attacks = MemoryDataset("mine", "test", ["a", "b", "c"], X, Y), ["pgd(steps=3, eps=0.1)"]
    with torch.device("cpu"):
        expected = evaluate(network, data, attacks)
    for found in (
        evaluate(network, data, attacks, count=4, checks=True),
        evaluate(network, (X, Y), attacks),
        evaluate(network, data, attacks, output=tmp_path, checks=False),
    ):
        assert found.robust_accuracy == expected.robust_accuracy


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", list_transforms())
def test_transforms_and_smoothing_answer(name: str, network: nn.Module) -> None:
    assert Transformed(network, name)(X).device == X.device
    assert Smoothed(network, sigma=0.1).certify(X, n0=4, n=8, alpha=0.01).classes.device == X.device
