"""The training loop: learns, repeats itself, and says what went wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.training import RECIPE, assert_same, run_toy, toy_data, toy_net, weights
from PIL import Image
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.data import MemoryDataset, load_data
from advkit.models import Classifier
from advkit.training import Augment, Progress, build, find_recipe, measure, train
from advkit.training.augment import create_augmentation


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


@pytest.mark.parametrize("augment", ["affine(rotation=40)", Augment(rotation=40)], ids=["by sample", "by batch"])
def test_augmentation_follows_the_seed_and_is_another_one_in_each_epoch(augment: Any) -> None:
    augment = create_augmentation(augment) if isinstance(augment, str) else augment
    image = toy_data(1).stored
    data = MemoryDataset("toy", "train", "abc", image.repeat(12, 1, 1, 1), torch.arange(12) % 3)
    recipe = replace(RECIPE, augment=augment, batch_size=12, epochs=2)

    def seen(seed: int) -> list[Tensor]:
        """The images of each epoch, in an order that does not tell how they were shuffled."""
        kept: list[Tensor] = []

        def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            rows = x.flatten(1).double()
            kept.append(rows[rows.sum(1).argsort()])
            return nn.functional.cross_entropy(model(x), y)

        train(toy_net(), data, recipe=recipe, loss=loss, seed=seed, device="cpu")
        return kept

    first, again, other = seen(3), seen(3), seen(4)
    assert all(map(torch.equal, first, again))
    assert not torch.allclose(first[0], first[1], atol=1e-3)
    assert not any(map(torch.allclose, first, other))
    assert len(first[0].round(decimals=4).unique(dim=0)) == 12


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first = weights(run_toy())
    torch.manual_seed(123)  # the global state has no say
    assert_same(first, weights(run_toy()))
    assert any(not torch.equal(first[name], tensor) for name, tensor in weights(run_toy(seed=1)).items())


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    run_toy()
    assert torch.equal(state, torch.get_rng_state())


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


def test_feature_scale_clipping_holds_after_every_step() -> None:
    run = run_toy(replace(RECIPE, filter_rms=0.1))
    filters = [m.weight for m in run.classifier.modules() if isinstance(m, nn.Conv2d)]
    assert filters
    assert all(w.flatten(1).square().mean(1).sqrt().max() <= 0.1 * (1 + 1e-3) for w in filters)


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


def test_data_that_do_not_fit_the_network_are_refused() -> None:
    recipe = replace(find_recipe("mlp-mnist5k"), width=0.02)
    with pytest.raises(InputError, match="input_shape"):
        train(build(recipe), toy_data(), recipe=recipe)
    eleven = MemoryDataset("e", "train", "abcdefghijk", torch.zeros(11, 1, 32, 32), torch.arange(11))
    with pytest.raises(InputError, match="num_classes"):
        train(build(recipe), eleven, recipe=recipe)
    with pytest.raises(InputError, match="got none"):
        train(build(recipe), MemoryDataset("e", "train", "a", torch.zeros(0, 1, 32, 32), torch.zeros(0)), recipe=recipe)
