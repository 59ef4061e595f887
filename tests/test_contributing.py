"""The examples of CONTRIBUTING.md are complete and work, and so does the library example of README.md."""

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from advkit.attacks import ATTACKS, create_attack
from advkit.data import DATASETS, load_data
from advkit.models import MODELS, create_model, overview
from advkit.models._registry import FACTS
from advkit.testing import check_attack, list_checks

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
REGISTRIES = (ATTACKS, MODELS, DATASETS)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Import the one block that holds a text; the registries forget it afterwards."""
    for registry in REGISTRIES:
        registry.names()
        monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    facts = dict(FACTS)

    def load(text: str) -> ModuleType:
        (block,) = (block for block in BLOCKS if text in block)
        path = tmp_path / "contributed.py"
        path.write_text(block)
        spec = importlib.util.spec_from_file_location("contributed", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "contributed", module)
        spec.loader.exec_module(module)
        return module

    yield load
    FACTS.clear()
    FACTS.update(facts)


def test_the_attack_of_the_page_keeps_every_promise(load: Callable[[str], ModuleType]) -> None:
    attack = load("@register_attack").Momentum(steps=5)
    assert create_attack(attack.spec) == attack
    report = check_attack(attack)
    kept = [outcome.name for outcome in report.outcomes if outcome.verdict == "kept"]
    assert kept == list_checks(attack)
    assert len(kept) > 20


def test_the_model_of_the_page_has_its_count_and_takes_other_sizes(load: Callable[[str], ModuleType]) -> None:
    load("@register_model")
    assert overview("example_tiny").parameters == FACTS["example_tiny"].parameters
    model = create_model("example_tiny", input_shape=(3, 48, 40), num_classes=7, width=0.5)
    assert model(torch.rand(2, 3, 48, 40)).shape == (2, 7)


def test_the_data_set_of_the_page_splits_into_all_of_its_images(load: Callable[[str], ModuleType]) -> None:
    load("@DATASETS.register")
    parts = [load_data("example_digits8x8", split=split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [1437, 360]
    x, y = parts[1][:100]
    assert x.shape == (100, 1, 8, 8)
    assert (x.min(), x.max()) == (0, 1)
    assert set(y.tolist()) == set(range(10))


def test_the_library_example_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block.replace('"vgg16"', '"lenet5"'), "README.md", "exec"), names)
    clean, attacked = map(float, capsys.readouterr().out.split())
    assert clean < 0.05
    assert attacked > clean
    assert isinstance(names["loss"], torch.Tensor)
