"""Checkpoints, where weights come from, networks by reference; every wrong file gets one clear error that names it."""

import json
import os
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.models import (
    RANDOM,
    SHIPPED,
    Card,
    Classifier,
    create_model,
    list_models,
    load_checkpoint,
    load_model,
    read_card,
    save_checkpoint,
    shipped,
)
from advkit.models import _load as loading

TINY = {"input_shape": (1, 32, 32), "num_classes": 10, "width": 0.05}


@pytest.fixture
def net() -> Classifier:
    classifier = create_model("lenet5", seed=3, width=0.5)
    classifier.card = replace(
        classifier.card, data="mnist5k", trained_on="mnist5k:train", recipe="lenet5-mnist5k", clean_error=0.0125,
        fgsm_error={0.1: 0.5, 0.25: 0.9},
    )  # fmt: skip
    return classifier.eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))


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
"""
    name = f"nets_{os.getpid()}_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("name", list_models())
def test_a_checkpoint_brings_back_every_network(name, tmp_path, x):
    before = create_model(name, **TINY, mean=0.2, std=0.4, seed=0).eval()
    save_checkpoint(tmp_path / "w.safetensors", before, half=False)
    after = load_checkpoint(tmp_path / "w.safetensors")
    assert torch.equal(after(x), before(x))
    assert after.card == replace(before.card, source=str(tmp_path / "w.safetensors"))
    assert all(p.dtype == torch.float32 for p in after.parameters())


def test_half_stores_matrices_in_16_bits_and_loads_them_as_float32(net, tmp_path, x):
    save_checkpoint(tmp_path / "w.safetensors", net)
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        kinds = {file.get_tensor(k).dtype for k in file.keys() if k.endswith("weight")}  # noqa: SIM118
    assert kinds == {torch.float16}
    after = load_checkpoint(tmp_path / "w.safetensors")
    assert all(p.dtype == torch.float32 for p in after.parameters())
    for a, b in zip(after.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=5e-4, atol=1e-6)
    save_checkpoint(tmp_path / "again.safetensors", after, net.card)
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "w.safetensors").read_bytes()


def test_a_weight_beyond_16_bits_is_kept_whole(net, tmp_path):
    with torch.no_grad():
        net.net.classifier.f6.weight[0, 0] = 1e6
    save_checkpoint(tmp_path / "w.safetensors", net)
    assert load_checkpoint(tmp_path / "w.safetensors").net.classifier.f6.weight[0, 0] == 1e6


def test_the_card_survives_the_file(net, tmp_path):
    save_checkpoint(tmp_path / "w.safetensors", net)
    card = read_card(tmp_path / "w.safetensors")
    assert card == net.card
    assert card.fgsm_error == {0.1: 0.5, 0.25: 0.9}
    assert card.options["input_shape"] == (1, 32, 32)
    assert card.describe() == f"lenet5, width 1/2, {card.parameters:,} parameters, trained on mnist5k:train"
    assert Card.from_json(json.dumps({**json.loads(card.to_json()), "of_a_later_version": 1})) == card


def test_loading_leaves_the_global_random_state_alone(net, tmp_path):
    save_checkpoint(tmp_path / "w.safetensors", net)
    state = torch.get_rng_state()
    load_model("lenet5", weights=tmp_path / "w.safetensors")
    load_model("lenet5", weights="random")
    assert torch.equal(state, torch.get_rng_state())


def test_weights_are_taken_from_a_file_a_run_folder_or_the_name_alone(net, tmp_path, x):
    save_checkpoint(tmp_path, net, half=False)
    for model, weights in [("lenet5", tmp_path), ("lenet5", tmp_path / "model.safetensors"), (str(tmp_path), None),
                           (str(tmp_path / "model.safetensors"), None)]:  # fmt: skip
        loaded = load_model(model, weights=weights, device="cpu")
        assert torch.equal(loaded(x), net(x))
        assert not loaded.training
        assert loaded.card.trained_on == "mnist5k:train"
        assert str(tmp_path) in loaded.card.source


@pytest.mark.parametrize("prefix", ["", "net.", "module.net.", "module."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_state_dict_of_torch_is_taken_with_its_usual_wrappings(net, tmp_path, x, prefix, key):
    state = {prefix + name: tensor for name, tensor in net.net.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pt")
    loaded = load_model("lenet5", weights=tmp_path / "w.pt", width=0.5)
    assert torch.equal(loaded(x), net(x))
    assert loaded.card.source == str(tmp_path / "w.pt")
    assert loaded.card.seed is None


def test_random_weights_say_so_and_repeat():
    first, second = (load_model("lenet5", weights="random", device="cpu") for _ in range(2))
    assert first.card.source == RANDOM
    assert first.card.trained_on is None
    assert not first.training
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_shipped_checkpoint_is_the_default(net, tmp_path, monkeypatch, x):
    monkeypatch.setattr(loading, "WEIGHTS", tmp_path)
    with pytest.raises(
        InputError, match=r"no weights of lenet5 for 'mnist5k' ship with advkit .*none.*advkit train.*'random'"
    ):
        load_model("lenet5")
    save_checkpoint(tmp_path / "lenet5-mnist5k.safetensors", net, half=False)
    loaded = load_model("lenet5")
    assert torch.equal(loaded.cpu()(x), net(x))
    assert loaded.card.source == SHIPPED
    assert shipped("lenet5") == {"mnist5k": replace(net.card, source=SHIPPED)}
    with pytest.raises(InputError, match=r"for 'svhn' ship with advkit \(data sets with weights: mnist5k\)"):
        load_model("lenet5", data="svhn")
    with pytest.raises(InputError, match=r"does not fit .* it was saved as lenet5, width 1/2"):
        load_model("lenet5", width=1.0)


@pytest.mark.parametrize("name", [n for n in list_models() if shipped(n)])
def test_every_shipped_checkpoint_loads_offline_and_is_small(name):
    for data, card in shipped(name).items():
        assert (loading.WEIGHTS / f"{name}-{data}.safetensors").stat().st_size <= 2_000_000
        loaded = load_model(name, data=data, device="cpu")
        assert loaded.card == card
        assert card.trained_on == f"{data}:train"
        assert card.clean_error is not None
        assert loaded(torch.rand(1, *card.input_shape)).shape == (1, card.num_classes)


def test_nothing_unpickles_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"weight": Bomb()}))
    torch.save({"weight": Bomb()}, tmp_path / "zip.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for file in ("bomb.pt", "zip.pt", "module.pt"):
        with pytest.raises(InputError, match=rf"{file} (holds pickled Python objects|is not a weights file)"):
            load_model("lenet5", weights=tmp_path / file)
    assert not (tmp_path / "exploded").exists()


def test_a_file_cannot_choose_code_to_run(tmp_path, code):
    loaded = load_model(f"{code}:tiny", device="cpu")
    save_checkpoint(tmp_path / "w.safetensors", loaded)
    for load in (load_checkpoint, load_model):
        with pytest.raises(InputError, match="building that runs its code: name it yourself"):
            load(str(tmp_path / "w.safetensors"))
    assert load_model(f"{code}:tiny", weights=tmp_path / "w.safetensors", device="cpu").card.name == f"{code}:tiny"


def broken_files(folder: Path, net: Classifier) -> dict[str, str]:
    """File name -> what its error says."""
    good = net.net.state_dict()
    card = {"advkit_card": net.card.to_json()}
    shifted = {**good, "features.c1.weight": torch.zeros(4, 1, 5, 5)}
    save_file(good, folder / "missing.safetensors", {"advkit_card": net.card.to_json()})
    (folder / "garbage.safetensors").write_bytes(b"not a tensor in sight")
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "garbage.pt").write_bytes(b"\x00\x01garbage")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_text("hello")
    torch.save([1, 2, 3], folder / "list.pt")
    torch.save({}, folder / "nothing.pt")
    torch.save({"epoch": 3}, folder / "number.pt")
    save_file({k: v for k, v in good.items() if "c1" not in k}, folder / "missing.safetensors", card)
    save_file({**good, "new": torch.zeros(1)}, folder / "extra.safetensors", card)
    save_file(shifted, folder / "shape.safetensors", card)
    save_file(
        {**good, "features.c1.bias": torch.full_like(good["features.c1.bias"], torch.nan)},
        folder / "nan.safetensors",
        card,
    )
    save_file(good, folder / "card.safetensors", {"advkit_card": "[1]"})
    save_file(good, folder / "unnamed.safetensors", {"advkit_card": "{}"})
    save_file(good, folder / "other.safetensors", {"advkit_card": replace(net.card, name="vgg16").to_json()})
    return {
        "none.safetensors": "no weights at",
        "garbage.safetensors": "is not a safetensors file",
        "empty.safetensors": "is not a safetensors file",
        "garbage.pt": "pickled Python objects|is not a weights file",
        "empty.pt": "is not a weights file",
        "text.pt": "pickled Python objects|is not a weights file",
        "list.pt": "holds no state dict",
        "nothing.pt": "holds no state dict",
        "number.pt": "holds no state dict",
        "missing.safetensors": "does not fit this network: it lacks features.c1.weight and 1 more",
        "extra.safetensors": "it also has new",
        "shape.safetensors": r"expected features.c1.weight of \(3, 1, 5, 5\), got \(4, 1, 5, 5\)",
        "nan.safetensors": "features.c1.bias holds NaN or infinity",
        "card.safetensors": "expected a model card in JSON",
        "unnamed.safetensors": "expected a model card in JSON",
        "other.safetensors": "holds weights of 'vgg16', expected 'lenet5'",
    }


def test_a_wrong_file_gets_one_clear_line(net, tmp_path):
    for file, message in broken_files(tmp_path, net).items():
        with pytest.raises(InputError, match=message) as caught:
            load_model("lenet5", weights=tmp_path / file)
        assert "\n" not in str(caught.value), file
        assert file in str(caught.value) or "card" in message, file


def test_weights_that_do_not_fit_leave_the_network_as_it_was(net, tmp_path):
    from advkit.models._checkpoint import fill

    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(InputError):
        fill(net.net, {**net.net.state_dict(), "features.c1.bias": torch.zeros(9)}, "file")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_failed_save_leaves_no_half_file(net, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("advkit.core.files.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path / "w.safetensors", net)
    assert list(tmp_path.iterdir()) == []


def test_a_weights_file_as_the_model_needs_a_card(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match="says not which network it belongs to"):
        load_model(str(tmp_path / "w.pt"))
    save_checkpoint(tmp_path / "w.safetensors", net)
    with pytest.raises(InputError, match="give a name, or one file"):
        load_model(str(tmp_path / "w.safetensors"), weights="random")


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpu:", ""])
def test_an_unknown_device_gets_one_clear_line(device):
    with pytest.raises(InputError, match="expected 'auto', 'cpu' or a GPU") as caught:
        load_model("lenet5", weights="random", device=device)
    assert "\n" not in str(caught.value)


def test_auto_takes_a_gpu_if_there_is_one():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert next(load_model("lenet5", weights="random").parameters()).device.type == expected


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
    assert "" not in sys.path or sys.path[0] == ""


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
