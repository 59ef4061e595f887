"""Photographs in crops and at several scales, with a network and photographs that are made here."""

import html
import json
import os
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import functional

from advkit.core.errors import InputError
from advkit.models import Card, Classifier
from advkit.reproduction import reproduce
from advkit.reproduction.papers.imagenet_crops import (
    BOTH,
    CROPS,
    MANY,
    ONE,
    SCALES,
    SHARED,
    TEN,
    WHOLE,
    loaded,
    missed,
    scales_of,
    seen_by_all,
    seen_in_all_ways,
    seen_in_crops,
)
from advkit.reproduction.study import declared
from advkit.training.augment import vgg_scales

SIDE = 28


class Colours(nn.Module):
    """Six classes by a linear function of the mean colour of the image, whatever its size."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) @ self.weight.T


class Leaning(Colours):
    """Sees the right side of an image more than its left, so a mirror image is another."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * torch.linspace(0, 4, x.shape[3]))


def network(*, turned: bool = False) -> Classifier:
    """Return a random network; the spec that names it runs this."""
    net = Colours()
    if turned:
        net.weight.data = net.weight.data.roll(1, 1)
    return Classifier(net, card=Card(name="colours", input_shape=(3, SIDE, SIDE)))


def other() -> Classifier:
    """Return another network, for an ensemble."""
    return network(turned=True)


@pytest.fixture
def photographs(tmp_path: Path) -> str:
    """A folder of two photographs for each of six classes."""
    colours = torch.rand(12, 5, 4, 3, generator=torch.Generator().manual_seed(1))
    for number, pixels in enumerate((colours * 255).byte()):
        folder = tmp_path / "photographs" / f"{number % 6:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.numpy()).resize((48, 48)).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'photographs'}"


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return f"{Path(__file__).stem}:network"


def test_it_runs_on_given_photographs_and_network(photographs: str, spec: str, tmp_path: Path) -> None:
    found = reproduce("imagenet_crops", data=photographs, model=spec, seeds=3, output=tmp_path / "run", device="cpu")
    assert len(found.figures) == 2 * 7
    assert all(figure.value * 12 == pytest.approx(round(figure.value * 12)) for figure in found.figures.values())
    assert len(found.verdicts) == 6
    assert all("12 images" in verdict.test for verdict in found.verdicts)
    command = shlex.split(found.command)
    assert command[:3] == ["advkit", "reproduce", "imagenet_crops"]
    assert dict(zip(command[3::2], command[4::2], strict=True)) == {
        "--budget": "small", "--seeds": "3", "--data": photographs, "--model": spec,
    }  # fmt: skip
    assert html.escape(found.command, quote=True) in (tmp_path / "run" / "report.html").read_text()
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "figures").iterdir()}
    again = reproduce("imagenet_crops", data=photographs, model=spec, seeds=3, output=tmp_path / "run", device="cpu")
    assert again.records() == found.records()
    assert written == {file: file.stat().st_mtime_ns for file in written}
    with pytest.raises(InputError, match="settings"):
        reproduce("imagenet_crops", data=photographs, model="vgg16", output=tmp_path / "run", device="cpu")


def test_a_killed_run_goes_on_with_the_same_figures(photographs: str, spec: str, tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    ask = {"data": photographs, "model": spec, "seeds": 1, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        reproduce("imagenet_crops", output=tmp_path / "killed", progress=stop, **ask)
    resumed = reproduce("imagenet_crops", output=tmp_path / "killed", **ask)
    whole = reproduce("imagenet_crops", output=tmp_path / "whole", **ask)
    assert resumed.records() == whole.records()
    assert json.loads((tmp_path / "killed" / "reproduction.json").read_text())["figures"]


@pytest.mark.slow
def test_two_processes_leave_the_same_figures(
    photographs: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    ask = {"data": photographs, "model": spec, "seeds": 2, "device": "cpu"}
    one = reproduce("imagenet_crops", output=tmp_path / "one", **ask)
    two = reproduce("imagenet_crops", output=tmp_path / "two", workers=2, **ask)
    assert one.records() == two.records()


def test_an_ensemble_stands_beside_its_first_network(photographs: str, spec: str, tmp_path: Path) -> None:
    """The first network's rows stay as they are alone; those of the ensemble come with claims of their own."""
    both = f"{spec} + {spec.replace('network', 'other')}"
    ask = {"data": photographs, "seeds": 1, "device": "cpu"}
    alone = reproduce("imagenet_crops", model=spec, output=tmp_path / "one", **ask)
    found = reproduce("imagenet_crops", model=both, output=tmp_path / "two", **ask)
    assert {cell: figure for cell, figure in found.figures.items() if cell.row not in SHARED} == alone.figures
    assert {cell.row for cell in found.figures} - {cell.row for cell in alone.figures} == set(SHARED)
    assert len(found.verdicts) == len(alone.verdicts) + 3
    assert found.study.claims == declared("imagenet_crops", "small").claims
    with pytest.raises(InputError, match="weights for each of the 2 networks, got 1"):
        loaded(both, "one.pt")
    with pytest.raises(InputError, match=r"a space on each side of the \+"):
        loaded(both.replace(" ", ""), None)
    with pytest.raises(InputError) as said:
        loaded(f"{spec} + vgg61", None)
    assert "space" not in str(said.value)


def test_an_ensemble_is_the_mean_of_its_networks_probabilities() -> None:
    networks, x = [network().eval(), other().eval()], torch.rand(4, 3, 48, 60)
    found = seen_by_all(networks, x)
    parts = [seen_in_crops(net, x) for net in networks]
    for shared, way in zip(SHARED, (ONE, TEN, MANY), strict=True):
        torch.testing.assert_close(found[shared].exp(), (parts[0][way].exp() + parts[1][way].exp()) / 2)
        assert not torch.equal(found[shared], found[way])
    assert set(seen_by_all(networks[:1], x)) == set(found) - set(SHARED)


def test_what_is_absent_is_said_in_one_line(photographs: str, tmp_path: Path) -> None:
    for given in ({}, {"data": photographs}, {"model": "vgg16"}):
        with pytest.raises(InputError, match="needs labelled photographs and a trained network: give --data") as said:
            reproduce("imagenet_crops", output=tmp_path / "run", **given)
        assert "\n" not in str(said.value)
    with pytest.raises(InputError, match="goodfellow_logistic has its own data"):
        reproduce("goodfellow_logistic", data=photographs, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_every_way_is_a_mean_of_probabilities() -> None:
    """On images of one colour all crops and scales agree; else the mixture lies between its parts."""
    model, x = network().eval(), torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    plain = seen_in_all_ways(model, x[:, :, :1, :1].expand(-1, -1, 48, 48).contiguous())
    for way in (TEN, MANY, WHOLE, SCALES, CROPS, BOTH):
        torch.testing.assert_close(plain[way], plain[ONE])
    found = {way: logs.exp() for way, logs in seen_in_all_ways(model, x).items()}
    torch.testing.assert_close(found[BOTH], (found[SCALES] + found[CROPS]) / 2)
    torch.testing.assert_close(found[ONE].sum(1), torch.ones(4))
    assert not torch.equal(found[ONE], found[TEN])


def test_crops_are_50_at_each_of_three_scales_and_whole_photographs_are_mirrored_too() -> None:
    """By hand, on photographs that are not square."""
    model = Classifier(Leaning(), card=Card(name="leaning", input_shape=(3, SIDE, SIDE))).eval()
    x = torch.rand(3, 3, 48, 60, generator=torch.Generator().manual_seed(3))
    found, crops, dense = seen_in_all_ways(model, x), [], []
    for side in (32, 48, 64):
        image = functional.resize(x, [side], antialias=True).clamp(0, 1)
        dense += [model(image).softmax(1), model(image.flip(3)).softmax(1)]
        for top in range(0, side - SIDE + 1, (side - SIDE) // 4):
            for i in range(5):
                left = round(i * (image.shape[3] - SIDE) / 4)
                crop = image[:, :, top : top + SIDE, left : left + SIDE]
                crops += [model(crop).softmax(1), model(crop.flip(3)).softmax(1)]
    assert len(crops) == 150
    torch.testing.assert_close(found[CROPS].exp(), torch.stack(crops).mean(0))
    torch.testing.assert_close(found[SCALES].exp(), torch.stack(dense).mean(0))
    torch.testing.assert_close(found[WHOLE].exp(), torch.stack(dense[2:4]).mean(0))


def test_a_class_is_missed_where_it_is_not_among_the_likeliest() -> None:
    logs = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    y = torch.tensor([0, 2, 1])
    assert missed(logs, y, 1).tolist() == [0, 1, 1]
    assert missed(logs, y, 2).tolist() == [0, 1, 0]


def test_the_scales_are_the_papers_for_its_networks() -> None:
    assert scales_of(224) == vgg_scales(256, 512) == (256, 384, 512)
