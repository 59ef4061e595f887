"""What answers at once imports no torch: help, the version, completion. What lists imports no more than it needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.published_sets import write_all

from advkit.cli._group import COMMANDS

LIMIT = 250
"""Modules that help may import; measured: 139; torch alone brings 900."""

REPORT = """
import json, sys
try:
    from advkit.cli import main
    main(prog_name="advkit")
finally:
    sys.stdout.flush()
    facts = {"imported": len(sys.modules), "modules": [name for name in NAMES if name in sys.modules]}
    print(json.dumps(facts), file=sys.stderr)
"""
HEAVY = ("torch", "torchvision", "numpy", "matplotlib", "PIL", "rich")


def start(
    *words: str, names: tuple[str, ...] = HEAVY, before: str = "", **environment: str
) -> tuple[str, dict[str, Any]]:
    """What the command prints, how many modules are imported at its end, and which of these are among them."""
    code = f"NAMES = {names!r}\n{before}\nimport sys; sys.argv[1:] = {list(words)!r}\n{REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=3600,
        env={**os.environ, **environment},
    )
    return done.stdout, json.loads(done.stderr.strip().splitlines()[-1])


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], *([name, "--help"] for name in sorted(COMMANDS))],
    ids=" ".join,
)
def test_help_imports_no_torch_and_little_else(words):
    text, facts = start(*words)
    assert text
    assert facts["modules"] == []
    assert facts["imported"] < LIMIT


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("advkit at", {"attack", "attacks"}),
        ("advkit attack --attack pg", {"pgd"}),
        ("advkit attack --model le", {"lenet5"}),
        ("advkit attack --data mnist5", {"mnist5k"}),
        ("advkit attack --stop n", {"never"}),
        ("advkit attack --random-st", {"--random-start"}),
        ("advkit train --defense tra", {"trades"}),
        ("advkit train --defense pg", {"pgd"}),
        ("advkit evaluate --attacks fgs", {"fgsm"}),
        ("advkit models vgg11", {"vgg11", "vgg11_lrn"}),
        ("advkit curve --models lene", {"lenet5"}),
    ],
)
def test_the_shell_completes_words_and_values_without_torch(line, expected):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_ADVKIT_COMPLETE": "bash_complete"}
    text, facts = start(**words)
    assert {row.partition(",")[2] for row in text.split()} == expected
    assert facts["modules"] == []
    assert facts["imported"] < LIMIT


def test_importing_advkit_imports_nothing_heavy():
    code = f"import advkit, sys; print([name for name in {(*HEAVY, 'click')!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NOT_FOR_LISTS = ("torch._dynamo", "torchvision", "matplotlib")
"""Each takes a second or more to import."""

ALL_PUBLISHED = "import advkit.data.published as published; published._verified = lambda file: file.path"
"""Our small files do not have the digests of the published ones."""


def test_the_list_of_models_imports_neither_torchs_compiler_nor_torchvision():
    text, facts = start("models", names=NOT_FOR_LISTS)
    assert len(text.splitlines()) > 5
    assert facts["modules"] == []


def listed(root: Path, before: str = "") -> dict[str, str]:
    """Set -> whether `advkit data` finds it, in a process that imports nothing heavy."""
    text, facts = start("data", "--json", names=NOT_FOR_LISTS, before=before, ADVKIT_DATA=str(root))
    assert facts["modules"] == []
    return {name: found["here"] for name, found in json.loads(text).items()}


@pytest.fixture(scope="module")
def published_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Folder of all published sets, small, and their names."""
    root = tmp_path_factory.mktemp("data")
    return root, write_all(root)


def test_the_list_of_data_finds_whole_sets_without_torchvision(published_sets: tuple[Path, set[str]]) -> None:
    root, names = published_sets
    found = listed(root, ALL_PUBLISHED)
    assert {name for name in names if found[name] != "yes"} == set()
    assert (found["mnist5k"], found["svhn"], found["imagenet_c"]) == ("yes", "no", "no")


def test_the_list_of_data_sees_empty_folders_without_torchvision(
    published_sets: tuple[Path, set[str]], tmp_path: Path
) -> None:
    root, names = published_sets
    for folder in filter(Path.is_dir, root.rglob("*")):
        (tmp_path / folder.relative_to(root)).mkdir()
    (tmp_path / "ImageNet-C" / "gaussian_noise" / "3").mkdir(parents=True)
    found = listed(tmp_path)
    assert {name for name in names | {"imagenet_c", "svhn"} if found[name] == "yes"} == set()
    assert {name for name, state in found.items() if state == "yes"} == {"mnist5k", "mnist_addition", "distorted_mnist"}


def test_the_list_of_data_calls_half_a_set_broken_without_torchvision(
    published_sets: tuple[Path, set[str]], tmp_path: Path
) -> None:
    root, _ = published_sets
    home = tmp_path / "data"
    shutil.copytree(root, home)
    (home / "imagenet" / "meta.bin").unlink()
    (home / "extra_32x32.mat").write_bytes(b"nothing")
    for name in ("MNIST/raw/t10k-images-idx3-ubyte", "FashionMNIST/raw/train-labels-idx1-ubyte"):
        (home / name).unlink()
    for file in ("cifar-10-batches-py/data_batch_3", "cifar-100-python/meta", "norb/*-info.mat"):
        for path in home.glob(file):
            path.unlink()
    broken = {"mnist", "fashion_mnist", "cifar10", "cifar100", "norb", "imagenet", "svhn"}
    found = listed(home, ALL_PUBLISHED)
    assert {name for name, state in found.items() if state == "broken"} == broken
