"""Streams that the caller has closed or that lead nowhere; paths that begin with ~; Python's strict modes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from advkit.cli import main

CHEAP = [sys.executable, "-m", "advkit"]


def shell(tail: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command with redirections behind it."""
    line = " ".join([*CHEAP, *words, tail])
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(closed: str) -> None:
    ended = shell(closed, "attacks")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout + ended.stderr == ""


def test_an_error_ends_with_its_code_though_nobody_hears_of_it() -> None:
    assert shell("2>&-", "attacks", "nothing-of-this-name").returncode == 2


@pytest.mark.parametrize("words", [["attacks", "nothing-of-this-name"], ["--debug", "models", "nothing-of-this-name"]])
def test_an_error_ends_with_its_code_though_there_is_no_room_for_its_text(words: list[str]) -> None:
    """A terminal that was closed, whose hang-up ends the command, refuses the text in the same way."""
    assert shell("2> /dev/full", *words).returncode == 2


def test_a_full_output_is_one_line() -> None:
    ended = shell("> /dev/full", "attacks")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "No space left" in ended.stderr


def test_a_tilde_is_the_home_though_no_shell_put_it_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--no-checks", "--count", "4", "--output=~/run"]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    assert (tmp_path / "run" / "run.json").exists()
    assert not os.listdir(tmp_path / "here")
    for command in (["verify", "~/run"], ["card", "~/run"], ["compare", "~/run", "~/run"]):
        assert CliRunner().invoke(main, command, catch_exceptions=False).exit_code == 0
