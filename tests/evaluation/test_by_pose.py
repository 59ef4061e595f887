"""The success of a patch by place and size: counted by hand, and as the command shows it."""

import json
import math
import re

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from advkit.attacks import FGSM, AdversarialPatch
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.evaluation import PoseTable, success_by_pose


class Corner(nn.Module):
    """Class 1 where the upper left quarter of the image is white to a tenth or more, else class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        white = (x[:, 0, :8, :8] > 0.9).flatten(1).double().mean(1).to(x) - 0.1
        return torch.stack([-white, white + 1e-6], 1) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.fixture
def data() -> MemoryDataset:
    return MemoryDataset("plain", "test", ("dark", "lit"), torch.full((6, 1, 16, 16), 0.5), torch.tensor([0] * 5 + [1]))


def test_rates_are_those_of_the_place_and_the_size(data: MemoryDataset) -> None:
    patch = AdversarialPatch(patch=torch.ones(1, 4, 4), size=1 / 16)
    table = success_by_pose(
        Corner(), data, patch, places=("top_left", "bottom_right", "centre"), sizes=(1 / 256, 1 / 4)
    )
    assert table.aimed == 5  # the sixth is wrong already
    assert table.reached == ((0, 5), (0, 0), (0, 5))
    assert table.rates == [[0, 1], [0, 0], [0, 1]]
    toward = success_by_pose(Corner(), data, patch, places=("top_left",), sizes=(1 / 4,), target="lit")
    assert (toward.aimed, toward.reached, toward.target) == (5, ((5,),), "lit")
    assert "Taken for lit, of the 5 images that are right without the patch and are not lit" in str(toward)
    away = success_by_pose(Corner(), data, patch, places=("top_left",), sizes=(1 / 4,), target=0)
    assert away.aimed == 0
    assert away.rates == [[None]]


def test_by_default_its_own_size_between_two_others_at_every_place(data: MemoryDataset, tmp_path) -> None:  # type: ignore[no-untyped-def]
    patch = AdversarialPatch(patch=torch.ones(1, 4, 4), size=1 / 16)
    table = success_by_pose(Corner(), data, patch, count=3)
    assert table.sizes == (1 / 32, 1 / 16, 1 / 8)
    assert table.places[0] == "random"
    assert len(table.places) == 6
    assert len(table.records()) == 18
    table.save(tmp_path / "table.json")
    assert PoseTable.load(tmp_path / "table.json") == table
    assert table.to_latex()
    assert table._repr_html_()


def test_what_is_no_patch_is_refused(data: MemoryDataset) -> None:
    with pytest.raises(InputError, match="expected a patch such as find_patch returns"):
        success_by_pose(Corner(), data, FGSM(eps=0.1))
    patch = AdversarialPatch(patch=torch.ones(1, 4, 4))
    with pytest.raises(InputError, match="unknown place 'left'"):
        success_by_pose(Corner(), data, patch, places=("left",))
    with pytest.raises(InputError, match="size"):
        success_by_pose(Corner(), data, patch, sizes=(2.0,))


def call(*words: str):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(main, [*words, "--threads", "1", "--count", "60"])


def test_the_command_writes_the_patch_and_its_success(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    words = ["patch", "--model", "mlp", "--size", "0.15", "--epochs", "8", "--batch-size", "5"]
    (tmp_path / "two.txt").write_text("0\n255\n")
    result = call(
        *words,
        "--target",
        "3",
        "--printable",
        "2",
        "--palette",
        "two.txt",
        "--places",
        "centre",
        "random",
        "--sizes",
        "0.1",
        "0.3",
    )
    assert result.exit_code == 0, result.output
    for said in ("Taken for 3", "30 images", "centre", "10.0 % of the area", "Found on 30 other images", "printable"):
        assert said in result.stdout
    with Image.open("advkit-patch.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (12, 12))
    result = call(*words, "--json", "--places", "centre")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [pose["size"] for pose in found["poses"]] == [0.075, 0.15, 0.3]
    assert found["poses"][2]["rate"] > found["poses"][0]["rate"]
    assert found["poses"][2]["rate"] > 0.3
    assert found["learned_from"] == found["count"] == 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "ten"), "these data have no names of classes"),
        (("--size", "2"), "size"),
        (("--palette", "nowhere.txt"), "unknown palette 'nowhere.txt'"),
        (("--places", "left"), "unknown place 'left'"),
        (("--output", "nowhere/patch.png"), "there is no folder"),
        (("--count", "1"), "expected two images or more"),
    ],
)
def test_what_the_patch_cannot_take_is_one_line(words, message, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["patch", "--model", "mlp", "--count", "8", "--epochs", "1", *words])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("shape", "said"), [("circle", True), ("square", False)])
def test_the_command_says_how_much_of_its_square_a_patch_fills(shape, said, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    result = call("patch", "--model", "mlp", "--size", "0.25", "--shape", shape, "--epochs", "1", "--places", "centre")
    assert result.exit_code == 0, result.output
    filled = re.search(r"The patch fills (\d+\.\d) % of a square", result.stdout)
    assert (filled is not None) == said
    assert filled is None or float(filled[1]) == pytest.approx(100 * math.pi / 4, abs=4)


def test_the_command_for_one_perturbation_judges_it_on_other_images(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    words = ["universal", "--model", "mlp", "--eps", "0.3", "--epochs", "6", "--batch-size", "5"]
    result = call(*words)
    assert result.exit_code == 0, result.output
    for said in ("universal_perturbation", "30 images", "noise", "Found on 30 other images"):
        assert said in result.stdout
    with Image.open("advkit-universal.png") as picture:
        assert (picture.mode, picture.size) == ("RGB", (32, 32))
        assert picture.getextrema()[0] == (0, 255)
    free = json.loads(call(*words, "--json").stdout)
    aimed = json.loads(call(*words, "--json", "--target", "3").stdout)
    assert free["adversarial_error"] > free["noise_error"] + 0.1
    assert aimed["success_rate"] > 0.3
    assert aimed["success_rate"] != free["success_rate"]
    refused = call(*words, "--target", "random")
    assert refused.exit_code == 2
    assert "expected one class for one perturbation" in refused.stderr
