"""Weights as other people's trainers save them, and factories as other people write them."""

import os
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from advkit.cli import main
from advkit.core import files
from advkit.core.errors import AdvkitWarning, InputError
from advkit.models import Classifier, load_model, save_checkpoint

X = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> Classifier:
    return load_model("lenet5", weights="random", width=0.5, device="cpu", seed=3)


def loaded(path: Path) -> Classifier:
    return load_model("lenet5", weights=path, width=0.5, device="cpu")


def prefixed(net: Classifier, prefix: str) -> dict[str, torch.Tensor]:
    return OrderedDict((prefix + name, tensor) for name, tensor in net.net.state_dict().items())


@pytest.mark.parametrize(
    "prefix", ["model.", "_orig_mod.", "module.net.", "_orig_mod.module.", "backbone.encoder.", "module._orig_mod.net."]
)
@pytest.mark.parametrize("key", ["net", "state_dict", "checkpoint.model", "whatever"])
def test_prefix_and_wrapping_are_found_by_matching_and_said(net, tmp_path, prefix, key):
    content = prefixed(net, prefix)
    for part in reversed(key.split(".")):
        content = {part: content, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.rand(3)}}}}
    torch.save(content, tmp_path / "w.pt")
    after = loaded(tmp_path / "w.pt")
    assert torch.equal(after(X), net(X))
    assert repr(key) in after.card.source
    assert "taken" in after.card.source


def test_names_that_wrappers_add_inside_are_taken_out(net, tmp_path):
    state = {name.replace("features.", "features.module."): t for name, t in net.net.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    after = loaded(tmp_path / "w.pt")
    assert torch.equal(after(X), net(X))
    assert "'module' taken out of the names" in after.card.source


def test_what_stands_beside_the_network_is_left_out_and_said(net, tmp_path):
    state = {**prefixed(net, "model."), "criterion.weight": torch.ones(10), "normalizer.mean": torch.rand(1)}
    torch.save({"state_dict": state, "hyper_parameters": {"lr": 0.1}}, tmp_path / "lightning.ckpt")
    with pytest.warns(AdvkitWarning, match=r"normalizer\.mean.*give mean= and std="):
        after = loaded(tmp_path / "lightning.ckpt")
    assert torch.equal(after(X), net(X))
    assert "left out criterion.weight and 1 more" in after.card.source


def test_a_network_inside_a_wrapper_of_its_own_takes_bare_names(net, tmp_path, monkeypatch):
    (tmp_path / "wrapped_net.py").write_text(
        "from collections import OrderedDict\nfrom torch import nn\n"
        "def make(): return nn.Sequential(OrderedDict(net=nn.Linear(2, 3)))\n"
    )
    monkeypatch.chdir(tmp_path)
    layer = nn.Linear(2, 3)
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    after = load_model("wrapped_net:make", weights=tmp_path / "w.pt", device="cpu")
    assert torch.equal(after.net.net.weight, layer.weight)
    assert "prefix 'net.' put before the names" in after.card.source


def test_of_a_network_and_its_average_the_network_is_taken_and_both_are_named(net, tmp_path):
    average = {name: tensor + 1 for name, tensor in net.net.state_dict().items()}
    torch.save({"state_dict_ema": average, "state_dict": net.net.state_dict()}, tmp_path / "timm.pth.tar")
    after = loaded(tmp_path / "timm.pth.tar")
    assert torch.equal(after(X), net(X))
    assert "'state_dict_ema' fits too" in after.card.source


def test_several_state_dicts_without_a_usual_name_are_named(net, tmp_path):
    state = net.net.state_dict()
    torch.save({"generator": state, "critic": state}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="several state dicts, critic, generator"):
        loaded(tmp_path / "w.pt")


def test_one_that_fits_is_taken_whatever_the_others_are_called(net, tmp_path):
    torch.save({"model": {"w": torch.rand(3)}, "student": net.net.state_dict()}, tmp_path / "w.pt")
    assert torch.equal(loaded(tmp_path / "w.pt")(X), net(X))


def test_the_content_decides_and_not_the_suffix(net, tmp_path):
    torch.save(net.net.state_dict(), tmp_path / "torch.safetensors")
    torch.save(net.net.state_dict(), tmp_path / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save(net.net.state_dict(), tmp_path / "none")
    save_file(net.net.state_dict(), tmp_path / "safe.pt")
    for file in ("torch.safetensors", "safe.pt", "none", "legacy.bin"):
        assert torch.equal(loaded(tmp_path / file)(X), net(X))


def test_a_checkpoint_with_a_card_names_its_network_under_any_suffix(net, tmp_path):
    save_checkpoint(tmp_path / "safe.weights", net, half=False)
    assert torch.equal(load_model(str(tmp_path / "safe.weights"), device="cpu")(X), net(X))


def test_a_network_that_is_more_than_ours_is_another_network(net, tmp_path):
    for prefix in ("", "module.", "model."):
        state = {**prefixed(net, prefix), f"{prefix}features.new": torch.rand(1)}
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(InputError, match=r"does not fit this network: it also has features\.new"):
            loaded(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: dict(enumerate(state.values())),
        lambda state: {k: t.to_sparse() for k, t in state.items()},
        lambda state: {k: t.to(torch.complex64) for k, t in state.items()},
        lambda state: {k: t * torch.nan for k, t in state.items()},
        lambda state: {k: t[..., :1] for k, t in state.items()},
        lambda state: {k: t.tolist() for k, t in state.items()},
        lambda state: {"x": torch.rand(3)},
    ],
    ids=["integer keys", "sparse", "complex", "nan", "cut", "lists", "foreign"],
)
def test_tensors_that_are_no_weights_get_one_line(net, tmp_path, spoil):
    torch.save(spoil(net.net.state_dict()), tmp_path / "w.pt")
    with pytest.raises(InputError) as caught:
        loaded(tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
    assert "w.pt" in str(caught.value)


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused_unread(tmp_path, monkeypatch):
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "w.pt", "w", 8) as packed:
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry.filename))
    monkeypatch.setattr(files, "HARMLESS", 10**6)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"unpacks to 4,00\d,\d{3}"):
        loaded(tmp_path / "w.pt")


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A factory that imports its neighbour when it is called, and another one when its network runs."""
    for name, text in {
        "far_neighbour": "number = 5",
        "last_neighbour": "factor = 1.0",
        "near": """
from torch import nn
class Net(nn.Sequential):
    def forward(self, x):
        import last_neighbour
        return super().forward(x) * last_neighbour.factor
def make(act="none", shape=(1,), scale=1.0):
    import far_neighbour
    assert shape == (1, 2) and act == "relu" and scale == .5
    return Net(nn.Flatten(), nn.Linear(1024, far_neighbour.number))
""",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    yield "near:make"
    for name in ("far_neighbour", "last_neighbour", "near"):
        sys.modules.pop(name, None)


def test_factories_take_options_in_brackets_and_find_their_neighbours(beside):
    made = load_model(f"{beside}(act=relu, shape=(1, 2), scale=1/2)", device="cpu")
    assert made(X).shape == (2, 5)


@pytest.mark.parametrize("name", ["timm:resnet18(", "torchvision:resnet18(3)", "a:b(c=)", "torchvision:resnet18(x=1"])
def test_broken_brackets_get_one_line(name):
    with pytest.raises(InputError, match="cannot read the model"):
        load_model(name, weights="random")


def test_torchvision_and_timm_take_options_in_brackets():
    assert load_model("torchvision:squeezenet1_1(num_classes=4)", weights="random", device="cpu").card.num_classes == 4
    with pytest.raises(InputError, match="clases"):
        load_model("torchvision:squeezenet1_1(num_classes=4, clases=2)", weights="random")
    pytest.importorskip("timm")
    made = load_model("timm:resnet18(in_chans=1, num_classes=7)", weights="random", device="cpu")
    assert made(X).shape == (2, 7)
    assert made.card.input_shape[0] == 1
    assert made.normalize.mean.numel() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_gets_images_in_it(dtype: torch.dtype) -> None:
    """The network's own type reaches it, whatever the statistics of the images."""
    kinds: list[torch.dtype] = []

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = nn.Linear(1024, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kinds.append(x.dtype)
            return self.f(x.flatten(1))

    made = Classifier(Half().to(dtype), mean=0.25, std=0.5)
    assert made(X.to(dtype)).dtype == dtype
    assert kinds == [dtype]


@pytest.mark.parametrize(("name", "code"), [("a", "3"), ("b", "'no weights here'"), ("c", ""), ("d", "0")])
def test_a_factory_that_ends_the_program_is_one_line(
    name: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"leaving_{name}.py").write_text(f"import sys\ndef make(): sys.exit({code})\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["attack", "--model", f"leaving_{name}:make", "--count", "2", "--no-picture"])
    assert done.exit_code == 2
    assert done.stderr == f"Error: leaving_{name}:make would have ended the program, by sys.exit({code or None})\n"
