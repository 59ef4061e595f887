"""The engine: what is kept, what is done again, and what several processes leave."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from advkit.core.errors import InputError
from advkit.reproduction import Reproduction, list_reproductions, reproduce
from advkit.reproduction.kept import IDENTITY, Home, slug
from advkit.reproduction.reproducing import summed_up
from advkit.reproduction.study import BUDGETS, Cell, Measured, declared

NAME = "goodfellow_logistic"
GIVEN = {"imagenet_crops"}
"""Studies whose images and networks are the user's: see test_imagenet_crops.py."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    return reproduce(NAME, budget="tiny", seeds=2, output=tmp_path_factory.mktemp("done") / "run", device="cpu")


@pytest.fixture
def copy(done: Reproduction, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done.output, tmp_path / "run"))


def rows(path: Path) -> dict[str, object]:
    record = json.loads((path / "reproduction.json").read_text())
    return {key: record[key] for key in ("figures", "claims", "differences")}


def again(path: Path, **options: object) -> list[str]:
    """Go on with a folder; the files of figures that were written anew."""
    before = {file: file.stat().st_mtime_ns for file in (path / "figures").iterdir()}
    reproduce(NAME, budget="tiny", output=path, device="cpu", **{"seeds": 2, **options})
    after = {file: file.stat().st_mtime_ns for file in (path / "figures").iterdir()}
    return sorted(file.name for file, when in after.items() if before.get(file) != when)


def test_what_is_done_is_not_done_again(done: Reproduction, copy: Path) -> None:
    assert again(copy) == []
    assert rows(copy) == rows(done.output)


@pytest.mark.parametrize("damage", ["missing", "half", "edited"])
def test_a_damaged_figure_is_measured_again_and_only_it(done: Reproduction, copy: Path, damage: str) -> None:
    (file,) = (copy / "figures").glob("3-against-7-seed-1-*")
    text = file.read_text()
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(
            text[: len(text) // 2] if damage == "half" else text.replace('"samples": [0.0', '"samples": [1.0')
        )
    assert again(copy) == [file.name]
    assert rows(copy) == rows(done.output)


@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_damaged_network_is_trained_again(done: Reproduction, copy: Path, damage: str) -> None:
    file = copy / "networks" / f"{slug('plain')}-seed0" / "model.safetensors"
    whole = file.read_bytes()
    file.unlink() if damage == "missing" else file.write_bytes(whole[: len(whole) // 2])
    assert again(copy) == [f"{slug('training of plain, seed 0')}.json"]
    assert file.read_bytes() == whole
    assert rows(copy) == rows(done.output)


def test_a_killed_run_goes_on(done: Reproduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after the third job, then the rest."""

    def stop(number: int, _: int | None) -> None:
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(NAME, budget="tiny", seeds=2, output=tmp_path / "run", device="cpu", progress=stop)
    assert not (tmp_path / "run" / "reproduction.json").exists()
    assert len(again(tmp_path / "run")) == len(list((done.output / "figures").iterdir())) - 3
    assert rows(tmp_path / "run") == rows(done.output)


def test_two_processes_leave_the_same_rows(done: Reproduction, tmp_path: Path) -> None:
    found = reproduce(NAME, budget="tiny", seeds=2, output=tmp_path / "run", device="cpu", workers=2)
    assert rows(found.output) == rows(done.output)


def test_more_seeds_go_on_with_the_same_folder(done: Reproduction, copy: Path) -> None:
    fresh = again(copy, seeds=3)
    assert fresh
    assert all("seed-2" in name for name in fresh)
    assert {row["value"] for row in json.loads((copy / "reproduction.json").read_text())["figures"]}


def test_a_folder_of_another_reproduction_is_refused(copy: Path) -> None:
    with pytest.raises(InputError, match="budget 'tiny'"):
        reproduce(NAME, budget="small", output=copy, device="cpu")
    (copy / IDENTITY).write_text("{")
    with pytest.raises(InputError, match="broken"):
        reproduce(NAME, budget="tiny", output=copy, device="cpu")


def test_a_folder_in_which_nothing_was_done_is_taken_over(tmp_path: Path) -> None:
    """A mistyped spec of the data is no obstacle; and a process that still works on it leaves nothing that counts."""
    first = Home(tmp_path, NAME, "tiny", "cpu", "aaaa")
    second = Home(tmp_path, NAME, "tiny", "cpu", "bbbb")
    first.write("errors", {Cell("t", "r", "c"): Measured(0.5)}, 1.0)
    assert first.read("errors") is not None
    assert second.read("errors") is None
    second.write("errors", {Cell("t", "r", "c"): Measured(0.25)}, 1.0)
    assert second.read("errors") is not None
    with pytest.raises(InputError, match="other settings, data or networks: give another folder"):
        Home(tmp_path, NAME, "tiny", "cpu", "aaaa")


def test_figures_of_other_settings_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that was edited within one version must not go on with figures of before."""
    study = declared(NAME, "tiny")
    name, training = next(iter(study.trainings.items()))
    longer = replace(training, recipe=replace(training.recipe, epochs=training.recipe.epochs + 1))
    edited = replace(study, trainings={**study.trainings, name: longer})
    assert edited.settings != study.settings == declared(NAME, "tiny").settings
    monkeypatch.setattr("advkit.reproduction.reproducing.declared", lambda name, budget, **_: edited)
    with pytest.raises(InputError, match="settings"):
        reproduce(NAME, budget="tiny", output=copy, device="cpu")


def test_wrong_names_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'goodfellow_logistic'"):
        reproduce("goodfellow_logistics", output=tmp_path)
    with pytest.raises(InputError, match="unknown budget 'smalll'; did you mean 'small'"):
        reproduce(NAME, budget="smalll", output=tmp_path)
    with pytest.raises(InputError, match="seeds"):
        reproduce(NAME, seeds=0, output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(list_reproductions()) - GIVEN))
def test_every_study_survives_a_killed_run_and_two_processes(name: str, tmp_path: Path) -> None:
    """One run is stopped after its first job and goes on alone; two processes do the other."""

    def stop(number: int, _: int | None) -> None:
        raise KeyboardInterrupt

    ask: dict[str, object] = {"budget": "tiny", "seeds": 1, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        reproduce(name, output=tmp_path / "killed", progress=stop, **ask)
    assert len(list((tmp_path / "killed" / "figures").iterdir())) == 1
    assert not (tmp_path / "killed" / "reproduction.json").exists()
    resumed = reproduce(name, output=tmp_path / "killed", **ask)
    both = reproduce(name, output=tmp_path / "both", workers=2, **ask)
    assert resumed.records() == both.records()
    assert [verdict.p for verdict in resumed.verdicts] == pytest.approx(
        [v.p for v in both.verdicts], abs=0, nan_ok=True
    )
    assert resumed.figures


def test_images_that_do_not_count_leave_the_interval_as_it_is() -> None:
    """All of the hundred digits of a class: Wilson's interval, whatever stands for the other classes."""
    counted = [1.0] * 100
    alone, among = (summed_up([Measured(1.0, samples)] * 3) for samples in (counted, [math.nan, *counted, math.nan]))
    assert among.interval == alone.interval
    low, high = among.interval or (1.0, 1.0)
    assert low == pytest.approx(1 / (1 + 1.959964**2 / 100))
    assert high == 1


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", list_reproductions())
def test_a_study_is_whole(name: str, budget: str) -> None:
    """Claims speak of cells of its tables, measurements of its networks; every figure has its paper's table."""
    study = declared(name, budget)
    cells = {t.cell(row, column) for t in study.tables for row in t.printed for column in t.columns}
    assert len({table.where for table in study.tables}) == len(study.tables)
    for claim in study.claims:
        assert {claim.smaller, claim.larger} <= cells
        assert claim.over in ("seeds", "images")
        assert claim.sentence.endswith(".")
    for measurement in study.measurements.values():
        assert set(measurement.networks) <= study.trainings.keys()
    for table in study.tables:
        assert set(table.columns.values()) <= {"percent", "number"}
        assert all(set(printed) <= set(table.columns) for printed in table.printed.values())
        shares = [v for p in table.printed.values() for c, v in p.items() if table.columns[c] == "percent" and v]
        assert all(0 < share <= 1 for share in shares)
    assert study.claims
    assert study.differences
    for training in study.trainings.values():
        assert training.recipe.seed == 0
