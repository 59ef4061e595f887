"""The recipes, MODEL-DATA; `expected` is the result over seeds where it has been measured.

`advkit train --recipe NAME` runs one and `advkit train --recipes` lists them;
`python -m advkit.training.seeds NAME --seeds 5 --output DIR` five times.
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

from advkit.core.errors import check_given, unknown
from advkit.data import Dataset
from advkit.training._recipe import Recipe
from advkit.training._resampled_augment import Augment
from advkit.training.augment import Augmentation, Compose, Mirror, RandomPatch, ScaleJitter

DIGITS = Augment(rotation=10, shift=2, scale=0.1)
"""What a hand does to a digit without making it another."""


def _digits(model: str, width: float = 1.0, **options: Any) -> Recipe:
    """What the recipes on the embedded digits have in common; the widths keep every checkpoint below 2 MB."""
    return Recipe(model=model, width=width, **{"data": "mnist5k", "batch_size": 50, "augment": DIGITS, **options})


_DEEP: dict[str, Any] = {"lr": 0.02, "clip": 1.0}  # without the clip the first steps of a deep net may blow it up
_FULL: dict[str, Any] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-2}  # dropout makes SGD slow to start

_WARPED: dict[str, Any] = {"data": "distorted_mnist", "input_shape": (1, 42, 42), "augment": None}
_WARPED |= {"optimizer": "adamw", "lr": 2e-3, "weight_decay": 1e-2, "clip": 1.0, "channels_last": True}

_BASIS = "with torch 2.15 on a CPU"
_LENET5 = f"clean error 1.56 % (mean of 5 seeds; sd 0.15; 1.40 to 1.80) {_BASIS}; 20 s on one core"
_MLP = f"clean error 2.12 % (mean of 5 seeds; sd 0.23; 1.80 to 2.50) {_BASIS}"
_STN = f"clean error 2.63 % (mean of 3 seeds; sd 0.29; 2.30 to 3.00) {_BASIS}"
_VGG16 = f"clean error 1.44 % (mean of 5 seeds; sd 0.29; 1.10 to 1.90) {_BASIS}"


def _once(percent: float) -> str:
    """The result of the run that made the checkpoint."""
    return f"clean error {percent:.2f} % (one seed, 0) {_BASIS}"


_RECIPES: tuple[Recipe, ...] = (
    _digits("lenet5", epochs=40, lr=0.05, expected=_LENET5),
    _digits("alexnet", 9 / 32, epochs=40, **_DEEP, expected=_once(1.4)),
    _digits("zfnet", 1 / 4, epochs=40, **_DEEP, expected=_once(1.3)),
    _digits("nin", 1 / 2, epochs=40, clip=1.0, **_FULL, expected=_once(1.2)),
    _digits("vgg11", 1 / 4, epochs=30, **_DEEP, expected=_once(1.7)),
    _digits("vgg11_lrn", 1 / 4, epochs=30, **_DEEP, expected=_once(1.7)),
    _digits("vgg13", 1 / 4, epochs=30, **_DEEP, expected=_once(1.7)),
    _digits("vgg16_1x1", 1 / 4, epochs=30, **_DEEP, expected=_once(1.0)),
    _digits("vgg16", 1 / 4, epochs=30, **_DEEP, expected=_VGG16),
    _digits("vgg19", 13 / 64, epochs=30, **_DEEP, expected=_once(1.6)),
    _digits("googlenet", 1 / 4, epochs=20, clip=1.0, channels_last=True, **_FULL, expected=_once(1.3)),
    _digits("stn_fcn", epochs=40, optimizer="adamw", lr=2e-3, clip=1.0, expected=_once(1.7)),
    _digits("stn_cnn", epochs=30, **_DEEP, expected=_once(1.2)),
    _digits("stn_fcn", epochs=12, **_WARPED, expected=_once(3.9)),
    _digits("stn_cnn", 1 / 4, epochs=5, **_WARPED, expected=_STN),
    _digits("mlp", 3 / 4, epochs=80, **_FULL, expected=_MLP),
    _digits("mlp_dropconnect", 3 / 4, epochs=80, **_FULL, expected=_once(2.5)),
    _digits("maxout_cnn", 1 / 2, epochs=20, clip=1.0, **_FULL, expected=_once(2.8)),
    _digits("maxout", 2 / 3, epochs=80, clip=1.0, **_FULL, expected=_once(1.8)),
)

_SUMS: dict[str, Any] = {"transformers": 2, "crop": 28, "mean": 0.1307, "std": 0.3081}
_RECIPES += (  # two digits in two channels
    Recipe(
        model="stn_fcn", data="mnist_addition", width=3 / 4, input_shape=(2, 42, 42), num_classes=19, options=_SUMS,
        epochs=300, batch_size=50, optimizer="adamw", lr=1e-3, weight_decay=1e-2, clip=1.0,
        expected="not run here; by stages, whose distortions grow, 18.3 %: python benchmarks/addition.py",
    ),
)  # fmt: skip

_LENET5_FULL = f"clean error 0.53 % (one seed, 0) {_BASIS}; 2 minutes of one core"
_RECIPES += (  # the whole of MNIST
    _digits("lenet5", data="mnist", epochs=15, batch_size=250, lr=0.2, expected=_LENET5_FULL),
    _digits("mlp", data="mnist", epochs=100, batch_size=250, **_FULL, expected="not run here; dropout + L2: 1.25 %"),
    _digits("mlp_dropconnect", data="mnist", epochs=100, batch_size=250, **_FULL, expected="not run here; 1.20 %"),
)

_SHIFTED = Compose(parts=(RandomPatch(size=32, padding=4), Mirror()))


def _colour(model: str, data: str, **options: Any) -> Recipe:
    """What the recipes on small photographs have in common."""
    common: dict[str, Any] = {"input_shape": (3, 32, 32), "batch_size": 128, "lr": 0.05, "clip": 1.0}
    return Recipe(model=model, data=data, **{**common, "epochs": 100, "augment": _SHIFTED, **options})


_RECIPES += (
    _colour("nin", "cifar10", weight_decay=1e-4, expected="not run here; the paper: 8.81 %"),
    _colour("nin", "cifar100", num_classes=100, weight_decay=1e-4, expected="not run here; the paper: 35.68 %"),
    _colour("nin", "svhn", epochs=40, augment=None, weight_decay=1e-4, expected="not run here; the paper: 2.35 %"),
    _colour("vgg16", "cifar10", expected="not run here"),
)


def _imagenet(model: str, augment: Augmentation, **options: Any) -> Recipe:
    """The lecture's ingredients: its SGD, batches of 128 or 256, patches of 224 and their mirror images."""
    common: dict[str, Any] = {"input_shape": (3, 224, 224), "num_classes": 1000, "optimizer": "lecture", "lr": 0.01}
    changes = Compose(parts=(augment, Mirror()))
    return Recipe(model=model, data="imagenet", **{**common, "schedule": "steps", "augment": changes, **options})


_PATCH, _SCALES = RandomPatch(size=224), ScaleJitter(low=256, high=512, size=224)
_ON_256 = 'with --data "imagenet(size=256)"; not run here; the paper: top-5'
_RECIPES += (
    _imagenet("alexnet", _PATCH, epochs=90, batch_size=128, expected=f"{_ON_256} 16.4 % (an ensemble, ten crops)"),
    _imagenet("vgg16", _SCALES, epochs=74, batch_size=256, expected=f"{_ON_256} 8.1 % (Q = 384)"),
    _imagenet("googlenet", _PATCH, epochs=90, batch_size=256, expected=f"{_ON_256} 6.67 % (7 nets, 144 crops)"),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def list_recipes(pattern: str = "*") -> list[str]:
    """Return the names of the recipes that match a shell pattern.

    Args:
        pattern: shell pattern such as "vgg*"; default: all names.
    """
    return [name for name in RECIPES if fnmatch(name, pattern)]


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name.

    Args:
        name: name of a recipe, such as "lenet5-mnist5k".

    Raises:
        UnknownNameError: there is no such recipe; the message suggests the nearest.
    """
    check_given("name", name, str, "text such as 'lenet5-mnist5k'")
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_for(model: str, data: Dataset) -> Recipe:
    """Return the recipe MODEL-DATA, or that of the model on other data, or the defaults, in the shapes of `data`.

    Args:
        model: name of the network.
        data: the data set to train on.

    Raises:
        InputError: no name, or no data set.
    """
    check_given("model", model, str, "the name of a network such as 'lenet5'")
    check_given("data", data, Dataset, "a data set such as load_data('mnist5k', split='train')")
    known = RECIPES.get(f"{model}-{data.name}")
    if known is not None:
        return known
    like = next((recipe for recipe in RECIPES.values() if recipe.model == model), Recipe(model=model, data=data.name))
    shape, classes = data.input_shape, len(data.classes)
    augment = like.augment if data.name == "mnist" else None
    return replace(like, data=data.name, input_shape=shape, num_classes=classes, augment=augment, expected="")
