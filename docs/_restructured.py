"""Words and tables as reStructuredText, and what docstrings say of their arguments."""

import inspect
import re
from collections.abc import Iterator
from typing import Any


def heading(text: str, line: str = "=") -> str:
    """A heading of one level, which the line under it tells."""
    return f"{text}\n{line * len(text)}\n\n"


def tree(names: list[str]) -> str:
    """The pages of a folder, for the navigation."""
    return ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in names) + "\n"


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table with a row of headings; a sentence where there is nothing to show."""
    if not rows:
        return "It has no options.\n\n"
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in (headings, *rows):
        text += "".join(f"   {'* -' if i == 0 else '  -'} {cell}\n" for i, cell in enumerate(row))
    return text + "\n"


def literal(text: str) -> str:
    """Lines that are shown as they are."""
    return "::\n\n" + "".join(f"    {line}\n" if line.strip() else "\n" for line in text.splitlines()) + "\n"


def first(doc: str | None) -> str:
    """The first paragraph of a docstring."""
    return plain((doc or "").strip().split("\n\n")[0])


def body(doc: str | None) -> str:
    """A docstring up to its sections of arguments: paragraphs, lists, and lines of code as they are."""
    text = re.split(r"\n\n(?:Args|Attributes|Returns|Raises|Examples?):\n", doc or "")[0]
    return "".join(_paragraph(part) for part in text.split("\n\n") if part.strip())


def _paragraph(text: str) -> str:
    if text.startswith("    "):
        return literal(inspect.cleandoc(text))
    items = re.split(r"\n(?=\d+\. |- )", text)
    return "\n".join(plain(item) for item in items) + "\n\n"


def plain(text: str) -> str:
    """Words of a docstring as reStructuredText that means nothing else."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return _escaped("".join(parts))
    return "".join(f"``{part}``" if k % 2 else _escaped(part) for k, part in enumerate(parts))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_ ", "\\_ ")


def arguments(documented: Any) -> dict[str, str]:
    """Name -> words, of the sections Args and Attributes of a docstring, those of base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(getattr(documented, "__mro__", (documented,))):
        found.update(arguments_of(inspect.getdoc(cls) or ""))
    return found


def arguments_of(doc: str) -> dict[str, str]:
    """Name -> words, of the sections Args and Attributes of one docstring."""
    return dict(_sections(doc))


def _sections(doc: str) -> Iterator[tuple[str, str]]:
    for part in re.findall(r"(?:Args|Attributes):\n((?:    .*\n?|\n)*)", doc):
        for names, words in re.findall(r"^    ([\w, ]+): ((?:.*\n?)(?:        .*\n?)*)", part, flags=re.M):
            yield from ((name.strip(), " ".join(words.split())) for name in names.split(","))
