"""Checkpoints, and where weights come from; every wrong file gets one clear error that names it."""

import gzip
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

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


def test_a_card_says_which_defence_the_network_was_trained_with():
    said = load_model("lenet5", weights="pgd").card.describe()
    assert said.endswith("trained on mnist5k:train with pgd(eps=0.2, steps=5, step_size=0.08, alpha=0)")
    assert load_model("lenet5").card.describe().endswith("trained on mnist5k:train")


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
@pytest.mark.parametrize("key", [None, "state_dict", "model", "net", "model_state"])
def test_a_state_dict_of_torch_is_taken_with_its_usual_wrappings(net, tmp_path, x, prefix, key):
    state = {prefix + name: tensor for name, tensor in net.net.state_dict().items()}
    torch.save({key: state, "epoch": 3} if key else state, tmp_path / "w.pt")
    loaded = load_model("lenet5", weights=tmp_path / "w.pt", width=0.5)
    assert torch.equal(loaded(x), net(x))
    assert loaded.card.source.startswith(str(tmp_path / "w.pt"))
    assert (f"prefix {prefix!r} taken off" in loaded.card.source) == bool(prefix)
    assert (repr(key) in loaded.card.source) == (key is not None)
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
        "garbage.pt": "begins as no such file",
        "empty.pt": "begins as no such file",
        "text.pt": "begins as no such file",
        **others_taken_for_weights(folder, good, card),
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


def others_taken_for_weights(folder: Path, good: dict[str, torch.Tensor], card: dict[str, str]) -> dict[str, str]:
    """What downloads and scripts leave under the name of weights: file name -> what its error says."""
    for suffix in ("pt", "safetensors"):
        (folder / f"pointer.{suffix}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:a\nsize 9\n")
        (folder / f"page.{suffix}").write_text("\n<!DOCTYPE html><html>404</html>")
        (folder / f"packed.{suffix}").write_bytes(gzip.compress(b"x"))
    (folder / "lists.pt").write_bytes(pickle.dumps({"numpy": __file__}))
    with open(folder / "arrays.pt", "wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in good.items()})
    with zipfile.ZipFile(folder / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
    save_file({name: value > 0 for name, value in good.items()}, folder / "bool.safetensors", card)
    save_file({name: (9 * value).to(torch.int8) for name, value in good.items()}, folder / "int8.safetensors", card)
    said = {"pointer": "`git lfs pull`", "page": "is a web page", "packed": "unpack it first"}
    return {
        **{f"{name}.{suffix}": message for name, message in said.items() for suffix in ("pt", "safetensors")},
        "lists.pt": "holds pickled Python objects",
        "arrays.pt": r"NumPy arrays: .*torch\.save\(\{name: tensor",
        "script.pt": r"TorchScript: .*torch\.save\(model\.state_dict",
        "bool.safetensors": "holds torch.bool, expected torch.float32",
        "int8.safetensors": "holds torch.int8, expected torch.float32",
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
