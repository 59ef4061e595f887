"""The pages of docs/: sentences of a readable length, and blocks of code that say their language."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("*/*.md")])
README = DOCS.parent / "README.md"
LONGEST = 25
"""Maximum number of words of a sentence."""

FENCE = re.compile(r"^ *```")
INDENTED = re.compile(r" {4}\s*\S")
ITEM = re.compile(r" *(?:[-*]|\d+\.) | {2,}")
"""What the line before an indented one is where that belongs to the item of a list."""

ABBREVIATION = re.compile(r"\b(et al|e\.g|i\.e|vs|cf|[Ff]ig|[Ee]q|[Ss]ec)\.")
APART = ("|", "#", "<", ":::", "(", "[^")
"""How lines begin that are no prose: tables, headings, labels and HTML."""


def prose(text: str) -> Iterator[str]:
    """The paragraphs and the items of lists, without code."""
    text = re.sub(r"^---\n.*?\n---\n", "", text, flags=re.DOTALL)
    lines: list[str] = []
    fenced = False
    for line in [*text.split("\n"), ""]:
        if FENCE.match(line):
            fenced = not fenced
        item = re.match(r" *(?:[-*]|\d+\.) ", line)
        if fenced or FENCE.match(line) or not line.strip() or item or line.lstrip().startswith(APART):
            if lines:
                yield " ".join(lines)
            lines = []
        if not fenced and not FENCE.match(line) and line.strip() and not line.lstrip().startswith(APART):
            lines.append(line[item.end() :] if item else line.strip())


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; code, formulas and targets of links count as one word."""
    plain = re.sub(r"`[^`]*`", "Code", paragraph)
    plain = re.sub(r"\$[^$]*\$", "Formula", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain))
    return re.split(r"(?<=[.!?:;])\s+(?=[A-Z(*\"])", ABBREVIATION.sub(r"\1", plain))


def unmarked(text: str) -> list[str]:
    """Lines that open a block without a language, and the first lines of blocks that are indented instead."""
    found, fenced, before, last = [], False, "", ""
    for line in text.split("\n"):
        if FENCE.match(line):
            if not fenced and line.strip() == "```":
                found.append(f"after {before!r}")
            fenced = not fenced
        elif not fenced and INDENTED.match(line) and not before and not ITEM.match(last):
            found.append(line.strip())
        before = line.strip()
        last = line if before else last
    return found


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_no_sentence_is_longer_than_a_reader_can_hold(page: Path) -> None:
    text = page.read_text()
    shown = re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE) if page == README else text  # its commands are indented
    found = [s for paragraph in prose(shown) for s in sentences(paragraph)]
    assert [s for s in found if len(s.split()) > LONGEST] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_its_language(page: Path) -> None:
    assert unmarked(page.read_text()) == []


def test_long_sentences_and_bare_blocks_are_seen() -> None:
    page = "# Title\n\n- one\n\n" + "word " * 26 + "end.\n\n```\nbare\n```\n\nText:\n\n    indented\n"
    (long,) = [s for paragraph in prose(page) for s in sentences(paragraph) if len(s.split()) > LONGEST]
    assert long.startswith("word")
    assert unmarked(page) == ["after ''", "indented"]
    assert len(sentences("As Xu et al. (2020) say, it holds. Then `f. G` ends.")) == 2
