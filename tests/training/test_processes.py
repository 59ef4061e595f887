"""Two processes against one: the same losses and weights to float noise, batch norm, dropout and order included."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.children import torchrun
from helpers.training import toy_data
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.defenses import create_defense
from advkit.models import Classifier
from advkit.training import Augment, Recipe, _processes, build, recipe_for, train
from advkit.training._batches import Plan
from advkit.training._processes import Share, World, is_writer, place

BASE = Recipe(model="toy", data="toy", input_shape=(1, 6, 6), num_classes=3, epochs=3, batch_size=15, lr=0.1)
RECIPES = {
    "plain": replace(BASE, augment=Augment(rotation=10, shift=1, scale=0.1), validation=7),  # odd: 4 and 3 rows
    "accumulated": replace(BASE, accumulate=2, clip=0.5, l1=1e-3, sparsity=1e-2, optimizer="lecture"),
    "fgsm": replace(BASE, defense="fgsm(eps=0.1)", batch_size=12, validation=1),  # equal shares: see docs/training.md
    "pgd": replace(BASE, defense="pgd(eps=0.1, steps=2, random_start=False)"),
    "small": replace(BASE, batch_size=2, validation=1, epochs=2, lr=0.01),  # 30 steps an epoch: saved after the 20th
}


def net() -> Classifier:
    """Float64, so that only mistakes show."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.1), nn.Flatten()]
        layers += [nn.Linear(144, 8), nn.BatchNorm1d(8, momentum=None), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)]
        return Classifier(nn.Sequential(Double(), *layers).double())


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def outcome(name: str, stop: int | None = None, **options: Any) -> dict[str, Any]:
    """Losses, errors and the last weights before rounding of one recipe."""
    recipe, model, last = RECIPES[name], net(), {}
    loss = None if recipe.defense is None else create_defense(recipe.defense)

    def keep(progress: Any) -> None:
        last.update({k: v.double().flatten().tolist() for k, v in model.state_dict().items()})
        last.setdefault("first", [progress.step])
        if progress.step == stop:
            raise InterruptedError

    run = train(
        model, toy_data(61), recipe=recipe, loss=loss, test=toy_data(31, "test"), device="cpu", progress=keep, **options
    )
    return {
        "loss": [row.loss for row in run.log],
        "errors": [(row.clean_error, row.validation_error) for row in run.log],
        "weights": last,
    }


WORKER = """
import json, os, runpy, sys, torch
torch.set_num_threads(1)
sys.path[:0] = [os.environ["TESTS"], os.path.join(os.environ["TESTS"], "training")]
import torch.distributed as dist
from test_processes import RECIPES, outcome
from pathlib import Path
home = Path(sys.argv[1])
found = {name: outcome(name) for name in RECIPES}
outcome("plain", output=home / "run")
try:
    outcome("small", stop=30 + 25, output=home / "small", save_seconds=0)
except InterruptedError:
    assert (home / "small" / "state.pt").exists()
found["small"] = outcome("small", output=home / "small", resume=True)
if dist.get_rank() == 0:
    (home / "found.json").write_text(json.dumps(found))
try:
    outcome("plain", output=home / "run")
except Exception as error:
    (home / f"refused{dist.get_rank()}").write_text(f"{type(error).__name__} {error}")
again = outcome("plain", output=home / "run", resume=True)
(home / f"again{dist.get_rank()}").write_text(json.dumps(again["loss"]))
os.chdir(home)
sys.argv = ["advkit", *sys.argv[2:]]
runpy.run_module("advkit", run_name="__main__")  # python -m advkit
"""
COMMAND = "train --model lenet5 --epochs 1 --width 1/2 --batch-size 400 --device cpu --output cli"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> "Two":
    """The folder that two processes of torchrun left, and what they said."""
    home = tmp_path_factory.mktemp("two")
    (home / "worker.py").write_text(WORKER)
    words = ["--standalone", "--nproc-per-node", "2", "worker.py", str(home), *COMMAND.split()]
    code, stdout, stderr = torchrun(words, home, home, TESTS=str(Path(__file__).parents[1]))
    assert code == 0, stdout + stderr
    return home, stdout, stderr


Two = tuple[Path, str, str]


@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(two: Two, name: str) -> None:
    found, expected = json.loads((two[0] / "found.json").read_text())[name], outcome(name)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)  # the log's sums are float32
    assert found["errors"] == [list(pair) for pair in expected["errors"]]
    assert expected["loss"][-1] < expected["loss"][0]
    if name == "small":  # it was interrupted: what came before the state that was saved is not repeated
        assert found["weights"].pop("first") == [30 + 21]
    expected["weights"].pop("first")
    for key, value in expected["weights"].items():
        assert found["weights"][key] == pytest.approx(value, rel=1e-6, abs=1e-9), key


def test_one_process_writes_and_all_hear_of_what_is_wrong(two: Two) -> None:
    home, _, _ = two
    assert sorted(path.name for path in (home / "run").iterdir()) == ["log.csv", "model.safetensors", "run.json"]
    assert json.loads((home / "run" / "run.json").read_text())["processes"] == 2
    losses = json.loads((home / "found.json").read_text())["plain"]["loss"]
    for rank in (0, 1):
        refused = (home / f"refused{rank}").read_text()
        assert refused.startswith("InputError")
        assert "resume" in refused
        assert json.loads((home / f"again{rank}").read_text()) == pytest.approx(losses, rel=1e-9)


def test_the_command_trains_as_one_and_talks_once(two: Two) -> None:
    home, stdout, stderr = two
    assert stdout.count("run folder: cli") == stdout.count("clean error") == 1
    assert stderr.count("epoch 1/1") == 1
    assert "unused" not in stderr  # torch's advice about a search that all other networks need
    images = load_data("mnist5k", split="train")
    recipe = replace(recipe_for("lenet5", images), epochs=1, width=0.5, batch_size=400)
    alone = train(build(recipe), images, recipe=recipe, device="cpu").log[0]
    head, row = (home / "cli" / "log.csv").read_text().splitlines()
    together = dict(zip(head.split(","), row.split(","), strict=True))
    assert float(together["loss"]) == pytest.approx(alone.loss, rel=1e-4)
    assert float(together["clean_error"]) == pytest.approx(alone.clean_error or 0, abs=0.003)


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 2, 5)])
def test_moments_over_shares_are_those_of_the_whole(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x, rows = torch.randn(shape, dtype=torch.float64) * 3 + 5, list[Tensor]()
    monkeypatch.setattr(_processes._Sum, "apply", lambda own: rows.append(own) or torch.stack(rows).sum(0))
    for rank, part in enumerate((x[:2], x[2:])):
        mean, var, count = _processes._moments(part, World(rank, 2))
    dims = [0, *range(2, len(shape))]
    assert torch.allclose(mean, x.mean(dims), rtol=1e-12)
    assert torch.allclose(var, x.var(dims, unbiased=False), rtol=1e-12)
    assert count == x.numel() / 3


def test_shares_are_the_whole_and_differ_by_one_row() -> None:
    rows = torch.arange(11)
    parts = [World(rank, 3).share(rows) for rank in range(3)]
    assert torch.equal(torch.cat(parts), rows)
    assert {len(part) for part in parts} == {3, 4}


def test_a_share_of_two_batches_on_end_is_that_of_each() -> None:
    share, values = Share(), torch.arange(10)
    share.take(World(1, 2), 5)
    assert share.of(values).tolist() == [3, 4, 8, 9]
    assert share.whole_of(4) == 10


def test_a_step_needs_an_image_for_every_process() -> None:
    assert Plan.of(60, 16, 1, 4).steps == 4
    with pytest.raises(InputError, match="raise batch_size"):
        Plan.of(60, 3, 1, 4)


def test_alone_nothing_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place("cpu") == torch.device("cpu")
    assert place("cuda") == torch.device("cuda")
    for name, value in (("RANK", 3), ("WORLD_SIZE", 4), ("LOCAL_RANK", 1), ("MASTER_ADDR", "a"), ("MASTER_PORT", 1)):
        monkeypatch.setenv(name, str(value))
    assert place("cuda") == torch.device("cuda", 1)
    assert place("cuda:3") == torch.device("cuda", 3)
    assert place("cpu") == torch.device("cpu")


def test_what_holds_the_group_in_a_circle_is_gone_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its threads outlive Python now and then, and a finished training of two processes aborts."""

    class Network:
        pass

    net = Network()
    net.own = net  # type: ignore[attr-defined]
    seen, alive = weakref.ref(net), []
    monkeypatch.setattr(_processes.dist, "destroy_process_group", lambda: alive.append(seen()))
    gc.disable()
    try:
        del net
        _processes._leave()
    finally:
        gc.enable()
    assert alive == [None]


def test_the_only_process_and_the_first_of_several_write_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_writer()
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        assert is_writer() == (rank == 0)
    monkeypatch.setattr(_processes, "_joined", lambda: True)  # then the group counts, not the environment
    for rank in range(3):
        monkeypatch.setattr(_processes.dist, "get_rank", lambda rank=rank: rank)
        assert is_writer() == (rank == 0)
