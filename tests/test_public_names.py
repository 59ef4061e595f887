"""What users may import or name: a public name that is lost fails here.

`python tests/test_public_names.py` writes the list again: after a name was added, or taken away with a line in the
changelog.
"""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("public_names.txt")
MODULES = (
    "advkit",
    "advkit.attacks",
    "advkit.certification",
    "advkit.cli",
    "advkit.data",
    "advkit.defenses",
    "advkit.evaluation",
    "advkit.figures",
    "advkit.goals",
    "advkit.insight",
    "advkit.models",
    "advkit.reproduction",
    "advkit.testing",
    "advkit.training",
    "advkit.training.augment",
)
"""The modules whose `__all__` is a promise."""


def public() -> list[str]:
    """Every name in `__all__` of these modules, every registered name, and every command."""
    from advkit.cli._group import COMMANDS
    from advkit.cli._sources import FAMILIES, names

    found = [f"{module}.{name}" for module in MODULES for name in import_module(module).__all__]
    found += [f"{kind}: {name}" for kind in FAMILIES for name in names(kind)]
    return sorted([*found, *(f"command: {name}" for name in COMMANDS)])


def test_no_public_name_is_lost() -> None:
    lost = sorted(set(LIST.read_text().splitlines()) - set(public()))
    assert lost == [], (
        "users import these: keep them, or say in the changelog that they are gone and write the list again"
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_can_be_imported(module: str) -> None:
    home = import_module(module)
    assert [name for name in home.__all__ if not hasattr(home, name)] == []
    assert len(set(home.__all__)) == len(home.__all__)


def test_every_public_package_is_listed() -> None:
    import advkit

    root = Path(advkit.__file__).parent
    packages = {f"advkit.{path.parent.name}" for path in root.glob("*/__init__.py") if "__all__" in path.read_text()}
    assert packages <= set(MODULES), "add the package to MODULES"


@pytest.mark.parametrize("module", [module for module in MODULES if module.count(".") == 1 and module != "advkit.cli"])
def test_a_package_is_an_attribute_after_import_advkit(module: str) -> None:
    """`import advkit; advkit.goals.top_k(3)` was an AttributeError, though messages advise such calls."""
    import advkit

    name = module.removeprefix("advkit.")
    assert advkit.__getattr__(name) is import_module(module)
    assert name in dir(advkit)


BELOW = [name for name in LIST.read_text().split() if name.startswith("advkit.") and name.count(".") > 1]
BELOW = [name for name in BELOW if not name.startswith("advkit.cli.")]


def test_a_public_name_that_the_top_package_has_not_is_told_its_place() -> None:
    """`from advkit import PGD` was Python's ImportError, which does not say where it is."""
    import advkit

    for full in BELOW:
        home, _, name = full.rpartition(".")
        assert home in MODULES
        if hasattr(advkit, name):
            continue
        with pytest.raises(AttributeError, match=rf"^module 'advkit' has no attribute '{name}'; it is .*\b{full}\b"):
            getattr(advkit, name)
        with pytest.raises(
            ImportError, match=rf"^cannot import name '{name}' from 'advkit': .* import {name}$"
        ) as said:
            exec(f"from advkit import {name}")
        exec(str(said.value).partition(", ")[2])
    with pytest.raises(ImportError, match=r", from advkit\.attacks import PGD$"):
        exec("from advkit import pgd")


def test_the_place_of_a_name_is_told_without_torch() -> None:
    code = """
import sys
import advkit
try:
    from advkit import PGD
except ImportError as error:
    assert "advkit.attacks" in str(error)
assert not hasattr(advkit, "PGD") and not hasattr(advkit, "__wrapped__") and not hasattr(advkit, "nonsense")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    LIST.write_text("\n".join(public()) + "\n")
