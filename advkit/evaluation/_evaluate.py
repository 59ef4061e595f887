"""`evaluate`: how often a model is wrong, clean and under each attack, sample by sample."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core import door
from advkit.core.attack import Attack
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.guard import Model
from advkit.evaluation._batches import batches, origin, total
from advkit.evaluation._fit import fitted
from advkit.evaluation._measure import Columns, Plan, Progress, Ticker, joined
from advkit.evaluation.report import Report


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
    plan = Plan(_listed(attacks), control, target, {"seed": seed, "bounds": door.check_bounds(bounds), "stop": stop})
    plan.check()
    model = _moved(model, device)
    _warn_if_trained_on(model, origin(data))
    images = total(data, count)
    tick = Ticker(progress, None if images is None else images * plan.passes)
    table: list[list[Columns]] = []
    for batch in batches(data, batch_size=batch_size, count=count):
        table.append(plan.measure(model, fitted(batch, model, plan.options["bounds"]), tick))
    clean, *rows = (joined(columns) for columns in zip(*table, strict=True))
    reports = [plan.report(i, clean, row) for i, row in enumerate(rows)]
    return Report(
        data=origin(data),
        seed=seed,
        attacks=tuple(reports[: len(plan.attacks)]),
        control=reports[-1] if control is not None else None,
        **clean,
    )


def _listed(attacks: Sequence[Attack] | Attack) -> list[Attack]:
    return [attacks] if isinstance(attacks, Attack | str) else list(attacks)


def _moved(model: Model, device: str | torch.device | None) -> Model:
    door.check_model(model)
    if device is None or not isinstance(model, nn.Module):
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"cannot use device {str(device)!r}: {str(error).splitlines()[0]}") from error


def _warn_if_trained_on(model: Model, data: str) -> None:
    card = getattr(model, "card", None)
    if data and getattr(card, "trained_on", None) == data:
        warnings.warn(
            f"the model was trained on these very images ({data}): expect more errors on new ones",
            AdvkitWarning,
            stacklevel=3,
        )
