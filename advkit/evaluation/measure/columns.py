"""The columns of one batch: one value a sample, on the CPU."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advkit.core.best_points import take
from advkit.core.blocks import blockwise
from advkit.core.classify import looking
from advkit.core.float64 import in_float64
from advkit.core.guard import Model
from advkit.core.layout import Passes
from advkit.core.norms import get_norm
from advkit.core.outputs import answer_of
from advkit.core.result import Result
from advkit.core.steady import FUNCTION, AnySize, nature
from advkit.data._stream import Batch
from advkit.evaluation.measure.eight_bit import decoded, toward
from advkit.evaluation.measure.judge import PLAIN, Judge
from advkit.evaluation.measure.tally import Columns


def clean_columns(
    model: Model, batch: Batch, judge: Judge = PLAIN, verdicts: int = 1, seed: int = 0
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the columns of the clean images, and the outputs (None of a model that answers differently each time).

    It makes one pass, asks for the first image again alone, and makes `verdicts` passes if these are several.
    """
    with looking(model, batch.x.device):
        passes = AnySize(Passes(model, batch.x), len(batch.x), model)
        logits = passes(batch.x)
        judge.check(logits, batch.x, batch.y)
        kind = nature(passes, batch.x, logits)
    columns = {
        "sample_ids": batch.sample_ids.cpu(),
        **judge.told(batch.y, logits, prefix="clean_"),
        "clean_wrong": judge.wrong(logits, batch.y).cpu(),
        "nature": torch.full((len(batch.y),), kind, dtype=torch.int8, device="cpu"),
        **_fresh(model, batch, batch.x, judge.wrong, verdicts, seed),
    }
    return columns, logits if kind == FUNCTION else None


Verdict = Callable[[Tensor, Tensor], Tensor]
"""(outputs, y) -> (M,) bool: who is wrong."""


def _fresh(model: Model, batch: Batch, x: Tensor, wrong: Verdict, verdicts: int, seed: int) -> Columns:
    """`verdicts` (M, V) bool: wrong at x in each of V fresh forwards; nothing where one verdict is enough."""
    if verdicts == 1:
        return {}
    with looking(model, x.device):
        torch.manual_seed(hash((seed, int(batch.sample_ids[0]), len(x))) % 2**62)  # batches do not share their noise
        passes = Passes(model, x)
        found = [wrong(answer_of(passes(x)), batch.y) for _ in range(verdicts)]
    return {"verdicts": torch.stack(found, 1).cpu()}


def attack_columns(
    model: Model,
    batch: Batch,
    result: Result,
    target: Tensor | str | None,
    clean: Columns,
    judge: Judge = PLAIN,
    verdicts: int = 1,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return the columns of a result, on the CPU."""
    clean_wrong, y = clean["clean_wrong"], batch.y
    meant = (target != y).cpu() if isinstance(target, Tensor) else torch.ones_like(clean_wrong)
    told = judge.told(y, result.logits)
    return {
        "prediction": told["prediction"],
        "top5_wrong": clean["clean_top5_wrong"] | told["top5_wrong"],
        "wrong": clean_wrong | judge.beyond(result.logits, y).cpu(),
        "reached": result.success.cpu(),
        "meant": meant,
        "distance": result.distance.cpu().double(),
        "confidence": told["confidence"],
        "zero_gradient": result.zero_gradient.cpu(),
        "non_finite": result.non_finite.cpu(),
        "unsteady": result.unsteady.cpu(),
        "queries": result.queries.cpu(),
        "gradients": result.gradients.cpu(),
        **({} if result.size is None else {"size": result.size.cpu().double()}),
        **_fresh(model, batch, result.x_adv, judge.beyond, verdicts, seed),
    }


SIZES = ("linf", "l2", "l1", "l0")
"""Columns of a run that the report does without."""


def recorded(
    model: Model,
    batch: Batch,
    result: Result,
    target: Tensor | str | None,
    bounds: tuple[float, float],
    judge: Judge = PLAIN,
) -> dict[str, Tensor]:
    """Return the sizes of x_adv - x, and whether the 8-bit file is still a success, on the CPU."""
    sizes = blockwise(_sizes, batch.x, result.x_adv).cpu()
    goal = judge.bound(batch.y, target if isinstance(target, Tensor) else None)
    index = result.success.nonzero().squeeze(1)
    survives = torch.zeros_like(result.success)
    if len(index):
        kept = _survives(model, batch.x[index], result.x_adv[index], take(goal, index), bounds)
        survives = survives.index_copy(0, index, kept)
    return {**dict(zip(SIZES, sizes.unbind(1), strict=True)), "survives_8bit": survives.cpu()}


def _sizes(x: Tensor, x_adv: Tensor) -> Tensor:
    """(M, 4) float64: the size of x_adv - x in each of `SIZES`."""
    delta = in_float64(x_adv) - in_float64(x)
    return torch.stack([get_norm(name).size(delta) for name in SIZES], 1)


def _survives(model: Model, x: Tensor, x_adv: Tensor, goal: Any, bounds: tuple[float, float]) -> Tensor:
    """(M,) bool of M successes: those left as 8-bit files; an image that is one already has its verdict."""
    levels, fits = toward(x, x_adv, bounds)
    saved = decoded(levels, x, bounds)
    open_ = (fits & ((saved - x_adv).flatten(1).abs().amax(1) > 0)).nonzero().squeeze(1)
    if not len(open_):
        return fits
    with looking(model, x.device):
        logits = AnySize(Passes(model, x), len(open_), model)(saved[open_])
    return fits.index_copy(0, open_, take(goal, open_).margin(logits) > 0)
