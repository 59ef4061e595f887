"""Links of the pages: each leads to a file, and to a heading of it; addresses elsewhere are known ones."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("*/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]\[]*\]\(([^()\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^()\s]+)\)")
KNOWN = re.compile(r"https://(arxiv\.org/abs/\d{4}\.\d{4,5}|keepachangelog\.com/en/1\.1\.0/)$")
"""Addresses that pages may give; whoever adds another looks it up first."""


def without_code(text: str) -> str:
    """A page without its blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE))


def headings(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and Sphinx make them."""
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower().strip()).replace(" ", "-") for head in found}


def lost(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    bad = []
    for link in [*LINK.findall(without_code(text)), *PICTURE.findall(without_code(text))]:
        place, _, anchor = link.partition("#")
        to = (page.parent / place).resolve() if place else page
        if "://" in link:
            bad += [] if KNOWN.match(link) else [link]
        elif not to.exists() or (anchor and anchor not in headings(text if to == page else to.read_text())):
            bad.append(link)
    return bad


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    assert lost(page, page.read_text()) == []


def test_lost_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `name`: here\n\n[a](b.md) [c](#a-name-here) [d](#e) [f](http://g.h/) `[i](j.md)`\n")
    assert lost(page, page.read_text()) == ["b.md", "#e", "http://g.h/"]


def test_the_check_of_the_built_site_sees_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    check = import_module("_links")
    sys.modules.pop("_links")
    links = '<a href="b.html#y">1</a><a href="b.html#z">2</a><a href="c.html">3</a><a href="https://a.b/">4</a>'
    (tmp_path / "a.html").write_text(f'<h1 id="x">A</h1>{links}<a href="#x">5</a><a href="sub/">6</a>')
    (tmp_path / "b.html").write_text('<p id="y">B</p>')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<a href="../a.html#">back</a>')
    assert check.lost_links(tmp_path) == (["a.html: b.html#z", "a.html: c.html"], {"https://a.b/"})
