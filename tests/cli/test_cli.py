"""The group: help without torch, exit codes, one-line errors; the commands that list; advkit train."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.children import ended, spoken, stopped

from advkit._version import __version__
from advkit.attacks import ATTACKS
from advkit.cli import main
from advkit.cli._derived import flag, parameters
from advkit.cli._group import COMMANDS
from advkit.core.sheet import console
from advkit.data import list_datasets
from advkit.models import list_models

ATTACK = ("attack", "--model", "lenet5", "--weights", "random", "--count", "20", "--no-picture")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVKIT_DEBUG", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def advkit(*words):
    return CliRunner().invoke(main, list(words))


def process(*words, **options):
    """The command in a process of its own."""
    environment = {**os.environ, **options.pop("env", {})}
    given = {"capture_output": True, "text": True, "timeout": 600, **options}
    return subprocess.run([sys.executable, "-m", "advkit", *words], env=environment, check=False, **given)


def test_help_names_every_command_and_imports_no_torch():
    code = (
        "import sys, advkit.cli as c\ntry: c.main(['--help'])\nfinally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=3600)
    assert done.stderr.strip() == "False"
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_nothing_at_all_shows_the_help():
    result = advkit()
    assert result.exit_code == 0
    assert result.stdout == advkit("--help").stdout


def test_the_version_is_the_packages():
    assert advkit("--version").stdout == f"advkit {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    result = advkit(command, "--help")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["atack"], "did you mean 'attack'?"),
        (["attak", "--model", "lenet5"], "did you mean 'attack'?"),
        (["nonsense"], "expected one of: attack, attacks"),
        (["--verbose"], "--verbose"),
        (["models", "lenet6"], "did you mean 'lenet5'?"),
        (["models", "vgg*", "--width", "2"], "full name of one network"),
        (["models", "lenet5", "--width", "wide"], "expected a number"),
        (["models", "lenet5", "--input-shape", "32"], "1,32,32"),
        (["data", "mnist6"], "did you mean 'mnist"),
        (["attacks", "fgsn"], "did you mean 'fgsm'?"),
        (["train"], "--recipe"),
        (["train", "--recipe", "lenet5-mnits5k"], "did you mean 'lenet5-mnist5k'?"),
        (["train", "--model", "lenet6"], "lenet5"),
        (
            ["train", "--model", "lenet5", "--epochs", "few"],
            "--epochs of recipe 'lenet5-mnist5k': expected a whole number",
        ),
        (["train", "--model", "lenet5", "--lr", "-1"], "lr"),
        (["train", "--model", "lenet5", "--optimizer", "adam"], "adamw"),
        (["train", "--model", "lenet5", "--defense", "fsgm(eps=0.1)"], "fgsm"),
        (["train", "--model", "lenet5", "--device", "toaster"], "toaster"),
        (["attack", "--model", "mlp", "--device", "meta"], "no device 'meta' here"),
        (["attack", "--model", "mlp", "--threads", "100000"], "1<=x<=1024"),
        (["train", "--model", "lenet5", "--workers", "100000"], "<=1024"),
        (["attacks", "PGD"], "did you mean 'pgd'?"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(words, message):
    result = advkit(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")


def test_a_terminal_that_hangs_up_while_a_bar_is_drawn_is_an_interrupt(monkeypatch):
    import advkit.cli.attack as command

    def evaluate(*_, **__):
        try:
            raise KeyboardInterrupt
        finally:
            raise OSError(5, "Input/output error")  # the bar's last line

    monkeypatch.setattr(command, "evaluate", evaluate)
    assert advkit(*ATTACK).exit_code == 130
    monkeypatch.setattr(command, "evaluate", fail(OSError(5, "Input/output error")))
    assert advkit(*ATTACK).exit_code == 1


def fail(error):
    def evaluate(*_, **__):
        raise error

    return evaluate


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("it\nbroke"), 1, "Error: RuntimeError: it broke; for the traceback run it again with --debug"),
        (KeyError("x"), 1, "Error: KeyError: 'x'; for the traceback run it again with --debug"),
        (RuntimeError(), 1, "Error: RuntimeError; for the traceback run it again with --debug"),
        (OSError(28, "No space left on device"), 1, "Error: No space left on device; "),
        (torch.OutOfMemoryError("too much"), 1, "try a smaller --batch-size"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_crashes_interrupts_and_full_disks_have_their_codes(monkeypatch, error, code, message):
    import advkit.cli.attack as command

    monkeypatch.setattr(command, "evaluate", fail(error))
    result = advkit(*ATTACK)
    assert result.exit_code == code
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == bool(message)


@pytest.mark.parametrize("how", ["flag before", "flag after", "environment"])
def test_debug_shows_the_traceback(monkeypatch, how):
    import advkit.cli.attack as command

    monkeypatch.setattr(command, "evaluate", fail(ValueError("broken")))
    words = {"flag before": ("--debug", *ATTACK), "flag after": (*ATTACK, "--debug"), "environment": ATTACK}[how]
    if how == "environment":
        monkeypatch.setenv("ADVKIT_DEBUG", "1")
    result = advkit(*words)
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.strip().endswith("Error: ValueError: broken")


def test_the_first_command_imports_neither_torchvision_nor_matplotlib_without_a_picture():
    words = [*ATTACK, "--json"]
    slow = ("torchvision", "matplotlib", "mlxtend", "scipy")
    code = (
        f"import sys, advkit.cli as c\ntry: c.main({words!r})\n"
        f"finally: print([m for m in {slow!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=3600)
    assert done.stderr.strip() == "[]"
    assert json.loads(done.stdout)["count"] == 20


def test_a_reader_that_leaves_ends_the_command_as_it_ends_git():
    reader, writer = os.pipe()
    os.close(reader)
    done = process("models", stdout=writer, stderr=subprocess.PIPE, capture_output=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE  # what the shell says of git or grep then


def test_a_table_leaves_the_code_of_a_reader_that_left_to_the_command():
    def meet():
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            console().on_broken_pipe()  # as rich does when a write fails; its own would exit with 1

    with pytest.raises(BrokenPipeError):
        meet()


def test_ctrl_c_ends_with_130_and_one_line(tmp_path):
    words = ["train", "--model", "MODEL", "--data", "mnist5k", "--epochs", "2", "--threads", "1"]
    code, stderr = stopped(tmp_path, words, signal.SIGINT, at=80)
    assert code == 130, stderr
    assert "Traceback" not in stderr
    assert "--resume" in stderr
    assert stderr.strip().endswith("Interrupted.")


def test_models_stand_beside_their_papers(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = advkit("models").stdout.splitlines()
    for name in list_models():
        assert any(line.split()[:1] == [name] for line in lines)
    assert any("lenet5" in line and line.count("60,806") >= 2 and "LeCun" in line for line in lines)
    assert any("vgg16" in line and line.count("138,357,544") == 2 and "15.5 G" in line for line in lines)
    assert not any(line.endswith(" ") for line in lines)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = advkit("models", "vgg*").stdout.splitlines()
    assert max(map(len, narrow[:10])) <= 80
    assert any(line.split()[:2] == ["vgg16", "138,357,544"] for line in narrow)


def test_a_models_layers_are_written_as_in_the_lecture(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    text = advkit("models", "lenet5").stdout
    for words in ("6 maps of 28x28", "16 maps of 10x10", "120 units", "48,120", "Together 60,806 parameters"):
        assert words in text
    small = advkit("models", "vgg16", "--input-shape", "1,32,32", "--classes", "7", "--width", "1/8").stdout
    assert "7 units" in small
    assert "width 1/8" in small


def test_attacks_are_listed_with_every_option():
    text = " ".join(advkit("attacks").stdout.split())
    for name in ATTACKS.names():
        assert name in text
        assert all(flag(option) in text for option in parameters(ATTACKS.factory(name)))
    only = advkit("attacks", "p*").stdout
    assert "pgd" in only
    assert "fgsm" not in only


def test_every_option_of_every_attack_is_an_option_of_the_command():
    text = advkit("attack", "--help").stdout
    for name in ATTACKS.names():
        for option in parameters(ATTACKS.factory(name)):
            assert flag(option) in text


def test_data_sets_are_listed_with_whether_they_are_here(somewhere):
    text = advkit("data", "--data-root", str(somewhere)).stdout
    for name in list_datasets():
        assert name in text
    assert any(line.split()[:3] == ["mnist5k", "yes", "1,000"] for line in text.splitlines())
    assert any(line.split()[:2] == ["cifar10", "no"] for line in text.splitlines())
    assert "folder:PATH" in text
    assert str(somewhere) in text


def test_training_leaves_a_run_that_can_be_attacked_and_resumed(somewhere):
    words = ("train", "--model", "lenet5", "--epochs", "1", "--width", "1/2", "--batch-size", "400", "--seed", "5")
    first = advkit(*words, "--output", "run")
    assert first.exit_code == 0, first.output
    assert "width=0.5, epochs=1" in first.stdout
    assert "clean error" in first.stdout
    assert "95 % interval" in first.stdout
    assert "epoch 1/1" in first.stderr
    again = advkit(*words, "--output", "run")
    assert again.exit_code == 2
    assert "--resume" in again.stderr
    assert advkit(*words, "--output", "run", "--resume").exit_code == 0
    attacked = advkit("attack", "--model", "lenet5", "--weights", "run", "--count", "20", "--json")
    found = json.loads(attacked.stdout)
    assert found["weights"].endswith("run")
    shape = advkit("attack", "--model", "lenet5", "--weights", "run", "--count", "20", "--no-picture").stdout
    assert shape.startswith("lenet5, width 1/2, 15,738 parameters, trained on mnist5k:train; weights: run")
    on_training = advkit("attack", "--model", "run", "--split", "train", "--count", "20", "--json")
    assert "Warning: the model was trained on these very images" in on_training.stderr


def test_each_epochs_line_carries_its_own_figures(somewhere):
    words = ("train", "--model", "lenet5", "--epochs", "3", "--width", "1/2", "--batch-size", "400", "--output", "run")
    lines = [line for line in advkit(*words).stderr.splitlines() if line.startswith("epoch")]
    assert all(re.fullmatch(r".*; [\d,]+ images/s, 0:\d\d:\d\d left", line) for line in lines)
    lines = [line.partition(";")[0] for line in lines]
    rows = list(csv.DictReader((somewhere / "run" / "log.csv").read_text().splitlines()))
    assert lines == [
        f"epoch {row['epoch']}/3, loss {float(row['loss']):.4f}, clean error {100 * float(row['clean_error']):.2f} %"
        for row in rows
    ]
    assert len({row["loss"] for row in rows}) == len(lines) == 3


def test_training_on_a_defence_uses_its_loss():
    words = ("train", "--model", "mlp", "--epochs", "1", "--width", "1/16", "--batch-size", "1000")
    text = advkit(*words, "--defense", "fgsm(eps=0.25, alpha=0.5)")
    assert text.exit_code == 0, text.output
    assert "defense='fgsm(eps=0.25, alpha=0.5)'" in text.stdout


def test_output_is_as_wide_as_columns_and_without_colours_in_a_pipe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "77")
    assert console().width == 77
    assert "\x1b" not in advkit("attacks").stdout
    monkeypatch.delenv("COLUMNS")
    assert console().width == 200


def test_no_color_holds_on_a_terminal():
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    terminal = Path(os.ttyname(child))
    code = ended(lambda: spoken(["attacks", "fgsm"], terminal, terminal, NO_COLOR="1", TERM="xterm"))
    os.close(child)
    text = os.read(parent, 65536).decode()
    assert code == 0
    assert "fgsm" in text
    assert not any(f"\x1b[3{colour}" in text for colour in range(8))


def test_progress_is_drawn_on_a_terminal_only(tmp_path):
    pty = pytest.importorskip("pty")
    parent, child = pty.openpty()
    found, terminal = tmp_path / "found.json", Path(os.ttyname(child))
    assert ended(lambda: spoken([*ATTACK, "--json"], found, terminal, TERM="xterm")) == 0
    os.close(child)
    assert "fgsm" in os.read(parent, 65536).decode()
    assert json.loads(found.read_text())["count"] == 20
    assert advkit(*ATTACK, "--json").stderr == ""


def test_the_group_is_importable_as_the_entry_point():
    points = entry_points(group="console_scripts")
    assert next(point for point in points if point.name == "advkit").load() is main
