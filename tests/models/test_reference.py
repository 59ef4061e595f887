"""Networks by reference: torchvision's, timm's and one's own; code runs only where the caller names it."""

import os
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.models import RANDOM, create_model, load_checkpoint, load_model, save_checkpoint
from advkit.models import _load as loading


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, which is not on the path."""
    text = """
from torch import nn
number = 3
def tiny(classes=4): return nn.Sequential(nn.Flatten(), nn.Linear(1024, classes))
def nothing(): return None
def needy(classes): return tiny(classes)
made = tiny(2)
def broken(): raise OSError("the factory's own error")
def short(): return {}["x"]
"""
    name = f"nets_{os.getpid()}_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_file_cannot_choose_code_to_run(tmp_path, code):
    loaded = load_model(f"{code}:tiny", device="cpu")
    save_checkpoint(tmp_path / "w.safetensors", loaded)
    for load in (load_checkpoint, load_model):
        with pytest.raises(InputError, match="building that runs its code: name it yourself"):
            load(str(tmp_path / "w.safetensors"))
    assert load_model(f"{code}:tiny", weights=tmp_path / "w.safetensors", device="cpu").card.name == f"{code}:tiny"


def test_torchvision_by_reference_has_its_published_normalisation():
    from torchvision import models

    loaded = load_model("torchvision:mobilenet_v3_small", weights="random", num_classes=7, device="cpu")
    assert loaded.normalize.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert loaded.normalize.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    assert loaded.card.input_shape == (3, 224, 224)
    assert loaded.card.num_classes == 7
    assert loaded.card.source == RANDOM
    assert isinstance(loaded.net, models.MobileNetV3)
    assert loaded(torch.rand(1, 3, 64, 64)).shape == (1, 7)


def test_a_checkpoint_of_a_torchvision_network_brings_it_back(tmp_path):
    before = load_model("torchvision:squeezenet1_1", weights="random", num_classes=3, device="cpu")
    save_checkpoint(tmp_path / "w.safetensors", before, half=False)
    after, x = load_checkpoint(tmp_path / "w.safetensors"), torch.rand(1, 3, 64, 64)
    assert torch.equal(after(x), before(x))
    torch.save(before.net.state_dict(), tmp_path / "w.pt")
    again = load_model("torchvision:squeezenet1_1", weights=tmp_path / "w.pt", num_classes=3, device="cpu")
    assert torch.equal(again(x), before(x))


def test_every_other_torchvision_classifier_can_be_reached_without_a_warning():
    with torch.device("meta"):
        for name in ("alexnet", "googlenet", "inception_v3", "resnet50", "vit_b_16"):
            assert create_model(f"torchvision:{name}").card.num_classes == 1000


def test_imagenet_weights_are_downloaded_only_if_asked(monkeypatch, tmp_path):
    from torchvision import models

    asked, state = [], {}

    def download(url: str, **_):
        asked.append(url)
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(InputError, match="torchvision:squeezenet1_1 needs weights: give 'imagenet'"):
        load_model("torchvision:squeezenet1_1")
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match="no weights of vgg11 for 'mnist5k' ship"):
        load_model("vgg11")
    assert asked == []
    net = models.squeezenet1_1()
    state.update(net.state_dict())
    theirs = load_model("torchvision:squeezenet1_1", weights="imagenet", device="cpu")
    assert all(torch.equal(theirs.net.state_dict()[k], v) for k, v in net.state_dict().items())
    with torch.device("meta"):
        shapes = models.vgg11().state_dict()
    state.clear()
    state.update({name: torch.zeros(tensor.shape) for name, tensor in shapes.items()})
    ours = load_model("vgg11", weights="imagenet", device="cpu")
    assert not any(p.any() for p in ours.parameters())
    assert ours.normalize.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert asked == [models.SqueezeNet1_1_Weights.DEFAULT.url, models.VGG11_Weights.DEFAULT.url]
    assert ours.card.source == "torchvision VGG11_Weights.IMAGENET1K_V1"
    assert ours.card.trained_on == theirs.card.trained_on == "imagenet:train"


@pytest.mark.parametrize("error", [OSError("<urlopen error no route to host>"), RuntimeError("invalid hash value")])
@pytest.mark.parametrize("name", ["vgg11", "torchvision:vgg11"])
def test_a_failed_download_says_in_one_line_what_to_do(monkeypatch, error, name):
    def download(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"cannot download .* https://\S+vgg11\S+ .*weights=FILE") as e,
    ):
        load_model(name, weights="imagenet", device="cpu")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("lenet5", "imagenet", "'imagenet' weights exist for vgg11, vgg13, vgg16, vgg19"),
        ("alexnet", "imagenet", "torchvision's own network of that name is 'torchvision:alexnet'"),
        ("torchvision:resnet51", None, "unknown torchvision classifier 'resnet51'; did you mean 'resnet50'"),
        ("torchvision:resnet51", "random", "unknown torchvision classifier 'resnet51'"),
        ("nowhere.at_all:net", None, "cannot import 'nowhere.at_all'"),
        (":net", None, "cannot import ''"),
        (
            "lenet5",
            "tradez",
            r"unknown weights 'tradez'; did you mean 'trades'\? \(no weights file or run is called so\)",
        ),
        ("torchvision:resnet18", "imagnet", "unknown weights 'imagnet'; did you mean 'imagenet'"),
        ("mlp", "zzz", "unknown weights 'zzz'; expected one of: imagenet, .*random"),
        ("math:pie", None, "module 'math' has no 'pie'"),
        ("math:pi", None, "expected math:pi to be a function or class"),
        ("math:tau", "imagenet", "'imagenet' weights exist for torchvision:NAME and timm:NAME"),
    ],
)
def test_a_wrong_reference_gets_one_clear_line(name, weights, message):
    with pytest.raises(InputError, match=message):
        load_model(name, weights=weights)


def test_options_that_choose_weights_are_refused():
    for option in ({"weights": "DEFAULT"}, {"pretrained": True}):
        with pytest.raises(InputError, match="choose the weights with load_model"):
            create_model("torchvision:resnet18", **option)
    with pytest.raises(InputError, match="torchvision:resnet18 does not take these options"):
        create_model("torchvision:resnet18", clases=3)


def test_a_factory_of_ones_own_is_run_and_named(code):
    loaded = load_model(f"{code}:tiny", mean=0.5, std=0.5, classes=3, device="cpu")
    assert loaded.card.source == f"built by {code}:tiny, whose code was run"
    assert loaded(torch.rand(2, 1, 32, 32)).shape == (2, 3)
    assert loaded.normalize.mean.item() == 0.5
    assert load_model(f"{code}:made", device="cpu")(torch.rand(2, 1, 32, 32)).shape == (2, 2)
    with pytest.raises(InputError, match=r"unknown option of .*:tiny 'clases'; did you mean 'classes'"):
        load_model(f"{code}:tiny", clases=3)
    with pytest.raises(InputError, match=r"to return a torch.nn.Module, got dict"):
        load_model("builtins:dict")
    with pytest.raises(InputError, match=":needy needs classes="):
        load_model(f"{code}:needy")
    with pytest.raises(InputError, match=r"to return a torch.nn.Module, got NoneType"):
        load_model(f"{code}:nothing")
    with pytest.raises(OSError, match="the factory's own error"):
        load_model(f"{code}:broken")
    with pytest.raises(KeyError) as caught:
        load_model(f"{code}:short")
    assert caught.value.__notes__ == [f"raised by the code of {code}:short"]
    assert sys.path[0] != os.getcwd() or len(sys.path) == 1  # installed modules come first


def test_timm_by_reference(monkeypatch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5))
    net.pretrained_cfg = {
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "input_size": (3, 8, 8),
        "license": "apache-2.0",
    }
    net.num_classes = 5
    timm = types.ModuleType("timm")
    timm.is_model = lambda name: name == "tiny"
    timm.list_models = lambda: ["tiny"]
    timm.create_model = lambda model_name, pretrained=False, **options: net
    monkeypatch.setitem(sys.modules, "timm", timm)
    loaded = load_model("timm:tiny.in1k", weights="imagenet", device="cpu")
    assert loaded.card.source == "timm tiny.in1k"
    assert loaded.card.input_shape == (3, 8, 8)
    assert loaded.card.licence == "apache-2.0"
    assert loaded(torch.rand(1, 3, 8, 8)).shape == (1, 5)
    with pytest.raises(InputError, match="unknown timm model 'tini'; did you mean 'tiny'"):
        load_model("timm:tini", weights="random")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="pip install 'advkit"):
        load_model("timm:tiny", weights="random")


def test_a_failed_download_of_timm_is_no_wrong_option(monkeypatch):
    class NotFoundError(FileNotFoundError, ValueError):  # what huggingface_hub raises is both
        pass

    def offline(model_name, pretrained=False):
        raise NotFoundError("cannot find the requested files")

    timm = types.ModuleType("timm")
    timm.is_model, timm.list_models, timm.create_model = bool, list, offline
    monkeypatch.setitem(sys.modules, "timm", timm)
    with pytest.raises(InputError, match=r"weights of timm:tiny \(cannot find"):
        load_model("timm:tiny", weights="imagenet")


def test_a_network_of_the_installed_timm_takes_its_normalisation_and_is_attacked():
    pytest.importorskip("timm")
    vit, resnet = (
        load_model(f"timm:{name}", weights="random", device="cpu") for name in ("vit_tiny_patch16_224", "resnet18")
    )
    assert vit.normalize.mean.flatten().tolist() == [0.5, 0.5, 0.5]
    assert resnet.normalize.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert resnet.card.input_shape == vit.card.input_shape == (3, 224, 224)
    x = torch.rand(1, 3, 64, 64)
    result = FGSM(eps=0.01)(resnet, x, resnet(x).argmax(1), stop="never")
    assert not result.zero_gradient.any()


def test_torchvisions_auxiliary_outputs_leave_one_tensor_of_logits():
    net = create_model("torchvision:googlenet", num_classes=3, init_weights=False, seed=0).train()
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 3)
