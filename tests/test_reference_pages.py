"""The reference that the site writes itself: no option and no public name is missing."""

import dataclasses
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from advkit.attacks import list_attacks
from advkit.core.attack import ATTACKS
from advkit.defenses import list_defenses

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The module that writes, and the folder that it wrote."""
    place = tmp_path_factory.mktemp("reference")
    sys.path.insert(0, str(DOCS))
    try:
        module = import_module("_reference")
    finally:
        sys.path.remove(str(DOCS))
    (place / "attacks").mkdir()
    (place / "attacks" / "gone.rst").write_text("an attack that left")
    module.write_reference(place)
    return module, place


@pytest.mark.parametrize("name", list_attacks())
def test_every_option_of_an_attack_stands_in_its_table_with_its_default(written, name):
    _, place = written
    text = (place / "attacks" / f"{name}.rst").read_text()
    cls = ATTACKS.factory(name)
    for field in dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ():
        assert f"   * - {field.name}\n" in text
        if field.default is not dataclasses.MISSING and len(repr(field.default)) < 60:
            assert f"   * - {field.name}\n     - ``{field.default!r}``\n" in text


FOLDERS = ("attacks", "defenses", "certificates")


def test_every_page_has_its_formula_its_cost_and_its_options(written):
    _, place = written
    pages = [page for folder in FOLDERS for page in (place / folder).glob("*.rst") if page.stem != "index"]
    assert len(pages) > 50
    for page in pages:
        _, *parts = re.split(r"^(.+)\n-{3,}\n", page.read_text(), flags=re.MULTILINE)
        bodies = dict(zip(parts[::2], parts[1::2], strict=True))
        assert {"Formula", "Cost"} <= set(bodies), f"{page.stem} has no formula or cost: write them in docs/"
        assert any(name.startswith("Options") for name in bodies), page.stem
        assert bodies["Formula"].partition("::\n\n    ")[2].strip(), page.stem
        assert re.search(r"\d|pass|step|quer|times", bodies["Cost"]), page.stem


def test_every_public_name_has_its_entry(written):
    module, place = written
    for package in module.PACKAGES:
        text = (place / "api" / f"{package}.rst").read_text()
        for name in module.public_names(import_module(package)):
            assert f":: {package}.{name}\n" in text


def test_every_defence_has_a_page_and_pages_of_what_left_are_removed(written):
    _, place = written
    assert {p.stem for p in (place / "defenses").glob("*.rst")} == {*list_defenses(), "index"}
    assert {p.stem for p in (place / "attacks").glob("*.rst")} == {*list_attacks(), "index"}


def test_a_second_run_writes_nothing(written):
    module, place = written
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.rst")}
    module.write_reference(place)
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*.rst")}


def test_every_page_of_the_docs_is_in_the_index():
    index = (DOCS / "index.md").read_text()
    pages = [path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md") if "reference" not in path.parts]
    assert [str(page) for page in pages if f"\n{page}\n" not in index and str(page) != "index"] == []


IDIOMS = ("so many", "so few", "unless given", "dear attack", "wanted were", "were wanted", "was wanted", "most stand")
"""Phrases that readers stumbled over; the plain forms are "this many", "by default", "the target was"."""


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("*/*.md"))], ids=lambda p: p.stem
)
def test_the_pages_have_none_of_the_phrases_that_readers_stumbled_over(page):
    text = " ".join(page.read_text().lower().split())
    assert [phrase for phrase in IDIOMS if phrase in text] == []


def test_a_page_of_names_begins_with_a_table_of_them(written):
    _, place = written
    text = (place / "api" / "advkit.attacks.rst").read_text()
    table = text[: text.index(".. autoclass::")]
    assert "   * - :py:obj:`PGD <advkit.attacks.PGD>`\n     - " in table
    assert table.count("   * - :py:obj:") >= len(list_attacks())
    assert "     - \n" not in table
