"""The only loop over steps: every attack runs here.

A row leaves the batch when further steps cannot improve it. The last forward pass is the verdict on the result.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from advkit.core import door, model_checks
from advkit.core.ascent import Slopes
from advkit.core.best_points import (
    Best,
    Ranking,
    Record,
    Rows,
    choose,
    equal_rows,
    noise_floor,
    not_finite,
    put,
    take,
    unjudged,
)
from advkit.core.draws import Draws
from advkit.core.goals import Goal, flat, resolve, targeted, untargeted, wide
from advkit.core.guard import Model, guard
from advkit.core.knowledge import knowledge_of
from advkit.core.large import is_large, known_none
from advkit.core.layout import Passes
from advkit.core.memory import keep_freed
from advkit.core.norms import per_row
from advkit.core.oracle import Oracle
from advkit.core.result import Result
from advkit.core.steady import AnySize, apart
from advkit.core.threat import Threat
from advkit.core.wishes import Wish


class Steps(Protocol):
    """The part of an attack that the driver uses."""

    @property
    def loss(self) -> Any: ...
    @property
    def kind(self) -> str: ...
    @property
    def total_steps(self) -> int: ...
    @property
    def starts_at_x(self) -> bool: ...
    @property
    def stays_inside(self) -> bool: ...
    @property
    def climbs(self) -> bool: ...
    @property
    def begins_at_image(self) -> bool: ...
    @property
    def measures(self) -> str: ...
    def init(self, oracle: Oracle) -> Any: ...
    def step(self, oracle: Oracle, state: Any, i: int) -> Any: ...


class Problem(NamedTuple):
    """One call, checked."""

    x: Tensor
    y: Tensor
    target: str | int | Tensor | Goal
    threat: Threat
    draws: Draws
    stop: str
    wish: Wish | None = None
    clean: Tensor | None = None  # the model's answer to x, where it is known


Progress = Callable[[int, int], None]
_progress: ContextVar[Progress | None] = ContextVar("advkit_progress", default=None)

COMPACT_AT = 0.1
"""The batch is compacted when this share of its rows is done: less does not pay for the copy."""

ASK_EVERY = 10
"""Number of steps after which a device that works beside the host is asked how many rows are left; a CPU is at each."""


@contextmanager
def reporting(progress: Progress) -> Iterator[None]:
    """Context manager: inside the block every attack calls `progress(step, total_steps)` after each step."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def drive(attack: Steps, model: Model, problem: Problem) -> Result:
    """Run an attack on a batch whose input has been checked."""
    share = COMPACT_AT if knowledge_of(model) == "gradients" else 0.0  # an answer of others has its price
    with _alone_with(model, problem) as (classify, problem):
        return _drive(attack, classify, problem, share)


def last_point(attack: Steps, model: Model, problem: Problem) -> Tensor:
    """Return the last point (N, ...) of an attack that follows the gradient; it is not classified.

    No row leaves, and there is no verdict: k steps cost k passes. A target that follows from the clean images, such as
    "runner_up", takes one more.
    """
    with _alone_with(model, problem) as (classify, problem):
        goal: Any = _aim(classify, problem)
        goal = goal if problem.wish is None else problem.wish.bind(goal)
        oracle: Any = Slopes(classify, problem.threat.around(problem.x), problem.y, goal, problem.draws)
        state = attack.init(oracle)
        for i in range(attack.total_steps):
            state = attack.step(oracle, state, i)
        return oracle.region.settle(state.x_adv)  # type: ignore[no-any-return]


def _aim(classify: Model, problem: Problem) -> Goal:
    """The goal, without a pass where the target is a class or none."""
    target, y = problem.target, problem.y
    if isinstance(target, str) and target != "untargeted":
        with torch.no_grad():
            return resolve(target, y, classify(problem.x), problem.draws)
    if isinstance(target, str):
        return untargeted(y)
    return targeted(torch.as_tensor(target, device=y.device).expand(len(y)).long(), y)


@contextmanager
def _alone_with(model: Model, problem: Problem) -> Iterator[tuple[Model, Problem]]:
    """Inside, the model is frozen and in eval mode; yields it in its own precision, and the problem's tensors."""
    x = problem.x
    keep_freed()
    with torch.inference_mode(False), guard(model, device=x.device):
        problem = _outside_inference(problem)
        with _own_precision(model, x) as classify:
            yield classify, problem


def _outside_inference(problem: Problem) -> Problem:
    """Inference tensors cannot be saved for a backward pass; their clones can."""
    ids = problem.draws.sample_ids
    return problem._replace(
        x=_normal(problem.x),
        y=_normal(problem.y),
        clean=None if problem.clean is None else _normal(problem.clean),
        target=_normal(problem.target) if isinstance(problem.target, Tensor) else problem.target,
        draws=problem.draws._replace(sample_ids=_normal(ids)),
    )


def _normal(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


@contextmanager
def _own_precision(model: Model, x: Tensor) -> Iterator[Model]:
    """Autocast, if the caller is in it, holds for the model and not for the arithmetic of the attack."""
    kind = x.device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    passes = AnySize(Passes(model, x), len(x), model)

    def classify(x: Tensor) -> Tensor:
        with torch.autocast(kind, dtype=dtype) if enabled else nullcontext():
            return passes(x)

    with torch.autocast(kind, enabled=False):
        yield classify


def _drive(attack: Steps, classify: Model, problem: Problem, share: float) -> Result:
    oracle, whole = _look_at_clean(attack, classify, problem)
    x = whole.region.x
    record, clean = whole.record, whole.record.best
    state: Any = None
    left = _count_true(whole.live)
    everyone = left == len(x)
    if everyone:
        oracle.all_live()
    elif not oracle.holds_graph or not left:
        record, _ = _compact(oracle, record, None, share=0.0)
    if len(oracle.x):
        state = attack.init(oracle)
    for i in range(attack.total_steps if len(oracle.x) else 0):
        state = attack.step(oracle, state, i)
        leave = hasattr(state, "done") and not (i and known_none(state.done))  # who is wrong already leaves at i = 0
        if leave:
            oracle.retire(state.done)
        at_once = x.device.type == "cpu" or not share
        if (oracle.stop or leave) and (at_once or i % ASK_EVERY == ASK_EVERY - 1):
            record, state = _compact(oracle, record, state, share)
        _report(i + 1, attack.total_steps)
        if not len(oracle.x):
            break
    record = _merge(record, oracle.rows)
    last, unseen = record.best.x_adv, torch.zeros_like(clean.fooled)
    if len(oracle.x):  # the steps are over: the last iterate of the rows that are still live is a candidate too
        last, unseen = _last_iterates(oracle.rows, state.x_adv, last, unseen, idle=clean.fooled)
    record = _judge(
        classify, whole._replace(record=record, live=~clean.fooled), oracle.ranking, last, unseen, everyone=everyone
    )
    other = tuple(loss for loss in ("dlr", "margin") if loss != attack.loss) if attack.climbs else ()
    return _result(whole, record, minimal=oracle.ranking.minimal, other=other)


def _report(step: int, total: int) -> None:
    progress = _progress.get()
    if progress is not None:
        progress(step, total)


def _look_at_clean(attack: Steps, classify: Model, problem: Problem) -> tuple[Oracle, Rows]:
    """The first query of every sample: what the model is, what the goal is, and who is wrong already."""
    x, y = problem.x, problem.y
    leaf = x.detach().requires_grad_(attack.starts_at_x)
    if problem.clean is None or attack.starts_at_x:
        with torch.set_grad_enabled(attack.starts_at_x):
            graph = classify(leaf)
    else:
        graph = problem.clean
    if problem.wish is None or problem.wish.labelled:
        answer = graph.detach() if isinstance(graph, Tensor) else graph
        model_checks.check_answer(answer, x, y, attack.loss if attack.climbs and attack.begins_at_image else None)
    else:
        model_checks.check_outputs(graph, x)
    logits = graph.detach()
    goal: Any = resolve(problem.target, y, logits, problem.draws)
    if problem.wish is not None:
        goal = problem.wish.bind(goal)
        model_checks.check_margin(goal.margin(logits), logits)
    minimal = attack.kind == "minimal"
    wrong = goal.clears(logits)
    if not minimal and problem.stop == "never":
        wrong = torch.zeros_like(wrong)  # a sample that is wrong already is attacked all the same
    none = torch.zeros_like(wrong)
    one = torch.ones(len(x), dtype=torch.int64, device=x.device)
    value = torch.float64 if minimal else wide(logits).dtype
    worst = torch.full((len(x),), -torch.inf, dtype=value, device=x.device)
    sound = torch.zeros_like(worst, dtype=torch.float32)
    record = Record(
        Best(x, logits, wrong, worst), one, 0 * one, none, sound, none, 0.0 * one.double() if attack.measures else None
    )
    index = torch.arange(len(x), device=x.device)
    region = problem.threat.around(x)
    door.check_effect(region, problem.threat.eps, problem.threat.bounds)
    rows = Rows(index, ~wrong, region, goal, problem.draws, record, logits)
    ranking = Ranking(attack.loss, minimal)
    oracle = Oracle(classify, rows, ranking, stop=not minimal and problem.stop == "fooled", inside=attack.stays_inside)
    if attack.starts_at_x and graph.requires_grad:
        oracle.start_from(leaf, graph)
    return oracle, rows


def _compact(oracle: Oracle, record: Record, state: Any, share: float) -> tuple[Record, Any]:
    """Let the rows go that are done, if they are this share of all; what is known of them stays in `record`."""
    live = oracle.live
    left = _count_true(live)  # the one sync of a step
    if left == len(live):
        oracle.all_live()
    if left == len(live) or (left and left > (1 - share) * len(live)):
        return record, state
    record = _merge(record, oracle.rows)
    stay = live.nonzero().squeeze(1)
    oracle.keep(stay)
    oracle.all_live()
    return record, take(state, stay)


def _count_true(rows: Tensor) -> int:
    """How many of them are True; the device is waited for. On a CPU NumPy counts in half the time."""
    if type(rows) is Tensor and rows.device.type == "cpu":
        return int(np.count_nonzero(rows.numpy()))
    return int(rows.sum())


def _merge(record: Record, rows: Rows) -> Record:
    """The record of the whole batch, brought up to date with the rows that are in it."""
    if len(rows.row) == len(record.queries):
        return rows.record
    merged: Record = put(record, rows.row, rows.record)
    return merged


def _last_iterates(rows: Rows, x_adv: Tensor, last: Tensor, unseen: Tensor, *, idle: Tensor) -> tuple[Tensor, Tensor]:
    """The points to judge, and (N,) bool: which of them are last iterates; of `idle` rows no point is judged."""
    if len(x_adv) == len(last):
        if is_large(last) and _count_true(rows.live | idle) == len(last):
            return x_adv.to(last.dtype), rows.live
        return choose(rows.live, x_adv.to(last.dtype), last), rows.live
    live = rows.live.nonzero().squeeze(1)
    index = rows.row[live]
    return put(last, index, x_adv[live].to(last.dtype)), put(unseen, index, rows.live[live])


def _judge(
    classify: Model, rows: Rows, ranking: Ranking, last: Tensor, unseen: Tensor, *, everyone: bool = False
) -> Record:
    """The verdict: a forward pass on the point that each live row is to return; `everyone`: all are live.

    A last iterate that turns out worse than the best point gives way to it; where that one claims to fool, it is
    classified once more, alone.
    """
    record, old, region = rows.record, rows.record.best, rows.region
    index = rows.row if everyone else rows.live.nonzero().squeeze(1)
    if not len(index):
        return record
    points = region.settle(last)
    with torch.no_grad():
        answers = classify(points if len(index) == len(points) else points.index_select(0, index))
    logits = old.logits.index_copy(0, index, answers)
    new = ranking.rank(rows, points, logits)
    finite = flat(logits).isfinite().all(1)
    new = new._replace(fooled=new.fooled & finite, value=torch.where(finite, new.value, -torch.inf))
    record = record._replace(
        broken=torch.where(rows.live, unjudged(not_finite(record.broken, logits), rows.goal, logits), record.broken),
        unsteady=record.unsteady | rows.live & _moved(points, logits, old),
    )
    slack = noise_floor(logits)  # rounding must not tell a point from itself
    adopted = rows.live & (~unseen | ranking.improves(new, old, slack))
    new = new._replace(fooled=(rows.goal.margin(logits) > 0) & finite)
    rest = rows.live & ~adopted
    over = not bool(rest.any())
    best = new if over and everyone else choose(adopted, new, old)
    record = record._replace(best=best, queries=record.queries + rows.live)
    if over:
        return record
    settled = torch.where(per_row(rest, last), region.settle(best.x_adv), best.x_adv)
    record = record._replace(best=best._replace(x_adv=settled))
    rows = rows._replace(record=record, live=rest & old.fooled)
    return _judge(classify, rows, ranking, settled, torch.zeros_like(rest))


def _moved(points: Tensor, logits: Tensor, old: Best) -> Tensor:
    """(N,) bool: the verdict's point was seen before, and the model now answers otherwise by more than its noise."""
    same = equal_rows(points, old.x_adv)
    if is_large(points) and not _count_true(same):
        return same
    return same & apart(logits, old.logits)


def _result(whole: Rows, record: Record, *, minimal: bool, other: tuple[str, ...]) -> Result:
    best, region, clean = record.best, whole.region, whole.record.best
    if minimal:
        best = choose(best.fooled, best, clean._replace(fooled=best.fooled))
    distance = region.distance(best.x_adv)
    if minimal:
        distance = torch.where(best.fooled, distance, torch.inf)
    broken = ~record.broken.isfinite()
    model_checks.check_path(record.zero, broken, record.unsteady, other)
    return Result(
        x_adv=torch.empty_like(region.x).copy_(best.x_adv),
        success=best.fooled,
        distance=distance,
        queries=record.queries,
        gradients=record.gradients,
        logits=best.logits.clone(),
        zero_gradient=record.zero,
        non_finite=broken,
        unsteady=record.unsteady,
        size=record.size,
    )
