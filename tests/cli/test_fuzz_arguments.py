"""Argument lists over every command, by its declarations: exit 0 or 2 with one line, nothing written elsewhere."""

import random
import shutil
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.arguments import argument_list, commands

import advkit
from advkit.cli import main
from advkit.cli._group import COMMANDS
from advkit.data import load_data
from advkit.models import load_model, save_checkpoint

HERE = Path(advkit.__file__).parents[1]
NETWORK = ["--model", "mlp", "--data", "{home}/images.npz", "--count", "3"]
EVALUATE = ["evaluate", *NETWORK, "--attacks", "fgsm", "--batch-size", "4", "--count", "8", "--no-checks"]
CHEAP = {
    "attack": [*NETWORK, "--output", "out"],
    "attacks": [],
    "board": ["{home}/run"],
    "card": ["{home}/run"],
    "certify": [*NETWORK, "--eps", "0.01", "--method", "ibp", "--draws", "8"],
    "compare": ["{home}/run", "{home}/run"],
    "curve": [*NETWORK, "--output", "out/curve.png"],
    "data": ["mnist5k"],
    "defenses": [],
    "evaluate": [*NETWORK, "--attacks", "fgsm", "--no-checks"],
    "merge": ["{home}/run", "--output", "out/merged"],
    "models": [],
    "patch": [*NETWORK, "--epochs", "1", "--places", "centre", "--output", "out"],
    "train": ["--model", "mlp", "--data", "{home}/images.npz", "--epochs", "1", "--probe", "2", "--output", "out/run"],
    "transfer": [*NETWORK, "--models", "lenet5", "--attack", "fgsm", "--output", "out/transfer.png"],
    "universal": [*NETWORK, "--epochs", "1", "--output", "out"],
    "verify": ["{home}/run"],
    "colocalise": ["--count", "1", "--output", "out"],
    "augment": ["--data", "{home}/images.npz", "--count", "1", "--augment", "mirror", "--output", "out"],
    "stn": ["--data", "{home}/images.npz", "--count", "1", "--output", "out"],
    "correspondence": ["--model", "lenet5", "--data", "{home}/images.npz", "--part", "a=1,1,9,9", "--count", "2",
                       "--random", "2", "--output", "out"],
    "filters": ["--model", "lenet5", "--data", "{home}/images.npz", "--images", "4", "--output", "out"],
    "lipschitz": ["--model", "mlp", "--data", "{home}/images.npz", "--output", "out"],
}  # fmt: skip
"""What makes a command end soon; `visualize` draws the rest alike."""
DRAWN = ["--model", "lenet5", "--data", "{home}/images.npz", "--count", "1", "--output", "out"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that arguments name: images, weights, classes, a run, a shard, a card."""
    home = tmp_path_factory.mktemp("home")
    x, y = load_data("mnist5k")[:24]
    np.savez(home / "images.npz", x=x.numpy(), y=y.numpy())
    save_checkpoint(home / "weights.safetensors", load_model("lenet5", weights="random", width=0.1))
    (home / "classes.txt").write_text("\n".join(f"digit {number}" for number in range(10)))
    for name, more in (("run", []), ("shard", ["--shard", "1/2"])):
        words = [*EVALUATE, "--output", str(home / name), *more]
        assert CliRunner().invoke(main, filled(words, home)).exit_code == 0
    (home / "card.json").write_text(CliRunner().invoke(main, ["card", str(home / "run")]).stdout)
    return home


def filled(words: list[str], home: Path) -> list[str]:
    return [word.replace("{home}", str(home)) for word in words]


def held(*roots: Path) -> dict[Path, tuple[int, int]]:
    """Every file below these folders with its size and time; byte code, which changes folders, is left out."""
    files = (file for root in roots for file in root.rglob("*") if not file.is_dir())
    stats = {file: file.lstat() for file in files if "__pycache__" not in file.parts and file.suffix != ".pyc"}
    return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in stats.items()}


def ends_well(words: list[str]) -> int:
    """Run the command: exit 0 or 2, one line for an error and nothing before it, no escapes; what it ended with."""
    ended = CliRunner().invoke(main, words)
    assert isinstance(ended.exception, SystemExit | None), (words, repr(ended.exception))
    assert ended.exit_code in (0, 2), (words, ended.output[-1500:])
    assert "Traceback" not in ended.output, words
    assert "\x1b" not in ended.output, words
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == (ended.exit_code == 2), (words, ended.stderr)
    assert all(len(line) < 2100 for line in errors), words
    assert not (ended.exit_code and ended.stdout), (words, ended.stdout)
    return ended.exit_code


def fuzz(home: Path, place: Path, seed: int, count: int) -> list[int]:
    """Run `count` argument lists for every command in a folder of their own; the exit codes.

    The user's home is written to only where an argument says `~`.
    """
    dice, codes = random.Random(seed), []
    roots, user = [home, *(HERE / room for room in ("advkit", "attacks", "cli", "defenses"))], place / "user"
    before = held(*roots)
    for path, command in commands():
        cheap = filled(CHEAP.get(path[-1], DRAWN), home)
        for _ in range(count):
            (place / "here" / "out").mkdir(parents=True, exist_ok=True)
            words = argument_list(path, command, cheap, home, dice)
            codes.append(ends_well(words))
            assert {file.name for file in place.iterdir()} == {"here", "user"}, words
            assert held(*roots) == before, words
            assert "~" in words or not held(user), words
            for left in [*(place / "here").iterdir(), *user.iterdir()]:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return codes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A folder whose part `here` is where commands run, and `user` is the user's own."""
    for name in ("here", "user"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("HOME", "XDG_CACHE_HOME", "ADVKIT_DATA", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "user"))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def test_every_command_takes_part() -> None:
    found = {path[0] for path, _ in commands()}
    assert found == set(COMMANDS)
    assert all(isinstance(command, click.Command) for _, command in commands())


def test_argument_lists_end_in_one_line(home: Path, place: Path) -> None:
    codes = fuzz(home, place, 0, 1)
    assert {0, 2} == set(codes)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_five_hundred_argument_lists_end_in_one_line(home: Path, place: Path, seed: int) -> None:
    codes = fuzz(home, place, seed, 2)
    assert 0.1 < codes.count(0) / len(codes) < 0.9
