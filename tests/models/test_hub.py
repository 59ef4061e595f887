"""Networks of the Hugging Face hub, from small files laid out as its cache keeps them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from advkit import evaluate, load_model
from advkit.attacks import FGSM
from advkit.cli import main
from advkit.core.classify import classify
from advkit.core.errors import InputError
from advkit.core.outputs import Output
from advkit.models import create_model, save_checkpoint
from advkit.models._hub_images import preprocessing

hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROCESSOR = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "size": 8}
VIT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
TIMM = {
    "architecture": "resnet10t",
    "num_classes": 3,
    "model_args": {"layers": [1, 1, 1, 1], "in_chans": 3},
    "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "input_size": [3, 32, 32], "license": "mit"},
}


class Repository:
    """A repository in the cache: blobs by their digest, a snapshot of links, and the branch main."""

    def __init__(self, cache: Path, name: str = "org/net") -> None:
        self.home = cache / f"models--{name.replace('/', '--')}"
        self.snapshot = self.home / "snapshots" / COMMIT
        for part in (self.snapshot, self.home / "blobs", self.home / "refs"):
            part.mkdir(parents=True)
        (self.home / "refs" / "main").write_text(COMMIT)

    def add(self, name: str, content: bytes) -> None:
        blob = self.home / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (self.snapshot / name).unlink(missing_ok=True)
        (self.snapshot / name).symlink_to(blob)

    def json(self, name: str, content: object) -> None:
        self.add(name, json.dumps(content).encode())

    def read(self, name: str) -> bytes:
        return (self.snapshot / name).read_bytes()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("nothing is downloaded unless asked"))
    return tmp_path / "hub"


@pytest.fixture
def vit(cache, tmp_path):
    """A tiny vision transformer as transformers saves it, and the network itself."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    net = transformers.ViTForImageClassification(
        transformers.ViTConfig(**VIT, image_size=8, patch_size=4, num_labels=3)
    ).eval()
    net.save_pretrained(tmp_path / "saved")
    found = Repository(cache)
    found.json("preprocessor_config.json", PROCESSOR)
    for name in ("config.json", "model.safetensors"):
        found.add(name, (tmp_path / "saved" / name).read_bytes())
    return found, net


@pytest.fixture
def resnet(cache, tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    net = timm.create_model("resnet10t", num_classes=3).eval()
    found = Repository(cache, "timm/tiny.in1k")
    found.json("config.json", TIMM)
    save_file(net.state_dict(), tmp_path / "file.safetensors")
    found.add("model.safetensors", (tmp_path / "file.safetensors").read_bytes())
    return found, net


def normalised(x, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5)):
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_a_network_of_transformers_gives_its_logits_and_names_the_commit(vit):
    model = load_model("hf:org/net", device="cpu")
    x = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(model(x), vit[1](normalised(x)).logits)
    assert model.card.name == f"hf:org/net@{COMMIT}"
    assert COMMIT in model.card.source
    assert COMMIT in model.card.describe()
    assert (model.card.input_shape, model.card.num_classes, model.training) == ((3, 8, 8), 3, False)
    report = evaluate(model, (x, torch.tensor([0, 1, 2, 0])), [FGSM(eps=0.1)])
    assert report.count == 4


def test_the_revision_may_be_given(vit):
    found, _ = vit
    (found.home / "refs" / "v1").write_text(COMMIT)
    for revision in ("main", "v1", COMMIT):
        assert load_model(f"hf:org/net@{revision}").card.name == f"hf:org/net@{COMMIT}"
    with pytest.raises(InputError, match="org/net at v2 is not in the hub's cache"):
        load_model("hf:org/net@v2")


def test_the_name_on_the_card_builds_the_network_again(vit, tmp_path):
    model = load_model("hf:org/net", device="cpu")
    save_checkpoint(tmp_path / "own.safetensors", model, half=False)
    again = load_model(str(tmp_path / "own.safetensors"), device="cpu")
    other = load_model(model.card.name, weights=tmp_path / "own.safetensors", device="cpu")
    x = torch.rand(2, 3, 8, 8)
    for copy in (again, other):
        torch.testing.assert_close(copy(x), model(x))
    untrained = create_model("hf:org/net", seed=1)
    assert (untrained(x) - model(x)).abs().max() > 0
    assert untrained.card.source.startswith("random")


def test_weights_in_several_files_and_in_halves_are_read(vit, tmp_path):
    from safetensors.torch import load_file

    found, net = vit
    state = {key: value.half() for key, value in load_file(found.snapshot / "model.safetensors").items()}
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, own in parts.items():
        save_file({name: state[name] for name in own}, tmp_path / file)
        found.add(file, (tmp_path / file).read_bytes())
    found.json(
        "model.safetensors.index.json", {"weight_map": {name: file for file, own in parts.items() for name in own}}
    )
    (found.snapshot / "model.safetensors").unlink()
    x = torch.rand(2, 3, 8, 8)
    model = load_model("hf:org/net", device="cpu")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    torch.testing.assert_close(model(x), net(normalised(x)).logits, rtol=0.01, atol=0.01)


def test_a_folder_of_save_pretrained_is_read_as_it_is(vit, tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    x = torch.rand(2, 3, 8, 8)
    monkeypatch.chdir(tmp_path)
    for name in (f"hf:{folder}", "hf:./saved"):
        torch.testing.assert_close(load_model(name, device="cpu")(x), vit[1](normalised(x)).logits)
    with pytest.raises(InputError, match=r"no config\.json in nowhere|no config.json in"):
        load_model("hf:./nowhere")


def test_a_network_of_timm_on_the_hub(resnet):
    model = load_model("hf:timm/tiny.in1k", device="cpu")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(x), resnet[1](normalised(x, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))))
    assert model.card.licence == "mit"
    assert model.card.input_shape == (3, 32, 32)
    found, _ = resnet
    old = {**TIMM["pretrained_cfg"], "architecture": "resnet10t", "num_classes": 3}  # before there was a pretrained_cfg
    found.json("config.json", old)
    torch.testing.assert_close(load_model("hf:timm/tiny.in1k", device="cpu")(x), model(x))


def test_mean_and_std_of_the_caller_count(vit):
    found, net = vit
    (found.snapshot / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match="give mean= and std="):
        load_model("hf:org/net")
    model = load_model("hf:org/net(mean=0.5)", std=0.25, device="cpu")
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), net(normalised(x, (0.5,) * 3, (0.25,) * 3)).logits)


@pytest.mark.parametrize(
    ("config", "mean", "std", "shape"),
    [
        ({**PROCESSOR, "size": {"height": 6, "width": 8}}, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5), (3, 6, 8)),
        ({"do_normalize": False, "size": {"shortest_edge": 9}}, 0, 1, (3, 9, 9)),
        ({"do_normalize": False, "size": 9, "crop_size": 7}, 0, 1, (3, 7, 7)),
        ({"do_normalize": False, "size": 9, "crop_size": 7, "do_center_crop": False}, 0, 1, (3, 9, 9)),
        ({"image_mean": [127.5] * 3, "image_std": [127.5] * 3, "do_rescale": False}, 0.5, 0.5, None),
        ({"image_mean": 0, "image_std": 1, "rescale_factor": 1 / 127.5, "rescale_offset": True}, 0.5, 0.5, None),
        ({"image_mean": 0.5, "image_std": 0.5, "include_top": True}, 0.5, 0.25, None),
    ],
)
def test_every_form_of_a_preprocessor(config, mean, std, shape):
    found = preprocessing(config, 3, {})
    wanted = torch.tensor(mean, dtype=torch.float64).expand(3), torch.tensor(std, dtype=torch.float64).expand(3)
    torch.testing.assert_close(torch.tensor(found["mean"], dtype=torch.float64), wanted[0])
    torch.testing.assert_close(torch.tensor(found["std"], dtype=torch.float64), wanted[1])
    assert found["input_shape"] == shape


def test_what_transformers_own_preprocessor_makes_reaches_the_network(vit):
    transformers = pytest.importorskip("transformers")
    kind = next(k for k in (getattr(transformers, n, None) for n in ("ViTImageProcessorPil", "ViTImageProcessor")) if k)
    config = {**PROCESSOR, "size": {"height": 8, "width": 8}}
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    try:
        theirs = torch.as_tensor(kind(**config)(pixels.permute(1, 2, 0).numpy())["pixel_values"][0])
    except ImportError as error:
        pytest.skip(str(error))
    model = load_model("hf:org/net", device="cpu")
    torch.testing.assert_close(model.normalize(pixels / 255), theirs, rtol=1e-5, atol=1e-5)


def test_a_network_that_takes_blue_first_gets_it(vit):
    found, net = vit
    found.json("preprocessor_config.json", {"do_normalize": False, "size": 8, "do_flip_channel_order": True})
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(load_model("hf:org/net", device="cpu")(x), net(x.flip(1)).logits)


SMALL = {
    "ConvNext": {"hidden_sizes": [8] * 4, "depths": [1] * 4},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4, "layer_type": "basic"},
    "Swin": {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [2, 2],
        "window_size": 4,
    },
    "Beit": {**VIT, "image_size": 32, "patch_size": 8},
    "DeiT": {**VIT, "image_size": 32, "patch_size": 8},
    "Dinov2": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
    "Levit": {
        "image_size": 32,
        "hidden_sizes": [8] * 3,
        "num_attention_heads": [2] * 3,
        "key_dim": [4] * 3,
        "depths": [1] * 3,
    },
    "MobileViT": {"hidden_sizes": [8] * 3, "neck_hidden_sizes": [8] * 7, "num_attention_heads": 2, "image_size": 32},
}


FAMILIES = [*((family, False) for family in SMALL), ("DeiT", True), ("Levit", True)]


@pytest.mark.parametrize(("family", "distilled"), FAMILIES)
def test_families_of_transformers_give_their_logits(tmp_path, family, distilled):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SMALL[family], num_labels=4)
    kind = getattr(transformers, f"{family}ForImageClassification{'WithTeacher' * distilled}")
    net = kind(config).eval()
    net.save_pretrained(tmp_path / "net")
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "size": 32}))
    model = load_model(f"hf:{tmp_path / 'net'}", device="cpu")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(x), net(normalised(x)).logits)
    assert "left out" not in model.card.source


def test_a_network_that_keeps_what_it_made_of_its_parameters_is_attacked_as_it_is_now(tmp_path):
    """LeViT's attention keeps its biases in eval mode; training between two attacks must not leave the old ones."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = Output(transformers.LevitForImageClassification(transformers.LevitConfig(**SMALL["Levit"])), "logits")
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)  # at first no attention reaches the logits
    classify(model.train(), x)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("attention_biases"):
                parameter.normal_()
    seen = model.eval()(x)
    assert torch.equal(seen, model.train().eval()(x))


def edited(found, **changes):
    found.json("config.json", {**json.loads(found.read("config.json")), **changes})


BROKEN = {
    "no JSON": (lambda f: f.add("config.json", b"{"), "is not JSON"),
    "a list": (lambda f: f.json("config.json", [1]), "holds no JSON object"),
    "deep": (lambda f: f.add("config.json", b"[" * 100_000), "is not JSON"),
    "large": (lambda f: f.add("config.json", b" " * (16 * 2**20 + 1)), "larger than a config"),
    "its own code": (lambda f: edited(f, auto_map={"AutoModel": "evil.Net"}), "code of its own, which is never run"),
    "quantised": (lambda f: edited(f, quantization_config={"bits": 4}), "quantised weights"),
    "unknown": (lambda f: edited(f, model_type="vitt\x1b[2J"), r"knows no model_type 'vitt\\x1b"),
    "a text model": (lambda f: edited(f, model_type="t5"), "no image classifier"),
    "no sizes": (lambda f: edited(f, hidden_size="eight"), "describes no network"),
    "other sizes": (lambda f: edited(f, hidden_size=16), "do not fit|describes no network"),
    "other classes": (lambda f: edited(f, id2label={str(i): str(i) for i in range(5)}), "do not fit|describes no"),
    "no preprocessor": (lambda f: f.json("preprocessor_config.json", {}), "states no image_mean"),
    "std of zero": (lambda f: f.json("preprocessor_config.json", {**PROCESSOR, "image_std": [0, 1, 1]}), "image_std"),
    "truncated": (lambda f: f.add("model.safetensors", f.read("model.safetensors")[:-7]), "not a safetensors file"),
    "pickled": (lambda f: ((f.snapshot / "model.safetensors").unlink(), f.add("pytorch_model.bin", b"x")), "never unp"),
    "an index out of its folder": (
        lambda f: (
            (f.snapshot / "model.safetensors").unlink(),
            f.json("model.safetensors.index.json", {"weight_map": {"a": "../../../etc/x.safetensors"}}),
        ),
        "not an index",
    ),
    "a branch out of its folder": (
        lambda f: (f.home / "refs" / "main").write_text("../../elsewhere"),
        "not in the hub's cache|damaged|cannot read",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_wrong_truncated_and_hostile_files_are_one_line(vit, case):
    spoil, message = BROKEN[case]
    spoil(vit[0])
    with pytest.raises(InputError, match=message) as caught:
        load_model("hf:org/net")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet10000"}, "has no network 'resnet10000'"),
        ({"architecture": "hf-hub:evil/net"}, "has no network"),
        ({"model_args": {"checkpoint_path": "evil.pth"}}, "must not choose"),
        ({"model_args": {"pretrained": True}}, "must not choose"),
        ({"model_args": {"wide": 3}}, "describes no network"),
        ({"pretrained_cfg": 3}, "not one of timm"),
        ({"num_classes": 5}, "does not fit this network"),
    ],
)
def test_a_hostile_config_of_timm_is_one_line(resnet, changes, message):
    resnet[0].json("config.json", {**TIMM, **changes})
    with pytest.raises(InputError, match=message) as caught:
        load_model("hf:timm/tiny.in1k")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(vit, tmp_path):
    from safetensors.torch import load_file

    state = load_file(vit[0].snapshot / "model.safetensors")
    state["classifier.bias"][0] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match="NaN or infinity"):
        load_model("hf:org/net", weights=tmp_path / "nan.safetensors")


def test_nothing_is_asked_of_the_network_where_the_cache_is_empty(cache):
    with pytest.raises(InputError, match=r"weights='hub' downloads it, as does `hf download org/other`"):
        load_model("hf:org/other")
    with pytest.raises(InputError, match="expected hf:ORG/NAME"):
        load_model("hf:a/b/c")
    with pytest.raises(InputError, match="give 'hub'"):
        load_model("hf:org/other", weights="imagenet")


def test_a_download_is_one_call_for_each_file_at_the_commit(vit, monkeypatch):
    asked, real = [], hub.hf_hub_download

    def download(repository, name, *, revision, local_files_only):
        asked.append((name, revision, local_files_only))
        return real(repository, name, revision=revision, local_files_only=True)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    load_model("hf:org/net", weights="hub")
    assert asked[0] == ("config.json", "main", False)
    assert {revision for _, revision, _ in asked[1:]} == {COMMIT}
    assert not any(local for _, _, local in asked)


def test_without_the_package_it_is_named(vit, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'advkit\[transformers\]'"):
        load_model("hf:org/net")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'advkit\[hub\]'"):
        load_model("hf:org/net")


def test_the_command_shows_the_commit(vit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["evaluate", "--model", "hf:org/nothing", "--data", "mnist5k"])
    assert done.exit_code == 2
    assert "not in the hub's cache" in done.output
    np.savez("images.npz", x=torch.rand(4, 3, 8, 8).numpy(), y=np.array([0, 1, 2, 0]))
    options = ["--data", "images.npz", "--attacks", "none", "--no-checks", "--device", "cpu"]
    done = CliRunner().invoke(main, ["evaluate", "--model", "hf:org/net", *options])
    assert done.exit_code == 0, done.output
    assert COMMIT in done.output
