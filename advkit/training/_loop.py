"""The one training loop: batches, augmentation, loss, step; a checkpoint after every epoch; a card at the end."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from advkit.core.errors import InputError
from advkit.data import Dataset, MemoryDataset, list_datasets, load_data
from advkit.models import Card, Classifier, create_model, save_checkpoint
from advkit.models.layers import MaxNorm
from advkit.training import _run
from advkit.training._recipe import Recipe

Loss = Callable[[Any, Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run is; given to the callback after every step and, with the figures, after every epoch.

    Attributes:
        step, steps: steps done and steps in all.
        epoch, epochs: epochs begun and epochs in all.
        loss: mean of the last whole epoch; None in the first.
        clean_error: on the test split after that epoch; None if there is no test split or no epoch yet.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None = None
    clean_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        classifier: the trained network in eval mode, with the weights as the checkpoint has them (16-bit matrices).
        card: its card, the clean error included.
        log: one row an epoch, as in log.csv.
        output: the run's folder, if it has one.
    """

    classifier: Classifier
    card: Card
    log: tuple[_run.Row, ...]
    output: Path | None


def build(recipe: Recipe, *, seed: int | None = None) -> Classifier:
    """The untrained network of a recipe; `seed` overrides the recipe's.

    Raises:
        InputError: the model does not know an option.
    """
    return create_model(
        recipe.model,
        input_shape=recipe.input_shape,
        num_classes=recipe.num_classes,
        width=recipe.width,
        seed=recipe.seed if seed is None else seed,
        **recipe.options,
    )


def train(
    classifier: Classifier,
    data: Dataset,
    *,
    recipe: Recipe,
    loss: Loss | None = None,
    test: Dataset | None = None,
    output: str | Path | None = None,
    seed: int | None = None,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[Progress], None] | None = None,
    resume: bool = False,
) -> Run:
    """Train a classifier in place.

    The same classifier, data, recipe and seed give the same weights: bit for bit on a CPU with the same number of
    threads, whether or not the run was interrupted; on a GPU up to the operations that are not deterministic there.
    torch's global random state is left as it was.

    Args:
        classifier: the network to start from, such as `build(recipe)`.
        data: the training split. A MemoryDataset is moved to the device; another set is read batch by batch.
        recipe: how; its model and data are only names here.
        loss: `loss(model, x, y)` -> scalar, such as an AdversarialLoss; default: `classifier.training_loss` (the
            cross-entropy, and that of auxiliary classifiers) with the recipe's label smoothing.
        test: the test split for the clean error; default: that of the registered data set `data.name`, if it is one.
        output: folder of the run: run.json, log.csv, state.pt after every epoch (removed at the end) and
            model.safetensors (see `save_checkpoint`). None: nothing is kept on the disk.
        seed: overrides the recipe's.
        device: "auto" is CUDA if there is one, else the CPU.
        workers: processes that read images of a set that is not in memory.
        progress: called after every step.
        resume: go on with the run in `output` after its last whole epoch; without one there, begin.

    Raises:
        InputError: the data do not fit the network, the loss is not finite, the recipe has a defence but no loss was
            given, or `output` holds a run that is another or that `resume` was not asked for.
    """
    recipe = recipe if seed is None else replace(recipe, seed=seed)
    _check(classifier, data, recipe, loss)
    home = None if output is None else Path(output).expanduser()
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    classifier.to(place)
    if test is None and data.name in list_datasets():
        test = load_data(data.name, split="test")
    trainer = _Trainer(classifier, data, test, recipe, loss, place, workers, progress)
    finished = _run.begin(home, recipe, data, resume)
    if finished is not None:
        trainer.log = finished.log
        return trainer.reopen(finished.weights, home)
    if home is not None and resume:
        trainer.restore(home)
    with _own_random_state(place):
        while len(trainer.log) < recipe.epochs:
            trainer.epoch()
            if home is not None:
                trainer.save(home)
    return trainer.finish(home)


def measure(model: nn.Module, data: Dataset, *, batch_size: int = 500) -> float:
    """The clean error: the fraction of the images of `data` that `model`, put into eval mode for it, gets wrong."""
    if not len(data):
        raise InputError(f"expected images to measure the error on, got none in {data.name} {data.split}")
    was_training = model.training
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        with torch.no_grad():
            wrong = [(model(x.to(device)).argmax(1) != y.to(device)).sum() for x, y in data.batches(batch_size)]
    finally:
        model.train(was_training)
    return int(torch.stack(wrong).sum()) / len(data)


class _Trainer:
    """The state of a run: network, optimizer and log."""

    def __init__(
        self,
        classifier: Classifier,
        data: Dataset,
        test: Dataset | None,
        recipe: Recipe,
        loss: Loss | None,
        device: torch.device,
        workers: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.classifier, self.recipe, self.loss = classifier, recipe, loss or _plain(recipe)
        self.label = _run.label(recipe, loss)
        self.data = data.to(device) if isinstance(data, MemoryDataset) else data
        self.test = test.to(device) if isinstance(test, MemoryDataset) else test
        self.device, self.workers, self.progress = device, workers, progress
        self.format = torch.channels_last if recipe.channels_last else torch.contiguous_format
        if recipe.channels_last:
            classifier.to(memory_format=torch.channels_last)
        self.optimizer = recipe.make_optimizer(classifier)
        if recipe.max_norm is not None:
            self.optimizer.register_step_post_hook(MaxNorm(classifier, recipe.max_norm))
        self.log: tuple[_run.Row, ...] = ()

    def epoch(self) -> None:
        """One pass through the data, one row of the log."""
        start, number, steps = time.perf_counter(), len(self.log), self._steps()
        draws = torch.Generator().manual_seed(_seed(self.recipe.seed, number, 0))
        _seed_globally(_seed(self.recipe.seed, number, 1), self.device)  # for dropout and the attacks of a defence
        total = torch.zeros((), device=self.device)
        self.classifier.train()
        for i, (x, y) in enumerate(self._batches(draws, steps)):
            step = number * steps + i
            rate = self.recipe.learning_rate(step, steps * self.recipe.epochs)
            total += self._step(x, y, rate, draws) * len(y)
            self._report(step + 1)
        mean = total.item() / len(self.data)  # note: the epoch's one wait for the device
        if mean != mean or abs(mean) == float("inf"):
            raise InputError(f"the loss is {mean} in epoch {number + 1}: lower lr ({self.recipe.lr}) or set clip")
        error = None if self.test is None else measure(self.classifier, self.test)
        seconds = time.perf_counter() - start
        row = _run.Row(epoch=number + 1, lr=rate, loss=mean, clean_error=error, seconds=round(seconds, 3))
        self.log = (*self.log, row)
        self._report((number + 1) * steps)

    def _steps(self) -> int:
        return -(-len(self.data) // self.recipe.batch_size)

    def _batches(self, draws: torch.Generator, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches on the device, in the order of `draws`."""
        rows = torch.randperm(len(self.data), generator=draws).tensor_split(steps)
        if isinstance(self.data, MemoryDataset):
            yield from (self.data[part] for part in rows)
            return
        parts = [part.tolist() for part in rows]
        loader = DataLoader(
            self.data,
            sampler=parts,
            batch_size=None,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(0),  # else the loader draws its own from the global state
        )
        yield from ((x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)) for x, y in loader)

    def _step(self, x: Tensor, y: Tensor, rate: float, draws: torch.Generator) -> Tensor:
        if self.recipe.augment is not None:
            x = self.recipe.augment(x, draws)
        x = x.contiguous(memory_format=self.format)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            value = self.loss(self.classifier, x, y)
        torch.autograd.backward(value)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.classifier.parameters(), self.recipe.clip)
        self.optimizer.step()
        return value.detach()

    def _report(self, step: int) -> None:
        if self.progress is None:
            return
        steps, last = self._steps(), self.log[-1] if self.log else None
        self.progress(
            Progress(
                step=step,
                steps=steps * self.recipe.epochs,
                epoch=(step - 1) // steps + 1,
                epochs=self.recipe.epochs,
                loss=last.loss if last else None,
                clean_error=last.clean_error if last else None,
            )
        )

    def save(self, home: Path) -> None:
        """Everything that the next epoch depends on."""
        _run.save_state(home, self.classifier, self.optimizer, self.log)

    def restore(self, home: Path) -> None:
        """The state of the last whole epoch, if there is one."""
        self.log = _run.load_state(home, self.classifier, self.optimizer, self.device)

    def finish(self, home: Path | None) -> Run:
        """Round the weights as the checkpoint stores them, measure them, and write card and checkpoint."""
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "model.safetensors"
            save_checkpoint(draft, self.classifier, self.classifier.card)
            self._load(draft)
        card = replace(
            self.classifier.card,
            data=self.data.name,
            trained_on=f"{self.data.name}:{self.data.split}",
            recipe=self.label,
            seed=self.recipe.seed,
            clean_error=None if self.test is None else measure(self.classifier, self.test),
            source="a run of advkit train",
        )
        self.classifier.card = card
        if home is not None:
            save_checkpoint(home / _run.WEIGHTS, self.classifier, card)
            (home / _run.STATE).unlink(missing_ok=True)
        return Run(classifier=self.classifier, card=card, log=self.log, output=home)

    def reopen(self, weights: Path, home: Path | None) -> Run:
        """A run that is finished already."""
        self._load(weights)
        self.classifier.card = _run.card_of(weights)
        return Run(classifier=self.classifier, card=self.classifier.card, log=self.log, output=home)

    def _load(self, weights: Path) -> None:
        self.classifier.net.load_state_dict(load_file(weights))
        self.classifier.eval()


def _check(classifier: Classifier, data: Dataset, recipe: Recipe, loss: Loss | None) -> None:
    if not len(data):
        raise InputError(f"expected images to train on, got none in {data.name} {data.split}")
    shape, classes = classifier.card.input_shape, classifier.card.num_classes
    if shape is not None and shape != data.input_shape:
        raise InputError(
            f"the network takes images {shape}, {data.name} has {data.input_shape}: set input_shape of the recipe"
        )
    if classes is not None and classes < len(data.classes):
        raise InputError(
            f"the network knows {classes} classes, {data.name} has {len(data.classes)}: set num_classes of the recipe"
        )
    if recipe.defense is not None and loss is None:
        advice = f"pass loss=advkit.defenses.create_defense({recipe.defense!r})"
        raise InputError(f"the recipe trains with the defence {recipe.defense}, got no loss: {advice}")


def _plain(recipe: Recipe) -> Loss:
    """The network's own training loss."""

    def loss(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
        return model.training_loss(x, y, label_smoothing=recipe.label_smoothing)

    return loss


def _seed(seed: int, epoch: int, stream: int) -> int:
    """A number for every epoch and purpose, so that nothing random has to be carried from one epoch to the next."""
    return (2 * seed + stream) * 1_000_003 + epoch


@contextmanager
def _own_random_state(device: torch.device) -> Iterator[None]:
    """What happens inside leaves torch's global generators as they were; cuDNN takes its deterministic ways."""
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.deterministic
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        cudnn.deterministic = True
        try:
            yield
        finally:
            cudnn.deterministic = before


def _seed_globally(seed: int, device: torch.device) -> None:
    """As torch.manual_seed, on the CPU and on this device only."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
