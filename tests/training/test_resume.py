"""A run survives being killed, is reopened when it is finished, and its folder holds what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.training import RECIPE, assert_same, run_toy, toy_data, toy_net, weights
from torch import nn

from advkit.core.errors import InputError
from advkit.data import MemoryDataset, load_data
from advkit.models import Classifier, load_checkpoint, read_card
from advkit.training import Progress, Recipe, build, find_recipe, measure, train
from advkit.training._progress import Clock


class InterruptionError(Exception):
    pass


def interrupted(output: Path, epochs: int, recipe: Recipe = RECIPE) -> None:
    """A run that dies in the middle of an epoch."""

    def stop(progress: Progress) -> None:
        if progress.epoch == epochs + 1 and progress.step % 2:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        run_toy(recipe, output=output, progress=stop)


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, epochs: int, optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, lr=0.01, channels_last=epochs == 1)
    expected = run_toy(recipe)
    interrupted(tmp_path, epochs, recipe)
    assert (tmp_path / "state.pt").exists() == (epochs > 0)
    run = run_toy(recipe, output=tmp_path, resume=True)
    assert_same(weights(expected), weights(run))
    assert [(row.epoch, row.loss, row.clean_error) for row in run.log] == [
        (row.epoch, row.loss, row.clean_error) for row in expected.log
    ]


@pytest.mark.parametrize("stop", [2, 5, 7])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_that_is_saved_within_an_epoch_goes_on_there_bit_for_bit(
    tmp_path: Path, stop: int, precision: str
) -> None:
    recipe = replace(RECIPE, accumulate=2, precision=precision, validation=12, patience=3)
    expected = run_toy(recipe)

    def interrupt(progress: Progress) -> None:
        if progress.step == stop:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        run_toy(recipe, output=tmp_path, progress=interrupt, save_seconds=0)
    steps: list[int] = []
    run = run_toy(recipe, output=tmp_path, resume=True, progress=lambda at: steps.append(at.step))
    assert steps[0] == stop  # what was done after the last saving, and no more, is done again
    assert_same(weights(expected), weights(run))
    figures = [[(row.loss, row.clean_error, row.validation_error) for row in r.log] for r in (expected, run)]
    assert figures[0] == figures[1]


CHILD = """
import os, sys, time, torch
sys.path.insert(0, os.environ["TESTS"])
from pathlib import Path
from helpers.training import run_toy
def slow(progress):
    Path(sys.argv[1], f"at{progress.step}").touch()
    time.sleep(3600 if progress.step == 8 else 0.01)
torch.set_num_threads(int(sys.argv[2]))  # sums depend on how they are split
run_toy(output=sys.argv[1], progress=slow, save_seconds=0)
"""


def test_a_killed_process_leaves_a_run_that_goes_on_bit_for_bit(tmp_path: Path) -> None:
    environment = {**os.environ, "TESTS": str(Path(__file__).parents[1])}
    arguments = [str(tmp_path), str(torch.get_num_threads())]
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, *arguments], env=environment)
    limit = time.monotonic() + 3600
    while not (tmp_path / "at6").exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=3600) == -signal.SIGKILL
    reached = max(int(path.name.removeprefix("at")) for path in tmp_path.glob("at*"))
    assert not (tmp_path / "model.safetensors").exists()
    steps: list[int] = []
    run = run_toy(output=tmp_path, resume=True, progress=lambda at: steps.append(at.step))
    assert steps[0] in (reached, reached + 1)  # in the middle of an epoch of four steps: at most one is done again
    assert_same(weights(run), weights(run_toy()))


def test_an_epoch_that_ended_and_was_saved_starts_the_time_to_save_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("advkit.training._progress.time", SimpleNamespace(perf_counter=lambda: now[0]))
    clock = Clock(0)
    due = []
    for now[0] in (299.0, 301.0, 598.0, 599.0, 600.0):
        if now[0] == 299:
            clock.start_epoch()
        due.append(clock.is_time_to_save(300))
    assert due == [False, False, False, True, False]


def test_a_finished_run_is_reopened_not_repeated(tmp_path: Path) -> None:
    first = run_toy(output=tmp_path)
    again = run_toy(output=tmp_path, resume=True, progress=lambda _: pytest.fail("trained again"))
    assert_same(weights(first), weights(again))
    assert again.log == first.log
    assert again.card == first.card
    assert not again.classifier.training


@pytest.mark.parametrize("content", ["", "epoch,lr\n1,0.1\n"])
@pytest.mark.parametrize("name", ["log.csv", "model.safetensors"])
def test_a_finished_run_that_is_broken_says_so(tmp_path: Path, name: str, content: str) -> None:
    recipe = replace(RECIPE, epochs=1)
    run_toy(recipe, output=tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{re.escape(name)} is broken or belongs to another network \("):
        run_toy(recipe, output=tmp_path, resume=True)


def test_a_finished_run_without_its_log_says_so(tmp_path: Path) -> None:
    run_toy(output=tmp_path)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(InputError, match=r"log\.csv is broken .*No such file"):
        run_toy(output=tmp_path, resume=True)


def test_a_finished_run_of_another_network_says_so(tmp_path: Path) -> None:
    run_toy(output=tmp_path)
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(InputError, match=r"model\.safetensors is broken or belongs to another network"):
        train(other, toy_data(), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")


def test_a_run_is_not_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    interrupted(tmp_path, 1)
    with pytest.raises(InputError, match="resume"):
        run_toy(output=tmp_path)
    with pytest.raises(InputError, match=r"lr was 0\.1, now 0\.2"):
        run_toy(replace(RECIPE, lr=0.2), output=tmp_path, resume=True)
    with pytest.raises(InputError, match="60 images"):
        train(toy_net(), toy_data(30), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(InputError, match="another network"):
        train(other, toy_data(), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")
    (tmp_path / "state.pt").write_bytes(b"broken")
    with pytest.raises(InputError, match="broken"):
        run_toy(output=tmp_path, resume=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"run\.json"):
        run_toy(output=tmp_path, resume=True)
    with pytest.raises(InputError, match="output="):
        run_toy(resume=True)


def test_the_folder_of_a_run_holds_config_log_and_weights_and_nothing_else(tmp_path: Path) -> None:
    run = run_toy(output=tmp_path / "deep" / "er")
    assert run.output is not None
    assert sorted(path.name for path in run.output.iterdir()) == ["log.csv", "model.safetensors", "run.json"]
    assert json.loads((run.output / "run.json").read_text())["recipe"]["lr"] == 0.1
    config = json.loads((run.output / "run.json").read_text())
    assert (config["device"], config["threads"], config["processes"]) == ("cpu", torch.get_num_threads(), 1)
    assert config["versions"]["torch"] == torch.__version__
    head, *rows = (run.output / "log.csv").read_text().splitlines()
    assert head == (
        "epoch,lr,loss,clean_error,validation_error,seconds,images_per_second,"
        "probe_clean,probe_one_step,probe_many_steps"
    )
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_equal_runs_write_equal_checkpoints(tmp_path: Path) -> None:
    for name in "ab":
        run_toy(output=tmp_path / name)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert (tmp_path / "a/run.json").read_bytes() == (tmp_path / "b/run.json").read_bytes()


def test_the_cards_clean_error_is_that_of_the_stored_weights(tmp_path: Path) -> None:
    data = load_data("mnist5k", split="train")
    few = MemoryDataset("mnist5k", "train", data.classes, *data[:200])
    recipe = replace(find_recipe("mlp-mnist5k"), epochs=1, width=0.02)
    test = MemoryDataset("mnist5k", "test", data.classes, *data[200:500])
    run = train(build(recipe), few, recipe=recipe, output=tmp_path, test=test, device="cpu")
    stored = load_checkpoint(tmp_path)
    assert_same({k: v.float() for k, v in stored.state_dict().items()}, weights(run))
    card = read_card(tmp_path / "model.safetensors")
    assert card == run.card
    assert card.clean_error == measure(stored, test)
    assert (card.name, card.data, card.trained_on, card.seed) == ("mlp", "mnist5k", "mnist5k:train", 0)
    assert card.recipe is not None
    assert card.recipe.startswith("mlp-mnist5k(width=0.02, epochs=1")


def test_the_card_names_a_known_recipe_and_a_foreign_loss() -> None:
    recipe = replace(find_recipe("lenet5-mnist5k"), seed=3)
    from advkit.training._run import label

    assert label(recipe, None) == "lenet5-mnist5k"
    assert label(replace(recipe, lr=0.9), None) != "lenet5-mnist5k"
    assert label(recipe, toy_data).startswith("lenet5-mnist5k with toy_data")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower lr"):
        run_toy(replace(RECIPE, lr=1e30, schedule="constant"), output=tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
