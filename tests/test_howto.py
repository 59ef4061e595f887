"""Every code block of docs/howto runs, in the order of its page, in an empty folder; so does Python of other pages."""

from pathlib import Path

import pytest
from helpers.reader import BLOCK, Reader

HOWTO = Path(__file__).parents[1] / "docs" / "howto"
PAGES = [page for page in sorted(HOWTO.glob("*.md")) if "file_format: mystnb" not in page.read_text()]
"""Notebooks among them run when the site is built."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text, reader = page.read_text(), Reader()
    if "timm:" in text:
        pytest.importorskip("timm")
    blocks = BLOCK.findall(text)
    assert blocks
    for kind, body in blocks:
        getattr(reader, kind)(body)


@pytest.mark.parametrize(
    "name", ["attacks", "audit", "augmentation", "certification", "corruptions", "data", "defenses", "goals", "install"]
)
def test_the_python_of_the_other_pages_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [
        body for kind, body in BLOCK.findall((PAGES[0].parents[1] / f"{name}.md").read_text()) if kind == "python"
    ]
    assert blocks
    reader = Reader()
    for body in blocks:
        reader.python(body)


def test_the_pages_are_there() -> None:
    assert {page.stem for page in HOWTO.glob("*.md")} >= {"data", "models", "clusters", "ci", "resume", "figures"}
