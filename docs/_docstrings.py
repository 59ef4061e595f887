"""Docstrings as Sphinx reads them: plain text with `code`, sections of arguments, and defaults in signatures.

Each function is called by autodoc with the docstring's lines, which it changes in place.
"""

import dataclasses
import inspect
import re
from importlib import import_module
from typing import Any

from _reference import PACKAGES, public_names
from _restructured import arguments, arguments_of

CLASSES = {
    name: f"{package}.{name}"
    for package in PACKAGES
    for name in public_names(import_module(package))
    if inspect.isclass(getattr(import_module(package), name))
}
"""Name of a public class -> its entry, to which `Name` in a docstring leads."""


def plain(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: what reStructuredText would read as markup is kept as it is."""
    parts = re.split(r"(\n\s*\n)", "\n".join(lines))
    lines[:] = "".join(_marked(part) for part in parts).split("\n")


def _marked(text: str) -> str:
    """A paragraph; code may go on in the next line. Where a mark has no partner, line by line, and alone it is text."""
    parts = text.replace("\\", "\\\\").split("`")
    if len(parts) % 2:
        return "".join(_code(part) if k % 2 else _escaped(part) for k, part in enumerate(parts))
    if "\n" in text:
        return "\n".join(_marked(line) for line in text.split("\n"))
    return _escaped("\\`".join(parts))


def _code(text: str) -> str:
    return f":py:obj:`{text} <{CLASSES[text]}>`" if text in CLASSES else f"``{text}``"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def apart(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """A line for several attributes, `a, b: text`, becomes one entry of each; the further ones refer to the first."""
    found: list[str] = []
    more: list[str] = []  # what follows the words of the first name
    for line in lines:
        head = re.match(r"    (\w+(?:, \w+)*): ", line) if what == "class" else None
        if head or not line.strip():
            found, more = found + more, []
        first, *others = head[1].split(", ") if head else [""]
        more += [f"    {other}: see ``{first}``." for other in others]
        found.append(f"    {first}: {line[head.end() :]}" if head else line)
    found += more
    lines[:] = found


def inherited(app: object, what: str, name: str, obj: Any, options: object, lines: list[str]) -> None:
    """The arguments of a class that only its base classes describe are added to its own."""
    if what != "class" or not dataclasses.is_dataclass(obj):
        return
    own, known = arguments_of("\n".join(lines)), arguments(obj)
    more = [f.name for f in dataclasses.fields(obj) if f.init and f.name in known and f.name not in own]
    start = next((i for i, line in enumerate(lines) if line in ("Args:", "Attributes:")), None)
    if more and start is None:
        lines += ["", "Args:"]
        start = len(lines) - 1
    if more and start is not None:
        lines[start + 1 : start + 1] = [f"    {each}: {known[each]}" for each in more]


def untyped(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """What stands before a colon in the words of a property is no type, as napoleon has it."""
    shown = what in ("property", "attribute")
    for i in reversed([i for i, line in enumerate(lines) if shown and line.startswith(":type: ")]):
        lines[0] = f"{lines[i].removeprefix(':type: ')}: {lines[0]}"
        del lines[i]


def written(app: object, what: str, name: str, obj: object, options: object, given: str, returned: str) -> Any:
    """A default that is made anew for each object, such as an empty dictionary, is shown as three dots."""
    return given and given.replace("<factory>", "..."), returned
