"""The code of docs/insight.md runs, its commands are commands, and its pictures are there."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from advkit.cli import main
from advkit.cli.commands.visualize import command
from advkit.models import create_model

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "insight.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^advkit visualize (.*)$", PAGE, re.MULTILINE)


def test_the_python_blocks_run_one_after_another(capsys):
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/insight.md", "exec"), names)
    assert names["found"].shape == (200, 4)
    last = capsys.readouterr().out.splitlines()[-1]
    assert float(re.findall(r"tensor\((.*?)[,)]", last)[0]) >= 0.85


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_take_their_options(line):
    name, *words = shlex.split(line)
    command.commands[name].make_context(name, words)


def test_the_wrong_name_of_the_page_gets_the_line_of_the_page():
    ((line, said),) = re.findall(r"^\$ advkit (.*)\n(.*)$", PAGE, re.MULTILINE)
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == 2
    assert result.stderr == f"{said}\n"


def test_every_command_has_its_place():
    shown = {shlex.split(line)[0] for line in COMMANDS}
    assert shown >= set(command.commands) - {"augment"}  # docs/augmentation.md


def test_the_pictures_are_there_and_none_is_left_over():
    named = set(re.findall(r"\]\(inside/(.*?)\)", PAGE))
    assert named == {path.name for path in (DOCS / "inside").iterdir()}


@pytest.mark.parametrize("spec", sorted(set(re.findall(r"`(\w+\(\w+=[\w.]+\))`", PAGE))))
def test_the_options_of_the_table_are_options(spec):
    width = 1.0 if spec.startswith(("lenet5", "mlp")) else 0.125
    create_model(spec, input_shape=(1, 32, 32), num_classes=10, width=width)
