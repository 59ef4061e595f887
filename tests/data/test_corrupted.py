"""Published corruptions, from small files in exactly the published layout; and mCE."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.published_sets import write_corrupted
from PIL import Image
from torch import nn

from advkit import evaluate, load_data
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.data import MissingDataError
from advkit.data.corrupted import KINDS, MNIST_KINDS
from advkit.evaluation import CorruptionReport, load_run, mean_corruption_error, published_corruption_errors
from advkit.evaluation.measure.published_corruptions import ALEXNET, ALEXNET_CLEAN
from advkit.evaluation.show.page import page

EACH = 4


@pytest.fixture
def root(tmp_path):
    write_corrupted(tmp_path, EACH, ("CIFAR-10-C",))
    return tmp_path


def test_a_severity_is_its_fifth_of_the_file(root):
    stored = np.load(root / "CIFAR-10-C" / "fog.npy")
    for severity in range(1, 6):
        data = load_data(f"cifar10_c(variant=fog, severity={severity})", root=root)
        x, y = data[:]
        part = stored[(severity - 1) * EACH : severity * EACH]
        assert x.equal(torch.from_numpy(part.copy()).permute(0, 3, 1, 2).float() / 255)
        assert y.tolist() == list(range(EACH))
        assert data.name == f"cifar10_c(variant=fog, severity={severity})"
        assert load_data(data.name, root=root)[:][0].equal(x)
    assert load_data("cifar10_c:fog", root=root).name == "cifar10_c(variant=fog, severity=3)"


def test_mnist_c_is_padded_like_mnist(root):
    stored = np.load(root / "mnist_c" / "zigzag" / "test_images.npy")
    x, _ = load_data("mnist_c:zigzag", root=root)[:]
    assert x.shape == (EACH, 1, 32, 32)
    assert x[:, 0, 2:30, 2:30].equal(torch.from_numpy(stored[..., 0].copy()).float() / 255)
    assert load_data("mnist_c(variant=zigzag, pad=0)", root=root)[:][0].shape == (EACH, 1, 28, 28)


def test_imagenet_c_lies_in_folders_of_all_its_classes(root):
    home = root / "ImageNet-C" / "snow" / "2"
    for k in range(1000):
        (home / f"n{k:08d}").mkdir(parents=True)
    for k in (3, 700):
        Image.new("RGB", (224, 224), (k % 256, 0, 0)).save(home / f"n{k:08d}" / "ILSVRC2012_val_00000001.JPEG")
    data = load_data("imagenet_c(variant=snow, severity=2)", root=root)
    assert data.labels.tolist() == [3, 700]
    assert data[:][0].shape == (2, 3, 224, 224)
    with pytest.raises(MissingDataError, match="no snow of severity 3"):
        load_data("imagenet_c:snow", root=root)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar10_c:frog", "unknown corruption of cifar10_c 'frog'"),
        ("cifar10_c(variant=fog, severity=6)", "expected severity as 1, 2, 3, 4 or 5"),
        ("cifar100_c", "zenodo.org/records/3555552"),
        ("mnist_c:canny_edge", "did you mean 'canny_edges'|canny_edges"),
        ("cifar10_c:spatter", "expected the file"),
    ],
)
def test_what_is_wrong_or_absent_is_one_line(name, message, root):
    with pytest.raises(InputError, match=message) as caught:
        load_data(name, root=root)
    assert "\n" not in str(caught.value)


def test_nothing_is_downloaded(root):
    with pytest.raises(MissingDataError, match="advkit does not download it"):
        load_data("cifar10_c", root=root, download=True)


@pytest.mark.parametrize("fault", ["pickled", "truncated", "empty", "text", "shape", "floats", "zip"])
def test_a_file_that_is_not_the_published_one_is_one_line(fault, root):
    path = root / "CIFAR-10-C" / "fog.npy"
    whole = path.read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no array", "zip": b"PK\x03\x04"}
    if fault in content:
        path.write_bytes(content[fault])
    else:
        wrong = {"pickled": np.array([{"a": 1}], dtype=object), "shape": np.zeros((20, 3, 32, 32), np.uint8)}
        np.save(path, wrong.get(fault, np.zeros((20, 32, 32, 3), np.float32)), allow_pickle=True)
    with pytest.raises(InputError, match="not the published file") as caught:
        load_data("cifar10_c:fog", root=root)
    assert "\n" not in str(caught.value)


class Dark(nn.Module):
    """Class 0 for a dark image, 1 for a light one; ten classes."""

    def forward(self, x):
        light = x.mean((1, 2, 3)) - 0.5
        return torch.stack([-light, light, *[-torch.ones_like(light)] * 8], 1)


def test_every_kind_and_severity_is_counted(root):
    clean = torch.zeros(EACH, 3, 32, 32), torch.arange(EACH)
    report = published_corruption_errors(Dark(), "cifar10_c", clean, root=root)
    assert report.clean_wrong == EACH - 1
    assert set(report.wrong) == set(KINDS)
    for kind in KINDS:
        for severity in range(1, 6):
            x, y = load_data("cifar10_c", root=root, variant=kind, severity=severity)[:]
            assert report.wrong[kind][severity - 1] == int((Dark()(x).argmax(1) != y).sum())
    again = CorruptionReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again == report
    with pytest.raises(InputError, match="expected as many"):
        published_corruption_errors(Dark(), "cifar10_c", (clean[0][:2], clean[1][:2]), root=root)
    with pytest.raises(InputError, match="expected kinds of cifar10_c"):
        published_corruption_errors(Dark(), "cifar10_c", clean, root=root, kinds=["fig"])
    for nothing in ({"kinds": []}, {"severities": []}):
        with pytest.raises(InputError, match="expected kinds of cifar10_c: gaussian_noise"):
            published_corruption_errors(Dark(), "cifar10_c", clean, root=root, **nothing)


def test_mnist_c_has_one_severity(root):
    clean = load_data("mnist_c:identity", root=root)
    report = published_corruption_errors(Dark(), "mnist_c", clean, root=root)
    assert report.severities == (1,)
    assert set(report.wrong) == set(MNIST_KINDS) - {"identity"}


def test_clean_corrupted_and_attacked_in_one_run(root, monkeypatch, tmp_path):
    monkeypatch.setenv("ADVKIT_DATA", str(root))
    clean = torch.rand(EACH, 3, 32, 32), torch.arange(EACH)
    options = {"attacks": ["fgsm(eps=0.1)"], "checks": False}
    report = evaluate(Dark(), clean, corruptions="cifar10_c", **options)
    assert set(report.corruptions.wrong) == set(KINDS)
    run = evaluate(Dark(), clean, corruptions="cifar10_c", output=tmp_path / "run", **options)
    assert run.corruptions == report.corruptions
    with pytest.raises(InputError, match="unknown published set"):
        evaluate(Dark(), clean, corruptions="cifar11_c", **options)


def test_the_command_reads_it(root, monkeypatch):
    monkeypatch.setenv("ADVKIT_DATA", str(root))
    listed = CliRunner().invoke(main, ["data", "cifar10_c:fog"])
    assert listed.exit_code == 0, listed.output
    options = ["--data", "mnist_c:fog", "--corrupted", "mnist_c", "--attacks", "none"]
    done = CliRunner().invoke(main, ["evaluate", "--model", "lenet5", *options])
    assert done.exit_code == 0, done.output
    assert "zigzag" in done.output


def alexnet(**change):
    wrong = {kind: (round(error * 1_000_000),) * 5 for kind, error in ALEXNET.items()}
    whole = {"data": "imagenet_c, clean imagenet:test", "count": 1_000_000, "severities": (1, 2, 3, 4, 5)}
    return CorruptionReport(clean_wrong=round(ALEXNET_CLEAN * 1_000_000), **{**whole, "wrong": wrong, **change})


def test_mce_of_alexnet_is_one():
    assert mean_corruption_error(alexnet()) == pytest.approx(1)
    assert mean_corruption_error(alexnet(), relative=True) == pytest.approx(1)
    halved = {kind: tuple(w // 2 for w in wrong) for kind, wrong in alexnet().wrong.items()}
    assert mean_corruption_error(alexnet(wrong=halved)) == pytest.approx(0.5)
    assert sum(ALEXNET.values()) / 15 == pytest.approx(0.789, abs=0.002)  # the paper's mean, 78.9 %


def test_a_run_on_imagenet_c_says_mce_in_words_and_on_its_page(tmp_path):
    options = {"checks": False, "output": tmp_path / "run"}
    found = evaluate(nn.Flatten(), (torch.rand(4, 3, 2, 2), torch.arange(4)), ["fgsm(eps=0.1)"], **options)
    said = "mCE 100.0 %, relative mCE 100.0 %: errors divided by AlexNet's on the same images."
    whole = replace(found, corruptions=alexnet())
    assert said in " ".join(str(whole).split())
    assert said.replace("'", "&#39;") in page(load_run(tmp_path / "run"), whole)
    assert "mCE" not in str(replace(found, corruptions=alexnet(data="cifar10_c, clean")))


@pytest.mark.parametrize(
    "change", [{"data": "cifar10_c, clean"}, {"severities": (1, 2)}, {"wrong": {"fog": (1, 2, 3, 4, 5)}}]
)
def test_mce_is_of_imagenet_c_alone(change):
    with pytest.raises(InputError, match="expected the 15 kinds"):
        mean_corruption_error(alexnet(**change))
