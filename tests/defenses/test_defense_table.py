"""The comparison of the training losses: what its tables are computed from."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advkit.defenses import create_defense, list_defenses

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(ROOT / "benchmarks"))

import defense_cells as cells  # noqa: E402
import defense_table as tables  # noqa: E402


def test_every_training_loss_is_compared() -> None:
    assert {name for name in list_defenses() if name != "adversarial"} <= set(cells.LOSSES)
    for name, spec in cells.LOSSES.items():
        recipe = cells.recipe_of(cells.Cell(name, 0.2, 3), 20)
        assert (recipe.seed, recipe.defense is None) == (3, spec is None)
        if recipe.defense is not None:
            create_defense(recipe.defense)


def test_verdicts_are_read_as_they_were_written() -> None:
    wrong = torch.tensor([False, False, True, False, True])
    assert tables.verdicts(cells.as_hex(wrong)).tolist() == wrong.tolist()
    assert cells._share(cells.as_hex(wrong)) == 0.4


def test_the_paired_test_is_students() -> None:
    found = [0.1, 0.2, -0.05, 0.3, 0.15]
    t = np.mean(found) / np.std(found, ddof=1) * math.sqrt(5)
    w = 1 + t * t / 4  # with four degrees of freedom the distribution has a closed form
    closed = 2 * (0.5 - 3 / 8 * t / math.sqrt(w) * (1 - t * t / (12 * w)))
    assert tables.paired_p(found) == pytest.approx(closed, rel=1e-6)
    assert tables.paired_p([0.5, -0.5]) == pytest.approx(1.0)
    assert tables.paired_p([1.0, 3.0]) == pytest.approx(1 - 2 / math.pi * math.atan(2), rel=1e-6)  # Cauchy
    assert tables.paired_p([0.0, 0.0]) == 1.0


def test_corrected_values_are_holms() -> None:
    assert tables.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_the_interval_covers_what_it_was_drawn_from() -> None:
    draws = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        low, high = tables.interval(draws.random((5, 300)) < 0.2)
        covered += low <= 0.2 <= high
    assert covered >= 35


def cell(loss: str, seed: int, wrong: list[bool], seconds: float) -> dict[str, Any]:
    errors = {name: cells.as_hex(torch.tensor(wrong)) for name in ("clean", "fgsm", "pgd", "cascade")}
    return {
        "loss": loss, "eps": 0.1, "seed": seed, "train_seconds": seconds, "wrong": errors, "device": "cpu",
        "versions": {"torch": "2"},
    }  # fmt: skip


def test_a_table_pairs_the_seeds_that_both_have() -> None:
    few, many = [True] + [False] * 9, [True] * 5 + [False] * 5
    groups = [
        tables.Group("plain", 0.1, [cell("plain", s, many, 2.0) for s in (0, 1, 2)]),
        tables.Group("pgd", 0.1, [cell("pgd", s, few, 16.0) for s in (0, 1, 2, 3)]),
    ]
    assert tables.differences(groups[0], groups[1]) == pytest.approx([0.4, 0.4, 0.4])
    text = tables.page(groups)
    assert "| plain training | 3 | 50.0" in text
    assert "| +40.0 | - |" in text  # equal differences tell nothing about others
    assert "| 8.0 | - | - |" in text


def test_a_cell_that_stands_in_the_file_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    assert cells.known(path) == set()
    path.write_text('{"loss": "pgd", "eps": 0.1, "seed": 2, "wrong": {}}\n')
    assert cells.known(path) == {cells.Cell("pgd", 0.1, 2)}
