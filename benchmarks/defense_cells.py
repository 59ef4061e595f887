"""Every training loss on `mnist5k`, over radii and seeds: `python benchmarks/defense_cells.py --output CELLS.jsonl`.

A cell is one training of lenet5 with one loss, radius and seed, and the verdict on every digit afterwards. It is one
line of CELLS.jsonl; cells that stand there are not made again, so the same command goes on where it was stopped. The
cells come seed by seed, so an unfinished file holds whole seeds. `benchmarks/defense_table.py` makes the tables.

`--selection` trains on 3,200 of the training digits and judges on the other 800, with seeds of their own: by this the
settings below were chosen. Test digits and the seeds 0, 1, ... of the table play no part in it.
"""

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advkit import __version__
from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.core.classify import classify
from advkit.data import MemoryDataset, load_data
from advkit.defenses import create_defense
from advkit.training import Recipe, build, find_recipe, train

EPOCHS = 20
LOSSES: dict[str, str | None] = {
    "plain": None,
    "noise": "noise(eps={eps})",
    "fgsm": "fgsm(eps={eps}, alpha=0.5)",
    "fast": "fast(eps={eps})",
    "nfgsm": "nfgsm(eps={eps})",
    "free": "free(eps={eps}, replays=4)",
    "pgd": "pgd(eps={eps}, steps=7, alpha=0)",
    "trades": "trades(eps={eps}, steps=7, beta=4)",
    "mart": "mart(eps={eps}, steps=7)",
    "awp": "awp(eps={eps}, steps=7)",
    "ibp": "ibp(eps={eps})",
    "crown_ibp": "crown_ibp(eps={eps})",
}
CERTIFIED = ("ibp", "crown_ibp")
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"ramp": 0.0},
    "ibp": {"lr": 2e-3, "ramp": 0.7, "init": "interval"},
    "crown_ibp": {"lr": 2e-3, "ramp": 0.7, "init": "interval"},
}
"""What a loss has otherwise than the rest."""

EPOCHS_SHARE = {"free": 0.5, "ibp": 2.0, "crown_ibp": 2.0}
"""Factors on the epochs: a batch of `free` is four steps in a row; bounds need a long ramp."""

STANDARD = 100
"""Digits that AutoAttack standard tries, on the first seed."""

FIRST_OF_SELECTION = 100
"""Seeds of `--selection` begin here."""


class Cell(NamedTuple):
    """What is trained."""

    loss: str
    eps: float
    seed: int


def recipe_of(cell: Cell, epochs: int) -> Recipe:
    """One recipe for all losses, but for `SETTINGS` and `EPOCHS_SHARE`."""
    spec = LOSSES[cell.loss]
    common: dict[str, Any] = {"optimizer": "adamw", "lr": 4e-3, "weight_decay": 1e-2, "clip": 1.0, "ramp": 0.4}
    return replace(
        find_recipe("lenet5-mnist5k"),
        defense=None if spec is None else spec.format(eps=cell.eps),
        epochs=max(1, round(epochs * EPOCHS_SHARE.get(cell.loss, 1))),
        batch_size=100,
        seed=cell.seed,
        expected="",
        **{**common, **SETTINGS.get(cell.loss, {})},
    )


def digits(selection: bool) -> tuple[MemoryDataset, MemoryDataset]:
    """The digits to train on and those to judge by."""
    if not selection:
        train_set, test_set = load_data("mnist5k", split="train"), load_data("mnist5k", split="test")
        return _held(train_set[:]), _held(test_set[:])
    x, y = load_data("mnist5k", split="train")[:]
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return tuple(_held((x[rows], y[rows])) for rows in (order[800:], order[:800]))  # type: ignore[return-value]


def _held(pair: tuple[Tensor, Tensor]) -> MemoryDataset:
    return MemoryDataset("mnist5k", "train", [str(i) for i in range(10)], *pair)


def trained(cell: Cell, data: MemoryDataset, device: str, epochs: int) -> tuple[nn.Module, float]:
    """The network in eval mode, and the seconds of its training: processor time on a CPU."""
    recipe = recipe_of(cell, epochs)
    loss = None if recipe.defense is None else create_defense(recipe.defense)
    few = MemoryDataset(data.name, "test", data.classes, *data[:10])  # an error by epoch is not wanted here
    clock = time.perf_counter if device == "cuda" else time.process_time
    begun = clock()
    run = train(build(recipe), data, recipe=recipe, loss=loss, test=few, device=device)
    return run.classifier, clock() - begun


def judged(model: nn.Module, x: Tensor, y: Tensor, cell: Cell, standard: int) -> dict[str, Tensor]:
    """What -> (N,) bool, True where the digit is wrong; "uncertified": where no bound proves it right."""
    wrong = {"clean": classify(model, x).argmax(1) != y}
    specs = {"fgsm": "fgsm(eps={})", "pgd": "pgd(eps={}, steps=40)", "cascade": "cascade(eps={})"}
    for name, spec in specs.items():
        wrong[name] = create_attack(spec.format(cell.eps))(model, x, y).success
    if standard:
        few = slice(standard)
        wrong["autoattack"] = create_attack(f"autoattack(eps={cell.eps})")(model, x[few], y[few]).success
    if cell.loss in CERTIFIED:
        safe = certify(model.cpu(), x.cpu(), y.cpu(), eps=cell.eps, method="ibp").certified
        wrong["uncertified"] = ~safe
    return wrong


def as_hex(wrong: Tensor) -> str:
    """Verdicts (N,) bool as hexadecimal digits, the first digit's first; `verdicts` in defense_table reads them."""
    bits = "".join(str(int(b)) for b in wrong.tolist())
    return f"{len(bits)}:{int('1' + bits, 2):x}"


def made(cell: Cell, device: str, epochs: int, standard: int, selection: bool) -> dict[str, Any]:
    """The cell as it stands in the file."""
    torch.set_num_threads(1)
    data, test = digits(selection)
    model, seconds = trained(cell, data, device, epochs)
    x, y = (t.to(device) for t in test[:])
    begun = time.perf_counter()
    wrong = judged(model, x, y, cell, 0 if selection or cell.seed else standard)
    return {
        **cell._asdict(),
        "spec": recipe_of(cell, epochs).defense,
        "epochs": recipe_of(cell, epochs).epochs,
        "init": recipe_of(cell, epochs).init,
        "train_seconds": round(seconds, 2),
        "judge_seconds": round(time.perf_counter() - begun, 2),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "versions": {"advkit": __version__, "torch": torch.__version__},
        "selection": selection,
        "wrong": {name: as_hex(found) for name, found in wrong.items()},
    }


def known(path: Path) -> set[Cell]:
    """The cells that stand in the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {Cell(c["loss"], c["eps"], c["seed"]) for c in map(json.loads, lines)}


def in_turn(cells: list[Cell], jobs: int, minutes: float, *options: Any) -> Iterator[dict[str, Any]]:
    """The cells as they come, `jobs` at once; after `minutes` none is begun."""
    end, waiting = time.monotonic() + 60 * minutes, iter(cells)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[dict[str, Any]]] = set()
        while True:
            while len(running) < jobs and time.monotonic() < end and (cell := next(waiting, None)) is not None:
                running.add(pool.submit(made, cell, *options))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="cells, one JSON object a line")
    parser.add_argument("--losses", default=",".join(LOSSES), help="names, with commas between them")
    parser.add_argument("--eps", default="0.1,0.2,0.3", help="radii, with commas between them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--standard", type=int, default=STANDARD, help="digits for AutoAttack standard, first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--minutes", type=float, default=600.0, help="minutes after which no cell is begun")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--selection", action="store_true", help="judge on held-out training digits")
    given = parser.parse_args()
    first = FIRST_OF_SELECTION if given.selection else 0
    names, radii = given.losses.split(","), [float(eps) for eps in given.eps.split(",")]
    wanted = [Cell(n, eps, seed) for seed in range(first, first + given.seeds) for eps in radii for n in names[::-1]]
    cells = [cell for cell in wanted if cell not in known(given.output)]
    load_data("mnist5k")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    options = (given.device, given.epochs, given.standard, given.selection)
    for number, cell in enumerate(in_turn(cells, given.jobs, given.minutes, *options), 1):
        with given.output.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        shares = {name: f"{_share(bits):.3f}" for name, bits in cell["wrong"].items()}
        print(number, len(cells), cell["loss"], cell["eps"], cell["seed"], cell["train_seconds"],
              cell["judge_seconds"], shares, flush=True)  # fmt: skip


def _share(bits: str) -> float:
    count, _, digits = bits.partition(":")
    return (int(digits, 16).bit_count() - 1) / int(count)


if __name__ == "__main__":
    main()
