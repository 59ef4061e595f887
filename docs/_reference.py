"""The pages of the reference that the package writes itself: every public name, and one page an attack or defence.

Tables of options come from the dataclasses, so that no page can name an option that is not there.
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = {
    "advkit": "The front door",
    "advkit.attacks": "Attacks",
    "advkit.defenses": "Defences",
    "advkit.evaluation": "Evaluation",
    "advkit.evaluation.cards": "Cards and boards",
    "advkit.evaluation.audit": "Audits",
    "advkit.evaluation.interchange": "Interchange",
    "advkit.certification": "Certificates",
    "advkit.goals": "Goals",
    "advkit.models": "Models",
    "advkit.data": "Data",
    "advkit.data.hendrycks": "Published corruptions",
    "advkit.training": "Training",
    "advkit.insight": "Insight",
    "advkit.figures": "Figures",
    "advkit.reproduction": "Reproduction",
    "advkit.testing": "Testing",
}
"""Package -> title of its page."""


TRAITS = ("kind", "norms", "knowledge", "targetable", "deterministic")
"""What an attack declares of itself."""


def write_reference(place: Path) -> None:
    """Write all pages; a page that has not changed is left alone, so that a second build is quick."""
    pages = {**_api(), **_attacks(), **_defenses(), **_certificates()}
    for name, text in pages.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for old in place.rglob("*.*"):
        if str(old.relative_to(place)) not in pages:
            old.unlink()


def _heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def _tree(names: list[str]) -> str:
    return ".. toctree::\n   :maxdepth: 1\n\n" + "".join(f"   {name}\n" for name in names) + "\n"


def _api() -> dict[str, str]:
    """One page a package, with every name of its `__all__`."""
    pages = {}
    for package, title in PACKAGES.items():
        module = import_module(package)
        text = _heading(f"{title}: {package}") + f"{_first(module.__doc__)}\n\n"
        for name in sorted(n for n in module.__all__ if not n.startswith("__")):
            text += _object(package, name, getattr(module, name))
        pages[f"api/{package}.rst"] = text
    pages["api/index.rst"] = _heading("Every public name") + _tree(sorted(PACKAGES))
    return pages


def _object(package: str, name: str, value: Any) -> str:
    if inspect.isclass(value):
        members = "" if issubclass(value, BaseException) else "   :members:\n"
        return f".. autoclass:: {package}.{name}\n{members}\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {package}.{name}\n\n"
    names = ", ".join(f"``{key}``" for key in value) if isinstance(value, dict | list | tuple | frozenset) else ""
    return f".. py:data:: {package}.{name}\n\n   {names}\n\n"


def _attacks() -> dict[str, str]:
    from advkit.core.attack import ATTACKS

    pages = {}
    for name in ATTACKS.names():
        cls = ATTACKS.factory(name)
        traits = {
            t: getattr(cls, t) for t in ("kind", "norms", "knowledge", "targetable", "deterministic") if hasattr(cls, t)
        }
        rows = [(trait, _said(value)) for trait, value in traits.items() if not isinstance(value, property)]
        cost = "A call costs what its steps ask for; :doc:`/attacks` says what, and :doc:`/benchmarks` what that takes."
        text = _heading(name) + f"{_paper(cls)}\n\n" + _table(("trait", "value"), rows) + _options(cls) + f"{cost}\n\n"
        pages[f"attacks/{name}.rst"] = text
    pages["attacks/index.rst"] = _heading("Attacks, one page each") + _tree(ATTACKS.names())
    return pages


def _defenses() -> dict[str, str]:
    from advkit.defenses import DEFENSES, list_defenses

    pages = {}
    for name in list_defenses():
        factory = DEFENSES.factory(name)
        pages[f"defenses/{name}.rst"] = _heading(name) + f"{_paper(factory)}\n\n" + _options(factory)
    pages["defenses/index.rst"] = _heading("Defences, one page each") + _tree(sorted(list_defenses()))
    return pages


def _certificates() -> dict[str, str]:
    from advkit.certification import METHODS, certify

    doc = re.search(r"method: (.*?)\n\s*bounds:", inspect.getdoc(certify) or "", flags=re.S)
    about = " ".join(doc[1].split()) if doc else ""
    pages = {}
    for name in METHODS:
        words = _plain(about)
        text = f"One of the methods of :func:`advkit.certification.certify`: {words}\n\n"
        example = f'::\n\n    certify(model, x, y, eps=1/255, method="{name}")\n\n'
        pages[f"certificates/{name}.rst"] = _heading(name) + text + example + _parameters(certify)
    pages["certificates/index.rst"] = _heading("Certificates, one page each") + _tree(list(METHODS))
    return pages


def _options(cls: Any) -> str:
    """The fields of a dataclass, or the parameters of a function, as a table with their defaults and words."""
    words = _args(cls)
    if not dataclasses.is_dataclass(cls):
        return _parameters(cls)
    rows = [(f.name, _default(f), _plain(words.get(f.name, ""))) for f in dataclasses.fields(cls) if f.init]
    return _table(("option", "default", "meaning"), rows)


def _parameters(function: Any) -> str:
    words = _args(function)
    rows = [
        (p.name, "needed" if p.default is p.empty else f"``{p.default!r}``", _plain(words.get(p.name, "")))
        for p in inspect.signature(function).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return _table(("option", "default", "meaning"), rows)


def _default(field: "dataclasses.Field[Any]") -> str:
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else "made anew"
    return f"``{field.default!r}``" if len(repr(field.default)) < 60 else "see the source"


def _args(documented: Any) -> dict[str, str]:
    """Name -> words, of the sections Args and Attributes of a docstring, those of base classes included."""
    found: dict[str, str] = {}
    for cls in reversed(getattr(documented, "__mro__", (documented,))):
        found.update(_sections(inspect.getdoc(cls) or ""))
    return found


def _sections(doc: str) -> Iterator[tuple[str, str]]:
    for part in re.findall(r"(?:Args|Attributes):\n((?:    .*\n?|\n)*)", doc):
        for names, words in re.findall(r"^    ([\w, ]+): ((?:.*\n?)(?:        .*\n?)*)", part, flags=re.M):
            yield from ((name.strip(), " ".join(words.split())) for name in names.split(","))


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "It has no options.\n\n"
    text = ".. list-table::\n   :header-rows: 1\n\n"
    for row in (headings, *rows):
        text += "".join(f"   {'* -' if i == 0 else '  -'} {cell}\n" for i, cell in enumerate(row))
    return text + "\n"


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list | frozenset | set) else str(value)


def _paper(cls: Any) -> str:
    """The first sentences of the file that the class lies in, and of the class."""
    module = inspect.getmodule(cls)
    own = _first(inspect.getdoc(cls))
    above = _first(module.__doc__ if module else "")
    return above if own == above else f"{above}\n\n{own}"


def _first(doc: str | None) -> str:
    return _plain((doc or "").strip().split("\n\n")[0])


def _plain(text: str) -> str:
    """Words of a docstring as reStructuredText that means nothing else."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return _escaped("".join(parts))
    return "".join(f"``{part}``" if k % 2 else _escaped(part) for k, part in enumerate(parts))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("_ ", "\\_ ")
