"""The examples of CONTRIBUTING.md are complete and work."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_docstrings import REFUSED, docstrings, entries, is_whole

from advkit.attacks import ATTACKS, create_attack
from advkit.core.losses import LOSSES
from advkit.data import DATASETS, load_data
from advkit.defenses import DEFENSES, create_defense
from advkit.models import MODELS, create_model, load_model, overview
from advkit.models._registry import FACTS
from advkit.testing import check_attack, check_dataset, check_defense, check_model, list_checks

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
REGISTRIES = (ATTACKS, MODELS, DATASETS, DEFENSES)


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


def test_the_model_and_the_data_set_of_the_page_keep_every_promise(load: Callable[[str], ModuleType]) -> None:
    load("@register_model")
    load("@DATASETS.register")
    for report in (check_model("example_tiny"), check_dataset("example_digits8x8")):
        assert {outcome.verdict for outcome in report.outcomes} == {"kept"}


def test_the_defence_of_the_page_keeps_every_promise_and_equals_its_formula(load: Callable[[str], ModuleType]) -> None:
    loss = load("@register_defense").Pairing(attack=create_attack("pgd(eps=0.1, steps=2, random_start=False)"))
    assert create_defense(loss.spec) == loss

    def formula(loss: Any) -> Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]:
        def plain(model: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            x_adv = loss.attack(model, x, y, stop="never").x_adv
            own = getattr(model, "training_logits", lambda images: [(1.0, model(images))])
            total = torch.zeros((), dtype=x.dtype)
            for weight, logits in own(torch.cat([x, x_adv])):
                clean, adversarial = logits.chunk(2)
                errors = (F.cross_entropy(clean, y) + F.cross_entropy(adversarial, y)) / 2
                total = total + weight * (errors + loss.weight * ((clean - adversarial) ** 2).mean())
            return total

        return plain

    broken = check_defense(loss, formula=formula, raises=False)
    assert broken.ok, str(broken)


def test_the_loss_of_the_page_is_climbed_by_its_name(load: Callable[[str], ModuleType], monkeypatch: Any) -> None:
    monkeypatch.setattr("advkit.core.losses.LOSSES", dict(LOSSES))
    load("@register_loss")
    assert check_attack(create_attack("pgd(steps=4, loss=example_lead)")).ok


def test_the_goal_of_the_page_is_reached_where_the_parity_changes(load: Callable[[str], ModuleType]) -> None:
    goal, model, data = load("def other_parity").other_parity, load_model("lenet5"), load_data("mnist5k")
    x, y = data[:50]
    result = create_attack("pgd(eps=0.3, steps=10)")(model, x, y, goal=goal)
    given = result.logits.argmax(1)
    assert torch.equal(result.success, (given - y) % 2 == 1)
    assert result.success.double().mean() > 0.5


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split('"""')[1])
def test_the_prose_of_the_examples_is_that_of_the_house(block: str) -> None:
    for line, text in docstrings(ast.parse(block)):
        assert not REFUSED.search(text), f"{line}: {text}"
        assert all(map(is_whole, entries(text).values())), f"{line}: {text}"


HOMES = {
    "@register_attack": ("attacks/momentum.py", "attacks/__init__.py", "from advkit.attacks.momentum import Momentum"),
    "@register_model": ("advkit/models/tiny.py", "advkit/models/__init__.py", "from advkit.models import tiny"),
    "@DATASETS.register": ("advkit/data/digits8x8.py", "advkit/data/__init__.py", "from advkit.data import digits8x8"),
    "@register_defense": ("defenses/pairing.py", "defenses/__init__.py", "from advkit.defenses.pairing import Pairing"),
}
"""The text of an example -> its file, the file that imports it, and the line that does."""
ROW = "| `example_momentum` | budget | linf | gradients | Dong et al. 2017, arXiv 1710.06081 |\n"
RUNS = (
    "tests/test_house.py tests/test_public_names.py tests/attacks/test_docs.py tests/cli/test_sources.py",
    "tests/data/test_data.py tests/models/test_shipped.py tests/training/test_recipes.py",
    "tests/testing/test_check_dataset.py tests/testing/test_check_model.py tests/defenses/test_check_defense.py",
    "tests/attacks/test_contract.py tests/models tests/training/test_families_on_two_processes.py -k example",
)


@pytest.mark.slow
def test_the_examples_keep_every_promise_in_a_copy_of_the_tree(tmp_path: Path) -> None:
    copy = copied(tmp_path / "advkit")
    for key, (file, home, line) in HOMES.items():
        (block,) = (block for block in BLOCKS if key in block)
        (copy / file).write_text(block)
        text = (copy / home).read_text()
        (copy / home).write_text(text.replace("\n__all__ = [", f"\n{line}  # noqa: F401\n\n__all__ = [", 1))
    page = copy / "docs" / "attacks.md"
    page.write_text(page.read_text().replace("| `pgd` | budget", f"{ROW}| `pgd` | budget", 1))
    environment = {**os.environ, "PYTHONPATH": str(copy / "src")}
    for words in RUNS:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *words.split()]
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    strict = [sys.executable, "-m", "mypy", "--strict", *(str(copy / file) for file, _, _ in HOMES.values())]
    done = subprocess.run(
        strict, cwd=copy, env={**environment, "MYPYPATH": str(copy / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def copied(home: Path) -> Path:
    """The files that the repository tracks, links as links."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    for name in filter(None, listed.stdout.split("\0")):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, home / name, follow_symlinks=False)
    return home
