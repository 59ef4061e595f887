"""The prose of docstrings and help texts: whole statements in plain English, and a line for every public parameter."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import pytest

from test_house import SOURCES
from test_public_names import MODULES

REFUSED = re.compile(
    r"\b(?:so many|dear(?:er|est)?|unless given|wanted were|the most for)\b"
    r"|\b(?:is|are) over\b"
    r"|\bstands?\b(?!-| for\b)",
    re.IGNORECASE,
)
"""Idioms that a reader stumbles over. "Stands for" and "stand-in" are plain English."""

FRAGMENT = re.compile(
    r"(?:of|by|and|or|but|unless|at|in|for|to|with|as|from|than|on|when|if|where|which|who|whose|until|per)\b"
)
"""How a line begins that is only the rest of a sentence: "of the seed", "unless the constraint has fallen"."""

SHAPE = re.compile(r"\([^)]*\)(?: \w+)?[,:] ")
"""What may lead a line: the shape and the type of a tensor."""


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring, those of constants and fields included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, inspect.cleandoc(node.value.value)


def help_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every literal that is passed as `help=`, `short_help=` or `epilog=`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "short_help", "epilog"):
            parts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            yield node.value.lineno, " ".join(part for part in parts if isinstance(part, str))


def entries(text: str) -> dict[str, str]:
    """The lines below `Args:`, by the name of the parameter; `a, b: text` is a line of both."""
    section = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
    body = section.group(1) if section else ""
    heads = list(re.finditer(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", body, re.MULTILINE))
    found = {}
    for head, after in zip_longest(heads, heads[1:]):
        end = after.start() if after else len(body)
        for name in head.group(1).split(", "):
            found[name.strip("*")] = " ".join(body[head.end() : end].split())
    return found


def is_whole(line: str) -> bool:
    """Whether a line of Args can be read alone, as an editor shows it."""
    return line.endswith((".", "`", '"')) and not FRAGMENT.match(SHAPE.sub("", line, count=1))


def documented(member: object) -> dict[str, str]:
    """The lines of Args of a function, or of a class and the classes that it extends."""
    if not inspect.isclass(member):
        return entries(inspect.getdoc(member) or "")
    lines: dict[str, str] = {}
    for base in reversed(member.__mro__):
        lines |= entries(inspect.cleandoc(base.__doc__ or ""))
    return lines


def members(module: str) -> Iterator[tuple[str, Callable[..., object]]]:
    """(name, object) of the functions and classes of a module's `__all__`, and of the methods of those classes."""
    home = import_module(module)
    for name in home.__all__:
        member = getattr(home, name)
        if not getattr(member, "__module__", "").startswith("advkit") or not callable(member):
            continue
        yield name, member


def undocumented(member: Callable[..., object]) -> list[str]:
    """The parameters without a line of Args."""
    lines = documented(member)
    return [p.lstrip("_") for p in inspect.signature(member).parameters if p.lstrip("_") not in lines]


@pytest.mark.parametrize(("module", "path"), SOURCES, ids=[module for module, _ in SOURCES])
def test_the_prose_is_plain(module: str, path: Path) -> None:
    tree = ast.parse(path.read_text())
    texts = [*docstrings(tree), *help_texts(tree)]
    found = [f"{path.name}:{line}: {hit.group()!r}" for line, text in texts for hit in REFUSED.finditer(text)]
    assert found == [], "say it in plain English: docs/contributing.md has the words"


@pytest.mark.parametrize(("module", "path"), SOURCES, ids=[module for module, _ in SOURCES])
def test_every_line_of_args_is_a_whole_statement(module: str, path: Path) -> None:
    lines = [(at, *item) for at, text in docstrings(ast.parse(path.read_text())) for item in entries(text).items()]
    assert [f"{path.name}:{at}: {name}: {line}" for at, name, line in lines if not is_whole(line)] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_of_a_public_name_has_a_line(module: str) -> None:
    lacking = {name: undocumented(member) for name, member in members(module)}
    assert {name: parameters for name, parameters in lacking.items() if parameters} == {}


