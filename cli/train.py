"""`advkit train`: train a network by a recipe; a run folder that can be resumed and attacked."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import torch

from advkit.attacks import create_attack
from advkit.cli._console import say, show, table
from advkit.cli._derived import parameters, parse_value
from advkit.cli._group import last_word
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.core.files import check_name
from advkit.core.registry import Spec, parse_spec
from advkit.core.sheet import columns_of
from advkit.data import Dataset, load_data
from advkit.data._class_names import numbered_by
from advkit.defenses import create_defense, probe_for
from advkit.evaluation import wilson_interval
from advkit.training import (
    RECIPES,
    Progress,
    Recipe,
    Run,
    build,
    find_recipe,
    is_writer,
    list_recipes,
    recipe_for,
    train,
)
from advkit.training.augment import create_augmentation


def run(
    model: str | None,
    data: str | None,
    recipe_name: str | None,
    listed: bool,
    defense: str | None,
    augment: str | None,
    data_root: str | None,
    download: bool,
    classes: str | None,
    seed: int | None,
    output: Path | None,
    resume: bool,
    save_seconds: float,
    log: str,
    workers: int,
    probe: int,
    device: str,
    threads: int | None,
    **changes: Any,
) -> None:
    """Do what the command says."""
    if listed:
        _list()
        return
    if threads is not None:
        torch.set_num_threads(threads)
    find_device(device)
    known = None if recipe_name is None else find_recipe(recipe_name)
    model = model or (known.model if known else None)
    if model is None:
        raise InputError(f"give --model NAME or --recipe NAME; recipes: {', '.join(list_recipes())}")
    data = data or (known.data if known else "mnist5k")
    if download and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(f"--download from several processes at once: run advkit data {data} --download first")
    images = load_data(data, split="train", root=data_root, download=download)
    images = images if classes is None else numbered_by(images, classes)
    recipe = changed(known, model, images, {**changes, "defense": defense, "augment": augment, "seed": seed})
    home = output or Path("runs") / f"{recipe.model}-{recipe.data}".replace("/", "_").replace(":", "_")
    check_name(home)
    loss = None if recipe.defense is None else create_defense(recipe.defense)
    watcher = None if loss is None or not probe else probe_for(loss, count=probe)
    watch = None if recipe.watch == "clean" else create_attack(recipe.watch)
    heading = Heading(f"{recipe} on {images}; run folder: {home}")
    try:
        with _bar(heading) as progress:
            run = train(
                build(recipe),
                images,
                recipe=recipe,
                loss=loss,
                watch=watch,
                probe=watcher,
                output=home,
                device=device,
                workers=workers,
                progress=progress,
                resume=resume,
                save_seconds=save_seconds,
                tensorboard=log == "tensorboard",
            )
    except KeyboardInterrupt:
        if is_writer():
            last_word("\nStopped. What was saved is kept: the same command with --resume goes on.")
        raise
    if is_writer():
        heading()  # of a run that was finished already
        _tell(run, recipe, home, images)


class Heading:
    """What is trained, as one line on standard output, once: whoever refuses the run does so before it.

    Args:
        text: the line.
    """

    def __init__(self, text: str) -> None:
        self.text, self.said = text, False

    def __call__(self) -> None:
        """Print the line, the first time."""
        if not self.said:
            click.echo(self.text)
        self.said = True


def changed(known: Recipe | None, model: str, data: Dataset, changes: dict[str, Any]) -> Recipe:
    """Return the recipe with the user's changes (None: no change).

    Raises:
        InputError: a value has the wrong type or is out of its range.
    """
    spec = Spec(model) if ":" in model.partition("(")[0] else parse_spec(model)
    model, wanted = spec.name, dict(spec.options)
    recipe = known if known and (known.model, known.data) == (model, data.name) else recipe_for(model, data)
    recipe = recipe if known is None else replace(known, **_place(recipe))
    if "width" in wanted:
        recipe = replace(recipe, width=wanted.pop("width"))
    recipe = replace(recipe, options={**recipe.options, **wanted}) if wanted else recipe
    if changes.get("augment") is not None:
        recipe = _augmented(recipe, data, changes["augment"])
        changes = {**changes, "augment": None}
    fields = parameters(Recipe)
    given = {
        name: parse_value(f"recipe {recipe.name!r}", fields[name], value)
        for name, value in changes.items()
        if value is not None
    }
    return replace(recipe, **given)


def _augmented(recipe: Recipe, data: Dataset, spec: str) -> Recipe:
    """The recipe with another augmentation, and the network for the images that come out of it."""
    augment = None if spec == "none" else create_augmentation(spec, data=data)
    channels, height, width = data.input_shape
    size = (height, width) if augment is None else augment.output_size(height, width)
    return replace(recipe, augment=augment, input_shape=(channels, *size))


def _place(recipe: Recipe) -> dict[str, Any]:
    """The fields that say which network and which data, not how they are trained."""
    return {name: getattr(recipe, name) for name in ("model", "data", "width", "input_shape", "num_classes", "options")}


def _list() -> None:
    """The recipes with the command that runs each and what is known of its result."""
    shown = table("command", "expected", text=["expected"])
    for name, recipe in RECIPES.items():
        shown.add_row(f"advkit train --recipe {name}", recipe.expected or "not measured")
    show(shown)


@contextmanager
def _bar(heading: Heading) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with ETA where stderr is a terminal, else a line an epoch; both on stderr, by one process of several.

    The heading comes with the first step, and the bar below it.
    """
    if not is_writer():
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines(heading)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, width=columns_of(sys.stderr))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Bar(*columns, TimeRemainingColumn(), console=console)
    task = bar.add_task("training", total=None)
    said = [""]

    def show(at: Progress) -> None:
        heading()
        bar.start()
        if at.remark and at.remark.partition(":")[0] != said[0]:
            bar.console.print(f"Epoch {at.epoch}: {at.remark}.", markup=False)
        said[0] = at.remark.partition(":")[0]
        bar.update(task, completed=at.step, total=at.steps, description=f"{_state(at)}, {_speed(at)}")

    try:
        yield show
    finally:
        if heading.said:  # a bar that was never drawn would leave a line
            bar.stop()


class _Lines:
    """One line on stderr for each epoch that is done.

    An epoch's last step is reported twice: after the step, and again with the epoch's own figures.
    """

    def __init__(self, heading: Heading) -> None:
        self.heading = heading
        self.step: int | None = None
        self.said = ""

    def __call__(self, at: Progress) -> None:
        self.heading()
        if at.step == self.step:
            click.echo(f"{_state(at)}{_pace(at)}", err=True)
            if at.remark and at.remark.partition(":")[0] != self.said:
                click.echo(f"Epoch {at.epoch}: {at.remark}.", err=True)
            self.said = at.remark.partition(":")[0]
        self.step = at.step


def _state(at: Progress) -> str:
    """`epoch 3/30, loss 0.1234, clean error 2.10 %`: the figures of the last whole epoch."""
    loss = "" if at.loss is None else f", loss {at.loss:.4f}"
    error = "" if at.clean_error is None else f", clean error {100 * at.clean_error:.2f} %"
    held_out = "" if at.validation_error is None else f", validation error {100 * at.validation_error:.2f} %"
    return f"epoch {at.epoch}/{at.epochs}{loss}{error}{held_out}{_probe(at)}"


def _probe(at: Progress) -> str:
    """`, FGSM 12.0 %, PGD 20.0 %`: the errors of the probe under one step and under many."""
    if not at.probe:
        return ""
    return f", FGSM {100 * at.probe['probe_one_step']:.1f} %, PGD {100 * at.probe['probe_many_steps']:.1f} %"


def _speed(at: Progress) -> str:
    return f"{at.images_per_second or 0:,.0f} images/s"


def _pace(at: Progress) -> str:
    """`; 11,900 images/s, 0:02:10 left`."""
    left = "" if at.seconds_left is None else f", {timedelta(seconds=round(at.seconds_left))} left"
    return f"; {_speed(at)}{left}"


def _tell(run: Run, recipe: Recipe, home: Path, images: Dataset) -> None:
    """What came out, and the next command."""
    error = run.card.clean_error
    seconds = sum(row.seconds for row in run.log)
    kept = "" if run.epoch == len(run.log) else f" (weights of epoch {run.epoch})"
    say(f"{run.card.describe()}; {len(run.log)} epochs{kept}, {seconds:.0f} s")
    if error is not None:
        count = len(images.sibling("test"))
        low, high = wilson_interval(round(error * count), count)
        interval = f"{100 * low:.2f} % to {100 * high:.2f} %"
        say(f"clean error {100 * error:.2f} % of {count:,} test images (95 % interval {interval})")
    say(f"Weights: {home / 'model.safetensors'}; attack them: advkit attack --model {recipe.model} --weights {home}")
