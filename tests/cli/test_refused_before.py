"""Wrong input is refused before a command prints anything of a run: standard output stays empty, one line says why."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.arguments import commands

from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.files import alone, make_folder, nothing_left
from advkit.reproduction.kept import took_locks

SMALL = ("train", "--model", "mlp(hidden=(4,), width=1)", "--epochs", "1", "--batch-size", "1000", "--device", "cpu")
TAKES = {
    option: sorted(path for path, command in commands() if any(option in each.opts for each in command.params))
    for option in ("--model", "--models", "--data", "--device", "--attack", "--attacks", "--weights")
}
"""Option -> the commands that have it."""

WRONG = {
    "--model": "lenet",
    "--models": "lenet",
    "--data": "mnist5",
    "--device": "nowhere",
    "--attack": "gpd",
    "--attacks": "gpd",
    "--weights": "no/such/file",
}

RIGHT = {
    "augment": [],
    "certify": ["--model", "lenet5", "--eps", "0.1"],
    "colocalise": [],
    "correspondence": ["--model", "lenet5", "--part", "eye=1,1,9,9"],
    "curve": ["--models", "lenet5"],
    "export": ["{home}/run", "pairs.npz"],
    "reproduce": ["imagenet_crops", "--data", "{home}/images.npz", "--model", "lenet5", "--workers", "1"],
    "stn": ["--model", "stn_cnn"],
    "transfer": ["--models", "lenet5", "mlp"],
    "verify": ["{home}/card.json", "--again", "1"],
}
"""Command -> what it takes beside the wrong word; by default --model lenet5."""


def refused(words: Sequence[str]) -> str:
    """What the command says on standard error when it refuses; it prints nothing else."""
    ended = CliRunner().invoke(main, list(words))
    assert ended.exit_code == 2, (words, ended.output)
    assert not ended.stdout, (words, ended.stdout)
    assert ended.stderr.startswith("Error: "), (words, ended.stderr)
    assert ended.stderr.count("\n") == 1, (words, ended.stderr)
    return ended.stderr


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with images, a run and its card, for the commands that read one."""
    home, runner = tmp_path_factory.mktemp("home"), CliRunner()
    np.savez(home / "images.npz", x=np.zeros((8, 1, 55, 55), np.float32), y=np.arange(8))
    words = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--count", "4", "--no-checks"]
    assert runner.invoke(main, [*words, "--output", str(home / "run")]).exit_code == 0
    (home / "card.json").write_text(runner.invoke(main, ["card", str(home / "run")]).stdout)
    return str(home)


@pytest.mark.parametrize(
    ("path", "option"), [(path, option) for option in WRONG for path in TAKES[option]], ids=lambda part: "".join(part)
)
def test_a_wrong_name_is_refused_before_anything_is_printed(
    path: tuple[str, ...], option: str, home: str, somewhere: Path
) -> None:
    right = [word.format(home=home) for word in RIGHT.get(path[-1], ["--model", "lenet5"])]
    at = right.index(option) if option in right else len(right)
    wrong = [option, WRONG[option]]
    if path == ("transfer",) and option == "--weights":
        pytest.skip("--weights are of one model")
    assert WRONG[option] in refused([*path, *right[:at], *wrong, *right[at + 2 :]])
    assert not list(somewhere.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--model", "lenet"), "did you mean 'lenet5'"),
        (("train", "--model", "lenet5(pools=3)"), "unknown option"),
        ((*SMALL, "--init", "x"), "init"),
        ((*SMALL, "--weights", "no/such/file"), "no/such/file"),
        ((*SMALL, "--freeze", "nothing"), "nothing"),
        ((*SMALL, "--validation", "4000"), "validation"),
        ((*SMALL, "--accumulate", "1001"), "accumulate"),
        ((*SMALL, "--augment", "patch(size=50)"), "50"),
    ],
)
def test_a_training_has_no_heading_before_it_has_begun(words: tuple[str, ...], message: str) -> None:
    assert message in refused(words)


LATE: dict[str, tuple[str, ...]] = {
    "evaluate": ("evaluate", "--model", "mlp", "--count", "4", "--no-checks", "--attacks", "fgsm(eps=0.1, target=77)"),
    "train": (*SMALL, "--defense", "adversarial(attack=fgsm(eps=0.1, target=77))"),
    "reproduce": ("reproduce", "imagenet_crops", "--data", "{home}/images.npz", "--model", "lenet", "--workers", "1"),
    "processes": ("reproduce", "imagenet_crops", "--data", "{home}/images.npz", "--model", "lenet", "--workers", "2"),
}
"""Commands that find out at the first work that they cannot do it."""


@pytest.mark.parametrize("what", LATE)
def test_wrong_input_leaves_no_folder_behind(what: str, home: str, somewhere: Path) -> None:
    words = [*(word.format(home=home) for word in LATE[what]), "--output"]
    CliRunner().invoke(main, [*words, "new/run"])
    assert not list(somewhere.iterdir())
    (somewhere / "new").mkdir()
    CliRunner().invoke(main, [*words, "new/run"])
    assert not list((somewhere / "new").iterdir())
    (somewhere / "new" / "mine").mkdir()
    ended = CliRunner().invoke(main, [*words, "new/mine"])
    assert ended.exit_code == 2
    assert (somewhere / "new" / "mine").is_dir()  # it was there before


def test_a_folder_with_work_or_in_use_stays(somewhere: Path) -> None:
    def fail(more: str = "", *, idle: bool = True) -> None:
        with suppress(InputError), nothing_left(somewhere / "run", ("run.json", "batches"), lambda: idle):
            make_folder(somewhere / "run" / "batches")
            (somewhere / "run" / "run.json").touch()
            if more:
                (somewhere / "run" / more).touch()
            raise InputError("wrong")

    fail()
    assert not (somewhere / "run").exists()
    for more in ("batches/0.safetensors", "notes.txt"):
        fail(more)
        assert (somewhere / "run" / more).exists()
        shutil.rmtree(somewhere / "run")
    fail(idle=False)
    assert (somewhere / "run").exists()
    shutil.rmtree(somewhere / "run")
    with suppress(InputError), ExitStack() as stack, nothing_left(somewhere / "run", ()):
        make_folder(somewhere / "run")
        stack.enter_context(alone(somewhere / "run"))  # as another process that is at work
        raise InputError("wrong")
    assert (somewhere / "run").exists()


def test_a_lock_that_another_process_holds_is_left(somewhere: Path) -> None:
    (somewhere / "one").touch()
    with alone(somewhere / "one"):
        assert not took_locks(somewhere)
    assert (somewhere / "one").exists()
    assert took_locks(somewhere)
    assert not list(somewhere.iterdir())


def test_a_training_over_another_run_has_no_heading() -> None:
    made = CliRunner().invoke(main, [*SMALL, "--output", "run"])
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("mlp-mnist5k(")
    assert made.stdout.count("run folder: run") == 1
    assert "--resume" in refused([*SMALL, "--output", "run"])
    again = CliRunner().invoke(main, [*SMALL, "--output", "run", "--resume"])
    assert again.exit_code == 0, again.output
    assert again.stdout == made.stdout


@pytest.mark.parametrize("command", ["universal", "patch"])
def test_images_that_no_picture_has_are_refused_before_the_search(command: str, somewhere: Path) -> None:
    x = np.random.default_rng(0).random((8, 2, 18, 18), dtype=np.float32)
    np.savez("two.npz", x_test=x, y_test=np.arange(8))
    words = (command, "--model", "mlp", "--weights", "random", "--data", "two.npz")
    assert "images of 1 or 3 channels, as a picture has, got 2" in refused(words)
    assert [file.name for file in somewhere.iterdir()] == ["two.npz"]


def test_the_search_goes_on_without_a_picture() -> None:
    x = np.random.default_rng(0).random((8, 2, 18, 18), dtype=np.float32)
    np.savez("two.npz", x_test=x, y_test=np.arange(8))
    words = ["universal", "--model", "mlp", "--weights", "random", "--data", "two.npz", "--epochs", "1", "--no-picture"]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0


def test_an_export_that_fails_says_nothing_of_its_first_half(home: str) -> None:
    words = ("export", f"{home}/run", "pairs.npz", "--attack", "gpd", "--tensorboard", "logs")
    assert "gpd" in refused(words)
    assert "say where to" in refused(("export", f"{home}/run", "--attack", "fgsm", "--tensorboard", "logs"))
