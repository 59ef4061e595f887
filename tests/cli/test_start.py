"""What answers at once imports no torch: help, the version, completion. What lists imports no more than it needs."""

import json
import os
import subprocess
import sys

import pytest

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


def start(*words: str, names: tuple[str, ...] = HEAVY, **environment: str) -> tuple[str, dict]:
    """What the command prints, how many modules are imported at its end, and which of these are among them."""
    code = f"NAMES = {names!r}\nimport sys; sys.argv[1:] = {list(words)!r}\n{REPORT}"
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


@pytest.mark.parametrize("words", [["models"], ["data"]], ids=" ".join)
def test_lists_import_neither_torchs_compiler_nor_torchvision(words, tmp_path):
    text, facts = start(*words, names=("torch._dynamo", "torchvision", "matplotlib"), ADVKIT_DATA=str(tmp_path))
    assert len(text.splitlines()) > 5
    assert facts["modules"] == []
