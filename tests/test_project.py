"""What surrounds the code: one version, floors of the dependencies, hooks and workflows that call what there is."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import advkit

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = ["3.11", "3.12", "3.13"]


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_the_version_is_one_everywhere() -> None:
    assert re.search(r"^version: (.+)$", text("CITATION.cff"), re.MULTILINE)[1] == advkit.__version__  # type: ignore[index]
    assert f"## {advkit.__version__}" in text("CHANGELOG.md")


def test_the_changelog_tells_added_changed_and_fixed_apart() -> None:
    newest = text("CHANGELOG.md").split("\n## ")[1]
    assert re.findall(r"^### (\w+)$", newest, re.MULTILINE) == ["Changed", "Added", "Fixed"]


@pytest.mark.parametrize("extra", ["", "testing", "test", "timm"])
def test_every_dependency_has_a_floor_and_none_a_ceiling(extra: str) -> None:
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for line in listed:
        if not line.startswith("advkit"):
            assert re.fullmatch(r"[a-z0-9-]+>=[\d.]+", line), line


def needed_by(name: str) -> set[str]:
    """The packages that `pip install NAME` brings without extras, as the installed ones declare it."""
    found, open_ = set(), {name}
    while open_:
        found |= open_
        listed = (Requirement(line) for one in open_ for line in distribution(one).requires or [])
        open_ = {canonicalize_name(r.name) for r in listed if not r.marker or r.marker.evaluate({"extra": ""})} - found
    return found


def test_the_package_alone_brings_no_pandas_scikit_learn_or_scipy() -> None:
    brought = needed_by("advkit")
    assert {"torch", "numpy", "pillow", "sympy"} <= brought  # sympy is needed by torch alone
    assert brought.isdisjoint({"mlxtend", "pandas", "scikit-learn", "scipy"})


def test_what_a_package_brings_is_followed_to_the_end() -> None:
    assert {"scipy", "joblib"} <= needed_by("scikit-learn")


def test_the_workflow_runs_every_python_that_the_package_names_and_the_lowest_versions() -> None:
    workflow = text(".github/workflows/check.yml")
    assert re.findall(r'"(3\.\d+)"', workflow.partition("matrix:")[2].partition("steps:")[0]) == PYTHONS
    assert [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if ":: 3." in c] == PYTHONS
    for script in (".ci/run", ".ci/lowest", ".ci/peers"):
        assert f"run: {script}" in workflow
        assert (ROOT / script).stat().st_mode & 0o100, f"{script} is not executable"


def test_the_hooks_are_tools_that_the_test_extra_installs() -> None:
    tools = set(re.findall(r"^        entry: (\w+)", text(".pre-commit-config.yaml"), re.MULTILINE))
    installed = {re.match(r"[\w-]+", line)[0] for line in PROJECT["optional-dependencies"]["test"]}  # type: ignore[index]
    assert tools == {"ruff", "codespell", "mypy"}
    assert tools <= installed


def test_the_words_are_spelt_as_codespell_spells_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_gives_an_address_of_ours() -> None:
    for name in ("README.md", "SECURITY.md", "CITATION.cff", "pyproject.toml", "CONTRIBUTING.md", "docs/release.md"):
        hosts = set(re.findall(r"https?://([\w.-]+)", text(name)))
        assert hosts <= {"arxiv.org", "doi.org", "keepachangelog.com", "pypi.org"}, name
        assert not re.search(r"[\w.]+@[\w.]+\.\w+", text(name)), name
