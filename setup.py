"""Where the packages lie. The rest of the project's description is pyproject.toml.

`attacks/`, `defenses/`, `reproduction/` and `cli/` at the root are the packages `advkit.attacks`, `advkit.defenses`,
`advkit.reproduction` and `advkit.cli`. `src/advkit` and four links inside `advkit/` show them so to every tool that
reads files: an editable install puts `src/` on the path, where `advkit` is the only package. A checkout without
symbolic links installs too, by a table. A source distribution holds the root folders and no links, so that its own
tests find what they read.
"""

import sys
from pathlib import Path

from setuptools import find_packages, setup

LINKED = ("attacks", "defenses", "reproduction", "cli")

if Path("src/advkit/attacks").is_dir() and "sdist" not in sys.argv:
    folders, packages = {"": "src"}, find_packages("src")
else:
    folders = {"advkit": "advkit", **{f"advkit.{name}": name for name in LINKED}}
    packages = [
        package
        for package in ["advkit", *(f"advkit.{name}" for name in find_packages("advkit"))]
        if package.removeprefix("advkit.").partition(".")[0] not in LINKED
    ]
    for name in LINKED:
        packages += [f"advkit.{name}", *(f"advkit.{name}.{inner}" for inner in find_packages(name))]

setup(package_dir=folders, packages=packages)
