"""The pages of docs/: sentences of a readable length, and blocks of code that say their language."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
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


WIDEST = 112
"""Maximum number of characters of a line of code: what the site shows whole at 1,280 pixels."""


def wide(text: str) -> list[str]:
    """Lines of code that the site would cut; output and formulas go on in the next line there."""
    blocks = re.findall(
        r"^```(?:sh|bash|console|python|py|yaml|\{code-cell\})\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    return [line for block in blocks for line in block.splitlines() if len(line) > WIDEST]


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_no_line_of_code_is_cut(page: Path) -> None:
    assert wide(page.read_text()) == []
    assert wide("```python\n" + "x" * (WIDEST + 1) + "\n```\n") != []


COMMAND = re.compile(
    r"(?:^|[;&|] )(?:\.venv/bin/)?(advkit [a-z]\w*|python (?:-W ignore )?\w+/\S+\.py)([^\n#]*)", re.MULTILINE
)
SHELL = re.compile(r"^```(?:sh|bash|console|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def strange(text: str) -> list[str]:
    """The commands of a page that do not exist, or have no such option."""
    found = []
    for block in SHELL.findall(text):
        for program, words in COMMAND.findall(block.replace("\\\n", " ")):
            given = set(re.findall(r"(?<!\S)--[a-z][\w-]*", words))
            known = of_script(program) if program.startswith("python") else of_command(program.split()[1], words)
            found += [program] if known is None else [f"{program} {option}" for option in sorted(given - known)]
    return found


def of_script(program: str) -> set[str] | None:
    """The options of a script; those that benchmarks share lie in one file."""
    script = ROOT / program.split()[-1]
    if not script.exists():
        return None
    return set(re.findall(r'"(--[a-z][\w-]*)"', script.read_text() + (ROOT / "benchmarks" / "victims.py").read_text()))


def of_command(name: str, words: str) -> set[str] | None:
    """The options of a command of advkit, or of the command in a group."""
    from advkit.cli import main

    command = main.get_command(click.Context(main), name)
    if isinstance(command, click.Group) and words.split():
        command = command.get_command(click.Context(command), words.split()[0])
    if command is None:
        return None
    return {o for p in command.get_params(click.Context(command)) for o in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_every_command_and_its_options_exist(page: Path) -> None:
    assert strange(page.read_text()) == []


def test_a_command_that_does_not_exist_is_seen() -> None:
    text = "```sh\nadvkit attack --model mlp --atack fgsm\nadvkit fly\npython benchmarks/none.py\n```\n"
    assert strange(text) == ["advkit attack --atack", "advkit fly", "python benchmarks/none.py"]


def test_the_first_page_of_the_site_has_the_example_and_the_table_of_the_readme() -> None:
    site, text = (DOCS / "index.md").read_text(), README.read_text()
    (example,) = re.findall(r"^```python\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    (table,) = re.findall(r"^     error  .*?(?=\n\n)", text, re.MULTILINE | re.DOTALL)
    assert example in site
    assert re.sub(r"^ {4}", "", table, flags=re.MULTILINE) in site


def test_the_page_of_installing_names_every_extra() -> None:
    named = re.findall(r"^\| `(\w+)` \|", (DOCS / "install.md").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert sorted(named) == sorted(extras)


def test_the_page_of_installing_gives_the_first_command_of_the_readme() -> None:
    (block,) = re.findall(r"^```console\n(.*?)^```$", (DOCS / "install.md").read_text(), re.MULTILINE | re.DOTALL)
    assert f"    {' && '.join(block.splitlines())}\n" in README.read_text()  # which .ci/run runs


def test_long_sentences_and_bare_blocks_are_seen() -> None:
    page = "# Title\n\n- one\n\n" + "word " * 26 + "end.\n\n```\nbare\n```\n\nText:\n\n    indented\n"
    (long,) = [s for paragraph in prose(page) for s in sentences(paragraph) if len(s.split()) > LONGEST]
    assert long.startswith("word")
    assert unmarked(page) == ["after ''", "indented"]
    assert len(sentences("As Xu et al. (2020) say, it holds. Then `f. G` ends.")) == 2
