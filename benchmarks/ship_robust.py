"""`python benchmarks/ship_robust.py trades=RUN ...`: make runs with a defence the robust checkpoints that ship.

Measures the clean error and the errors under PGD-40 and the cascade on the 1,000 test digits with the 16-bit weights,
at the eps given, writes them on the card and puts the file where `load_model(NAME, weights="trades")` looks.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import advkit.models
from advkit.attacks import create_attack, list_attacks
from advkit.data import load_data
from advkit.evaluation import evaluate
from advkit.models import load_checkpoint, save_checkpoint

WEIGHTS = Path(advkit.models.__file__).parent / "weights" / "robust"
LIMIT = 2_000_000


def ship(name: str, run: Path, eps: float) -> str:
    classifier = load_checkpoint(run)
    card, cascade = classifier.card, f"cascade(eps={eps})"
    if "cascade" not in list_attacks():
        cascade = f"cascade(eps={eps})"
    specs = [f"pgd(eps={eps}, steps=40)", cascade]
    report = evaluate(classifier, load_data(card.data, split="test"), attacks=[create_attack(s) for s in specs])
    errors = {spec: row.adversarial_error for spec, row in zip(specs, report.attacks, strict=True)}
    path = WEIGHTS / f"{card.name}-{card.data}-{name}.safetensors"
    WEIGHTS.mkdir(exist_ok=True)
    save_checkpoint(path, classifier, replace(card, clean_error=report.clean_error, attack_errors=errors))
    size = path.stat().st_size
    if size > LIMIT:
        path.unlink()
        raise SystemExit(f"{path.name} would take {size:,} bytes; at most {LIMIT:,} ship")
    return f"{path.name}: {size:,} bytes, clean error {report.clean_error:.4f}, {errors}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="NAME=RUN")
    parser.add_argument("--eps", type=float, default=0.2)
    given = parser.parse_args()
    for text in given.runs:
        name, _, run = text.partition("=")
        print(ship(name, Path(run), given.eps), flush=True)
