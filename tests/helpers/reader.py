"""Someone who follows a page to the letter: its blocks of code, one after the other, in the present folder."""

import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from helpers.children import pytest_of, torchrun

from advkit.cli import main

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

NOTE = f"""advkit() {{ printf '%s\\0' "$#" "$@" >> "$NOTES"; }}
hf() {{ {shlex.quote(sys.executable)} -m huggingface_hub.cli.hf "$@"; }}
"""
"""Functions of bash in place of the command (it notes the number of its words, and the words) and of the hub's own."""


def lines_of(block: str) -> list[str]:
    """The commands of a block of shell, without comments; a line that ends in a backslash goes on."""
    joined = re.sub(r"\\\n\s*", "", block)
    return [line for line in joined.splitlines() if shlex.split(line, comments=True)]


class Reader:
    """Someone who follows a page to the letter."""

    def __init__(self) -> None:
        self.names: dict[str, object] = {"__name__": "page"}

    def python(self, text: str) -> None:
        """Names of earlier blocks are there; tests are run by pytest."""
        if "def test_" not in text:
            with warnings.catch_warnings():
                if "from lightning" in text:
                    warnings.simplefilter("ignore")  # its own
                exec(compile(text, "page", "exec"), self.names)
            return
        Path("test_page.py").write_text(text)
        alone = ["-p", "advkit.testing", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "test_page.py"]
        with TemporaryDirectory() as said:
            code, stdout, stderr = pytest_of(alone, Path.cwd(), Path(said))
        assert code == 0, f"{text}\n{stdout[-2000:]}{stderr[-2000:]}"
        exec(compile(text, "page", "exec"), self.names)

    def sh(self, text: str) -> None:
        """Lines that are commands of advkit, each alone."""
        for line in lines_of(text):
            self.line(line)

    def line(self, line: str, *more: str) -> None:
        """One command of advkit, with further words; stars and `> FILE` are understood as a shell does."""
        program, *words = shlex.split(line, comments=True)
        assert program == "advkit", f"{line}: put other programs into a block marked as bash"
        *words, target = [*words[:-2], words[-1]] if words[-2:-1] == [">"] else [*words, ""]
        found = [(word, sorted(map(str, Path().glob(word))) if "*" in word else []) for word in words]
        result = CliRunner().invoke(main, [name for word, names in found for name in names or [word]] + [*more])
        assert result.exit_code == 0, f"{line}\n{result.output}{result.stderr}{result.exception!r}"
        if target:
            Path(target).write_text(result.stdout)

    def bash(self, text: str) -> None:
        """A script; one of Slurm is started for each of two tasks."""
        tasks = (1, 2) if "SLURM" in text else (1,)
        for task in tasks:
            self.script(text, SLURM_ARRAY_TASK_ID=str(task))

    def yaml(self, text: str) -> None:
        """The command of an indexed job of two pods."""
        (command,) = re.findall(r"^ +- >-\n((?: {10}.*\n)+)", text, re.MULTILINE)
        for index in (0, 1):
            self.script(" ".join(command.split()), JOB_COMPLETION_INDEX=str(index))

    def script(self, text: str, **variables: str) -> None:
        """A script. Its calls of advkit are noted down by bash, and then run in this process, which has torch."""
        if "torchrun" in text:
            for line in lines_of(text):
                program, *words = shlex.split(line, comments=True)
                assert program == "torchrun", f"{line}: put other programs into a block of their own"
                self.torchrun(words, **variables)
            return
        calls = Path("calls-of-advkit")
        self.shell(NOTE + text, NOTES=str(calls), **variables)
        words = calls.read_text().split("\0")[:-1] if calls.exists() else []
        calls.unlink(missing_ok=True)
        while words:
            count = int(words[0])
            self.line(shlex.join(["advkit", *words[1 : count + 1]]))
            words = words[count + 1 :]

    @staticmethod
    def torchrun(words: list[str], **variables: str) -> None:
        with TemporaryDirectory() as said:
            code, stdout, stderr = torchrun(words, Path.cwd(), Path(said), **variables)
        assert code == 0, f"torchrun {shlex.join(words)}\n{stdout[-2000:]}{stderr[-2000:]}"

    @staticmethod
    def shell(text: str, **variables: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-ec", text], env={**os.environ, "PATH": path, **variables}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
