"""Every line of shell on a page runs in a folder of its own, or stands on the one list of what cannot run here.

The pages of docs/howto run at full size in test_howto.py. Lines of other pages run on fewer images (`SMALLER`). Lines
that take long are left out unless `--slow` is given, and so are those that need what such a line makes. A script of
benchmarks/ reads its arguments here in any case.
"""

import argparse
import importlib.util
import os
import pickle
import re
import runpy
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.mirrors import mirror_of_mnist, write_digits
from helpers.reader import BLOCK, Reader, lines_of
from PIL import Image
from torchvision.datasets import CIFAR10

from advkit.cli import main
from advkit.data.corrupted import KINDS
from advkit.data.hendrycks.ice import NAMES as ICE

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page.stem: page for page in sorted((ROOT / "docs").glob("*.md"))}

NOT_RUN = {
    r"benchmarks/defense_table\.py": "it edits this page: tests/defenses/test_defense_table.py runs it",
    r"^pytest ": "a test of its own, which --slow runs: test_the_tests_that_a_page_names_are_there",
}
"""Lines that are not run here -> the test that runs them."""

NEEDS = {
    "cv2": r"benchmarks/against_hendrycks\.py",
    "skimage": r"benchmarks/against_hendrycks\.py",
    "imagecorruptions": r"benchmarks/against_hendrycks\.py",
    "adv_lib": r"benchmarks/nearest\.py",
    "foolbox": r"foolbox:|benchmarks/nearest\.py",
    "pyautoattack": r"benchmarks/auto_attack\.py|--peer\b",
    "torchattacks": r"benchmarks/transfer\.py|torchattacks:",
    "torchattack": r"benchmarks/transfer\.py",
    "advertorch": r"--reference advertorch",
    "scipy": r"benchmarks/lbfgs\.py",
}
"""Package that the extra `test` does not install -> the lines that need it. They run where it is: see .ci/peers."""

SMALLER = {
    "attack": "--count 5 --threads 1",
    "curve": "--count 6 --threads 1",
    "evaluate": "--count 6 --batch-size 3 --threads 1",
    "transfer": "--count 6 --threads 1",
    "train": "--epochs 1 --threads 1",
    "patch": "--count 8 --epochs 1 --threads 1",
    "universal": "--count 8 --epochs 1 --threads 1",
    "reproduce": "--budget tiny --seeds 1",
    "addition.py": "--seeds 1 --epochs 1 --copies 1",
    "adversarial_loss.py": "--batch 10 --rounds 1",
    "augment.py": "--rounds 1",
    "auto_attack.py": "--count 2",
    "budget.py": "--count 2 --seeds 1",
    "black_box.py": "--count 2 --queries 900",
    "defense_cells.py": "--losses fgsm --eps 0.1 --seeds 1 --epochs 1 --standard 2 --jobs 1",
    "defense_epochs.py": "--batch 8 --steps 1 --rounds 1 --device cpu",
    "drop_mnist.py": "--epochs 1 --seeds 0",
    "evaluation.py": "--count 40 --rounds 1",
    "exact_robust.py": "--count 1 --limit 1",
    "fgsm.py": "--count 10 --rounds 1",
    "layout.py": "--turns 1",
    "gpu.py": "--device cpu --batch 2 --steps 1 --rounds 1 --models lenet5",
    "lbfgs.py": "--count 2 --chunks 1",
    "minimal.py": "--count 2 --turns 1",
    "mutation.py": "--count 1 --seconds 3",
    "mnist_certified.py": "--epochs 1 --batch 50 --standing 2 --crown 2",
    "mnist_robust.py": "--epochs 1 --minutes 1 --count 2",
    "nearest.py": "--count 1",
    "one_image.py": "--rounds 1",
    "one_for_all.py": "--pixels 64 --count 4 --epochs 1 --seeds 1",
    "passes.py": "--count 2 --rounds 1",
    "patches.py": "--pixels 64 --count 2 --epochs 1 --places 1 --seeds 1",
    "train_colocaliser": "--epochs 1",
    "seeds": "--seeds 1 --epochs 1",
    "ship_robust.py": "--epochs 1 --count 20 --weights weights",
    "training.py": "--rounds 1",
    "transfer.py": "--count 4 --seeds 1",
    "transformer.py": "--seeds 1 --epochs 1",
    "transforms.py": "--count 4",
}
"""Command or script -> options that make it small; of an option given twice, the last counts."""

FEWER = {
    r"^(advkit .* )square(?= )": r'\1"square(queries=20)"',
    r"steps=40\b": "steps=4",
    r"--first [35]00\b": "--first 2",
    "folder:PATH": "folder:photos",
    "--photographs FOLDER": "--photographs photos",
    "--learn tests/core": f"--learn {ROOT}/tests/core/test_draws.py",
    r"mnist --download": "mnist --download --data-root fetched",
    "--model NAME(?=.* --data folder:)": "--model nets:pets",
    "--model torchvision:vgg16 --weights FILE$": "--model nets:small_pets",
    "--model NAME(?=.* --data cifar10)": "--model nets:things",
    r'--corrupted hendrycks(?= )|--corrupted "hendrycks.*"': "--corrupted \"hendrycks(kinds='fog', severities='1')\"",
    "--nnodes 2 (--nproc-per-node) 4 (.*) HOST:29500(.*)": r"--nnodes 1 \1 2 \2 localhost:0\3 --output runs/many",
    "(--nproc-per-node) 4(.*)": r"\1 2\2 --output runs/two",
    "--recipe vgg16-cifar10": "--recipe lenet5-mnist5k",
}
"""Words of a line -> those in their place: fewer steps, the test's own photographs and networks, one machine."""

SLOW = (
    r"^python |^torchrun |^advkit (train|reproduce) .*-|--certify|--corrupted \W?(hendrycks|cifar10_c)|"
    r"visualize (?!filters|directions)"
)
"""Lines that take more than a second or two of processor time even so."""


def is_slow(line: str) -> bool:
    return bool(re.search(SLOW, line))


def shell(page: Path) -> list[str]:
    """The commands of a page, in its order; those shown as text need networks or photographs of the reader's own."""
    blocks = BLOCK.findall(page.read_text())
    return [line for kind, body in blocks if kind in ("sh", "bash") or is_shown(kind, body) for line in lines_of(body)]


def is_shown(kind: str, body: str) -> bool:
    """Whether a block of text is commands on the reader's own networks and images."""
    return kind == "text" and body.startswith(("python ", "advkit "))


def kind_of(line: str) -> str:
    """What lines share of which one is enough: a picture is one line, a script runs once with each set of options."""
    program, *words = shlex.split(line, comments=True)
    if program == "python":
        return " ".join(word for word in words if word.startswith("--") or word.endswith(".py") or "advkit" in word)
    return " ".join(words) if words[:1] == ["visualize"] else ""


def to_run(pages: dict[str, Path]) -> dict[str, list[str]]:
    """The lines of each page that run: not what an earlier line of the same kind has shown."""
    seen: set[str] = set()
    found: dict[str, list[str]] = {name: [] for name in pages}
    for name, page in pages.items():
        for line in shell(page):
            kind = kind_of(line)
            if not why_not(line) and kind not in seen:
                found[name].append(line)
                seen |= {kind} - {""}
    return found


def why_not(line: str) -> str:
    """What a line needs that is not here; empty if it runs."""
    line = shlex.join(shlex.split(line, comments=True))
    missing = [name for name in needs(line) if not importlib.util.find_spec(name)]
    return next((reason for pattern, reason in NOT_RUN.items() if re.search(pattern, line)), " and ".join(missing))


def needs(line: str) -> list[str]:
    """The packages of `NEEDS` that a line imports."""
    return [name for name, lines in NEEDS.items() if re.search(lines, line)]


def quick(lines: list[str]) -> Iterator[str]:
    """The lines that are not slow and read no file that a slow line writes."""
    made: set[str] = set()
    for line in lines:
        words = shlex.split(line, comments=True)
        late = is_slow(line) or any(word in made for word in words)
        made |= {words[i + 1] for i, word in enumerate(words[:-1]) if late and word in ("--output", ">")}
        if not late:
            yield line


def run(line: str, reader: Reader) -> None:
    """One line, made smaller."""
    for pattern, other in FEWER.items():
        line = re.sub(pattern, other, line)
    program, *words = shlex.split(line, comments=True)
    if program == "advkit":
        alone = len(words) == 1 or "--recipes" in words  # it lists something
        with warnings.catch_warnings():
            if needs(line):
                warnings.simplefilter("ignore", DeprecationWarning)  # of another library's imports
            reader.line(line, *([] if alone else SMALLER.get(words[0], "").split()))
    elif program == "torchrun":
        reader.torchrun([*words, *SMALLER[words[words.index("advkit") + 1]].split()])
    else:
        script = next(word for word in words if word.startswith(("benchmarks/", "tests/", "advkit.")))
        name = Path(script).name if "/" in script else script.split(".")[-1]
        words = [str(ROOT / word) if word == script and "/" in word else word for word in words]
        reader.shell(f"{shlex.join([sys.executable, *words])} {SMALLER.get(name, '')}")


NETS = '''
import torch
from advkit.models import Card, Classifier, create_model

class Light(torch.nn.Module):
    """Of 1,000 classes, 0 is dark and 1 is light."""

    def forward(self, x):
        light = x.mean((1, 2, 3)) - 0.5
        return torch.nn.functional.pad(torch.stack([-light, light], 1), (0, 998), value=-1.0)

def load(name):
    if name.startswith("imagenet"):
        return Light()
    torch.manual_seed(0)
    shape = (3, 32, 32) if name.startswith("cifar") else (1, 28, 28)
    return create_model("lenet5", input_shape=shape, num_classes=10).eval()

def things(classes=10):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 5, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, classes)).eval()

def pets():
    return things(2)

def small_pets():
    return Classifier(things(5), card=Card(name="pets", input_shape=(3, 32, 32))).eval()
'''


def write_things(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10's pickles and CIFAR-10-C's arrays, with 6 images in place of 10,000."""
    images, labels = np.random.default_rng(1).integers(0, 256, (6, 3, 32, 32), np.uint8), [3, 8, 8, 0, 6, 6]
    home = place / CIFAR10.base_folder
    home.mkdir()
    batch = pickle.dumps({"data": images.reshape(6, -1), "labels": labels})
    for file, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        (home / file).write_bytes(batch)
    (home / CIFAR10.meta["filename"]).write_bytes(pickle.dumps({CIFAR10.meta["key"]: [*"abcdefghij"]}))
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    worn = place / "CIFAR-10-C"
    worn.mkdir()
    np.save(worn / "labels.npy", np.tile(np.uint8(labels), 5))
    for kind in KINDS:
        np.save(worn / f"{kind}.npy", np.concatenate([images.transpose(0, 2, 3, 1)] * 5))


PUBLISHED = """
def disk(radius):
    pass
# Tell Python about the C method
# modification of https
{functions}
# /////////////// End Distortions
"""


def write_published(place: Path) -> None:
    """The scripts of the authors of ImageNet-C, where ADVKIT_ROBUSTNESS says; otherwise ones that change no image."""
    if home := os.environ.get("ADVKIT_ROBUSTNESS"):
        place.symlink_to(Path(home).resolve())
        return
    scripts = place / "ImageNet-C" / "create_c"
    scripts.mkdir(parents=True)
    functions = "\n".join(f"def {kind}(x, severity): return x" for kind in KINDS)
    for table in ("cifar", "imagenet"):
        (scripts / f"make_{table}_c.py").write_text(PUBLISHED.format(functions=functions))
    for name in ICE:
        Image.new("RGB", (400, 400)).save(scripts / name)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder but for what pages call the reader's own: photographs, networks, weights, images, data sets."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for i in range(8):
        place = tmp_path / "photos" / ("cat", "dog")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (256, 260, 3), np.uint8)).save(place / f"{i}.png")
        numbered = tmp_path / "DIR" / str(i % 2)  # dark, light
        numbered.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 100, (64, 64, 3), np.uint8) + np.uint8(i % 2 * 150)
        Image.fromarray(pixels).save(numbered / f"{i}.png")
    write_published(tmp_path / "robustness")
    (tmp_path / "nets.py").write_text(NETS)
    y = np.arange(12) % 10
    write_digits(tmp_path / "MNIST" / "raw")
    write_things(tmp_path, monkeypatch)
    things: dict[str, Any] = {}
    exec(NETS, things)
    torch.save(things["things"]().state_dict(), tmp_path / "FILE")
    (tmp_path / "ROOT").symlink_to(tmp_path)  # what pages call the data root
    monkeypatch.setenv("ADVKIT_DATA", str(tmp_path))
    for name in ("mnist.npz", "FILE.npz"):
        np.savez(tmp_path / name, x=draw.integers(0, 256, (12, 28, 28), np.uint8), y=y)
    np.savez(tmp_path / "cifar10.npz", x=draw.integers(0, 256, (12, 32, 32, 3), np.uint8), y=y)
    with mirror_of_mnist(tmp_path / "mirror", monkeypatch):
        yield tmp_path


ALL = to_run(PAGES)
QUICK = {name: [*quick(lines)] for name, lines in ALL.items()}
LONG = [name for name, lines in ALL.items() if lines != QUICK[name]]


@pytest.mark.parametrize("name", [name for name, lines in QUICK.items() if lines])
def test_the_commands_of_the_page_run(name: str, folder: Path) -> None:
    reader = Reader()
    for line in QUICK[name]:
        run(line, reader)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_all_commands_of_the_page_run(name: str, folder: Path) -> None:
    reader = Reader()
    for line in ALL[name]:
        run(line, reader)


class ReadError(Exception):
    """A script has read its arguments."""


SHOWN = [
    line
    for page in PAGES.values()
    for kind, body in BLOCK.findall(page.read_text())
    if kind == "text" and body.startswith("python ")
    for line in lines_of(body)
]
"""Lines that are shown as text."""

SCRIPTS = sorted(
    line
    for line in {*SHOWN, *(line for page in PAGES.values() for line in shell(page))}
    if re.match(r" *python (-W ignore )?(benchmarks|tests)/", line)
)


@pytest.mark.parametrize("line", SCRIPTS)
def test_the_script_takes_its_arguments(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, *words = shlex.split(line)[shlex.split(line).index("ignore") + 1 if " -W " in line else 1 :]
    if why := [name for name in needs(line) if not importlib.util.find_spec(name)]:
        pytest.skip(f"needs {' and '.join(why)}")
    if "ArgumentParser" not in (ROOT / script).read_text():
        assert words == [], f"{script} takes no options"
        return
    parse = argparse.ArgumentParser.parse_args

    def read(parser: argparse.ArgumentParser, *given: object) -> None:
        parse(parser, words)
        raise ReadError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.syspath_prepend((ROOT / script).parent)
    with pytest.raises(ReadError):
        runpy.run_path(str(ROOT / script), run_name="__main__")


def test_the_tests_that_a_page_names_are_there() -> None:
    """`pytest FOLDER -k WORD`, in a block or in a sentence: the folder has a test of that name."""
    text = "\n".join(page.read_text() for page in ROOT.glob("docs/**/*.md"))
    named = re.findall(r"\bpytest ((?:--\w+ )*)(tests/[\w/.]+)(?: -k (\w+))?", text)
    assert len(named) >= 3
    for _, place, word in named:
        files = [ROOT / place] if place.endswith(".py") else [*(ROOT / place).rglob("test_*.py")]
        assert files, place
        tests = re.findall(r"^ *def (test_\w+)", "\n".join(file.read_text() for file in files), re.MULTILINE)
        assert [test for test in tests if word in test] or any(word in file.stem for file in files), (
            f"{place} -k {word}"
        )


def test_the_packages_to_install_are_named_in_the_project() -> None:
    """`pip install` on a page asks for an extra of advkit, or for a package that is in one of them."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    known = {re.split(r"[\[<>=; ]", each)[0] for extra in extras.values() for each in extra}
    known.add("adv-lib")
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        for words in re.findall(r"pip install ([^`\n&)]+)", page.read_text()):
            for word in shlex.split(words.rstrip("."), comments=True):
                name, extra = re.fullmatch(r"(-e|[\w.-]+?)(?:\[(\w+)\])?", word).groups()
                assert name in ("-e", ".") or name in known, f"{page.name}: {word}"
                assert extra in (None, "NAME", *extras), f"{page.name}: {word}"


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for lines in ALL.values() for line in lines if needs(line)])
def test_the_line_runs_beside_its_package(line: str, folder: Path) -> None:
    """Alone, so that `.ci/peers` runs these lines and no others."""
    run(line, Reader())


PEERED = [line for page in PAGES.values() for line in shell(page) if needs(line)]


@pytest.mark.parametrize("line", PEERED)
def test_without_the_package_one_line_says_what_is_needed(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in needs(line):
        monkeypatch.setitem(sys.modules, name, None)
    if line.startswith("advkit"):
        result = CliRunner().invoke(main, shlex.split(line, comments=True)[1:])
        assert result.exit_code == 2, result.output
        assert f"pip install {needs(line)[0]}" in result.stderr
        assert len(result.stderr.strip().splitlines()) <= 3
        return
    script, *words = [word for word in shlex.split(line)[1:] if word not in ("-W", "ignore")]
    monkeypatch.setattr(sys, "argv", [script, *words])
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    named = re.fullmatch("this needs (.*): pip install (.*)", str(end.value.code))
    assert named is not None, end.value.code
    assert set(named[1].split(" and ")) == set(named[2].split())
    imported = {install: name for name, install in import_module("_needed").DISTRIBUTIONS.items()}
    assert {imported.get(name, name) for name in named[2].split()} <= set(needs(line))


def test_every_reason_not_to_run_is_of_some_line() -> None:
    lines = {
        line for page in PAGES.values() for _, body in BLOCK.findall(page.read_text()) for line in body.splitlines()
    }
    assert [p for p in (*NOT_RUN, *NEEDS.values()) if not any(re.search(p, line) for line in lines)] == []


def test_what_a_slow_line_makes_is_left_to_the_slow_test() -> None:
    lines = ["advkit train --model mlp --output runs/a", "advkit attack --weights runs/a", "advkit attack --weights b"]
    assert [*quick(lines)] == lines[2:]
    assert why_not("advkit attack --model vgg16 --eps 0.007") == ""
