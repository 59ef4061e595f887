"""The recipes, MODEL-DATA, each with the result to expect.

`advkit train --recipe NAME` runs one, `python -m advkit.training.seeds NAME --seeds 5 --output DIR` five times.
"""

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch

from advkit.core.errors import unknown
from advkit.data import Dataset
from advkit.training._augment import Augment
from advkit.training._recipe import Recipe

DIGITS = Augment(rotation=10, shift=2, scale=0.1)
"""What a hand does to a digit without making it another."""

_RECIPES = (
    Recipe(model="lenet5", data="mnist5k", epochs=30, batch_size=50, lr=0.05, augment=DIGITS),
    Recipe(model="mlp", data="mnist5k", epochs=30, batch_size=50, lr=0.05, augment=DIGITS),
    Recipe(model="vgg16", data="mnist5k", width=1 / 4, epochs=30, batch_size=50, lr=0.03, clip=1.0, augment=DIGITS),
)

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}


def list_recipes(pattern: str = "*") -> list[str]:
    """The names of the recipes that match a shell pattern."""
    return [name for name in RECIPES if fnmatch(name, pattern)]


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        UnknownNameError: no such recipe; the message suggests the nearest.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


def recipe_for(model: str, data: Dataset) -> Recipe:
    """The recipe MODEL-DATA; without one, that of the model on other data or the defaults, in the shapes of `data`."""
    known = RECIPES.get(f"{model}-{data.name}")
    if known is not None:
        return known
    like = next((recipe for recipe in RECIPES.values() if recipe.model == model), Recipe(model=model, data=data.name))
    shape, classes = data.input_shape, len(data.classes)
    augment = like.augment if data.name == "mnist" else None
    return replace(like, data=data.name, input_shape=shape, num_classes=classes, augment=augment, expected="")
