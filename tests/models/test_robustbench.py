"""Networks by RobustBench's names, from a stand-in of its table and small files in its format."""

import json
import sys
from enum import Enum
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advkit import evaluate, load_model
from advkit.cli import main
from advkit.core.errors import InputError


class Dataset(Enum):
    cifar_10 = "cifar10"
    cifar_100 = "cifar100"
    imagenet = "imagenet"


class Threat(Enum):
    Linf = "Linf"
    L2 = "L2"


class Net(nn.Module):
    """With its normalisation inside, as RobustBench has it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mu", torch.full((1, 3, 1, 1), 0.5))
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))

    def forward(self, x):
        return self.body(x - self.mu)


@pytest.fixture(autouse=True)
def zoo(monkeypatch, tmp_path):
    package, module = ModuleType("robustbench"), ModuleType("robustbench.model_zoo")
    entries = {"Carmon2019": {"model": Net, "gdrive_id": "abc"}, "Several": {"model": [Net, Net], "gdrive_id": ["a"]}}
    module.model_dicts = {Dataset.cifar_10: {Threat.Linf: entries}, Dataset.cifar_100: {}, Dataset.imagenet: {}}
    monkeypatch.setitem(sys.modules, "robustbench", package)
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", module)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("wrapped", ["plain", "module.", "state_dict"])
def test_a_file_as_it_is_published_is_read(zoo, wrapped):
    torch.manual_seed(1)
    net = Net().eval()
    state = {f"module.{k}" if wrapped != "plain" else k: v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state} if wrapped == "state_dict" else state, zoo / "file.pt")
    model = load_model("robustbench:Carmon2019", weights=zoo / "file.pt")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(x), net(x))
    assert not model.training
    assert model.card.input_shape == (3, 32, 32)
    assert model.card.num_classes == 10


def test_the_cache_of_robustbenchs_own_loader_is_read(zoo):
    home = zoo / "models" / "cifar10" / "Linf"
    home.mkdir(parents=True)
    net = Net()
    torch.save(net.state_dict(), home / "Carmon2019.pt")
    torch.testing.assert_close(load_model("robustbench:Carmon2019").net.body[0].weight, net.body[0].weight)


CARMON = {
    "link": "https://arxiv.org/abs/1905.13736",
    "name": "Unlabeled Data Improves Adversarial Robustness",
    "authors": "Yair Carmon, Aditi Raghunathan, Ludwig Schmidt, Percy Liang, John C. Duchi",
    "additional_data": True,
    "number_forward_passes": 1,
    "dataset": "cifar10",
    "venue": "NeurIPS 2019",
    "architecture": "WideResNet-28-10",
    "eps": "8/255",
    "clean_acc": "89.69",
    "reported": "62.5",
    "autoattack_acc": "59.53",
    "unreliable": False,
}
"""model_info/cifar10/Linf/Carmon2019Unlabeled.json, as published."""


def with_weights(zoo, told):
    for folder in ("models", "model_info"):
        (zoo / folder / "cifar10" / "Linf").mkdir(parents=True)
    torch.save(Net().state_dict(), zoo / "models" / "cifar10" / "Linf" / "Carmon2019.pt")
    (zoo / "model_info" / "cifar10" / "Linf" / "Carmon2019.json").write_text(told)


def test_published_figures_are_on_the_card_where_their_file_is(zoo):
    with_weights(zoo, json.dumps(CARMON))
    card = load_model("robustbench:Carmon2019").card
    assert card.clean_error == pytest.approx(0.1031)
    assert card.attack_errors == {"autoattack(norm=linf, eps=8/255)": pytest.approx(0.4047)}
    assert "Carmon" in card.paper
    data = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    report = evaluate(load_model("robustbench:Carmon2019"), data, ["fgsm(eps=8/255)"])
    assert "its card says: 10.3 % clean, 40.5 % under autoattack(norm=linf, eps=8/255)" in str(report)
    assert load_model("robustbench:Carmon2019", weights="random").card.clean_error is None


@pytest.mark.parametrize("told", ["{", "[]", "{}", json.dumps({**CARMON, "clean_acc": "x"}), "[" * 100_000])
def test_a_damaged_file_of_figures_is_one_line(zoo, told):
    with_weights(zoo, told)
    with pytest.raises(InputError, match="no model_info of RobustBench") as caught:
        load_model("robustbench:Carmon2019")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("robustbench:Carmon2019", "no weights of robustbench:Carmon2019 at models.*drive.google.com/file/d/abc"),
        ("robustbench:Carmon2020", "unknown network of robustbench for cifar10 and Linf 'Carmon2020'.*Carmon2019"),
        ("robustbench:Carmon2019(threat=L2)", "unknown network of robustbench for cifar10 and L2"),
        ("robustbench:Carmon2019(threat=linf)", "unknown threat model"),
        ("robustbench:Carmon2019(dataset=mnist)", "unknown data set of robustbench"),
        ("robustbench:Carmon2019(width=2)", "unknown option"),
    ],
)
def test_what_is_wrong_is_one_line(name, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(name, weights="random" if "width" in name else None)
    assert "\n" not in str(caught.value)


def test_several_networks_in_one_are_refused():
    with pytest.raises(InputError, match="several networks"):
        load_model("robustbench:Several", weights="random")


def test_a_builder_that_would_download_is_stopped(monkeypatch, tmp_path):
    def build():
        torch.hub.load_state_dict_from_url("https://example.org/w.pth", model_dir=str(tmp_path))
        return Net()

    table = sys.modules["robustbench.model_zoo"].model_dicts
    monkeypatch.setitem(table[Dataset.cifar_10][Threat.Linf], "Standard", {"model": build})
    before = torch.hub.download_url_to_file
    with pytest.raises(InputError, match=r"example\.org/w\.pth when it is built, and advkit downloads none"):
        load_model("robustbench:Standard", weights="random")
    assert torch.hub.download_url_to_file is before
    torch.save(Net().state_dict(), tmp_path / "w.pth")
    load_model("robustbench:Standard", weights="random")  # what is in the cache may be used


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "robustbench.model_zoo", None)
    with pytest.raises(InputError, match=r"pip install 'advkit\[robustbench\]'"):
        load_model("robustbench:Carmon2019", weights="random")


def test_the_command_names_it(zoo):
    done = CliRunner().invoke(main, ["attack", "--model", "robustbench:Carmon2019", "--data", "mnist5k"])
    assert done.exit_code == 2
    assert "weights" in done.output
