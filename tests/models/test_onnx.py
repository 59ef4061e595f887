"""Networks in ONNX files: the images that reach them, what they answer, and what is refused in one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from advkit import load_model
from advkit.attacks import HopSkipJump, Square
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.knowledge import knowledge_of

W = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
B = -0.5 * W.sum(1)
X = torch.rand(10, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def as_torch(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1) @ torch.from_numpy(W).T + torch.from_numpy(B)


Y = as_torch(X).argmax(1)


@pytest.fixture(scope="module")
def lenet():
    pytest.importorskip("onnxruntime", reason="advkit[onnx] is not installed")
    pytest.importorskip("onnx", reason="only `onnx` writes the test's files")
    return load_model("lenet5", device="cpu")


def exported(model: torch.nn.Module, path: Path | str, **options: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is deprecated
        torch.onnx.export(model, (torch.rand(1, 1, 32, 32),), str(path), dynamo=False, input_names=["x"], **options)


def written(
    path: Path, *, batch: int | str = "N", side: int | str = 4, last: bool = False, label: bool = False, of: str = ""
) -> Path:
    """A linear classifier of images (N, 1, 4, 4), or (N, 4, 4, 1), as an ONNX file.

    One that takes integers takes 0 to 255, and one that takes int8 the same less 128.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    nodes = [helper.make_node("Flatten", ["seen"], ["flat"]), helper.make_node("Gemm", ["flat", "w", "b"], ["scores"])]
    nodes.insert(0, helper.make_node("Cast", ["x"], ["seen"], to=TensorProto.FLOAT))
    scale, shift = (255, 128 * (of == "int8")) if of else (1, 0)
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])]
    if label:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
        outputs.append(helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
    shape = [batch, side, side, 1] if last else [batch, 1, side, side]
    inputs = [helper.make_tensor_value_info("x", getattr(TensorProto, (of or "float").upper()), shape)]
    weights = [numpy_helper.from_array(W.T / scale, "w"), numpy_helper.from_array(B + shift / scale * W.sum(1), "b")]
    graph = helper.make_graph(nodes, "linear", inputs, outputs, weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_an_exported_network_answers_as_the_network(lenet, tmp_path):
    x = torch.rand(5, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "lenet5.onnx"
    exported(lenet, path, dynamic_axes={"x": {0: "N"}})
    model = load_model(f"onnx:{path}")
    torch.testing.assert_close(model(x), lenet(x), atol=1e-5, rtol=1e-4)
    assert model.card.input_shape == (1, 32, 32)
    assert model.card.num_classes == 10
    y = lenet(x).argmax(1)
    attack = Square(eps=0.3, queries=50)
    found = attack(model, x, y)
    assert torch.equal(found.success, attack(lenet, x, y).success)
    assert model.net.billed == 5 + int(found.queries.sum())


@pytest.mark.parametrize("options", [{"batch": 1}, {"batch": 4}, {"last": True}, {"label": True}])
def test_files_of_every_form_are_read(lenet, tmp_path, options):
    path = written(tmp_path / "net.onnx", **options)
    model = load_model(f"onnx:{path}{'(channels_last=True)' if options.get('last') else ''}")
    torch.testing.assert_close(model(X), as_torch(X))
    assert model.card.input_shape == (1, 4, 4)
    assert "ONNX" in model.card.source


EIGHT_BIT = torch.arange(160).mul(37).remainder(256).view(10, 1, 4, 4) / 255


@pytest.mark.parametrize(
    ("of", "options"),
    [
        ("uint8", ""),
        ("uint8", f"(std={1 / 255!r})"),
        ("uint8", "(mean=0, std=1/255)"),
        ("int8", "(mean=128/255, std=1/255)"),
        ("int16", "(mean=0, std=1/255)"),
        ("uint16", "(mean=0, std=1/255)"),
        ("int32", "(mean=0, std=1/255)"),
    ],
)
def test_a_file_of_integers_sees_every_shade(lenet, tmp_path, of, options):
    model = load_model(f"onnx:{written(tmp_path / 'net.onnx', of=of)}{options}")
    torch.testing.assert_close(model(EIGHT_BIT), as_torch(EIGHT_BIT), atol=1e-4, rtol=1e-4)
    near = (EIGHT_BIT + 0.4 / 255).clamp(max=1)
    assert torch.equal(model(near), model(EIGHT_BIT))  # it sees no more than these
    assert f"to {of}" in model.card.source
    assert ("times 255" in model.card.source) == (options == "")


@pytest.mark.parametrize(
    ("of", "options", "words"),
    [
        ("uint8", "(mean=0.5, std=1/255)", "from 0 to 255.*goes from -12[78] to 12[78]"),
        ("uint8", "(mean=0.5)", "from 0 to 255"),
        ("uint8", "(std=0.001)", "goes from 0 to 1000"),
        ("uint8", "(std=1)", "black and white"),
        ("int8", "", "mean= and std= for a file that takes int8"),
        ("int8", "(mean=0, std=1/255)", "from -128 to 127"),
        ("int16", "(std=1/255)", "mean= and std="),
    ],
)
def test_integers_that_would_wrap_or_hold_no_shade_are_refused(lenet, tmp_path, of, options, words):
    with pytest.raises(InputError, match=words):
        load_model(f"onnx:{written(tmp_path / 'net.onnx', of=of)}{options}")


def test_a_picture_beyond_the_range_does_not_wrap_around(lenet, tmp_path):
    model = load_model(f"onnx:{written(tmp_path / 'net.onnx', of='uint8')}")
    for beyond in (-0.5, 1.5, float("nan")):
        with pytest.raises(InputError, match="from 0 to 255"):
            model(torch.full((1, 1, 4, 4), beyond))


@pytest.mark.parametrize("side", [4, "S"])
def test_images_of_another_size_are_one_line(lenet, tmp_path, side):
    model = load_model(f"onnx:{written(tmp_path / 'net.onnx', side=side)}")
    words = r"takes images \(N, 1, 4, 4\), got \(N, 1, 5, 5\)" if side == 4 else r"cannot answer images \(2, 1, 5, 5\)"
    for run in (lambda x: model(x), lambda x: Square(eps=0.1, queries=3)(model, x, torch.zeros(2).long())):
        with pytest.raises(InputError, match=words) as caught:
            run(torch.rand(2, 1, 5, 5))
        assert "\n" not in str(caught.value)


def test_a_file_whose_channels_are_last_says_so(lenet, tmp_path):
    with pytest.raises(InputError, match=r"\(N, 4, 4, 1\), got \(N, 1, 4, 4\): give channels_last=True"):
        load_model(f"onnx:{written(tmp_path / 'net.onnx', last=True)}")(X)


def test_a_file_that_answers_labels(lenet, tmp_path):
    path = written(tmp_path / "net.onnx", label=True)
    model = load_model(f"onnx:{path}(output=label, answers=labels, num_classes=3)")
    assert knowledge_of(model) == "labels"
    assert HopSkipJump(queries=100)(model, X, Y).success.all()


def test_what_is_wrong_with_a_file_is_one_line(lenet, tmp_path):
    path = written(tmp_path / "net.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    for name, words in {
        f"onnx:{tmp_path}/none.onnx": "no file",
        f"onnx:{tmp_path}/broken.onnx": "cannot read",
        f"onnx:{path}(output=logits)": "output of",
        f"onnx:{path}(width=2)": "option of",
    }.items():
        with pytest.raises(InputError, match=words):
            load_model(name)
    with pytest.raises(InputError, match="its own weights"):
        load_model(f"onnx:{path}", weights="random")


@pytest.mark.parametrize("name", ["net(1).onnx", "a (b)(c).onnx", "net(mean=2).onnx", "(1)"])
def test_brackets_in_the_name_of_a_file_are_part_of_it(lenet, tmp_path, name):
    path = written(tmp_path / name)
    torch.testing.assert_close(load_model(f"onnx:{path}")(X), as_torch(X))
    torch.testing.assert_close(load_model(f"onnx:{path}(mean=0.25, std=0.5)")(X), as_torch((X - 0.25) / 0.5))
    assert load_model(f"onnx:{path}").card.name == f"onnx:{path}"
    with pytest.raises(InputError, match="no file"):
        load_model(f"onnx:{tmp_path}/none.onnx(mean=0.25)")


@pytest.mark.parametrize("options", ["", "(mean=0.5)"])
def test_an_onnx_file_without_its_prefix_is_told_how_to_write_it(lenet, tmp_path, options):
    path = f"{written(tmp_path / 'net.onnx')}{options}"
    with pytest.raises(InputError, match="write onnx:") as caught:
        load_model(path)
    assert f"onnx:{path}" in str(caught.value)


def test_the_command_attacks_an_onnx_file_and_refuses_gradients(lenet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported(lenet, "net.onnx")
    command = ["attack", "--model", "onnx:net.onnx", "--count", "20", "--no-picture"]
    done = CliRunner().invoke(main, [*command, "--attack", "square(queries=20)", "--eps", "0.3"])
    assert done.exit_code == 0, done.output
    assert "adversarial error" in done.output.lower()
    refused = CliRunner().invoke(main, [*command, "--attack", "pgd"])
    assert refused.exit_code == 2
    assert "no gradient" in refused.output


def test_a_file_of_colours_last_is_told_so_when_it_is_opened(lenet, tmp_path):
    path = written(tmp_path / "net.onnx", side="S", last=True)
    with pytest.raises(InputError, match=r"\(N, any, any, 1\), which have their channels last: write onnx:.*channels_"):
        load_model(f"onnx:{path}")
    assert load_model(f"onnx:{path}(channels_last=True)")(X).shape == (len(X), 3)


def test_an_onnx_file_is_no_weights(lenet, tmp_path):
    path = written(tmp_path / "net.onnx")
    for weights in (path, str(path), str(tmp_path / "missing.ONNX")):
        with pytest.raises(
            InputError, match=r"an ONNX file is a whole network.*--model onnx:.*load_model\('onnx:"
        ) as caught:
            load_model("lenet5", weights=weights)
        assert "\n" not in str(caught.value)
