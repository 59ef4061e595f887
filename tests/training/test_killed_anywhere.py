"""Killed, on a full disk, robbed of its folder, two in one folder: training ends as if unbroken, or in one line."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.children import KILLED, ended, ended_short_of_room, moments
from helpers.training import run_toy

from advkit.core.errors import InputError
from advkit.core.files import alone
from advkit.training import Progress, Run

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forks beside threads


def go(home: Path, **options: Any) -> Run:
    return run_toy(output=home, **{"resume": True, "save_seconds": 0.0, **options})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("unbroken") / "run"
    go(home)
    return home


def same(home: Path, whole: Path) -> None:
    assert sorted(path.name for path in home.iterdir()) == ["log.csv", "model.safetensors", "run.json"]
    assert (home / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def kill(whole: Path, place: Path, count: int) -> None:
    found = []
    for number, moment in enumerate(moments(lambda: go(place / "first"), count)):
        home = place / str(number)
        found.append(ended(lambda home=home: go(home), moment))  # type: ignore[misc]
        go(home)
        same(home, whole)
        shutil.rmtree(home)
    assert set(found) <= {0, KILLED}
    assert count < 50 or found.count(KILLED) > 10  # of three, none may be met


def test_training_that_is_killed_at_any_moment_has_the_weights_of_an_unbroken_run(whole: Path, tmp_path: Path) -> None:
    kill(whole, tmp_path, 3)


@pytest.mark.slow
def test_fifty_kills_at_any_moment_leave_the_weights_of_an_unbroken_run(whole: Path, tmp_path: Path) -> None:
    kill(whole, tmp_path, 50)


@pytest.mark.parametrize("size", [0, 200, 1000, 3000])
def test_a_file_that_cannot_grow_is_one_line_and_training_goes_on(whole: Path, tmp_path: Path, size: int) -> None:
    assert ended_short_of_room(lambda: go(tmp_path / "run"), size) == 0
    assert not (tmp_path / "run" / "model.safetensors").exists()
    go(tmp_path / "run")
    same(tmp_path / "run", whole)


def test_a_folder_that_is_taken_away_is_one_line(whole: Path, tmp_path: Path) -> None:
    home = tmp_path / "run"

    def rob(at: Progress) -> None:
        if at.step == 5 and home.exists():
            home.rename(tmp_path / "away")

    with pytest.raises(OSError, match="was taken away"):
        go(home, progress=rob)
    go(tmp_path / "away")
    same(tmp_path / "away", whole)


def test_two_trainings_in_one_folder_are_one_line(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with alone(tmp_path / "run"), pytest.raises(InputError, match="another process is at work"):
        go(tmp_path / "run")
    go(tmp_path / "run")
    same(tmp_path / "run", whole)


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="expected a folder for the run, got the file"):
        go(tmp_path / "run")
