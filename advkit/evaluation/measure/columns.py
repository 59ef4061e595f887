"""What is kept of one batch: a value a sample, in columns on the CPU."""

import torch
from torch import Tensor

from advkit.core import door
from advkit.core.blocks import blockwise
from advkit.core.classify import looking
from advkit.core.goals import Goal, targeted, untargeted
from advkit.core.guard import Model
from advkit.core.layout import Passes
from advkit.core.norms import get_norm
from advkit.core.oracle import take
from advkit.core.result import Result
from advkit.evaluation.measure.eight_bit import decoded, toward
from advkit.evaluation.measure.stream import Batch
from advkit.evaluation.measure.tally import Columns


def clean_columns(model: Model, batch: Batch) -> dict[str, Tensor]:
    """One forward on the clean images."""
    with looking(model, batch.x.device):
        logits = Passes(model, batch.x)(batch.x)
    door.check_answer(logits, batch.x, batch.y)
    prediction = logits.argmax(1)
    return {
        "sample_ids": batch.sample_ids.cpu(),
        "y": batch.y.cpu(),
        "prediction": prediction.cpu(),
        "clean_wrong": (prediction != batch.y).cpu(),
        "clean_confidence": _confidence(logits),
        "clean_top5_wrong": _below_five(logits, batch.y),
    }


def _below_five(logits: Tensor, y: Tensor) -> Tensor:
    """(N,) bool: five classes or more lie above the label; on the CPU."""
    return ((logits > logits.gather(1, y[:, None])).sum(1) >= 5).cpu()


def _confidence(logits: Tensor) -> Tensor:
    """The largest softmax output of each row, (N,) float64 on the CPU."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1).amax(1).double().cpu()


def attack_columns(result: Result, y: Tensor, target: Tensor | str | None, clean: Columns) -> dict[str, Tensor]:
    """What is kept of a result, on the CPU."""
    clean_wrong = clean["clean_wrong"]
    meant = (target != y).cpu() if isinstance(target, Tensor) else torch.ones_like(clean_wrong)
    return {
        "prediction": result.logits.argmax(1).cpu(),
        "top5_wrong": clean["clean_top5_wrong"] | _below_five(result.logits, y),
        "wrong": clean_wrong | (untargeted(y).margin(result.logits) > 0).cpu(),
        "reached": result.success.cpu(),
        "meant": meant,
        "distance": result.distance.double().cpu(),
        "confidence": _confidence(result.logits),
        "zero_gradient": result.zero_gradient.cpu(),
        "queries": result.queries.cpu(),
        "gradients": result.gradients.cpu(),
    }


SIZES = ("linf", "l2", "l1", "l0")
"""Columns of a run that the report does without."""


def recorded(
    model: Model, batch: Batch, result: Result, target: Tensor | str | None, bounds: tuple[float, float]
) -> dict[str, Tensor]:
    """The sizes of x_adv - x, and whether the 8-bit file is still a success; on the CPU."""
    sizes = blockwise(_sizes, batch.x, result.x_adv).cpu()
    goal = targeted(target, batch.y) if isinstance(target, Tensor) else untargeted(batch.y)
    index = result.success.nonzero().squeeze(1)
    survives = torch.zeros_like(result.success)
    if len(index):
        kept = _survives(model, batch.x[index], result.x_adv[index], take(goal, index), bounds)
        survives = survives.index_copy(0, index, kept)
    return {**dict(zip(SIZES, sizes.unbind(1), strict=True)), "survives_8bit": survives.cpu()}


def _sizes(x: Tensor, x_adv: Tensor) -> Tensor:
    """(M, 4) float64: the size of x_adv - x in each of `SIZES`."""
    delta = x_adv.double() - x.double()
    return torch.stack([get_norm(name).size(delta) for name in SIZES], 1)


def _survives(model: Model, x: Tensor, x_adv: Tensor, goal: Goal, bounds: tuple[float, float]) -> Tensor:
    """(M,) bool of M successes: those left as 8-bit files; an image that is one already has its verdict."""
    levels, fits = toward(x, x_adv, bounds)
    saved = decoded(levels, x, bounds)
    open_ = (fits & ((saved - x_adv).flatten(1).abs().amax(1) > 0)).nonzero().squeeze(1)
    if not len(open_):
        return fits
    with looking(model, x.device):
        logits = Passes(model, x)(saved[open_])
    return fits.index_copy(0, open_, take(goal, open_).margin(logits) > 0)
