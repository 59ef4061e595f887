"""The pages about evaluations: their code runs, their lists are those of the code."""

import re
from pathlib import Path

import pytest

from advkit.cli._group import COMMANDS
from advkit.evaluation.measure.checks import CHECKS
from advkit.evaluation.runs.rows import CERTIFIED, FILE, HEADER, SIZE

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["evaluation.md", "run-format.md", "cards.md"])
def test_the_code_of_the_pages_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out


def test_every_check_and_no_other_is_explained():
    rows = re.findall(r"^\| `(\w+)` \| ", (DOCS / "evaluation.md").read_text(), re.MULTILINE)
    assert tuple(rows) == CHECKS


def test_every_column_and_no_other_is_explained():
    text = (DOCS / "run-format.md").read_text().partition("## samples.csv")[2].partition("##")[0]
    cells = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    assert [name for cell in cells for name in re.findall(r"`(\w+)`", cell)] == [
        "id",
        "attack",
        *(name for name in HEADER[2:6]),
        "prediction",
        "confidence",
        "success",
        "wrong",
        "top5_wrong",
        *HEADER[HEADER.index("linf") :],
        *(SIZE, *CERTIFIED, FILE),  # of some runs
    ]


def test_every_command_on_the_pages_exists():
    text = (DOCS / "evaluation.md").read_text() + (DOCS / "run-format.md").read_text()
    assert set(re.findall(r"^(?:.* -m )?advkit (\w+)", text, re.MULTILINE)) <= set(COMMANDS)
