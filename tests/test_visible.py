"""What an editor sees after `pip install -e .`: the packages of the root folders, resolved from the files alone."""

import os
import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import pytest

import advkit

ROOT = Path(__file__).resolve().parents[1]
LINKS = {
    "src/advkit": "advkit",
    "advkit/attacks": "attacks",
    "advkit/defenses": "defenses",
    "advkit/reproduction": "reproduction",
    "advkit/cli": "cli",
}
NAMES = {"advkit.attacks": "PGD", "advkit.defenses": "AdversarialLoss", "advkit.cli": "main"}

INSTALLED = str(ROOT / "src") in [str(Path(path)) for path in sys.path]

linked = pytest.mark.skipif(
    not ((ROOT / "src/advkit/attacks").is_dir() and INSTALLED),
    reason="this is no editable install of a checkout with symbolic links",
)


@linked
def test_the_links_show_the_root_folders() -> None:
    for link, folder in LINKS.items():
        assert (ROOT / link).resolve() == ROOT / folder


@linked
@pytest.mark.parametrize(("module", "name"), NAMES.items())
def test_jedi_finds_the_public_names(module: str, name: str) -> None:
    jedi = pytest.importorskip("jedi")
    script = jedi.Script(
        f"import {module}\n{module}.{name}\n", project=jedi.Project(ROOT / "docs", sys_path=sys_path())
    )
    found = script.goto(2, len(module) + 2, follow_imports=True)
    assert [definition.name for definition in found] == [name]
    assert Path(found[0].module_path).resolve().is_relative_to(ROOT)


def sys_path() -> list[str]:
    """Where Python looks for packages, without the folders that pytest and the current directory add."""
    return [path for path in sys.path if path and Path(path) not in (ROOT, ROOT / "tests")]


@linked
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_resolve_the_public_names(checker: str, tmp_path: Path) -> None:
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    consumer = tmp_path / "consumer.py"
    consumer.write_text(
        "from advkit.attacks import PGD\nfrom advkit.cli import main\nfrom advkit.defenses import AdversarialLoss\n"
        "print(PGD(eps=0.1), main, AdversarialLoss, PGD.no_such_attribute)\n"
    )
    (tmp_path / "mypy.ini").write_text(  # torch alone takes ten seconds to check
        "[mypy]\nfollow_imports = silent\n"
        "[mypy-torch.*,torchvision.*,numpy.*,PIL.*,matplotlib.*,rich.*]\nfollow_imports = skip\n"
    )
    options = {
        "mypy": ["--cache-dir", str(tmp_path / "cache")],
        "pyright": ["--pythonpath", sys.executable],
    }[checker]
    answer = subprocess.run(
        [sys.executable, "-m", checker, *options, str(consumer)],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, timeout=3600,
    )  # fmt: skip
    if "nodeenv" in answer.stderr or "Failed to download" in answer.stdout + answer.stderr:
        pytest.skip("pyright cannot be run here: it found no Node.js and could not fetch one")
    errors = [line for line in answer.stdout.splitlines() if "error" in line and "consumer.py" in line]
    assert len(errors) == 1, answer.stdout + answer.stderr  # the attribute that PGD has not: the names are known
    assert "no_such_attribute" in errors[0]


def test_an_installation_brings_no_package_of_a_common_name() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import importlib.util as u; print([n for n in "
         "('attacks', 'defenses', 'reproduction', 'cli', 'tests', 'benchmarks') if u.find_spec(n)])"],
        cwd=Path(advkit.__file__).anchor, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert found.stdout.strip() == "[]", found.stdout + found.stderr


def test_the_distribution_declares_what_it_imports() -> None:
    required = {str(line).split(">")[0].split("[")[0].strip().lower() for line in distribution("advkit").requires or []}
    assert {
        "torch",
        "torchvision",
        "numpy",
        "pillow",
        "click",
        "rich",
        "matplotlib",
        "safetensors",
        "jinja2",
    } <= required


def test_every_dependency_has_a_floor() -> None:
    required = [line for line in distribution("advkit").requires or [] if "extra ==" not in line]
    assert [line for line in required if ">=" not in line] == []
