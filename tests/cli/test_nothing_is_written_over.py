"""No command writes over the work of another, or into a folder that nobody named."""

import json
import os
from itertools import product
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers.arguments import commands

from advkit.cli import main
from advkit.cli._options import UserPath
from advkit.core.errors import InputError
from advkit.core.files import user_path

EVALUATE = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--count", "8", "--batch-size", "4", "--no-checks"]
TRAIN = ["train", "--model", "mlp", "--data", "mnist5k", "--epochs", "1", "--probe", "0", "--width", "0.02"]
REPRODUCE = ["reproduce", "goodfellow_logistic", "--budget", "tiny"]
COMMANDS = {"evaluate": EVALUATE, "train": TRAIN, "reproduce": REPRODUCE}
RECORDS = {
    "evaluate": ("run.json", {"format": 2, "config": {}}),
    "train": ("run.json", {"recipe": {}, "data": "", "versions": {}}),
    "reproduce": ("study.json", {"study": "goodfellow_logistic"}),
}


def content(home: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def refused(words: list[str], says: str) -> None:
    """Exit 2 and one line with this text."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("command", "there", "resume"),
    [
        (command, there, resume)
        for command, there, resume in product(COMMANDS, RECORDS, (False, True))
        if command != there and not (resume and command == "reproduce")  # which always goes on
    ],
)
def test_a_run_of_another_command_stays_as_it_is(command: str, there: str, resume: bool, tmp_path: Path) -> None:
    name, record = RECORDS[there]
    (tmp_path / name).write_text(json.dumps(record))
    before = content(tmp_path)
    words = [*COMMANDS[command], "--output", str(tmp_path), *(["--resume"] if resume else [])]
    refused(words, f"holds a run of advkit {there}: give another folder")
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("evaluate", "samples.csv"),
        ("evaluate", "report.html"),
        ("evaluate", "batches/of_mine.txt"),
        ("evaluate", "png/mine.png"),
        ("train", "log.csv"),
        ("train", "model.safetensors"),
        ("train", "run.json"),
        ("reproduce", "report.html"),
        ("reproduce", "figures/mine.png"),
    ],
)
def test_files_that_no_run_wrote_stay_as_they_are(command: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    refused([*COMMANDS[command], "--output", str(tmp_path)], "give another folder")
    assert content(tmp_path) == {name: b"mine"}


def test_a_folder_of_other_things_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "slurm.out").write_text("mine")
    (tmp_path / "batches").mkdir()  # as a run leaves it that was killed at once
    assert CliRunner().invoke(main, [*EVALUATE, "--output", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "slurm.out").read_text() == "mine"


def test_the_record_of_a_training_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RECORDS["train"][1]))
    for command in ("verify", "report"):
        more = ["--profile", "atlas"] if command == "report" else []
        refused([command, str(tmp_path), *more], "as the record of a run of advkit evaluate, got that of advkit train")


PATHS = [
    (" ".join(words), param.opts[0])
    for words, command in commands()
    for param in command.params
    if isinstance(param, click.Option) and isinstance(param.type, UserPath)
]


def test_there_are_options_that_take_paths() -> None:
    assert ("evaluate", "--output") in PATHS
    assert len(PATHS) >= 11


@pytest.mark.parametrize(("command", "flag"), PATHS)
def test_an_empty_path_is_not_the_current_folder(
    command: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, [*command.split(), f"{flag}="])
    assert done.exit_code == 2, done.output
    assert "expected a path, got an empty text" in done.stderr
    assert not any(tmp_path.iterdir())


def test_the_library_does_not_take_it_either() -> None:
    with pytest.raises(InputError, match="expected a path, got an empty text"):
        user_path("")


def test_a_refused_shard_leaves_nothing_behind(tmp_path: Path) -> None:
    words = [*EVALUATE, "--shard", "5/7", "--output", str(tmp_path / "run")]
    refused(words, "expected a batch for shard 5/7, got data of 2 batches: use fewer shards")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_not_utf8_is_refused_before_the_work(command: str, tmp_path: Path) -> None:
    home = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    refused([*COMMANDS[command], "--output", home], "expected a folder whose name is UTF-8")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("rest", [[], ["--count", "3"], ["--no-checks"]])
def test_an_option_of_several_words_does_not_take_the_next_option(rest: list[str]) -> None:
    done = CliRunner().invoke(main, ["evaluate", "--model", "mlp", "--attacks", *rest])
    assert done.exit_code == 2
    assert "Option '--attacks' requires an argument" in done.stderr


def test_checks_that_a_run_left_out_are_made_when_they_are_asked_for(tmp_path: Path) -> None:
    words = [*EVALUATE, "--output", str(tmp_path)]
    assert CliRunner().invoke(main, words).exit_code == 0
    rows = (tmp_path / "samples.csv").read_bytes()
    assert json.loads((tmp_path / "run.json").read_text())["checks"] is None
    done = CliRunner().invoke(main, [word for word in words if word != "--no-checks"] + ["--resume"])
    assert done.exit_code == 0, done.output
    assert "Checks: " in done.output
    assert json.loads((tmp_path / "run.json").read_text())["checks"] is not None
    assert (tmp_path / "samples.csv").read_bytes() == rows
    assert CliRunner().invoke(main, ["verify", str(tmp_path)]).exit_code == 0
