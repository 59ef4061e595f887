"""`python benchmarks/ship.py RUN...`: make runs of `advkit train` the checkpoints that ship with the package.

Measures the FGSM error at eps .1 and .25 on the 1,000 test digits with the 16-bit weights, writes it on the card and
puts the file where `load_model` looks.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import advkit.models
from advkit.attacks import FGSM
from advkit.data import load_data
from advkit.evaluation import evaluate
from advkit.models import load_checkpoint, save_checkpoint

WEIGHTS = Path(advkit.models.__file__).parent / "weights"
LIMIT = 2_000_000


def ship(run: Path) -> str:
    classifier = load_checkpoint(run)
    card = classifier.card
    data = load_data(card.data, split="test")
    report = evaluate(classifier, data, attacks=[FGSM(eps=0.1), FGSM(eps=0.25)])
    errors = {eps: row.adversarial_error for eps, row in zip((0.1, 0.25), report.attacks, strict=True)}
    path = WEIGHTS / f"{card.name}-{card.data}.safetensors"
    save_checkpoint(path, classifier, replace(card, clean_error=report.clean_error, fgsm_error=errors))
    size = path.stat().st_size
    if size > LIMIT:
        path.unlink()
        raise SystemExit(f"{path.name} would take {size:,} bytes; at most {LIMIT:,} ship")
    return f"{path.name}: {size:,} bytes, clean error {report.clean_error:.4f}, FGSM " + ", ".join(
        f"{error:.4f} at {eps}" for eps, error in errors.items()
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    for run in parser.parse_args().runs:
        print(ship(run))
