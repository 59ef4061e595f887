"""Killed at any moment, on a full disk, robbed of its folder: an evaluation ends with the rows of an unbroken one."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.children import KILLED, ended, ended_short_of_room, moments
from torch import nn

from advkit.attacks import FGSM, PGD, Noise
from advkit.core.errors import InputError
from advkit.evaluation import Keep, evaluate, load_run, verify_run
from advkit.evaluation.measure.report import Report

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forks beside threads


class Toy(nn.Module):
    """A linear network."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 16, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T


def go(home: Path, **options: Any) -> Report:
    x = (torch.rand(24, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, steps=5)]
    options = {"control": Noise(), "batch_size": 4, "checks": False, "keep": Keep(png=True), "resume": True, **options}
    return evaluate(Toy().eval(), (x, Toy()(x).argmax(1)), attacks, output=home, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("unbroken") / "run"
    go(home)
    return home


def content(home: Path) -> dict[str, bytes]:
    """The files of a run that hold no times and no places."""
    files = [home / "samples.csv", *home.glob("png/**/*.png")]
    return {str(file.relative_to(home)): file.read_bytes() for file in files}


def same(home: Path, whole: Path) -> None:
    assert content(home) == content(whole)
    assert verify_run(home) == []
    assert [path.name for path in home.rglob(".*")] == []


def spoken(home: Path) -> str:
    """What is said of a run that is not complete; nothing of one that is."""
    try:
        load_run(home)
    except InputError as error:
        return str(error)
    return ""


def kill(whole: Path, place: Path, count: int) -> None:
    found = []
    for number, moment in enumerate(moments(lambda: go(place / "first"), count)):
        home = place / str(number)
        found.append(ended(lambda home=home: go(home), moment))  # type: ignore[misc]
        said = spoken(home)
        assert said.isprintable()
        assert said or content(home) == content(whole)  # it was killed after the last file
        go(home)
        same(home, whole)
        shutil.rmtree(home)
    assert set(found) <= {0, KILLED}
    assert count < 50 or found.count(KILLED) > 10  # of three, none may be met


def test_a_run_that_is_killed_at_any_moment_has_the_rows_of_an_unbroken_one(whole: Path, tmp_path: Path) -> None:
    kill(whole, tmp_path, 3)


@pytest.mark.slow
def test_fifty_kills_at_any_moment_leave_the_rows_of_an_unbroken_run(whole: Path, tmp_path: Path) -> None:
    kill(whole, tmp_path, 50)


@pytest.mark.parametrize("size", [0, 300, 1500, 4000, 6000])
def test_a_file_that_cannot_grow_is_one_line_and_the_run_goes_on(whole: Path, tmp_path: Path, size: int) -> None:
    """The system's own refusal to write more than `size` bytes a file, as a disk without room makes it."""
    assert ended_short_of_room(lambda: go(tmp_path / "run"), size) == 0
    assert not (tmp_path / "run" / "samples.csv").exists()
    go(tmp_path / "run")
    same(tmp_path / "run", whole)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_folder_that_is_taken_away_is_one_line(whole: Path, tmp_path: Path, share: float) -> None:
    home = tmp_path / "run"

    def rob(done: int, all_: int | None) -> None:
        assert all_ is not None
        if done >= share * all_ and home.exists() and not (tmp_path / "away").exists():
            home.rename(tmp_path / "away")

    with pytest.raises(OSError, match="was taken away") as told:
        go(home, progress=rob)
    assert str(told.value).isprintable()
    assert not (home / "batches").exists()
    go(tmp_path / "away")
    same(tmp_path / "away", whole)
