"""The state of a run, with its operations: train an epoch, save, restore, finish."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data import Dataset, MemoryDataset
from advkit.models import Classifier, save_checkpoint
from advkit.training import _random, _run
from advkit.training._batches import HeldRows, Plan, read
from advkit.training._board import Board
from advkit.training._measure import adversarial_error, clean_error
from advkit.training._processes import World
from advkit.training._progress import Clock, Progress
from advkit.training._recipe import Recipe
from advkit.training._resampled_augment import Augment
from advkit.training._step import Loss, Part, Stepper
from advkit.training._watch import Probe, remark
from advkit.training._weight_average import Average
from advkit.training.augment._resample import warp
from advkit.training.augment.averaging import CropAverage

ASK_EVERY = 20  # steps, since asking makes the processes wait for each other


class Trainer:
    """Network, optimizer, log, and the position within an epoch; the arguments are those of `train`."""

    def __init__(
        self,
        classifier: Classifier,
        data: Dataset,
        *,
        recipe: Recipe,
        loss: Loss | None,
        watch: Callable[..., Any] | None,
        probe: Probe | None,
        validation: Dataset | None,
        test: Dataset | None,
        device: torch.device,
        workers: int,
        world: World,
        home: Path | None,
        progress: Callable[[Progress], None] | None,
        save_seconds: float,
    ) -> None:
        self.classifier, self.recipe, self.world, self.device = classifier, recipe, world, device
        self.workers, self.watch = workers, watch
        self.data, self.validation, self.test = (_moved(d, device) for d in (data, validation, test))
        self.home, self.progress, self.save_seconds = home, progress, save_seconds
        self.plan = Plan.of(len(data), recipe.batch_size, recipe.accumulate, world.size)
        shape = seen_shape(data, recipe)
        self.loss, self.repeats = loss, getattr(loss, "steps_a_batch", 1)
        self.probe = probe
        self.probed = None if probe is None else probe.images(self.validation, self.test, self.data)
        self.still: list[nn.Module] = []  # frozen parts: their batch norm stays in eval mode
        self.stepper = Stepper(classifier, recipe, loss or _plain(recipe), world, device, shape)
        cut = shape != data.input_shape  # it trains on patches: measured on the one in the middle
        self.judged = CropAverage(classifier, size=shape[1], crops=1) if cut else classifier
        self.log: tuple[_run.Row, ...] = ()
        self.middle: dict[str, Any] | None = None  # where a resumed run was in its epoch
        self.average = None if recipe.ema is None else Average(classifier, recipe.ema)
        self.remark = ""
        self.best: dict[str, Any] | None = None  # the weights of the epoch that patience keeps

    def run(self, tensorboard: bool) -> None:
        """Train all remaining epochs."""
        self.clock = Clock(len(self.log) * self.plan.steps + (self.middle["step"] if self.middle else 0))
        with ExitStack() as stack:
            stack.enter_context(_random.own_random_state(self.device))
            stack.enter_context(self.stepper.ready())
            board = Board.of(self.home if tensorboard and self.world.rank == 0 else None, len(self.log))
            stack.callback(board.close)
            while len(self.log) < self.recipe.epochs and not _is_out_of_patience(self.log, self.recipe):
                self._epoch()
                board.add(self.log[-1])

    def _epoch(self) -> None:
        """One pass through the data, or the rest of one, and its row of the log."""
        number, steps = len(self.log), self.plan.steps
        draws = _random.epoch_draws(self.recipe.seed, number, self.device)
        rows = self.plan.rows(draws)
        total, first = self._begin_epoch(draws)
        self.classifier.train()
        for module in self.still:
            module.eval()
        parts = self._parts(rows[first:], draws)
        for i in range(first, steps):
            count = sum(len(part) for part in rows[i])
            rate = self.recipe.learning_rate(number * steps + i, steps * self.recipe.epochs)
            self._set_radius(number * steps + i, steps * self.recipe.epochs)
            self.stepper.penalties.at((number * steps + i) / (steps * self.recipe.epochs))
            batch = (next(parts) for _ in range(self.plan.parts))
            total += self._step(batch if self.repeats == 1 else list(batch), count, rate)
            self.clock.count(count)
            self._report(number * steps + i + 1)
            if i + 1 < steps and self.home is not None and self._is_time_to_save(i + 1):
                self._save(self._middle(i + 1, total, draws))
        self._end_epoch(total, rate)

    def _set_radius(self, step: int, steps: int) -> None:
        """The radius of the defence at this step."""
        if self.loss is not None and self.recipe.ramp and hasattr(self.loss, "at"):
            self.stepper.set_loss(self.loss.at(min(1.0, (step + 1) / (self.recipe.ramp * steps))))

    def _step(self, batch: Iterable[Part], count: int, rate: float) -> Tensor:
        """The steps on one batch, one unless the loss wants more; the sum of the loss, their mean."""
        total = torch.zeros((), device=self.device)
        for _ in range(self.repeats):
            total += self.stepper.step(batch, count, rate) / self.repeats
            if self.average is not None:
                self.average.add(self.classifier)
        return total

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Inside, the network has the weights that are measured and kept."""
        with nullcontext() if self.average is None else self.average.inside(self.classifier):
            yield

    def _begin_epoch(self, draws: torch.Generator) -> tuple[Tensor, int]:
        """The sum of the loss so far and the first step: those of the beginning, or where the run was."""
        if self.middle is None:
            self.clock.start_epoch()
            return torch.zeros((), device=self.device), 0
        _random.restore(self.middle["generators"], draws, self.device)
        totals, step = self.middle["totals"].to(self.device), self.middle["step"]
        self.clock.start_epoch(self.middle["seconds"], self.middle["images"])
        self.middle = None
        same = len(totals) == self.world.size
        return (totals[self.world.rank] if same else totals.sum() / self.world.size), step

    def _middle(self, step: int, total: Tensor, draws: torch.Generator) -> dict[str, Any]:
        """What _begin_epoch needs to go on from here."""
        ranks = torch.arange(self.world.size, device=self.device)
        return {
            "step": step,
            "totals": self.world.total(torch.where(ranks == self.world.rank, total, 0)).cpu(),  # (processes,)
            "generators": _random.states(draws, self.device),
            "seconds": self.clock.epoch_seconds,
            "images": self.clock.images,
        }

    def _is_time_to_save(self, step: int) -> bool:
        """By the clock of the first process, which the others ask now and then."""
        if self.world.size > 1 and step % ASK_EVERY:
            return False
        return bool(self.world.agree(lambda: self.clock.is_time_to_save(self.save_seconds)))

    def _parts(self, rows: list[tuple[Tensor, ...]], draws: torch.Generator) -> Iterator[Part]:
        """The parts of all steps in order: images changed, on the device."""
        whole = [part for step in rows for part in step]
        own = [self.world.share(part) for part in whole]
        for (x, y), mine, part in zip(read(self.data, own, self.device, self.workers), own, whole, strict=True):
            yield self._augmented(x, mine, len(part), draws), y, len(part)

    def _augmented(self, x: Tensor, rows: Tensor, whole: int, draws: torch.Generator) -> Tensor:
        """This process's images, the rows of the set, changed as they would be among all `whole` ones."""
        augment = self.recipe.augment
        if augment is None:
            return x
        if isinstance(augment, Augment):  # its numbers are those of the batch, in order
            shape = torch.Size([whole, *x.shape[1:]])
            return warp(x, augment.maps(shape, draws)[self.world.share(torch.arange(whole))])
        ids = Draws(self.recipe.seed, rows.to(x.device))
        return augment(x, ids, step=len(self.log))

    def _end_epoch(self, total: Tensor, rate: float) -> None:
        number = len(self.log)
        mean = self.world.total(total).item() / self.plan.images  # note: the epoch's one wait for the device
        if not math.isfinite(mean):
            raise InputError(f"the loss is {mean} in epoch {number + 1}: lower lr ({self.recipe.lr}) or set clip")
        speed = self.clock.images_per_second
        with self._measured():
            self._add_row(number, mean, rate, speed)
        self._report(self.log[-1].epoch * self.plan.steps)
        if self.home is not None:
            self._save(None)

    def _add_row(self, number: int, mean: float, rate: float, speed: float) -> None:
        """Measure the weights as they are, and keep them if they are the best."""
        probed = {} if self.probe is None or self.probed is None else self._probe_errors()
        row = _run.Row(
            epoch=number + 1,
            lr=rate,
            loss=mean,
            clean_error=None if self.test is None else clean_error(self.judged, self.test, self.world),
            validation_error=self._validation_error(),
            seconds=round(self.clock.epoch_seconds, 3),
            images_per_second=round(speed, 1),
            **probed,
        )
        self.log = (*self.log, row)
        self.remark = remark(self.log, len(self.data.classes))
        if self.recipe.patience is not None and best_epoch(self.log, self.recipe) == row.epoch:
            self.best = {k: v.detach().clone() for k, v in self.classifier.state_dict().items()}

    def _probe_errors(self) -> dict[str, float]:
        assert self.probe is not None
        assert self.probed is not None
        return self.probe.errors(self.judged, self.probed, self.world)

    def _validation_error(self) -> float | None:
        if self.validation is None:
            return None
        if self.watch is None:
            return clean_error(self.judged, self.validation, self.world)
        return adversarial_error(self.judged, self.validation, self.world, self.watch)

    def _report(self, step: int) -> None:
        if self.progress is None:
            return
        steps, last = self.plan.steps, self.log[-1] if self.log else None
        self.progress(
            Progress(
                step=step,
                steps=steps * self.recipe.epochs,
                epoch=(step - 1) // steps + 1,
                epochs=self.recipe.epochs,
                loss=last.loss if last else None,
                clean_error=last.clean_error if last else None,
                validation_error=last.validation_error if last else None,
                probe=_probe_of(last),
                remark=self.remark,
                images_per_second=self.clock.images_per_second,
                seconds_left=self.clock.seconds_left(step, steps * self.recipe.epochs),
            )
        )

    def _save(self, middle: dict[str, Any] | None) -> None:
        """Everything that the next step depends on."""
        assert self.home is not None
        if self.world.rank == 0:
            kept = getattr(self.loss, "state_dict", None)
            state = {
                "model": self.classifier.state_dict(),
                "optimizer": self.stepper.optimizer.state_dict(),
                "scaler": self.stepper.scaler.state_dict(),
                "best": self.best,
                "average": None if self.average is None else (self.average.steps, self.average.state),
                "loss": None if kept is None else kept(),
                "middle": middle,
            }
            _run.save_state(self.home, state, self.log)

    def restore(self, home: Path) -> None:
        """Restore the last saved state, if there is one.

        Raises:
            InputError: the state is broken or belongs to another network.
        """
        found = self.world.agree(lambda: _run.read_state(home))
        if found is None:
            return
        state, self.log = found
        with _run.refusing(home / _run.STATE):
            self.classifier.load_state_dict(state["model"])
            self.stepper.optimizer.load_state_dict(state["optimizer"])
            if state.get("scaler"):
                self.stepper.scaler.load_state_dict(state["scaler"])
            self.best, self.middle = state.get("best"), state.get("middle")
            if self.average is not None and state.get("average"):
                self.average.steps, kept = state["average"]
                self.average.state = {k: v.to(self.device) for k, v in kept.items()}
            if self.loss is not None and state.get("loss") and hasattr(self.loss, "load_state_dict"):
                self.loss.load_state_dict(state["loss"])

    def finish(self, label: str) -> None:
        """Round the weights to the checkpoint's precision, measure the errors, and write card and checkpoint."""
        if self.best is not None:
            self.classifier.load_state_dict(self.best)
        elif self.average is not None:
            self.classifier.load_state_dict(self.average.state)
        with tempfile.TemporaryDirectory() as folder:
            draft = Path(folder) / "model.safetensors"
            save_checkpoint(draft, self.classifier, self.classifier.card)
            self._load(load_file(draft))
        card = replace(
            self.classifier.card,
            data=self.data.name,
            trained_on=f"{self.data.name}:{self.data.split}",
            recipe=label,
            seed=self.recipe.seed,
            clean_error=None if self.test is None else clean_error(self.judged, self.test, self.world),
            source="a run of advkit train",
        )
        self.classifier.card = card
        self.world.agree(self._write)

    def _write(self) -> None:
        if self.home is not None:
            save_checkpoint(self.home / _run.WEIGHTS, self.classifier)
            (self.home / _run.STATE).unlink(missing_ok=True)

    def reopen(self, finished: _run.Finished) -> None:
        """Return a run that is finished already.

        Raises:
            InputError: its checkpoint is broken or belongs to another network.
        """
        self.log = finished.log
        weights, card = self.world.agree(lambda: _run.read_finished(finished.weights))
        with _run.refusing(finished.weights):
            self._load(weights)
        self.classifier.card = card

    def _load(self, weights: dict[str, Tensor]) -> None:
        self.classifier.net.load_state_dict(weights)
        self.classifier.eval()


def best_epoch(log: tuple[_run.Row, ...], recipe: Recipe) -> int:
    """Return the epoch whose weights are kept: the first with the lowest validation error; else the last."""
    if recipe.patience is None:
        return log[-1].epoch
    return min(log, key=lambda row: row.validation_error if row.validation_error is not None else 1.0).epoch


def _probe_of(row: _run.Row | None) -> dict[str, float]:
    """The errors of the probe by name, those that are there."""
    names = ("probe_clean", "probe_one_step", "probe_many_steps")
    found = {name: getattr(row, name, None) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def seen_shape(data: Dataset, recipe: Recipe) -> tuple[int, int, int]:
    """Return (C, H, W) of the images that the network sees, after cuts of the augmentation."""
    channels, height, width = data.input_shape
    return data.input_shape if recipe.augment is None else (channels, *recipe.augment.output_size(height, width))


def _is_out_of_patience(log: tuple[_run.Row, ...], recipe: Recipe) -> bool:
    return bool(log) and recipe.patience is not None and log[-1].epoch - best_epoch(log, recipe) >= recipe.patience


def _moved(data: Dataset | None, device: torch.device) -> Any:
    """A set in memory on the device; another as it is."""
    if isinstance(data, HeldRows):
        return HeldRows(_moved(data.whole, device), data.rows)
    return data.to(device) if isinstance(data, MemoryDataset) else data


def _plain(recipe: Recipe) -> Loss:
    """The network's own training loss."""

    def loss(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
        return model.training_loss(x, y, label_smoothing=recipe.label_smoothing)

    return loss
