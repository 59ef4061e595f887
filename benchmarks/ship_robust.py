"""The robust checkpoints that ship: `python benchmarks/ship_robust.py lenet5-trades vgg11-pgd --runs DIR`.

Trains by the recipes below (a run that was stopped goes on), then measures the 16-bit weights on the 1,000 test digits:
clean error, errors under PGD-40 and the cascade and, of networks trained on bounds, the certified error. The figures
go on the card, and the file lies where `load_model(NAME, weights="trades")` looks, or in `--weights DIR`.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import advkit.models
from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.data import load_data
from advkit.defenses import create_defense, probe_for
from advkit.evaluation import evaluate
from advkit.models import load_checkpoint, save_checkpoint
from advkit.training import Progress, Recipe, build, find_recipe, train

WEIGHTS = Path(advkit.models.__file__).parent / "weights" / "robust"
LIMIT = 2_000_000
CERTIFIERS = ("ibp", "crown")
"""The certified error is the smaller of theirs, row by row."""


def _recipe(model: str, defense: str, **options: Any) -> Recipe:
    """What the recipes have in common; vgg11 has the width of its plain checkpoint, which keeps it below 2 MB."""
    common: dict[str, Any] = {"batch_size": 50, "optimizer": "adamw", "weight_decay": 0.01, "clip": 1, "ramp": 0.4}
    return replace(find_recipe(f"{model}-mnist5k"), defense=defense, expected="", **{**common, **options})


PGD = "pgd(eps=0.2, steps=5, step_size=0.08, alpha=0)"
TRADES = "trades(eps=0.2, steps=5, step_size=0.08, beta=4)"
INTERVAL: dict[str, Any] = {"init": "interval", "weight_decay": 0.0, "batch_size": 100}
RECIPES: dict[str, tuple[Recipe, float]] = {
    "lenet5-pgd": (_recipe("lenet5", PGD, epochs=30, lr=0.002), 0.2),
    "lenet5-trades": (_recipe("lenet5", TRADES, epochs=30, lr=0.002), 0.2),
    "lenet5-fast": (_recipe("lenet5", "fast(eps=0.2)", epochs=60, lr=0.002), 0.2),
    "lenet5-ibp": (_recipe("lenet5", "ibp(eps=0.12)", epochs=60, lr=0.004, ramp=0.5, **INTERVAL), 0.1),
    "vgg11-pgd": (_recipe("vgg11", PGD, epochs=20, lr=0.001), 0.2),
    "vgg11-trades": (_recipe("vgg11", TRADES, epochs=20, lr=0.001), 0.2),
    "vgg11-fast": (_recipe("vgg11", "fast(eps=0.2)", epochs=30, lr=0.001), 0.2),
    "vgg11-ibp": (_recipe("vgg11", "ibp(eps=0.1)", epochs=60, lr=0.001, ramp=0.6, **INTERVAL), 0.1),
}
"""NETWORK-DEFENCE -> how it is trained, and the radius at which it is judged."""


def run(name: str, runs: Path, device: str, threads: int, epochs: int | None) -> Path:
    """Train it, or go on, or find it trained."""
    torch.set_num_threads(threads)
    recipe, _ = RECIPES[name]
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    loss = create_defense(str(recipe.defense))
    train(
        build(recipe), load_data(recipe.data, split="train"), recipe=recipe, loss=loss, probe=probe_for(loss, count=50),
        output=runs / name, device=device, resume=True, progress=said(name),
    )  # fmt: skip
    return runs / name


def said(name: str) -> Callable[[Progress], None]:
    """A line an epoch."""
    at_step = [0]

    def say(at: Progress) -> None:
        if at.step == at_step[0] and at.probe:
            errors = ", ".join(f"{key} {error:.3f}" for key, error in at.probe.items())
            print(f"{name}: epoch {at.epoch} of {at.epochs}, loss {at.loss:.4f}, {errors} {at.remark}", flush=True)
        at_step[0] = at.step

    return say


def certified_error(model: torch.nn.Module, eps: float, count: int | None) -> float:
    """Share of the test digits that none of the certifiers proves right."""
    x, y = load_data("mnist5k", split="test")[:count]
    proven = torch.zeros(len(x), dtype=torch.bool)
    for method in CERTIFIERS:
        left = (~proven).nonzero().squeeze(1)
        for rows in left.split(50):
            proven[rows] = certify(model, x[rows], y[rows], eps=eps, method=method).certified
    return 1 - float(proven.double().mean())


def ship(name: str, runs: Path, weights: Path, device: str, threads: int, epochs: int | None, count: int | None) -> str:
    """Train, measure and write one."""
    recipe, eps = RECIPES[name]
    classifier = load_checkpoint(run(name, runs, device, threads, epochs)).cpu()
    specs = [f"pgd(eps={eps}, steps=40)", f"cascade(eps={eps})"]
    attacks = [create_attack(spec) for spec in specs]
    report = evaluate(classifier, load_data(recipe.data, split="test"), attacks=attacks, count=count)
    errors = {spec: row.adversarial_error for spec, row in zip(specs, report.attacks, strict=True)}
    certified = {f"linf, eps={eps}": certified_error(classifier, eps, count)} if name.endswith("ibp") else {}
    model, _, defense = name.rpartition("-")
    path = weights / f"{model}-{recipe.data}-{defense}.safetensors"
    weights.mkdir(parents=True, exist_ok=True)
    card = replace(classifier.card, clean_error=report.clean_error, attack_errors=errors, certified_errors=certified)
    save_checkpoint(path, classifier, card)
    size = path.stat().st_size
    if size > LIMIT:
        path.unlink()
        raise SystemExit(f"{path.name} would take {size:,} bytes; at most {LIMIT:,} ship")
    return f"{path.name}: {size:,} bytes, clean error {report.clean_error:.4f}, {errors} {certified}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME", choices=RECIPES, help=", ".join(RECIPES))
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the checkpoints")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, help="in place of the recipe's: tries the script itself")
    parser.add_argument("--count", type=int, help="test digits, in place of all: tries the script itself")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once")
    parser.add_argument("--threads", type=int, default=1, help="threads of each")
    given = parser.parse_args()
    load_data("mnist5k")
    make = partial(ship, **{key: value for key, value in vars(given).items() if key not in ("names", "jobs")})
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for line in pool.map(make, given.names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
