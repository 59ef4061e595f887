"""Recipes: what their fields mean, which there are, and their results over seeds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.training import RECIPE, toy_data, toy_net

from advkit.core.errors import InputError, UnknownNameError
from advkit.data import MemoryDataset, load_data
from advkit.defenses import interval_init
from advkit.models import list_models, shipped
from advkit.training import RECIPES, Recipe, build, find_recipe, list_recipes, recipe_for, seeds


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
        ("filter_rms", 0.0),
        ("accumulate", 0),
        ("l1", -1.0),
        ("l2", float("inf")),
        ("sparsity", -0.1),
        ("sparsity_target", 1.0),
        ("validation", -1),
        ("validation", 0.1),
        ("patience", 0),
        ("patience", 3),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        replace(RECIPE, **{field: value})  # type: ignore[arg-type]


NEAR_THE_EDGE: dict[str, list[float | None]] = {
    "epochs": [1], "batch_size": [1], "accumulate": [1], "validation": [0, 1], "lr": [1e-9, 1e9],
    "momentum": [0, 0.999], "weight_decay": [0, 1e-9, 1e9], "label_smoothing": [0, 0.999], "clip": [None, 1e-9],
    "l1": [0, 1e-9, 1e9], "l2": [0, 1e-9], "sparsity": [0, 1e-9], "sparsity_target": [1e-9, 0.999],
    "max_norm": [None, 1e-9], "filter_rms": [None, 1e-9], "ema": [None, 1e-9, 0.999], "l1_from": [0, 0.999],
    "ramp": [0, 1e-9, 1], "layer_decay": [1e-9, 1], "patience": [None],
}  # fmt: skip


@pytest.mark.parametrize("field", NEAR_THE_EDGE)
def test_every_value_in_range_is_taken_up_to_the_edge(field: str) -> None:
    for value in NEAR_THE_EDGE[field]:
        assert getattr(replace(RECIPE, **{field: value}), field) == value  # type: ignore[arg-type]
    assert replace(RECIPE, patience=1, validation=1).patience == 1


def test_init_says_how_the_weights_are_drawn() -> None:
    recipe = Recipe(model="lenet5", data="mnist5k", seed=3)
    plain, drawn = build(recipe), build(replace(recipe, init="interval"))
    interval_init(plain.net, seed=3)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, drawn.state_dict()[name])
    other = build(replace(recipe, init="interval"), seed=4)
    assert not torch.equal(other.net.state_dict()["features.c1.weight"], drawn.net.state_dict()["features.c1.weight"])


def test_unknown_choices_are_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'adamw'"):
        replace(RECIPE, optimizer="adam")
    with pytest.raises(UnknownNameError, match="one_cycle"):
        replace(RECIPE, schedule="onecycle")
    with pytest.raises(UnknownNameError, match="bfloat16"):
        replace(RECIPE, precision="bf16")
    with pytest.raises(UnknownNameError, match="interval"):
        replace(RECIPE, init="intervals")
    with pytest.raises(InputError, match="init default where weights="):
        replace(RECIPE, init="interval", weights="runs/lenet5")
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


def test_every_network_that_ships_weights_has_a_recipe() -> None:
    assert {f"{name}-mnist5k" for name in list_models() if shipped(name)} <= set(RECIPES)
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
