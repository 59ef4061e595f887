"""Training: one loop, recipes as data, runs that resume bit for bit.

recipe = find_recipe("lenet5-mnist5k")
run = train(build(recipe), load_data(recipe.data, split="train"), recipe=recipe, output="runs/lenet5")
"""

from advkit.training._lecture import LectureSGD
from advkit.training._loop import Run, build, train
from advkit.training._measure import measure
from advkit.training._penalties import Penalties
from advkit.training._processes import is_writer
from advkit.training._progress import Progress
from advkit.training._recipe import Recipe
from advkit.training._resampled_augment import Augment
from advkit.training._watch import Probe
from advkit.training.recipes import RECIPES, find_recipe, list_recipes, recipe_for

__all__ = [
    "RECIPES",
    "Augment",
    "LectureSGD",
    "Penalties",
    "Probe",
    "Progress",
    "Recipe",
    "Run",
    "build",
    "find_recipe",
    "is_writer",
    "list_recipes",
    "measure",
    "recipe_for",
    "train",
]
