"""Trainings that go wrong by a known failure: the command names it while it runs, and the log shows it."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from advkit.cli import main

SHARED = (
    "train",
    "--model",
    "lenet5",
    "--data",
    "mnist5k",
    "--optimizer",
    "adamw",
    "--device",
    "cpu",
    "--threads",
    "1",
)


def trained(home: Path, *options: str) -> tuple[str, list[dict[str, float]]]:
    """What the command says on stderr, and the rows of its log."""
    done = CliRunner().invoke(main, [*SHARED, *options, "--output", str(home)], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    with (home / "log.csv").open() as file:
        return done.stderr, [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_fast_training_with_a_long_step_overfits_and_is_named(tmp_path: Path) -> None:
    options = ("--lr", "0.004", "--batch-size", "100", "--clip", "1", "--ramp", "0.4", "--epochs", "12")
    said, rows = trained(tmp_path / "run", "--defense", "fast(eps=0.3, step_size=0.75)", *options)
    assert "catastrophic overfitting: the network resists one step" in said
    assert "train with a shorter step, nfgsm, pgd or trades" in said
    worst = max(rows, key=lambda row: row["probe_many_steps"] - row["probe_one_step"])
    assert worst["probe_many_steps"] >= 0.9
    assert worst["probe_one_step"] <= 0.5


@pytest.mark.slow
def test_a_training_that_is_stuck_at_chance_is_named(tmp_path: Path) -> None:
    options = ("--lr", "0.004", "--batch-size", "100", "--epochs", "4")
    said, rows = trained(tmp_path / "run", "--defense", "pgd(eps=0.3, steps=5, alpha=0)", *options)
    assert "training is stuck at chance" in said
    assert "begin with a smaller eps" in said
    assert rows[-1]["probe_clean"] > 0.6
