"""The training loop: learns, repeats itself, survives being killed, and says what went wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from advkit.core.errors import InputError, UnknownNameError
from advkit.data import MemoryDataset, load_data
from advkit.models import Classifier, list_models, load_checkpoint, read_card
from advkit.training import (
    RECIPES,
    Augment,
    Progress,
    Recipe,
    Run,
    build,
    find_recipe,
    list_recipes,
    measure,
    recipe_for,
    seeds,
    train,
)
from advkit.training._progress import Clock

RECIPE = Recipe(
    model="toy",
    data="toy",
    input_shape=(1, 6, 6),
    num_classes=3,
    epochs=4,
    batch_size=16,
    lr=0.1,
    augment=Augment(rotation=10, shift=1, scale=0.1),
)


def toy_data(n: int = 60, split: str = "train") -> MemoryDataset:
    """Images whose class is the row of a bright bar."""
    y = torch.arange(n) % 3
    x = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(len(split))) * 0.5
    x[torch.arange(n), 0, 2 * y] += 0.5
    return MemoryDataset("toy", split, "abc", x, y)


def toy_net(seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
        return Classifier(nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(144, 3)))


def run_toy(recipe: Recipe = RECIPE, **options: object) -> Run:
    return train(toy_net(), toy_data(), recipe=recipe, test=toy_data(30, "test"), device="cpu", **options)  # type: ignore[arg-type]


def weights(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.classifier.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


class InterruptionError(Exception):
    pass


def interrupted(output: Path, epochs: int, recipe: Recipe = RECIPE) -> None:
    """A run that dies in the middle of an epoch."""

    def stop(progress: Progress) -> None:
        if progress.epoch == epochs + 1 and progress.step % 2:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        run_toy(recipe, output=output, progress=stop)


def test_training_learns() -> None:
    before = measure(toy_net().eval(), toy_data(30, "test"))
    run = run_toy()
    assert run.card.clean_error is not None
    assert run.card.clean_error < 0.05 < before
    assert run.log[-1].loss < run.log[0].loss
    assert [row.epoch for row in run.log] == [1, 2, 3, 4]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
def test_every_optimizer_and_schedule_learns(optimizer: str, schedule: str) -> None:
    lr = 0.05 if optimizer == "sgd" else 0.01
    run = run_toy(
        replace(RECIPE, optimizer=optimizer, schedule=schedule, lr=lr, epochs=6, clip=5.0, label_smoothing=0.1)
    )
    assert run.card.clean_error is not None
    assert run.card.clean_error < 0.2


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first = weights(run_toy())
    torch.manual_seed(123)  # the global state has no say
    assert_same(first, weights(run_toy()))
    assert any(not torch.equal(first[name], tensor) for name, tensor in weights(run_toy(seed=1)).items())


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    run_toy()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, epochs: int, optimizer: str) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, lr=0.01, channels_last=epochs == 1)
    expected = run_toy(recipe)
    interrupted(tmp_path, epochs, recipe)
    assert (tmp_path / "state.pt").exists() == (epochs > 0)
    run = run_toy(recipe, output=tmp_path, resume=True)
    assert_same(weights(expected), weights(run))
    assert [(row.epoch, row.loss, row.clean_error) for row in run.log] == [
        (row.epoch, row.loss, row.clean_error) for row in expected.log
    ]


@pytest.mark.parametrize("stop", [2, 5, 7])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_run_that_is_saved_within_an_epoch_goes_on_there_bit_for_bit(
    tmp_path: Path, stop: int, precision: str
) -> None:
    recipe = replace(RECIPE, accumulate=2, precision=precision, validation=12, patience=3)
    expected = run_toy(recipe)

    def interrupt(progress: Progress) -> None:
        if progress.step == stop:
            raise InterruptionError

    with pytest.raises(InterruptionError):
        run_toy(recipe, output=tmp_path, progress=interrupt, save_seconds=0)
    steps: list[int] = []
    run = run_toy(recipe, output=tmp_path, resume=True, progress=lambda at: steps.append(at.step))
    assert steps[0] == stop  # what was done after the last saving, and no more, is done again
    assert_same(weights(expected), weights(run))
    figures = [[(row.loss, row.clean_error, row.validation_error) for row in r.log] for r in (expected, run)]
    assert figures[0] == figures[1]


CHILD = """
import os, sys, time, torch
sys.path.insert(0, os.environ["TESTS"])
from pathlib import Path
from test_training import run_toy
def slow(progress):
    Path(sys.argv[1], f"at{progress.step}").touch()
    time.sleep(0.1)
torch.set_num_threads(int(sys.argv[2]))  # sums depend on how they are split
run_toy(output=sys.argv[1], progress=slow, save_seconds=0)
"""


def test_a_killed_process_leaves_a_run_that_goes_on_bit_for_bit(tmp_path: Path) -> None:
    environment = {**os.environ, "TESTS": str(Path(__file__).parent)}
    arguments = [str(tmp_path), str(torch.get_num_threads())]
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, *arguments], env=environment)
    limit = time.monotonic() + 60
    while not (tmp_path / "at6").exists() and child.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=30) == -signal.SIGKILL
    reached = max(int(path.name.removeprefix("at")) for path in tmp_path.glob("at*"))
    assert not (tmp_path / "model.safetensors").exists()
    steps: list[int] = []
    run = run_toy(output=tmp_path, resume=True, progress=lambda at: steps.append(at.step))
    assert steps[0] in (reached, reached + 1)  # in the middle of an epoch of four steps: at most one is done again
    assert_same(weights(run), weights(run_toy()))


def test_an_epoch_that_ended_and_was_saved_starts_the_time_to_save_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("advkit.training._progress.time", SimpleNamespace(perf_counter=lambda: now[0]))
    clock = Clock(0)
    due = []
    for now[0] in (299.0, 301.0, 598.0, 599.0, 600.0):
        if now[0] == 299:
            clock.start_epoch()
        due.append(clock.is_time_to_save(300))
    assert due == [False, False, False, True, False]


def test_a_finished_run_is_reopened_not_repeated(tmp_path: Path) -> None:
    first = run_toy(output=tmp_path)
    again = run_toy(output=tmp_path, resume=True, progress=lambda _: pytest.fail("trained again"))
    assert_same(weights(first), weights(again))
    assert again.log == first.log
    assert again.card == first.card
    assert not again.classifier.training


@pytest.mark.parametrize("content", ["", "epoch,lr\n1,0.1\n"])
@pytest.mark.parametrize("name", ["log.csv", "model.safetensors"])
def test_a_finished_run_that_is_broken_says_so(tmp_path: Path, name: str, content: str) -> None:
    recipe = replace(RECIPE, epochs=1)
    run_toy(recipe, output=tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=rf"{re.escape(name)} is broken or belongs to another network \("):
        run_toy(recipe, output=tmp_path, resume=True)


def test_a_finished_run_without_its_log_says_so(tmp_path: Path) -> None:
    run_toy(output=tmp_path)
    (tmp_path / "log.csv").unlink()
    with pytest.raises(InputError, match=r"log\.csv is broken .*No such file"):
        run_toy(output=tmp_path, resume=True)


def test_a_finished_run_of_another_network_says_so(tmp_path: Path) -> None:
    run_toy(output=tmp_path)
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(InputError, match=r"model\.safetensors is broken or belongs to another network"):
        train(other, toy_data(), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")


def test_a_run_is_not_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    interrupted(tmp_path, 1)
    with pytest.raises(InputError, match="resume"):
        run_toy(output=tmp_path)
    with pytest.raises(InputError, match=r"lr was 0\.1, now 0\.2"):
        run_toy(replace(RECIPE, lr=0.2), output=tmp_path, resume=True)
    with pytest.raises(InputError, match="60 images"):
        train(toy_net(), toy_data(30), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")
    other = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(InputError, match="another network"):
        train(other, toy_data(), recipe=RECIPE, output=tmp_path, resume=True, device="cpu")
    (tmp_path / "state.pt").write_bytes(b"broken")
    with pytest.raises(InputError, match="broken"):
        run_toy(output=tmp_path, resume=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"run\.json"):
        run_toy(output=tmp_path, resume=True)
    with pytest.raises(InputError, match="output="):
        run_toy(resume=True)


def test_the_folder_of_a_run_holds_config_log_and_weights_and_nothing_else(tmp_path: Path) -> None:
    run = run_toy(output=tmp_path / "deep" / "er")
    assert run.output is not None
    assert sorted(path.name for path in run.output.iterdir()) == ["log.csv", "model.safetensors", "run.json"]
    assert json.loads((run.output / "run.json").read_text())["recipe"]["lr"] == 0.1
    config = json.loads((run.output / "run.json").read_text())
    assert (config["device"], config["threads"], config["processes"]) == ("cpu", torch.get_num_threads(), 1)
    assert config["versions"]["torch"] == torch.__version__
    head, *rows = (run.output / "log.csv").read_text().splitlines()
    assert head == "epoch,lr,loss,clean_error,validation_error,seconds,images_per_second"
    assert [row.split(",")[0] for row in rows] == ["1", "2", "3", "4"]


def test_equal_runs_write_equal_checkpoints(tmp_path: Path) -> None:
    for name in "ab":
        run_toy(output=tmp_path / name)
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert (tmp_path / "a/run.json").read_bytes() == (tmp_path / "b/run.json").read_bytes()


def test_the_cards_clean_error_is_that_of_the_stored_weights(tmp_path: Path) -> None:
    data = load_data("mnist5k", split="train")
    few = MemoryDataset("mnist5k", "train", data.classes, *data[:200])
    recipe = replace(find_recipe("mlp-mnist5k"), epochs=1, width=0.02)
    test = MemoryDataset("mnist5k", "test", data.classes, *data[200:500])
    run = train(build(recipe), few, recipe=recipe, output=tmp_path, test=test, device="cpu")
    stored = load_checkpoint(tmp_path)
    assert_same({k: v.float() for k, v in stored.state_dict().items()}, weights(run))
    card = read_card(tmp_path / "model.safetensors")
    assert card == run.card
    assert card.clean_error == measure(stored, test)
    assert (card.name, card.data, card.trained_on, card.seed) == ("mlp", "mnist5k", "mnist5k:train", 0)
    assert card.recipe is not None
    assert card.recipe.startswith("mlp-mnist5k(width=0.02, epochs=1")


def test_the_card_names_a_known_recipe_and_a_foreign_loss() -> None:
    recipe = replace(find_recipe("lenet5-mnist5k"), seed=3)
    from advkit.training._run import label

    assert label(recipe, None) == "lenet5-mnist5k"
    assert label(replace(recipe, lr=0.9), None) != "lenet5-mnist5k"
    assert label(recipe, toy_data).startswith("lenet5-mnist5k with toy_data")


def test_without_a_test_split_no_error_is_claimed() -> None:
    run = train(toy_net(), toy_data(), recipe=replace(RECIPE, epochs=1), device="cpu")
    assert run.card.clean_error is None
    assert run.log[0].clean_error is None


def test_a_given_loss_is_what_is_trained_on() -> None:
    calls = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        calls.append(len(x))
        assert model.training
        assert x.min() >= 0
        assert x.max() <= 1
        out: Tensor = model(x).square().mean()
        return out

    run_toy(loss=loss, recipe=replace(RECIPE, epochs=2))
    assert calls == [15] * 8  # 60 images in steps of at most 16: four equal ones


def test_a_recipe_with_a_defence_needs_its_loss() -> None:
    with pytest.raises(InputError, match="create_defense"):
        run_toy(replace(RECIPE, defense="fgsm(eps=0.25)"))


def test_every_image_is_seen_once_an_epoch() -> None:
    n = 23
    data = MemoryDataset("count", "train", [str(i) for i in range(n)], torch.zeros(n, 1, 2, 2), torch.arange(n))
    seen: list[int] = []

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        seen.extend(y.tolist())
        out: Tensor = model(x).mean()
        return out

    net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, n)))
    train(net, data, recipe=replace(RECIPE, epochs=2, batch_size=5, augment=None), loss=loss, device="cpu")
    assert sorted(seen[:n]) == sorted(seen[n:]) == list(range(n))
    assert seen[:n] != seen[n:] != list(range(n))


def test_progress_counts_every_step_and_gives_the_last_epochs_figures() -> None:
    seen: list[Progress] = []
    run_toy(progress=seen.append)
    assert {report.step for report in seen} == set(range(1, 17))
    assert seen[-1] == replace(seen[-1], step=16, steps=16, epoch=4, epochs=4)
    assert seen[0].loss is None
    assert seen[-1].loss is not None
    assert seen[-1].clean_error is not None


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_epoch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="lower lr"):
        run_toy(replace(RECIPE, lr=1e30, schedule="constant"), output=tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


def test_images_on_the_disk_train_as_images_in_memory_do(tmp_path: Path) -> None:
    whole = toy_data(24)
    for i, (x, y) in enumerate(whole):
        (tmp_path / "abc"[int(y)]).mkdir(exist_ok=True)
        Image.fromarray((x[0] * 255).round().byte().numpy()).save(tmp_path / "abc"[int(y)] / f"{i:02}.png")
    disk = load_data(f"folder:{tmp_path}", grey=True)
    memory = MemoryDataset(disk.name, disk.split, disk.classes, *disk.tensors())
    runs = [train(toy_net(), data, recipe=RECIPE, device="cpu") for data in (disk, memory)]
    assert_same(weights(runs[0]), weights(runs[1]))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_and_channels_last_train_too(precision: str) -> None:
    run = run_toy(replace(RECIPE, precision=precision, channels_last=True))
    assert run.card.clean_error is not None
    assert run.card.clean_error < 0.1
    assert all(p.dtype == torch.float32 for p in run.classifier.parameters())


def test_max_norm_holds_after_every_step() -> None:
    run = run_toy(replace(RECIPE, max_norm=0.5))
    for layer in run.classifier.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            assert layer.weight.flatten(1).norm(dim=1).max() <= 0.5 * (1 + 1e-3)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_clip_bounds_the_first_plain_step(precision: str) -> None:
    recipe = replace(RECIPE, clip=1e-3, lr=1.0, momentum=0.0, weight_decay=0.0, schedule="constant", epochs=1)
    net, data = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3))), toy_data()
    before = torch.cat([p.detach().clone().flatten() for p in net.parameters()])
    moved: list[float] = []

    def measured(_: Progress) -> None:
        after = torch.cat([p.detach().flatten() for p in net.parameters()])
        moved.append(float((after - before).norm()))

    recipe = replace(recipe, batch_size=60, precision=precision)
    train(net, data, recipe=recipe, device="cpu", progress=measured)
    assert moved[0] == pytest.approx(1e-3, rel=1e-2)  # a longer gradient, cut


def test_measure_counts_mistakes_and_leaves_the_modes_alone() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return torch.eye(3)[0].expand(len(x), 3)

    model = nn.Sequential(nn.BatchNorm2d(1).eval(), Constant())  # one part is frozen
    assert measure(model, toy_data(), batch_size=7) == pytest.approx(2 / 3)
    assert [part.training for part in model.modules()] == [True, False, True]
    with pytest.raises(InputError, match="got none"):
        measure(model, MemoryDataset("none", "test", "a", torch.zeros(0, 1, 2, 2), torch.zeros(0).long()))


def test_the_learning_rate_is_torchs_one_cycle_and_cosine() -> None:
    for schedule in ("one_cycle", "cosine"):
        recipe, steps = replace(RECIPE, schedule=schedule, lr=0.3), 41
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        theirs: torch.optim.lr_scheduler.LRScheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 1)
            if schedule == "cosine"
            else torch.optim.lr_scheduler.OneCycleLR(
                optimizer, 0.3, steps, pct_start=0.25, final_div_factor=1e9, cycle_momentum=False
            )
        )
        for step in range(steps):
            t = step / (steps - 1)
            if schedule == "cosine" or t >= 0.275:  # torch ends its rise a step earlier and rises along a cosine
                assert recipe.learning_rate(step, steps) == pytest.approx(theirs.get_last_lr()[0], abs=0.012)
            optimizer.step()
            theirs.step()
    assert replace(RECIPE, schedule="constant").learning_rate(3, 5) == 0.1


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_matrices_are_decayed(optimizer: str) -> None:
    net = toy_net()
    groups = replace(RECIPE, optimizer=optimizer).make_optimizer(net).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert [decay[id(p)] for p in net.parameters()] == [5e-4 if p.ndim > 1 else 0 for p in net.parameters()]
    with pytest.raises(InputError, match="frozen"):
        RECIPE.make_optimizer(net.requires_grad_(False))


def test_data_that_do_not_fit_the_network_are_refused() -> None:
    recipe = replace(find_recipe("mlp-mnist5k"), width=0.02)
    with pytest.raises(InputError, match="input_shape"):
        train(build(recipe), toy_data(), recipe=recipe)
    eleven = MemoryDataset("e", "train", "abcdefghijk", torch.zeros(11, 1, 32, 32), torch.arange(11))
    with pytest.raises(InputError, match="num_classes"):
        train(build(recipe), eleven, recipe=recipe)
    with pytest.raises(InputError, match="got none"):
        train(build(recipe), MemoryDataset("e", "train", "a", torch.zeros(0, 1, 32, 32), torch.zeros(0)), recipe=recipe)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("label_smoothing", 1.0),
        ("clip", 0.0),
        ("max_norm", 0.0),
        ("accumulate", 0),
        ("l1", -1.0),
        ("l2", float("inf")),
        ("sparsity", -0.1),
        ("sparsity_target", 1.0),
        ("validation", -1),
        ("patience", 0),
        ("patience", 3),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        replace(RECIPE, **{field: value})  # type: ignore[arg-type]


def test_unknown_choices_are_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'adamw'"):
        replace(RECIPE, optimizer="adam")
    with pytest.raises(UnknownNameError, match="one_cycle"):
        replace(RECIPE, schedule="onecycle")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        replace(RECIPE, precision="bf16")
    with pytest.raises(UnknownNameError, match="did you mean 'lenet5-mnist5k'"):
        find_recipe("lenet-mnist5k")


@pytest.mark.parametrize("name", [*list_recipes("*-mnist5k"), *list_recipes("*-distorted_mnist")])
def test_every_recipe_builds_a_network_whose_checkpoint_is_below_2_megabytes(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name
    with torch.device("meta"):
        state = build(recipe).net.state_dict()
    assert sum(tensor.numel() * (2 if tensor.ndim > 1 else 4) for tensor in state.values()) < 2_000_000
    assert recipe.data != "mnist5k" or recipe.input_shape == (1, 32, 32)


@pytest.mark.parametrize("name", [name for name in list_recipes() if "mnist5k" not in name])
def test_every_other_recipe_builds_its_network_for_the_images_it_makes(name: str) -> None:
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.expected
    with torch.device("meta"):
        net = build(recipe)
    assert net.card.input_shape == recipe.input_shape
    assert net.card.num_classes == recipe.num_classes
    if recipe.augment is not None:
        side = 256 if recipe.data == "imagenet" else recipe.input_shape[1]
        assert recipe.augment.output_size(side, side) == recipe.input_shape[1:]


def test_every_network_has_a_recipe() -> None:
    assert {f"{name}-mnist5k" for name in list_models()} <= set(RECIPES)
    assert list_recipes("vgg1*_*") == ["vgg11_lrn-mnist5k", "vgg16_1x1-mnist5k"]


def test_seeds_trains_every_seed_once_and_prints_mean_and_spread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = {split: load_data("mnist5k", split=split) for split in ("train", "test")}
    few = {split: MemoryDataset("mnist5k", split, data.classes, *data[:100]) for split, data in digits.items()}
    monkeypatch.setattr(seeds, "load_data", lambda name, split="test": few[split])
    command = ["lenet5-mnist5k", "--seeds", "2", "--epochs", "1", "--output", str(tmp_path), "--device", "cpu"]
    assert seeds.main(command) == 0
    first = capsys.readouterr().out
    assert [line.split(":")[0] for line in first.splitlines()] == [
        "lenet5-mnist5k seed 0",
        "lenet5-mnist5k seed 1",
        "lenet5-mnist5k",
    ]
    assert (tmp_path / "lenet5-mnist5k" / "1" / "model.safetensors").exists()
    assert seeds.main(command) == 0  # again: both runs are there
    assert capsys.readouterr().out == first
    assert seeds.main(["lenet-mnist5k", "--output", str(tmp_path)]) == 2
    assert "did you mean 'lenet5-mnist5k'" in capsys.readouterr().err
    assert seeds.main(["lenet5-mnist5k", "--seeds", "0", "--output", str(tmp_path)]) == 2
    assert seeds.summary("a", [0.01, 0.02]) == "a: clean error 1.50 % (mean of 2 seeds; sd 0.50; 1.00 to 2.00)"


def test_a_recipe_prints_what_differs_from_the_defaults() -> None:
    assert str(Recipe(model="a", data="b")) == "a-b()"
    assert str(Recipe(model="a", data="b", lr=0.5, seed=2)) == "a-b(lr=0.5, seed=2)"


def test_other_data_get_the_models_recipe_in_their_shape() -> None:
    assert recipe_for("lenet5", load_data("mnist5k")) is RECIPES["lenet5-mnist5k"]
    recipe = recipe_for("lenet5", toy_data())
    assert (recipe.name, recipe.input_shape, recipe.num_classes) == ("lenet5-toy", (1, 6, 6), 3)
    assert recipe.lr == RECIPES["lenet5-mnist5k"].lr
    assert recipe_for("unheard", toy_data()).model == "unheard"
