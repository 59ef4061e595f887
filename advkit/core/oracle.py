"""The only access of an attack to the model: it counts the passes of every sample and keeps the best point seen."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from advkit.core import joint_passes
from advkit.core.best_points import Best, Ranking, Rows, not_finite, sloped, take
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.core.goals import Goal, wide
from advkit.core.guard import Model
from advkit.core.joint_passes import View
from advkit.core.losses import Loss, Values, by_row, climb
from advkit.core.pile import Pile, Seen
from advkit.core.threat import Region


def _gradients(values: Tensor, leaf: Tensor) -> Tensor:
    """(M, k, ...): of each column of values (M, k), by one backward pass each; NaN counts as 0.

    One pass over k copies of the batch, or k passes at once (`is_grads_batched`), were no faster on a CPU.
    """
    if not values.requires_grad:
        return torch.zeros_like(leaf).detach()[:, None].expand(-1, values.shape[1], *leaf.shape[1:])
    columns = values.sum(0).unbind()
    last = len(columns) - 1
    found = [torch.autograd.grad(c, leaf, retain_graph=j < last, allow_unused=True)[0] for j, c in enumerate(columns)]
    return torch.stack([torch.zeros_like(leaf) if g is None else g for g in found], 1).detach().nan_to_num(0.0)


class Oracle:
    """The attack's view of the model, for the rows of the batch that are still attacked.

    Args:
        model: images (M, ...) -> logits (M, K).
        rows: the state of the batch, from the clean images.
        ranking: rule that says which of two points is better.
        stop: True where a row is done at its first adversarial point.
        inside: True if the attack promises that every point it asks about is feasible.

    Attributes:
        answer: (M, K), the logits of the points of the latest call.
    """

    def __init__(self, model: Model, rows: Rows, ranking: Ranking, *, stop: bool, inside: bool = False) -> None:
        self._model, self._rows, self.ranking, self.stop = model, rows, ranking, stop
        self._seen: dict[str, Any] = {}
        self._all_live = False  # known to the host; a batch that was compacted and whose rows never leave
        self._passes: list[tuple[int, int]] = []  # queries and gradients of each pass that `rows` does not count yet
        self._lived: Tensor | None = None  # (M,) int64: in how many of these each row took part; None: in all
        self._inside = inside
        self._clean: tuple[Tensor, Tensor] | None = None
        self._adopted: Tensor | None = None  # (M,) bool: the latest query became the best point
        self._pile = Pile(ranking, rows.goal)
        self._joins = True  # the model has not refused a batch larger than that of the call
        self._latest, self._kept = Seen(fooled=~rows.live), rows.record.best.logits
        self.answer = self._kept

    @property
    def rows(self) -> Rows:
        """The state of the batch, every pass counted and every point compared."""
        self._settle()
        return self._rows

    @rows.setter
    def rows(self, rows: Rows) -> None:
        self._settle()
        self._rows = rows

    @property
    def live(self) -> Tensor:
        """(M,) bool: False for rows that need no further step."""
        return self._rows.live

    @property
    def x(self) -> Tensor:
        """The clean images (M, ...)."""
        return self._rows.region.x

    @property
    def region(self) -> Region:
        """The feasible points around the clean images."""
        region: Region = self._seen.get("region", self._rows.region)
        return region

    @property
    def goal(self) -> Goal:
        """The goal of the attack."""
        goal: Goal = self._seen.get("goal", self._rows.goal)
        return goal

    @property
    def draws(self) -> Draws:
        """The random draws of these rows."""
        draws: Draws = self._seen.get("draws", self._rows.draws)
        return draws

    @property
    def clean(self) -> Tensor:
        """The logits of the clean images (M, K)."""
        return self._rows.clean

    @contextmanager
    def showing(self, **instead: Goal | Draws | Region) -> Iterator[None]:
        """Context manager: inside the block the attack sees another `goal`, `draws` or `region`. Wrappers use it.

        The true goal and region still decide which point is best and which samples are fooled.
        """
        before, self._seen = self._seen, {**self._seen, **instead}
        try:
            yield
        finally:
            self._seen = before

    @property
    def best(self) -> Best:
        """The best point seen of each row."""
        self._compare()
        return self._rows.record.best

    @property
    def fooled(self) -> Tensor:
        """(M,) bool: the points of the latest call reach the goal."""
        if self._latest.fooled is None:
            self._latest.fooled = self.fools(self._kept)
        return self._latest.fooled

    def fools(self, logits: Tensor) -> Tensor:
        """Return whether these answers reach the goal: (M, K) -> (M,) bool.

        Args:
            logits: answers (M, K) to points of the rows.
        """
        return self.ranking.fools(self._rows.goal, logits)

    def start_from(self, leaf: Tensor, logits: Tensor) -> None:
        """Keep the graph of the forward pass on the clean images for the first gradient."""
        self._clean = leaf, logits

    @property
    def holds_graph(self) -> bool:
        """Whether the graph of the clean pass is still unused."""
        return self._clean is not None

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (M, K) at the points x (M, ...): one query a row, no gradient."""
        with torch.no_grad():
            logits = self._model(x)
        self._count(queries=1)
        self._observe(x, logits, None)
        return logits

    def gradient(self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None) -> Tensor:
        """Return the gradient (M, ...) of the loss at the points x, see `loss_and_gradient`, without the loss itself.

        Args:
            x: points (M, ...).
            loss: the loss that is differentiated, a name or a function.
            through: a differentiable function of images, as there.
        """
        return self.look(x, loss, through)[1]

    def loss_and_gradient(
        self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the loss (M,) and its gradient (M, ...) at the points x: one query and one gradient a row.

        The first call on the clean images themselves costs no query: they have been classified already.
        Entries of the gradient that are NaN count as 0, infinite ones as the largest number.

        Args:
            x: points (M, ...).
            loss: the loss that is differentiated, a name or a function.
            through: a differentiable function of images: the model sees `through(x)` in place of x, the gradient is
                that with respect to x, and x is no candidate, for its own answer is not known.
        """
        values, gradient = self._climb(x, loss, through, valued=True)
        return values(), gradient

    def look(self, x: Tensor, loss: str | Loss = "cross_entropy", through: View | None = None) -> tuple[Values, Tensor]:
        """Return the loss (M,), computed when it is asked for, and its gradient, see `loss_and_gradient`.

        Args:
            x: points (M, ...).
            loss: the loss that is differentiated, a name or a function.
            through: a differentiable function of images, as there.
        """
        at_once = loss == self.ranking.loss and "goal" not in self._seen and not self._pile.waits(x)
        return self._climb(x, loss, through, valued=at_once or not by_row(loss))

    def looks(self, x: Tensor, loss: str | Loss, views: Sequence[View | None]) -> Iterator[tuple[Values, Tensor]]:
        """Yield `look` through each of several functions; while the batches are small, in fewer and larger passes.

        A query and a gradient for each count all the same. The sums inside the model may round otherwise in a larger
        batch. A model that refuses one gets them one by one.

        Args:
            x: points (M, ...).
            loss: the loss that is differentiated, a name or a function.
            views: differentiable functions of images; None stands for the images themselves.
        """
        known = by_row(loss) and isinstance(self.goal, Goal) and isinstance(self._rows.goal, Goal)
        for part in joint_passes.runs(views, x if known else None):
            yield from self._together(x, loss, part)

    def _together(self, x: Tensor, loss: str | Loss, views: Sequence[View | None]) -> Iterable[tuple[Values, Tensor]]:
        if self._joins and len(views) > 1:
            try:
                return list(self._joint(x, loss, [view for view in views if view is not None]))
            except (AssertionError, InputError, RuntimeError, ValueError):
                self._joins = False
        return (self.look(x, loss, view) for view in views)

    def _joint(self, x: Tensor, loss: str | Loss, views: Sequence[View]) -> Iterator[tuple[Values, Tensor]]:
        """`look` through each of these, in one pass."""
        logits, values, gradient = joint_passes.look(self._model, self.goal, loss, x, views, self.clean)
        self.passed(logits, gradient, times=len(views))
        yield from joint_passes.each(values, gradient, len(x))

    def _climb(self, x: Tensor, loss: str | Loss, through: View | None, *, valued: bool) -> tuple[Values, Tensor]:
        """The loss, computed now if `valued`, and its gradient; the pass is counted and the point remembered."""
        with torch.enable_grad():
            leaf, graph, new = self._forward(x, through)
            find, gradient = climb(loss, self.goal, graph, leaf, self.clean)
        logits, values = graph.detach(), find() if valued else None
        if through is not None:
            self.passed(logits, gradient)
        else:
            known = values if loss == self.ranking.loss and "goal" not in self._seen else None
            self._note(x, logits, known, gradient, queries=int(new))
        return find if values is None else lambda: values, gradient

    def jacobian(self, x: Tensor, rows: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return combinations of logits (M, k) and their gradients (M, k, ...) at x: one query and k gradients a row.

        Args:
            x: points (M, ...).
            rows: weights of the combinations (M, k, K), or a number of the goal's likeliest duels, of which one turns
                positive when the goal is reached, see `Goal.duels`.
        """
        with torch.enable_grad():
            leaf, graph, new = self._forward(x)
            logits = graph.detach()
            weights = self.goal.duels(logits, rows) if isinstance(rows, int) else rows
            values = (weights * wide(graph)[:, None]).sum(2)  # (M, k)
            values = values - self.goal.lead if isinstance(rows, int) else values
            queries = int(new)
            try:
                gradients = _gradients(values, leaf)
            except RuntimeError as error:
                if "donated buffer" not in str(error):
                    raise
                gradients = self._one_by_one(x, weights, values, leaf)
                queries += values.shape[1] - 1
        self._note(x, logits, None, gradients, queries=queries, gradients=values.shape[1])
        return values.detach(), gradients

    def _one_by_one(self, x: Tensor, weights: Tensor, values: Tensor, leaf: Tensor) -> Tensor:
        """The gradients (M, k, ...) of a compiled model whose graph serves once: a pass for each but the first."""
        found = [_gradients(values[:, :1], leaf)]
        for j in range(1, values.shape[1]):
            leaf = x.detach().requires_grad_()
            found.append(_gradients((weights[:, j : j + 1] * wide(self._model(leaf))[:, None]).sum(2), leaf))
        return torch.cat(found, 1)

    def saw(self, x: Tensor, logits: Tensor, values: Tensor, gradient: Tensor) -> None:
        """Count and record a pass that was made elsewhere: the points x, their logits (M, K), loss and gradient."""
        self._note(x, logits, values, gradient)

    @property
    def model(self) -> Model:
        """The model itself, for the code of other libraries; report their passes to `spent`."""
        return self._model

    def spent(self, queries: Tensor, gradients: Tensor) -> None:
        """Add passes that were made elsewhere to the counts of the rows, (M,) int64 each."""
        rows = self.rows
        record = rows.record
        record = record._replace(queries=record.queries + queries, gradients=record.gradients + gradients)
        self.rows = rows._replace(record=record)

    def passed(self, logits: Tensor, gradient: Tensor, times: int = 1) -> None:
        """Count a pass on transformed images; it tells nothing about the rows' own points except zero gradients.

        Args:
            logits: the answers (M, K), or (times * M, K), all rows through one transform after the other.
            gradient: the gradients, (M, ...) or (times * M, ...).
            times: number of transforms that were seen in one pass.
        """
        self._count(times, times)
        rows, record = self._rows, self._rows.record
        if times == 1:
            fine = rows.goal.clears(logits) | sloped(gradient)
        else:
            index = torch.arange(len(rows.live), device=logits.device).repeat(times)
            fine = (take(rows.goal, index).clears(logits) | sloped(gradient)).view(times, -1).all(0)
            logits = logits.view(times, -1, *logits.shape[1:]).transpose(0, 1)
        zero = record.zero | rows.live & ~fine  # who is done may have any gradient
        self._rows = rows._replace(record=record._replace(zero=zero, broken=not_finite(record.broken, logits)))

    def _forward(self, x: Tensor, through: View | None = None) -> tuple[Tensor, Tensor, bool]:
        if through is None and self._clean is not None:
            (leaf, graph), self._clean = self._clean, None
            if x is self.x:
                return leaf, graph, False
        leaf = x.detach().requires_grad_()
        return leaf, self._model(leaf if through is None else through(leaf)), True

    def _count(self, queries: int = 0, gradients: int = 0) -> None:
        """One more pass in which every live row takes part.

        Rows leave and never come back, so each has taken part in the first of the passes: the device counts how many
        they are, and nothing where no row leaves; `_settle` says what they were.
        """
        if not self._all_live:
            if self._lived is None:
                self._lived = torch.full_like(self._rows.record.queries, len(self._passes))
            self._lived = self._lived + self._rows.live
        self._passes.append((queries, gradients))

    def _settle(self) -> None:
        """The passes since the last time are added to the rows' queries and gradients, their points compared."""
        self._compare()
        if not self._passes:
            return
        passes, lived, record = self._passes, self._lived, self._rows.record
        self._passes, self._lived = [], None
        queries, gradients = (list(accumulate(counts, initial=0)) for counts in zip(*passes, strict=True))
        if lived is None:
            record = record._replace(queries=record.queries + queries[-1], gradients=record.gradients + gradients[-1])
        else:
            record = record._replace(
                queries=record.queries + _looked_up(queries, lived),
                gradients=record.gradients + _looked_up(gradients, lived),
            )
        self._rows = self._rows._replace(record=record)

    def _note(
        self, x: Tensor, logits: Tensor, values: Tensor | None, gradient: Tensor, queries: int = 1, gradients: int = 1
    ) -> None:
        """Count a pass, remember its point if it is a new query, note where the gradient is 0 and the goal missed."""
        self._count(queries, gradients)
        slope = sloped(gradient)
        if queries:
            self._observe(x, logits, values, slope)
            return
        rows, record = self._rows, self._rows.record
        fine = (rows.goal.clears(logits) | slope) >= rows.live
        self._rows = rows._replace(record=record._replace(zero=record.zero >= fine))  # zero, or not fine

    def _observe(self, x: Tensor, logits: Tensor, values: Tensor | None, slope: Tensor | None = None) -> None:
        """Remember the point: where it is the best so far, and who is fooled by it; outside the region it is none."""
        strays = "region" in self._seen or not self._inside
        inside = self._rows.region.holds(x) if strays else None
        self._latest = Seen(values, None if self._all_live else self._rows.live, inside, None, slope)
        self.answer, self._kept = logits, self._pile.add(x.detach(), logits, self._latest)
        if self._pile.full:
            self._compare()
        if self.stop:
            done = self.fooled if inside is None else self.fooled & inside
            self._rows = self._rows._replace(live=self._rows.live > done)

    def _compare(self) -> None:
        """The best points are up to date."""
        if len(self._pile):
            record, self._adopted = self._pile.compare(self._rows)
            self._rows = self._rows._replace(record=record)

    def measured(self, size: Tensor) -> None:
        """The attack's own measure (M,) of the points of the latest query; kept where they became the best."""
        self._compare()
        rows, known = self._rows, self._rows.record.size
        if known is not None and self._adopted is not None:
            known = torch.where(self._adopted, size.to(known.dtype), known)
            self._rows = rows._replace(record=rows.record._replace(size=known))

    def retire(self, done: Tensor) -> None:
        """Mark rows (M,) bool on which the attack needs no further step."""
        self._all_live = False
        self._rows = self._rows._replace(live=self._rows.live > done)

    def keep(self, index: Tensor) -> None:
        """Only these rows stay."""
        fooled = self.fooled[index]
        self.rows, self.answer = take(self.rows, index), self.answer[index]
        self._adopted, self._latest = None, Seen(fooled=fooled)

    def all_live(self) -> None:
        """Say that every row is live: while no row can leave, passes are not counted on the device."""
        self._all_live = not self.stop


def _looked_up(values: list[int], index: Tensor) -> Tensor:
    """values[index] for index (M,) int64."""
    return torch.tensor(values, device=index.device)[index]
