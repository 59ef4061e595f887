"""Every code block of docs/howto runs, in the order of its page, in an empty folder; so does Python of other pages."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.mirrors import cache_torchvision, hub_of, write_onnx, write_vit
from helpers.reader import BLOCK, Reader
from PIL import Image

HOWTO = Path(__file__).parents[1] / "docs" / "howto"
PAGES = [page for page in sorted(HOWTO.glob("*.md")) if "file_format: mystnb" not in page.read_text()]
"""Notebooks among them run when the site is built."""


def write_photographs(place: Path) -> None:
    """Two photographs of each of two classes."""
    draw = np.random.default_rng(0)
    for i in range(4):
        file = place / ("cat", "dog")[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (230, 224, 3), np.uint8)).save(file)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which modules are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def brought(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """That folder with what the pages call the reader's own; what they download lies on this machine."""
    from huggingface_hub import constants

    write_photographs(empty / "PATH")
    write_onnx(empty / "net.onnx")
    write_vit(empty / "vit", ("cat", "dog"))
    cache_torchvision(empty / "torch", monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(empty / "hf" / "hub"))
    monkeypatch.setenv("HF_HOME", str(empty / "hf"))
    with hub_of("google/vit-base-patch16-224", empty / "vit") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield empty


NEEDS = {
    "models": ("timm", "huggingface_hub", "transformers"),
    "black_box": ("onnx", "onnxruntime"),
    "interchange": ("tensorboard", "lightning"),
}
"""Page -> packages that it needs; the extra `test` has all of them."""

OWN = ("models", "black_box")
"""Pages that need what they call the reader's own."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_the_page_runs(page: Path, request: pytest.FixtureRequest) -> None:
    for package in NEEDS.get(page.stem, ()):
        pytest.importorskip(package)
    request.getfixturevalue("brought" if page.stem in OWN else "empty")
    text, reader = page.read_text(), Reader()
    blocks = BLOCK.findall(text)
    assert blocks
    for kind, body in blocks:
        getattr(reader, kind)(body)


OTHERS = [
    "attacks",
    "audit",
    "augmentation",
    "certification",
    "corruptions",
    "data",
    "defenses",
    "goals",
    "install",
    "reproduction",
]
ELSEWHERE = {
    "cards": "tests/evaluation/test_docs.py",
    "evaluation": "tests/evaluation/test_docs.py",
    "run-format": "tests/evaluation/test_docs.py",
    "insight": "tests/insight/test_docs.py",
    "testing": "tests/testing/test_docs.py",
    "index": "tests/test_readme.py",  # test_pages.py: its block is that of the README
}
"""Page -> the file of the test that runs its Python."""

SMALLER = {
    'budget="small", seeds=3': 'budget="tiny", seeds=2',
    'split="test")[:5]': 'split="test")[:2]',
    "check_attack(PGD())": "check_attack(PGD(steps=5))",
}
"""Words of a block -> those in their place."""


def python_of(page: Path) -> list[str]:
    return [body for kind, body in BLOCK.findall(page.read_text()) if kind == "python"]


@pytest.mark.parametrize("name", OTHERS)
def test_the_python_of_the_other_pages_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = python_of(HOWTO.parent / f"{name}.md")
    assert blocks
    reader = Reader()
    for body in blocks:
        for given, smaller in SMALLER.items():
            body = body.replace(given, smaller)
        reader.python(body)


def test_the_python_of_every_page_runs_in_some_test() -> None:
    assert {page.stem for page in HOWTO.parent.glob("*.md") if python_of(page)} == {*OTHERS, *ELSEWHERE}


def test_every_block_is_of_a_kind_that_some_test_runs() -> None:
    """Text is formulas, what a command prints, or commands on the reader's images (test_shell_blocks runs them)."""
    pages = [*HOWTO.parent.glob("*.md"), *HOWTO.glob("*.md")]
    kinds = {(page.stem, kind) for page in pages for kind, _ in BLOCK.findall(page.read_text())}
    own = {("install", "console"), ("clusters", "yaml"), ("testing", "toml")}
    assert {(page, kind) for page, kind in kinds if kind not in ("python", "sh", "bash", "text", "")} == own


def test_the_pages_are_there() -> None:
    assert {page.stem for page in HOWTO.glob("*.md")} >= {"data", "models", "clusters", "ci", "resume", "figures"}
