"""The training loop: epochs of steps, errors after each epoch, checkpoints, and a card at the end."""

import logging
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from advkit.core.devices import find_device
from advkit.core.door import check_between, check_count
from advkit.core.errors import InputError, check_given
from advkit.core.files import user_path
from advkit.data import Dataset, as_dataset, list_datasets, load_data
from advkit.models import Card, Classifier, create_model, start_from
from advkit.training import _processes, _run
from advkit.training._batches import hold_out
from advkit.training._freeze import frozen
from advkit.training._processes import World
from advkit.training._progress import Progress
from advkit.training._recipe import CLEAN, Recipe
from advkit.training._step import Loss
from advkit.training._trainer import Trainer, best_epoch, seen_shape
from advkit.training._watch import Probe
from advkit.training.interval_init import interval_init

SAVE_SECONDS = 300.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        classifier: the trained network in eval mode, with the weights of the checkpoint (16-bit matrices).
        card: its card, the clean error included.
        log: one row an epoch, as in log.csv.
        epoch: the epoch whose weights the network has: the last, or with `patience` the best.
        output: the run's folder, if it has one.
    """

    classifier: Classifier
    card: Card
    log: tuple[_run.Row, ...]
    epoch: int
    output: Path | None


def build(recipe: Recipe, *, seed: int | None = None) -> Classifier:
    """Build the initial network of a recipe; `seed` overrides the recipe's.

    Args:
        recipe: recipe of the training.
        seed: seed of the initial weights; default: the recipe's.

    Raises:
        InputError: the model does not have an option.
    """
    check_given("recipe", recipe, Recipe, "a Recipe, such as find_recipe('lenet5-mnist5k')")
    seed = recipe.seed if seed is None else seed
    width = {} if ":" in recipe.model and recipe.width == 1 else {"width": recipe.width}
    classifier = create_model(
        recipe.model,
        input_shape=recipe.input_shape,
        num_classes=recipe.num_classes,
        seed=seed,
        **width,
        **recipe.options,
    )
    if recipe.init == "interval":
        interval_init(classifier.net, seed=seed)
    if recipe.weights is not None:
        left = start_from(classifier, recipe.weights)
        log.info("starts at random, for it does not fit the weights file: %s", ", ".join(left) or "nothing")
    return classifier


def train(
    classifier: Classifier,
    data: Dataset | Any,
    *,
    recipe: Recipe,
    loss: Loss | None = None,
    watch: Callable[..., Any] | None = None,
    probe: Probe | None = None,
    test: Dataset | None = None,
    output: str | Path | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[Progress], None] | None = None,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
    tensorboard: bool = False,
) -> Run:
    """Train a classifier in place.

    The same classifier, data, recipe and seed give the same weights: bit for bit on a CPU with the same number of
    threads and processes, whether or not the run was interrupted; on a GPU up to the operations that are not
    deterministic there. torch's global random state is left as it was.

    Under `torchrun`, or in a process group of the caller, all processes train one network, each on its share of every
    batch; the result is that of one process up to float noise (docs/training.md says what differs). Every process makes
    the same call; the first writes the files.

    Args:
        classifier: the network to start from, such as `build(recipe)`.
        data: the training split: a Dataset, a name such as "mnist5k", or a pair (x, y) of tensors or arrays. Data in
            memory are moved to the device; other sets are read batch by batch.
        recipe: recipe of the training; its model and data are only names here.
        loss: training loss `loss(model, x, y)`, such as an AdversarialLoss; default: `classifier.training_loss` (the
            cross-entropy, and that of auxiliary classifiers) with the recipe's label smoothing.
        watch: the attack whose error on held-out images is the validation error, such as FGSM(eps=0.25); required if
            the recipe's `watch` is not "clean".
        probe: the attacks whose errors on a few images are logged after every epoch, such as `probe_for(loss)` of
            advkit.defenses; catastrophic overfitting and training stuck at chance are named in the progress.
        test: the test split for the clean error, in the same forms; default: that of the same data set, if it has one.
        output: folder of the run: run.json, log.csv, state.pt (removed at the end) and model.safetensors (see
            `save_checkpoint`). None: nothing is written to the disk.
        seed: seed that overrides the recipe's.
        device: device to train on; "auto" is CUDA if there is one, else the CPU.
        workers: number of processes that read images of a set that is not in memory.
        progress: function that is called after every step, in every process.
        resume: True continues the run in `output` from its last saved state; if there is no run, it starts one.
        save_seconds: the state is saved after every epoch, and within an epoch when this many seconds have passed
            since it was last saved.
        tensorboard: whether to write each epoch's figures for TensorBoard into the folder; needs the package
            tensorboard.

    Raises:
        InputError: the data do not fit the network, the loss is not finite, the recipe needs a defence or an attack to
            watch that was not given, or `output` holds another run, or this run and `resume` is False.
    """
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    workers = check_count("workers", workers, least=0)
    save_seconds = check_between("save_seconds", save_seconds, 0, math.inf, endless=True)
    data = as_dataset(data, "train")
    test = None if test is None else as_dataset(test, "test")
    _check(classifier, data, recipe, loss, watch)
    if tensorboard and output is None:
        raise InputError("expected the folder of the run to write for TensorBoard, got none: give output=")
    home = None if output is None else user_path(output)
    place = find_device(_processes.place(device))
    test = _test_split(data) if test is None else test
    world = _processes.join(place)
    conditions = _conditions(place, world)
    classifier.to(place)
    images, held = hold_out(data, recipe.validation, recipe.seed)
    with ExitStack() as stack:
        if home is not None:
            world.agree(lambda: stack.enter_context(_run.occupied(home)))
        finished = world.agree(lambda: _run.begin(home, recipe, data, resume, conditions))
        still = stack.enter_context(frozen(classifier.net, recipe.freeze))
        trainer = Trainer(
            classifier, images, recipe=recipe, loss=loss, watch=watch, probe=probe, validation=held, test=test,
            device=place, workers=workers, world=world, home=home, progress=progress, save_seconds=save_seconds,
        )  # fmt: skip
        trainer.still = still
        if finished is not None:
            trainer.reopen(finished)
        else:
            if home is not None and resume:
                trainer.restore(home)
            trainer.run(tensorboard)
            trainer.finish(_run.label(recipe, loss))
    rows = trainer.log
    return Run(classifier=classifier, card=classifier.card, log=rows, epoch=best_epoch(rows, recipe), output=home)


def _check(
    classifier: Classifier, data: Dataset, recipe: Recipe, loss: Loss | None, watch: Callable[..., Any] | None
) -> None:
    if not hasattr(classifier, "card"):  # a compiled classifier has the card of the one inside
        given = type(getattr(classifier, "_orig_mod", classifier)).__name__
        raise InputError(f"expected classifier as a Classifier, such as create_model('lenet5') returns, got {given}")
    if not len(data):
        raise InputError(f"expected images to train on, got none in {data.name} {data.split}")
    shape, classes = classifier.card.input_shape, classifier.card.num_classes
    seen = seen_shape(data, recipe)
    if shape is not None and shape != seen:
        what = f"{data.name} has {data.input_shape}" if seen == data.input_shape else f"the augmentation makes {seen}"
        raise InputError(f"the network takes images {shape}, {what}: set input_shape of the recipe")
    if classes is not None and classes < len(data.classes):
        raise InputError(
            f"the network knows {classes} classes, {data.name} has {len(data.classes)}: set num_classes of the recipe"
        )
    if recipe.defense is not None and loss is None:
        advice = f"pass loss=advkit.defenses.create_defense({recipe.defense!r})"
        raise InputError(f"the recipe trains with the defence {recipe.defense}, got no loss: {advice}")
    if recipe.watch != CLEAN and watch is None:
        advice = f"pass watch=advkit.attacks.create_attack({recipe.watch!r})"
        raise InputError(f"the recipe watches the error under {recipe.watch}, got no attack: {advice}")


def _test_split(data: Dataset) -> Dataset | None:
    """The images that the clean error is measured on."""
    if data.name in list_datasets():
        return load_data(data.name, split="test") if data._again is None else data.sibling("test")
    try:
        return data.sibling("test")
    except InputError:  # a folder without, or the caller's own set
        return None


def _conditions(device: torch.device, world: World) -> dict[str, Any]:
    """What the last bits of the result depend on, besides recipe and versions."""
    return {"device": str(device), "threads": torch.get_num_threads(), "processes": world.size}
