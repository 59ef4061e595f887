"""The reference that the site writes itself: no option and no public name is missing."""

import dataclasses
import html
import inspect
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from helpers.browser import CHROMIUM

from advkit.attacks import list_attacks
from advkit.core.attack import ATTACKS
from advkit.defenses import list_defenses

DOCS = Path(__file__).resolve().parents[1] / "docs"


def of_docs(name):
    """A module of the folder docs/."""
    sys.path.insert(0, str(DOCS))
    try:
        return import_module(name)
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The module that writes, and the folder that it wrote."""
    place = tmp_path_factory.mktemp("reference")
    module = of_docs("_reference")
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


@pytest.mark.parametrize("name", list_attacks())
def test_the_entry_of_an_attack_describes_every_option_of_its_base_classes_too(name):
    docstrings, restructured = of_docs("_docstrings"), of_docs("_restructured")
    cls = ATTACKS.factory(name)
    if not dataclasses.is_dataclass(cls):
        return
    lines = (inspect.getdoc(cls) or "").splitlines()
    docstrings.inherited(None, "class", name, cls, None, lines)
    words = restructured.arguments_of("\n".join(lines))
    assert [f.name for f in dataclasses.fields(cls) if f.init and not words.get(f.name)] == []


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("It is `a |b|\nof c` and *d*.\n\nA lone ` mark", "It is ``a |b|\nof c`` and \\*d\\*.\n\nA lone \\` mark"),
        ("One `mark\nand `code`", "One \\`mark\nand ``code``"),
        ("An `Attack`, or `attack`", "An :py:obj:`Attack <advkit.attacks.Attack>`, or ``attack``"),
    ],
)
def test_code_in_a_docstring_is_code_and_a_public_class_is_a_link(text, marked):
    lines = text.split("\n")
    of_docs("_docstrings").plain(None, "function", "", None, None, lines)
    assert "\n".join(lines) == marked


def test_a_default_that_is_made_anew_is_no_tag_in_a_signature():
    written = of_docs("_docstrings").written
    assert written(None, "class", "", None, None, "(a=<factory>, b=1)", "int") == ("(a=..., b=1)", "int")
    assert written(None, "class", "", None, None, None, None) == (None, None)


PAGE = """<!doctype html><title>x</title><input type=checkbox id=__navigation>
<div style="position:absolute;left:{left}px;width:200px"><input class=sidebar-search placeholder=Search></div>
<script src="{script}"></script><script>
addEventListener("load", () => {{
  const said = () => [document.activeElement.className, document.getElementById("__navigation").checked];
  const press = (given) => document.dispatchEvent(new KeyboardEvent("keydown", {{cancelable: true, ...given}}));
  const kept = press({{key: "k"}}), before = said();
  const taken = !press({{key: "K", ctrlKey: true}});
  document.title = JSON.stringify([kept, before, taken, said(), document.querySelector(".sidebar-search").placeholder]);
}});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("left", [0, -400])
def test_ctrl_k_goes_to_the_search_field_and_opens_the_drawer_that_hides_it(left, tmp_path):
    (tmp_path / "page.html").write_text(PAGE.format(left=left, script=(DOCS / "_static" / "search.js").as_uri()))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    seen = subprocess.run(
        [CHROMIUM, *flags, "--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path / 'page.html'}"],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    (title,) = re.findall(r"<title>(.*?)</title>", seen.stdout)
    drawer = left < 0
    assert json.loads(html.unescape(title)) == [
        True, ["", False], True, ["sidebar-search", drawer], "Search (Ctrl+K)"
    ]  # fmt: skip
