"""Where the public names are, read from the files of the packages, so that a question imports nothing."""

import ast
import dis
from collections.abc import Iterable
from pathlib import Path
from types import FrameType


def where(name: str, packages: Iterable[str]) -> list[str]:
    """Return the full names of what is public in one of these packages under this name, or in other letters' case.

    Args:
        name: a name that the top package has not.
        packages: names of packages below it, such as "attacks" and "training.augment".
    """
    found = [(one, f"advkit.{package}.{one}") for package in packages for one in _public(package)]
    return [full for one, full in found if one == name] or [full for one, full in found if one.lower() == name.lower()]


def _public(package: str) -> list[str]:
    """The `__all__` of a package, a list of texts."""
    place = Path(__file__).parents[1].joinpath(*package.split("."))
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def imports(frame: FrameType | None) -> bool:
    """Return whether this frame is at `from advkit import NAME`, where Python drops the text of an AttributeError."""
    return frame is not None and dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM"
