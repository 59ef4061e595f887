"""What a step and an epoch do beyond the plain: accumulation, layouts, compilation, early stopping, TensorBoard."""

import csv
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from helpers.training import numbers, toy_data
from torch import Tensor, nn

from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.data import Dataset, MemoryDataset, load_data
from advkit.evaluation import evaluate
from advkit.models import Classifier
from advkit.training import Progress, Recipe, Run, build, find_recipe, measure, train
from advkit.training.augment import Compose, Mirror, RandomPatch

RECIPE = Recipe(model="toy", data="toy", input_shape=(1, 6, 6), num_classes=3, epochs=3, batch_size=20, lr=0.1)


def net(*extra: nn.Module) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 4, 3, padding=1), *extra, nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
        return Classifier(nn.Sequential(*layers))


def run(recipe: Recipe, model: Classifier | None = None, **options: Any) -> Run:
    return train(model or net(), toy_data(), recipe=recipe, device="cpu", **options)


@pytest.mark.parametrize("parts", [2, 3, 20])
@pytest.mark.parametrize("batch_size", [20, 16])  # 60 images in 3 steps of 20, or 4 of 15
def test_parts_add_up_to_the_batch(parts: int, batch_size: int) -> None:
    parts = min(parts, batch_size - 1)
    recipe = replace(RECIPE, batch_size=batch_size, l1=1e-3, clip=0.5)
    whole, cut = run(recipe), run(replace(recipe, accumulate=parts))
    assert [row.loss for row in cut.log] == pytest.approx([row.loss for row in whole.log], rel=1e-5)
    torch.testing.assert_close(numbers(cut.classifier), numbers(whole.classifier), rtol=0, atol=1e-3)  # 16-bit weights


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(InputError, match="raise batch_size or lower accumulate"):
        run(replace(RECIPE, accumulate=21))


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen.add(x.is_contiguous(memory_format=torch.channels_last))
        return x


@pytest.mark.parametrize(("wanted", "found"), [(None, True), (True, True), (False, False)])
def test_convolving_networks_get_channels_last_on_a_cpu_unless_told_otherwise(wanted: bool | None, found: bool) -> None:
    spy = Spy()
    run(replace(RECIPE, channels_last=wanted), net(spy))
    assert spy.seen == {found}


def test_a_network_that_depends_on_the_layout_trains_in_its_own() -> None:
    class View(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)

    spy = Spy()
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), spy, View(), nn.Linear(144, 3))
    run(RECIPE, Classifier(layers))
    assert spy.seen == {False}


def test_compilation_is_asked_for_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compiled(function: Any, *_: Any, **__: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(type(getattr(function, "__self__", None)).__name__)
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    expected = run(RECIPE)
    assert not calls
    model = net()
    found = run(replace(RECIPE, compile=True), model)
    assert calls.count("Classifier") >= 9
    torch.testing.assert_close(numbers(found.classifier), numbers(expected.classifier), rtol=0, atol=0)
    calls.clear()
    model(toy_data()[:][0])
    assert not calls


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])  # inductor needs a C++ compiler and minutes
def test_a_compiled_network_trains_as_a_plain_one_does(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(RECIPE)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    found = run(replace(RECIPE, compile=True))
    assert [row.loss for row in found.log] == pytest.approx([row.loss for row in expected.log], rel=1e-4)


class Script:
    """An attack whose verdicts follow a script: the validation error after each epoch."""

    def __init__(self, *errors: float) -> None:
        self.errors: Iterator[float] = iter(errors)

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, *, sample_ids: Tensor) -> Any:
        assert not model.training
        count = round(next(self.errors) * len(x))
        return types.SimpleNamespace(success=torch.arange(len(x)) < count)


STOPPING = replace(RECIPE, epochs=9, validation=10, watch="script", patience=2)


def test_patience_ends_the_run_and_keeps_the_first_best_weights() -> None:
    kept: dict[int, Tensor] = {}
    model = net()

    def keep(progress: Progress) -> None:
        kept[progress.epoch] = numbers(model).clone()

    found = run(STOPPING, model, watch=Script(0.9, 0.4, 0.5, 0.4), progress=keep)
    assert [row.validation_error for row in found.log] == [0.9, 0.4, 0.5, 0.4]
    assert found.epoch == 2
    torch.testing.assert_close(numbers(found.classifier), kept[2], rtol=1e-3, atol=1e-3)
    assert (kept[2] - kept[4]).abs().max() > 5e-3


def test_without_patience_the_last_weights_are_kept_whatever_the_error() -> None:
    found = run(replace(STOPPING, patience=None, epochs=3), watch=Script(0.1, 0.2, 0.3))
    assert (len(found.log), found.epoch) == (3, 3)


def test_the_validation_error_is_clean_or_that_of_the_attack() -> None:
    recipe = replace(RECIPE, validation=20)
    clean = run(recipe)
    attacked = run(replace(recipe, watch="fgsm(eps=0.3)"), watch=FGSM(eps=0.3))
    assert numbers(clean.classifier).equal(numbers(attacked.classifier))  # watching changes nothing
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:20].sort().values
    held = MemoryDataset("held", "train", "abc", *toy_data()[rows])
    error = evaluate(attacked.classifier, held, attacks=[FGSM(eps=0.3)]).attacks[0].adversarial_error
    assert attacked.log[-1].validation_error == pytest.approx(error, abs=0.051)  # 16-bit weights
    assert clean.log[-1].validation_error == pytest.approx(measure(clean.classifier, held), abs=0.051)
    assert attacked.log[0].validation_error is not None
    assert clean.log[0].validation_error is not None
    assert attacked.log[0].validation_error > clean.log[0].validation_error


def test_images_held_out_are_not_trained_on() -> None:
    n = 30
    numbered = MemoryDataset("n", "train", [str(i) for i in range(n)], torch.zeros(n, 1, 2, 2), torch.arange(n))
    seen: list[int] = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.extend(y.tolist())
        out: Tensor = model(x).mean()
        return out

    small = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, n)))
    train(small, numbered, recipe=replace(RECIPE, epochs=2, validation=10), loss=loss, device="cpu")
    assert len(set(seen)) == 20
    assert sorted(seen) == sorted(2 * list(set(seen)))


class OnDisk(Dataset):
    """The same images, read in groups by a loader."""

    def __init__(self, memory: MemoryDataset) -> None:
        self.memory = memory
        self.name, self.split, self.classes = memory.name, memory.split, memory.classes
        self.labels, self.input_shape = memory.labels, memory.input_shape

    def _images(self, rows: Tensor) -> Tensor:
        return self.memory[rows][0]


def test_held_out_images_may_lie_on_a_disk() -> None:
    recipe = replace(RECIPE, validation=20, patience=2)
    runs = [train(net(), d, recipe=recipe, device="cpu") for d in (OnDisk(toy_data()), toy_data())]
    assert numbers(runs[0].classifier).equal(numbers(runs[1].classifier))
    assert [r.validation_error for r in runs[0].log] == [r.validation_error for r in runs[1].log]


def test_what_cannot_be_watched_or_held_out_is_refused() -> None:
    with pytest.raises(InputError, match="create_attack"):
        run(STOPPING)
    with pytest.raises(InputError, match="validation below the 60 images"):
        run(replace(RECIPE, validation=60))


def test_progress_tells_speed_and_time_left() -> None:
    seen: list[Progress] = []
    run(RECIPE, progress=seen.append)
    assert all(p.images_per_second is not None and p.images_per_second > 0 for p in seen)
    left = [p.seconds_left for p in seen]
    assert left[-1] == 0
    assert all(seconds is not None and 0 <= seconds < 60 for seconds in left)


class Writer:
    made: ClassVar[list["Writer"]] = []

    def __init__(self, log_dir: str, purge_step: int) -> None:
        self.log_dir, self.purge_step = log_dir, purge_step
        self.scalars: list[tuple[str, float, int]] = []
        self.on_disk: list[int] = []  # how many figures a reader of the files can see, by flush
        Writer.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        self.on_disk.append(len(self.scalars))

    def close(self) -> None:
        self.scalars.append(("closed", 0, 0))


def test_tensorboard_gets_the_figures_of_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    run(RECIPE, output=tmp_path, tensorboard=True, test=toy_data(30, "test"))
    (writer,) = Writer.made
    assert (writer.log_dir, writer.purge_step) == (str(tmp_path / "tensorboard"), 1)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    expected = [
        (name, float(value), int(row["epoch"]))
        for row in rows
        for name, value in row.items()
        if name != "epoch" and value
    ]
    assert sorted(writer.scalars[:-1]) == sorted(expected)
    assert writer.scalars[-1][0] == "closed"
    epochs = [epoch for _, _, epoch in writer.scalars[:-1]]
    assert writer.on_disk == [epochs.index(epoch + 1) for epoch in range(1, RECIPE.epochs)] + [len(epochs)]


def test_tensorboard_needs_its_package_and_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        run(RECIPE, output=tmp_path, tensorboard=True)
    with pytest.raises(InputError, match="output="):
        run(RECIPE, tensorboard=True)


def test_augmentations_draw_for_the_image_whatever_the_batch() -> None:
    seen: list[tuple[int, Tensor]] = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.extend(zip(y.tolist(), x.clone(), strict=True))
        out: Tensor = model(x).mean()
        return out

    n = 30
    images = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    numbered = MemoryDataset("n", "train", [str(i) for i in range(n)], images, torch.arange(n))
    recipe = replace(RECIPE, epochs=2, augment=Compose(parts=(RandomPatch(size=6), Mirror())), num_classes=n)
    found = []
    for batch_size in (7, 30):
        seen.clear()
        small = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, n)))
        done = train(
            small, numbered, recipe=replace(recipe, batch_size=batch_size), loss=loss, test=numbered, device="cpu"
        )
        assert done.card.clean_error is not None  # measured on the middle patch
        found.append([dict(seen[:n]), dict(seen[n:])])
    for epoch in (0, 1):
        assert all(found[0][epoch][i].equal(found[1][epoch][i]) for i in range(n))
    assert not all(found[0][0][i].equal(found[0][1][i]) for i in range(n))
    assert {tuple(x.shape) for x in found[0][0].values()} == {(1, 6, 6)}


def test_a_network_for_other_images_than_the_augmentation_makes_is_refused() -> None:
    recipe = replace(find_recipe("mlp-mnist5k"), augment=RandomPatch(size=28), width=0.02)
    with pytest.raises(InputError, match=r"the augmentation makes \(1, 28, 28\)"):
        train(build(recipe), load_data("mnist5k", split="train"), recipe=recipe, device="cpu")
