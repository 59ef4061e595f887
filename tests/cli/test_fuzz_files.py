"""Run folders and weights files with one byte or one key changed: exit 0 or 2 with one line, never a traceback."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from advkit.attacks import FGSM
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.evaluation import evaluate
from advkit.models import load_model, save_checkpoint

VALUES = [None, True, -1, 3.5, 1e400, "x", "", [], [1], {}, {"a": 1}, "\x1b[2J", "9" * 400]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole")
    evaluate(load_model("mlp"), load_data("mnist5k"), [FGSM()], eps=0.1, count=8, batch_size=4, output=home / "run",
             checks=False)  # fmt: skip
    shutil.copytree(home / "run", home / "other")
    save_checkpoint(home / "safe.safetensors", load_model("lenet5", weights="random", width=0.1))
    torch.save(load_model("lenet5", weights="random", width=0.1).net.state_dict(), home / "torch.pt")
    return home


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value can be changed in a JSON object."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inside in items for place in places(inside, (*path, key)))]


def edited(text: str, dice: random.Random) -> str:
    """The JSON text with one value replaced or one key removed."""
    record = json.loads(text)
    path = dice.choice(places(record)[1:])
    inside = record
    for key in path[:-1]:
        inside = inside[key]
    if dice.random() < 0.3:
        del inside[path[-1]]
    else:
        inside[path[-1]] = dice.choice(VALUES)
    return json.dumps(record)


def spoil(home: Path, dice: random.Random) -> str:
    """Change one key of run.json, or one byte of any file, or cut or remove a file."""
    files = sorted(file for file in home.rglob("*") if file.is_file())
    file = dice.choice(files)
    record = home / "run.json"
    how = dice.choice(["key", "key", "byte", "byte", "cut", "remove"])
    if how == "key":
        record.write_text(edited(record.read_text(), dice))
    elif how == "byte":
        content = bytearray(file.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[: dice.randrange(100)])
    else:
        file.unlink()
    return f"{how} {record.name if how == 'key' else file.name}"


def ends_well(words: list[str], told: str) -> None:
    """Run a command and see that it ends in exit 0 or 2 with one line."""
    ended = CliRunner().invoke(main, words)
    assert isinstance(ended.exception, SystemExit | None), (told, words, repr(ended.exception))
    assert ended.exit_code in (0, 2), (told, words, ended.output[-800:])
    assert "Traceback" not in ended.output
    assert "\x1b" not in ended.output
    errors = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == (ended.exit_code == 2), (told, words, ended.stderr)


def edit_runs(whole: Path, home: Path, seed: int, count: int) -> None:
    dice = random.Random(seed)
    outside = {file: file.read_bytes() for file in (whole / "other").rglob("*") if file.is_file()}
    for _ in range(count):
        shutil.rmtree(home / "run", ignore_errors=True)
        shutil.copytree(whole / "run", home / "run")
        told = spoil(home / "run", dice)
        run, other = str(home / "run"), str(whole / "other")
        ends_well(["verify", run], told)
        again = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--count", "8", "--batch-size", "4", "--no-checks"]
        ends_well(dice.choice([["compare", run, other], ["merge", run, "--output", str(home / "run" / "merged")],
                               [*again, "--output", run, "--resume"]]), told)  # fmt: skip
    assert {path.name for path in home.iterdir()} == {"run"}
    assert {file: file.read_bytes() for file in (whole / "other").rglob("*") if file.is_file()} == outside


def edit_weights(whole: Path, home: Path, seed: int, count: int) -> None:
    dice = random.Random(seed)
    for _ in range(count):
        source = dice.choice([whole / "safe.safetensors", whole / "torch.pt"])
        content = bytearray(source.read_bytes())
        header = min(len(content), 3000 if dice.random() < 0.7 else len(content))
        how = dice.choice(["bit", "byte", "cut", "swap"])
        place = dice.randrange(header)
        if how == "bit":
            content[place] ^= 1 << dice.randrange(8)
        elif how == "byte":
            content[place] = dice.randrange(256)
        elif how == "cut":
            del content[place:]
        else:
            content[place : place + 4] = bytes(dice.randrange(256) for _ in range(4))
        file = home / dice.choice(["w.pt", "w.safetensors", "w"])
        file.write_bytes(content)
        said = ""
        try:
            load_model("lenet5", weights=file, width=0.1, device="cpu")
        except InputError as error:
            said = str(error)
        assert said.isprintable(), how
        file.unlink()


def test_edited_runs_end_in_one_line(whole: Path, tmp_path: Path) -> None:
    edit_runs(whole, tmp_path, 0, 12)


def test_edited_weights_end_in_one_line(whole: Path, tmp_path: Path) -> None:
    edit_weights(whole, tmp_path, 0, 100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_five_hundred_edited_runs_end_in_one_line(whole: Path, tmp_path: Path, seed: int) -> None:
    edit_runs(whole, tmp_path, seed, 100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_two_thousand_edited_weights_end_in_one_line(whole: Path, tmp_path: Path, seed: int) -> None:
    edit_weights(whole, tmp_path, seed, 400)
