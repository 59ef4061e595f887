"""One page an attack, a defence and a certificate: paper, formula, cost, and a table of options from the dataclass.

Formulas and costs are those of the pages that people write: `attacks.md`, `defenses.md`, `certification.md`.
"""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _restructured import arguments, body, first, heading, literal, plain, table, tree

HERE = Path(__file__).parent
TRAITS = ("kind", "norms", "knowledge", "targetable", "deterministic")
"""What an attack declares of itself."""


def attack_pages() -> dict[str, str]:
    """The pages of the registered attacks, by their place."""
    from advkit.core.attack import ATTACKS

    pages = {}
    for name in ATTACKS.names():
        cls = ATTACKS.factory(name)
        traits = [(trait, _said(getattr(cls, trait))) for trait in TRAITS if hasattr(cls, trait)]
        known = [(trait, value) for trait, value in traits if not value.startswith("<property")]
        said, own = _without_cost(inspect.getdoc(cls) or "")
        formula, cost = _of_attack(name)
        text = heading(name) + _paper(cls) + _formula(formula, own or cost) + heading("What it does", "-")
        text += body(said) + table(("trait", "value"), known)
        text += heading("Options", "-") + _options(cls) + _spec(name)
        pages[f"attacks/{name}.rst"] = text + "More: :doc:`/attacks`, :doc:`/benchmarks`, :doc:`/threat`.\n"
    pages["attacks/index.rst"] = heading("Attacks, one page each") + tree(ATTACKS.names())
    return pages


def defense_pages() -> dict[str, str]:
    """The pages of the registered defences, by their place."""
    from advkit.defenses import DEFENSES, list_defenses

    rows = rows_of("defenses.md", "passes an image")
    pages = {}
    for name in list_defenses():
        factory, row = DEFENSES.factory(name), rows[name]
        cost = f"Passes an image, forward and backward: {row['passes an image']}."
        text = heading(name) + _paper(factory) + _formula(row["loss"].strip("`"), plain(cost))
        text += heading("What it does", "-") + body(inspect.getdoc(factory))
        pages[f"defenses/{name}.rst"] = text + heading("Options", "-") + _options(factory) + "More: :doc:`/defenses`.\n"
    pages["defenses/index.rst"] = heading("Defences, one page each") + tree(sorted(list_defenses()))
    return pages


def certificate_pages() -> dict[str, str]:
    """The pages of the methods of `certify`, and of smoothing, by their place."""
    from advkit.certification import METHODS, certify
    from advkit.defenses import Smoothed

    what, how = rows_of("certification.md", "what it does"), rows_of("certification.md", "cost of an image")
    pages = {}
    for name in METHODS:
        text = heading(name) + plain(f"A method of `certify`: {what[name]['what it does']}.") + "\n\n"
        text += _formula(how[name]["lower bound"].strip("`"), plain(how[name]["cost of an image"]))
        text += literal(f'certify(model, x, y, eps=1/255, method="{name}")')
        pages[f"certificates/{name}.rst"] = text + heading("Options", "-") + _parameters(certify)
    text = heading("smoothing") + body(inspect.getdoc(Smoothed))
    text += _formula(how["smoothing"]["lower bound"].strip("`"), plain(how["smoothing"]["cost of an image"]))
    text += heading("Options of Smoothed", "-") + _options(Smoothed)
    pages["certificates/smoothing.rst"] = text + heading("Options of its certify", "-") + _parameters(Smoothed.certify)
    pages["certificates/index.rst"] = heading("Certificates, one page each") + tree([*METHODS, "smoothing"])
    return pages


def _of_attack(name: str) -> tuple[str, str]:
    """Formula and cost of an attack, as its section of `attacks.md` gives them."""
    text = (HERE / "attacks.md").read_text()
    heads = list(re.finditer(r"^#{2,3} (.*)$", text, re.M))
    places = [i for i, head in enumerate(heads) if f"`{name}`" in head[1]]
    if not places:
        return "", ""
    end = heads[places[0] + 1].start() if places[0] + 1 < len(heads) else len(text)
    section = text[heads[places[0]].end() : end]
    formula = re.search(r"^```text\n(.*?)^```$", section, re.M | re.S)
    cost = re.search(r"\bCost: (.*?)(?=\s+Options:|\n\n|\Z)", section, re.S)
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", cost[1]) if cost else ""
    return (formula[1].strip() if formula else ""), plain(words)


def _without_cost(doc: str) -> tuple[str, str]:
    """A docstring without its paragraph on the cost, and that paragraph as a sentence."""
    found = re.search(r"\n\nCost per sample: (.*?)(?=\n\n|\Z)", doc, re.S)
    return (doc.replace(found[0], ""), plain(found[1])) if found else (doc, "")


def rows_of(page: str, column: str) -> dict[str, dict[str, str]]:
    """Name in the first column -> the row of the first table of a page that has this column."""
    lines = (HERE / page).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|") and f"| {column} |" in line)
    heads, found = _cells(lines[start]), {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        row: Mapping[str, str] = dict(zip(heads, _cells(line), strict=True))
        found[row[heads[0]].strip("`")] = dict(row)
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _formula(formula: str, cost: str) -> str:
    text = heading("Formula", "-") + literal(formula) if formula else ""
    return text + (heading("Cost", "-") + f"{cost[0].upper()}{cost[1:].rstrip('.')}.\n\n" if cost else "")


def _spec(name: str) -> str:
    return literal(f'report = evaluate(model, data, ["{name}"])  # options in brackets: "{name}(...)"')


def _options(cls: Any) -> str:
    """The fields of a dataclass, or the parameters of a function, as a table with their defaults and words."""
    words = arguments(cls)
    if not dataclasses.is_dataclass(cls):
        return _parameters(cls)
    rows = [(f.name, _default(f), plain(words.get(f.name, ""))) for f in dataclasses.fields(cls) if f.init]
    return table(("option", "default", "meaning"), rows)


def _parameters(function: Any) -> str:
    words = arguments(function)
    rows = [
        (p.name, "needed" if p.default is p.empty else f"``{p.default!r}``", plain(words.get(p.name, "")))
        for p in inspect.signature(function).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != "self"
    ]
    return table(("option", "default", "meaning"), rows)


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else "made anew"
    return f"``{field.default!r}``" if len(repr(field.default)) < 60 else "see the source"


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list | frozenset | set) else str(value)


def _paper(cls: Any) -> str:
    """The first sentences of the file that the class lies in, which name the paper, with links to arXiv."""
    module = inspect.getmodule(cls)
    words = first(module.__doc__ if module else "")
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"`arXiv \1 <https://arxiv.org/abs/\1>`__", words) + "\n\n"
