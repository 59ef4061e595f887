"""The prose of docstrings and help texts: whole statements in plain English, and a line for every public parameter."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import zip_longest
from pathlib import Path

import pytest
from test_house import SOURCES, over, parsed
from test_public_names import MODULES

REFUSED = re.compile(
    r"\b(?:so many|dear(?:er|est)?|unless given|wanted were|the most for)\b"
    r"|\b(?:is|are) over\b"
    r"|\bat the (?:most|least)\b"
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


ENTRY = re.compile(r"    \*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*: \S")


def lost_lines(text: str) -> list[str]:
    """Lines of a list of arguments that begin where a name belongs, and have none."""
    found, inside = [], False
    for line in text.split("\n"):
        if re.fullmatch(r"(Args|Attributes|Raises):", line):
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        elif inside and re.match(r" {4}\S", line) and not ENTRY.match(line):
            found.append(line)
    return found


def test_every_line_of_a_list_of_arguments_belongs_to_a_name() -> None:
    texts = ((path, text) for _, path in SOURCES for _, text in docstrings(parsed(path)))
    assert [f"{path}: {line}" for path, text in texts for line in lost_lines(text)] == []


def test_a_lost_line_is_seen() -> None:
    text = "Do it.\n\nArgs:\n    a: one\n        more\n    lost\n    *b, c: two\n\nReturns:\n    all"
    assert lost_lines(text) == ["    lost"]


def help_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of every literal that is passed as `help=`, `short_help=` or `epilog=`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "short_help", "epilog"):
            parts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            yield node.value.lineno, " ".join(part for part in parts if isinstance(part, str))


def entries(text: str, section: str = "Args") -> dict[str, str]:
    """The lines of a section, by the name of the parameter; `a, b: text` is a line of both."""
    found = re.search(rf"^{section}:\n((?:[ ]{{4}}.*\n?|\n)+)", text, re.MULTILINE)
    body = found.group(1) if found else ""
    heads = list(re.finditer(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", body, re.MULTILINE))
    lines = {}
    for head, after in zip_longest(heads, heads[1:]):
        end = after.start() if after else len(body)
        for name in head.group(1).split(", "):
            lines[name.strip("*")] = " ".join(body[head.end() : end].split())
    return lines


def is_whole(line: str) -> bool:
    """Whether a line of Args can be read alone, as an editor shows it."""
    return line.endswith((".", "`", '"')) and not FRAGMENT.match(SHAPE.sub("", line, count=1))


def documented(member: object) -> dict[str, str]:
    """The lines of a function; of a class those of its attributes too, and of the classes that it extends."""
    if not inspect.isclass(member):
        return entries(inspect.getdoc(member) or "")
    texts = [inspect.cleandoc(base.__doc__ or "") for base in member.__mro__]
    return {
        name: line
        for text in texts
        for section in ("Args", "Attributes")
        for name, line in entries(text, section).items()
    }


def members(module: str) -> Iterator[tuple[str, Callable[..., object]]]:
    """(name, object) of the functions and classes in a module's `__all__` that are ours."""
    home = import_module(module)
    for name in home.__all__:
        member = getattr(home, name)
        if (inspect.isfunction(member) or inspect.isclass(member)) and member.__module__.startswith("advkit"):
            yield name, member


def methods(member: type) -> Iterator[tuple[str, Callable[..., object]]]:
    """The public methods that a class is the first of its bases to have; those that override inherit their lines."""
    for name, found in vars(member).items():
        function = getattr(found, "__func__", found)
        inherited = any(hasattr(base, name) for base in member.__mro__[1:])
        if inspect.isfunction(function) and function.__doc__ and not name.startswith("_") and not inherited:
            yield name, function


def parameters(member: Callable[..., object]) -> list[str]:
    """The names of what a caller passes; of an error and of a protocol nothing."""
    if inspect.isclass(member) and (issubclass(member, Exception) or getattr(member, "_is_protocol", False)):
        return []
    return [name.lstrip("_") for name in inspect.signature(member).parameters]


@over(SOURCES)
def test_the_prose_is_plain(module: str, path: Path) -> None:
    tree = parsed(path)
    texts = [*docstrings(tree), *help_texts(tree)]
    assert [f"{path.name}:{line}: {hit.group()!r}" for line, text in texts for hit in REFUSED.finditer(text)] == []


@over(SOURCES)
def test_every_line_of_args_is_a_whole_statement(module: str, path: Path) -> None:
    lines = [(at, *item) for at, text in docstrings(parsed(path)) for item in entries(text).items()]
    assert [f"{path.name}:{at}: {name}: {line}" for at, name, line in lines if not is_whole(line)] == []


@over(SOURCES)
def test_args_name_all_parameters_and_no_others(module: str, path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef) and (lines := entries(ast.get_docstring(node) or "")):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            names = {argument.arg for argument in taken if argument} - {"self", "cls"}
            assert lines.keys() == names, f"{path.name}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_of_a_public_name_has_a_line(module: str) -> None:
    lacking = {name: sorted(set(parameters(member)) - documented(member).keys()) for name, member in members(module)}
    assert {name: names for name, names in lacking.items() if names} == {}


@pytest.mark.parametrize("module", MODULES)
def test_every_parameter_of_a_public_method_has_a_line(module: str) -> None:
    lacking = {
        f"{name}.{method}": sorted(set(parameters(function)) - {"self", "cls"} - documented(function).keys())
        for name, member in members(module)
        if inspect.isclass(member)
        for method, function in methods(member)
    }
    assert {name: names for name, names in lacking.items() if names} == {}


NOUN = re.compile(r"(?:The|An?|What|Whether|How|Those|Every|Each|All|Its|One|Some|Numbers?|Where|Which)\b|Inside,|\(")
"""How a summary begins that names a thing. A function's summary begins with a verb: "Return the error within eps."."""


@pytest.mark.parametrize("module", MODULES)
def test_the_summary_of_a_public_function_says_what_it_does(module: str) -> None:
    functions = [
        item
        for name, member in members(module)
        for item in (methods(member) if inspect.isclass(member) else [(name, member)])
    ]
    summaries = {name: (inspect.getdoc(function) or "").partition("\n")[0] for name, function in functions}
    assert {name: text for name, text in summaries.items() if NOUN.match(text)} == {}


def test_fragments_and_idioms_are_seen() -> None:
    assert NOUN.match("The names of all attacks.")
    assert NOUN.match("(N,) bool, true with probability p.")
    assert not NOUN.match("Attack another network.")
    for line in (
        "unless the constraint has fallen to this share.",
        "by this factor.",
        "(M,) bool, and has hit.",
        "no stop",
    ):
        assert not is_whole(line), line
    for line in ("number of steps.", "(N,), the distance of each sample.", 'kind of noise, such as "sign"'):
        assert is_whole(line), line
    for line in (
        "after so many steps",
        "dear attacks",
        "1 unless given",
        "the search is over",
        "what stands there",
        "two at the most",
    ):
        assert REFUSED.search(line), line
    for line in ("stand-in", "stands for c", "the mean over all images"):
        assert not REFUSED.search(line), line
