"""Registered names and fields of dataclasses, read from the source code, so that help needs no torch.

A name is a literal in a decorator (`@register_attack("pgd")`), a field is an annotation in a class or in one of its
bases, and a field's sentence is its line under `Args:`. Tests compare all of it with what the imported classes say.
"""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

FAMILIES = {
    "attack": ("advkit.attacks", "register_attack"),
    "data set": ("advkit.data", "DATASETS.register"),
    "defense": ("advkit.defenses", "register_defense"),
    "model": ("advkit.models", "register_model"),
    "transform": ("advkit.defenses", "TRANSFORMS.register"),
}
"""Kind of entry -> the package that holds its sources, and the decorator above each entry."""


class Field(NamedTuple):
    """A field of a dataclass, as in the source."""

    name: str
    kinds: frozenset[str]  # the types of its annotation, None left out
    default: str  # for people; "needed" where there is none
    sentence: str  # the first of its documentation


def names(kind: str) -> list[str]:
    """Return the registered names of a kind of entry, in alphabetical order."""
    return sorted(_registered(kind))


def fields(kind: str, name: str) -> dict[str, Field]:
    """Return the fields of the class registered under a name, in the order of definition."""
    return fields_of(*_registered(kind)[name])


@cache
def fields_of(module: str, name: str) -> dict[str, Field]:
    """Return the fields of a dataclass, those of its bases first."""
    lineage = [cls.source for cls in reversed(_stand_in(module, name).__mro__) if hasattr(cls, "source")]
    found: dict[str, ast.AnnAssign] = {}
    homes: dict[str, str] = {}
    for home, node in lineage:
        for item in _annotated(node):
            found[item.target.id], homes[item.target.id] = item, home  # type: ignore[union-attr]
    sentences: dict[str, str] = {}
    for _, node in lineage:
        sentences |= {argument: said for argument, said in _sentences(node).items() if not said.startswith("See `")}
    return {
        name: Field(name, _kinds(item.annotation), _default(item.value, homes[name]), sentences.get(name, ""))
        for name, item in found.items()
    }


def constant(module: str, name: str) -> Any:
    """Return the value of a constant that a module defines as a literal."""
    return ast.literal_eval(_assigned(module, name))


@cache
def _registered(kind: str) -> dict[str, tuple[str, str]]:
    """Name -> (module, class or function; empty where none is written) of what the decorator of this kind is given."""
    package, decorator = FAMILIES[kind]
    found: dict[str, tuple[str, str]] = {}
    for module in _modules(package):
        if f"{decorator}(" in _text(module):
            for node in ast.walk(_tree(module)):
                found |= {name: (module, "") for name in _named(node, decorator) if name not in found}
                for above in getattr(node, "decorator_list", []):
                    found |= {name: (module, getattr(node, "name", "")) for name in _named(above, decorator)}
    return found


def _named(node: ast.AST, decorator: str) -> list[str]:
    """The name that a call of the decorator is given as a literal."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == decorator and node.args:
        return [str(name.value) for name in node.args[:1] if isinstance(name, ast.Constant)]
    return []


def _folder(module: str) -> Path:
    """Where a module lies, without its suffix; the package `advkit` is imported for it, which imports nothing."""
    family = find_spec(".".join(module.split(".")[:2]))
    assert family is not None
    assert family.origin is not None
    place = Path(family.origin)
    return (place.parent if place.stem == "__init__" else place.with_suffix("")).joinpath(*module.split(".")[2:])


def _modules(package: str) -> Iterator[str]:
    home = _folder(package)
    for path in sorted(home.rglob("*.py")):
        yield ".".join([package, *path.relative_to(home).with_suffix("").parts])


def _text(module: str) -> str:
    place = _folder(module)
    return (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).read_text(encoding="utf-8")


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_text(module))


@cache
def _stand_in(module: str, name: str) -> type:
    """An empty class with the bases of the one that is written there: Python itself puts them in order."""
    node = next((n for n in _tree(module).body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        return _stand_in(*_imported(module, name)) if name in _imports(module) else type(name, (), {})
    bases = [_stand_in(module, ast.unparse(base)) for base in node.bases]
    return type(name, tuple(base for base in bases if hasattr(base, "source")), {"source": (module, node)})


def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Name -> (module of ours, name there) of what a module imports."""
    lines = (node for node in _tree(module).body if isinstance(node, ast.ImportFrom))
    return {
        alias.asname or alias.name: (line.module, alias.name)
        for line in lines
        if line.module and line.module.startswith("advkit.")
        for alias in line.names
    }


def _imported(module: str, name: str) -> tuple[str, str]:
    return _imports(module)[name]


def _annotated(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """The fields that a class itself adds or changes."""
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.annotation).startswith("ClassVar"):
            yield item


def _kinds(annotation: ast.expr) -> frozenset[str]:
    """`int | None` -> {"int"}."""
    if isinstance(annotation, ast.BinOp):
        return _kinds(annotation.left) | _kinds(annotation.right)
    return frozenset({ast.unparse(annotation)} - {"None"})


def _default(value: ast.expr | None, module: str) -> str:
    """A default as people read it: `None` is "none", flags are "yes" and "no", a constant is its value."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        value = given.get("default", ast.Constant("made anew"))  # by a default_factory
    if value is None:
        return "needed"
    try:
        plain = _plain(_assigned(module, value.id) if isinstance(value, ast.Name) else value)
    except ValueError:
        return ast.unparse(value)
    return {"None": "none", "True": "yes", "False": "no"}.get(str(plain), str(plain))


def _plain(value: ast.expr) -> Any:
    """A literal, or a fraction or power of two literals."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div):
        return _plain(value.left) / _plain(value.right)
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Pow):
        return _plain(value.left) ** _plain(value.right)
    return ast.literal_eval(value)


def _assigned(module: str, name: str) -> ast.expr:
    """What a module assigns to a name, or the module that it imports the name from."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and name in [ast.unparse(target) for target in node.targets]:
            return node.value
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value is not None:
            return node.value
    return _assigned(*_imported(module, name))


ARGUMENT = re.compile(r"^    (\w+(?:, \w+)*): ")


def _sentences(node: ast.ClassDef) -> dict[str, str]:
    """Argument -> the first sentence of its line under `Args:`."""
    lines = inspect.cleandoc(ast.get_docstring(node) or "").partition("\nArgs:\n")[2].splitlines()
    found: dict[str, str] = {}
    heads: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        if start := ARGUMENT.match(line):
            heads, line = start[1].split(", "), line[start.end() :]
        for head in heads:
            found[head] = f"{found.get(head, '')} {line.strip()}".strip()
    return {head: _elsewhere(head, _first(text)) for head, text in found.items()}


def _elsewhere(argument: str, sentence: str) -> str:
    """Where a sentence is only "See `APGD`.", the sentence of that attack."""
    other = sentence.removeprefix("See `").rstrip("`.")
    place = {cls: (module, cls) for module, cls in _registered("attack").values()}.get(other)
    return fields_of(*place)[argument].sentence if place else sentence


def _first(text: str) -> str:
    """The first sentence, or the text before the first semicolon; with a capital and a full stop."""
    ends = (end.start() for end in re.finditer(r"(?<=[^.][a-z)`\]\"0-9])\. |; ", text))
    whole = (text[:end] for end in ends if text[:end].count("(") == text[:end].count(")"))
    sentence = next(whole, text).rstrip(".")
    return f"{sentence[:1].upper()}{sentence[1:]}."
