"""`evaluate`: how often a model is wrong, clean and under each attack, sample by sample."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core import door
from advkit.core.attack import Attack
from advkit.core.driver import reporting
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.goals import untargeted
from advkit.core.guard import Model, guard, modules_of
from advkit.core.result import Result
from advkit.evaluation._batches import Batch, batches, origin, total
from advkit.evaluation.report import AttackReport, Report

Columns = dict[str, Tensor]
Progress = Callable[[int, int | None], None]


def evaluate(
    model: Model,
    data: Any,
    attacks: Sequence[Attack] | Attack = (),
    *,
    control: Attack | None = None,
    target: int | str | Tensor | None = None,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    stop: str = "fooled",
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a classifier's error on clean and on adversarial images.

    The model is used in eval mode and left as it was. The same data, seed and attack give the same adversarial
    images whatever the batch size, up to the float noise of the model.

    Args:
        model: an nn.Module, or any function, from images (N, C, H, W) in `bounds` to logits (N, K).
        data: a Dataset, a DataLoader or a pair of tensors (x, y). A DataLoader keeps its own batches, and its order
            numbers the samples: give one that does not shuffle.
        attacks: attack objects; a sample that is wrong already counts as wrong under each, at distance 0.
        control: an attack that is reported apart and not part of the worst case, such as `Noise(norm="linf")`. It gets
            the budget of the first attack; where that is minimal, the distance that it needed on each sample.
        target: the class to reach, one for all, or one for each image of the data (by its number there), or a word that
            the attacks know, such as "runner_up".
        batch_size: images a batch, unless data is a DataLoader.
        count: look at so many images only, a fixed random choice of the data (of a DataLoader, the first ones).
        seed: of the attacks' random numbers.
        bounds: the range of the pixels.
        stop: "fooled": a sample leaves an attack at its first adversarial point; "never": the strongest is sought.
        device: moves the model there; default: where its parameters are.
        progress: called with (done, all), in images times passes (the clean one, each attack, the control), after
            every step of an attack; all is None if the data do not know their length.

    Returns:
        A Report; its adversarial errors are lower bounds.

    Raises:
        InputError: data, labels, attacks or model outputs that do not fit.
    """
    plan = _Plan(_listed(attacks), control, target, {"seed": seed, "bounds": door.check_bounds(bounds), "stop": stop})
    plan.check()
    model = _moved(model, device)
    _warn_if_trained_on(model, origin(data))
    images = total(data, count)
    tick = _Ticker(progress, None if images is None else images * plan.passes)
    table: list[list[Columns]] = []
    for batch in batches(data, batch_size=batch_size, count=count):
        table.append(plan.measure(model, _fitted(batch, model, plan.options["bounds"]), tick))
    clean, *rows = (_joined(columns) for columns in zip(*table, strict=True))
    reports = [plan.report(i, clean, row) for i, row in enumerate(rows)]
    return Report(
        data=origin(data),
        seed=seed,
        attacks=tuple(reports[: len(plan.attacks)]),
        control=reports[-1] if control is not None else None,
        **clean,
    )


@dataclass(frozen=True)
class _Plan:
    """What is done with every batch: a clean pass, each attack, the control."""

    attacks: list[Attack]
    control: Attack | None
    target: int | str | Tensor | None
    options: dict[str, Any]

    @property
    def all(self) -> list[Attack]:
        return [*self.attacks, *([] if self.control is None else [self.control])]

    @property
    def passes(self) -> int:
        return 1 + len(self.all)

    def check(self) -> None:
        for attack in self.all:
            if not isinstance(attack, Attack):
                raise InputError(
                    f"expected attack objects such as FGSM(eps=0.1), got {attack!r}; create_attack makes one of a name"
                )
        if self.control is not None and self.attacks and self.control.norm != self.attacks[0].norm:
            norm, got = self.attacks[0].norm, self.control.norm
            raise InputError(
                f"expected a control in the first attack's norm, got {got} beside {norm}; give norm={norm!r}"
            )

    def measure(self, model: Model, batch: Batch, tick: "_Ticker") -> list[Columns]:
        """The columns of one batch: clean, then one for each attack and the control."""
        clean = _clean(model, batch)
        tick(len(batch.y))
        columns, first = [clean], None
        for attack in self.all:
            is_control = attack is self.control
            aim = None if is_control else _aim(self._target(attack), batch)
            eps = None if not is_control or first is None else _budget(self.attacks[0], first)
            start = time.perf_counter()
            with reporting(tick.within(len(batch.y))):
                result = attack(
                    model, batch.x, batch.y, target=aim, eps=eps, sample_ids=batch.sample_ids, **self.options
                )
            columns.append(_columns(result, batch.y, aim, clean["clean_wrong"]))  # to the CPU: a CPU-GPU sync point
            columns[-1]["seconds"] = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
            first = result if first is None else first
            tick(len(batch.y))
        return columns

    def _target(self, attack: Attack) -> int | str | Tensor | None:
        """What was asked for, else the class that the attack itself aims at, if it is one."""
        own = getattr(attack, "target", None)
        return own if self.target is None and isinstance(own, int) else self.target

    def report(self, i: int, clean: Columns, row: Columns) -> AttackReport:
        """The report of the i-th of `all`."""
        attack = self.all[i]
        like = self.attacks[0] if attack is self.control and self.attacks else attack
        return AttackReport(
            attack=attack.spec,
            name=attack.name,
            kind=attack.kind,
            norm=attack.norm,
            eps=_eps(like),
            stop=self.options["stop"],
            right=~clean["clean_wrong"],
            seconds=row.pop("seconds").sum().item(),
            **row,
        )


class _Ticker:
    """Adds up what is done and tells the caller."""

    def __init__(self, progress: Progress | None, whole: int | None) -> None:
        self.progress, self.whole, self.done = progress, whole, 0

    def __call__(self, more: int) -> None:
        self.done += more
        self._tell(self.done)

    def within(self, more: int) -> Callable[[int, int], None]:
        """What an attack on `more` images is to call after each of its steps."""
        return lambda step, steps: self._tell(self.done + more * step // (steps + 1))

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.whole)


def _listed(attacks: Sequence[Attack] | Attack) -> list[Attack]:
    return [attacks] if isinstance(attacks, Attack | str) else list(attacks)


def _moved(model: Model, device: str | torch.device | None) -> Model:
    if not callable(model):
        raise InputError(
            f"expected a model, images to logits, got {type(model).__name__}; load_model('lenet5') gives one"
        )
    if device is None or not isinstance(model, nn.Module):
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot use device {str(device)!r}: {str(error).splitlines()[0]}") from error


def _fitted(batch: Batch, model: Model, bounds: tuple[float, float]) -> Batch:
    """The batch, checked, on the model's device and in its type of float."""
    door.check_images(batch.x, bounds)
    y = door.check_classes("labels", batch.y.to(batch.x.device), batch.x)
    weights = (p for module in modules_of(model) for p in module.parameters(recurse=False) if p.is_floating_point())
    like = next(weights, batch.x)
    x = batch.x.to(like.device, like.dtype)
    return Batch(x, y.to(x.device), batch.sample_ids.to(x.device))


def _warn_if_trained_on(model: Model, data: str) -> None:
    card = getattr(model, "card", None)
    if data and getattr(card, "trained_on", None) == data:
        warnings.warn(
            f"the model was trained on these very images ({data}): expect more errors on new ones",
            AdvkitWarning,
            stacklevel=3,
        )


def _clean(model: Model, batch: Batch) -> Columns:
    """One forward on the clean images."""
    with guard(model, device=batch.x.device), torch.no_grad():
        logits = model(batch.x)
    door.check_answer(logits, batch.x, batch.y)
    prediction = logits.argmax(1)
    return {
        "sample_ids": batch.sample_ids.cpu(),
        "y": batch.y.cpu(),
        "prediction": prediction.cpu(),
        "clean_wrong": (prediction != batch.y).cpu(),
        "clean_confidence": _confidence(logits),
    }


def _confidence(logits: Tensor) -> Tensor:
    """The largest softmax output of each row, (N,) float64 on the CPU."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).amax(1).double().cpu()


def _columns(result: Result, y: Tensor, target: Tensor | str | None, clean_wrong: Tensor) -> Columns:
    """What is kept of a result, on the CPU."""
    meant = (target != y).cpu() if isinstance(target, Tensor) else torch.ones_like(clean_wrong)
    return {
        "wrong": clean_wrong | (untargeted(y).margin(result.logits) > 0).cpu(),
        "reached": result.success.cpu(),
        "meant": meant,
        "distance": result.distance.double().cpu(),
        "confidence": _confidence(result.logits),
        "zero_gradient": result.zero_gradient.cpu(),
        "queries": result.queries.cpu(),
        "gradients": result.gradients.cpu(),
    }


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _aim(target: int | str | Tensor | None, batch: Batch) -> Tensor | str | None:
    """The target of each image of the batch, (N,) int64; words go to the attack as they are."""
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, Tensor) and target.ndim:
        last = int(batch.sample_ids.max())
        if target.ndim != 1 or len(target) <= last:
            got = f"shape {tuple(target.shape)} and an image number {last}"
            raise InputError(f"expected target as one class, or (N,) with one for each image of the data, got {got}")
        return target.to(batch.y.device)[batch.sample_ids].long()
    return torch.full_like(batch.y, int(target))


def _budget(attack: Attack, result: Result) -> float | Tensor | None:
    """What the control may spend: the attack's budget, or the distance it needed on each sample (0 if it failed)."""
    return _eps(attack) if attack.kind == "budget" else result.distance.nan_to_num(nan=0.0, posinf=0.0)


def _eps(attack: Attack) -> float | None:
    """The budget of a budget attack, in units of the pixels."""
    eps: float | None = getattr(attack, "eps", None) if attack.kind == "budget" else None
    return eps
