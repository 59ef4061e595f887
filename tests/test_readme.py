"""The README: short; its example prints the table below it, its index is the registry, its links lead somewhere."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from advkit.testing import list_checks

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COUNTED = re.compile(r"^ (\w\S*(?: \S+)*?) {2,}[\d.]+ % .* ([\d,]+) of ([\d,]+)", re.MULTILINE)


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 90


def test_the_example_has_six_lines_and_prints_the_table_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert sum(map(bool, block.splitlines())) == 6
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert {path.name for path in tmp_path.iterdir()} == {"errors.pdf", "report.safetensors"}
    printed = COUNTED.findall(capsys.readouterr().out)
    shown = COUNTED.findall(re.sub(r"^    ", "", TEXT, flags=re.MULTILINE))
    assert [row[::2] for row in printed] == [row[::2] for row in shown]
    assert len(shown) == 5
    for (_, here, _), (_, there, _) in zip(printed, shown, strict=True):
        assert abs(int(here) - int(there)) <= 3  # another processor may round another way


def test_the_index_of_attacks_is_that_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    module = import_module("_readme_index")
    sys.modules.pop("_readme_index")
    assert module.index_table() in TEXT, "run: python docs/_readme_index.py"


def test_its_wrappers_are_registered() -> None:
    from advkit.attacks import ATTACKS

    (line,) = re.findall(r"^Wrappers.*$", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == set(ATTACKS.wrappers)


def test_every_link_of_it_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", TEXT) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_promises_of_pgd_in_its_table_are_those_of_the_page() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    (row,) = re.findall(r"^\| broken \|(.*)\|$", page, re.MULTILINE)
    ours, foolbox, torchattacks, adv_lib = (int(cell) for cell in row.split("|")[1::4])
    (stated,) = re.findall(r"^\| promises .*?of (\d+) .*?\|(.*)\|$", TEXT, re.MULTILINE)
    assert [int(cell) for cell in stated[1].split("|")[:4]] == [ours, foolbox, torchattacks, adv_lib]
    assert int(stated[0]) == len(list_checks())


def test_the_checks_in_its_table_are_as_many_as_there_are() -> None:
    from advkit.evaluation.measure.checks import CHECKS

    (stated,) = re.findall(r"^\| checks for hidden gradients \| (\d+) \|", TEXT, re.MULTILINE)
    assert int(stated) == len(CHECKS)
