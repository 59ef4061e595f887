"""The pages of the reference that the package writes itself: every public name, and one page an attack or defence.

Tables of options come from the dataclasses, so that no page can name an option that is not there.
"""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from _one_page_each import attack_pages, certificate_pages, defense_pages
from _restructured import first, heading, table, tree

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
    "advkit.core.errors": "Errors and warnings",
}
"""Package -> title of its page."""


def write_reference(place: Path) -> None:
    """Write all pages; a page that has not changed is left alone, so that a second build is quick."""
    pages = {**_api(), **attack_pages(), **defense_pages(), **certificate_pages()}
    for name, text in pages.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for old in place.rglob("*.*"):
        if str(old.relative_to(place)) not in pages:
            old.unlink()


def _api() -> dict[str, str]:
    """One page a package, with every name of its `__all__`."""
    pages = {}
    for package, title in PACKAGES.items():
        module = import_module(package)
        text = heading(f"{title}: {package}") + f"{first(module.__doc__)}\n\n" + _summary(package, module)
        for name in public_names(module):
            text += _object(package, name, getattr(module, name))
        pages[f"api/{package}.rst"] = text
    pages["api/index.rst"] = heading("Every public name") + tree(sorted(PACKAGES))
    return pages


def _summary(package: str, module: Any) -> str:
    """A table of the classes and functions, each with its first sentence, that leads to their entries."""
    values = [(name, getattr(module, name)) for name in public_names(module)]
    rows = [
        (f":py:obj:`{name} <{package}.{name}>`", re.split(r"(?<=[\w)`]\.) (?=[A-Z])", first(inspect.getdoc(value)))[0])
        for name, value in values
        if inspect.isclass(value) or inspect.isroutine(value)
    ]
    return table(("name", "what it is"), rows) if len(rows) > 3 else ""


def public_names(module: Any) -> list[str]:
    """The names of `__all__`; of a module without one its classes."""
    own = [n for n, value in vars(module).items() if inspect.isclass(value) and value.__module__ == module.__name__]
    return sorted(name for name in getattr(module, "__all__", own) if not name.startswith("__"))


def _object(package: str, name: str, value: Any) -> str:
    if inspect.isclass(value):
        members = "" if issubclass(value, BaseException) else "   :members:\n"
        return f".. autoclass:: {package}.{name}\n{members}\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {package}.{name}\n\n"
    names = ", ".join(f"``{key}``" for key in value) if isinstance(value, dict | list | tuple | frozenset) else ""
    return f".. py:data:: {package}.{name}\n\n   {names}\n\n"
