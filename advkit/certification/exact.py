"""Branch and bound: maxima are split until every part of the ball is certified or a counterexample is found.

Bunel, Lu, Turkaslan, Torr, Kohli, Kumar 2020, "Branch and bound for piecewise linear neural network verification",
arXiv 1909.06588; the bounds are those of beta-CROWN (Wang et al. 2021, arXiv 2103.06624). One pass bounds parts of many
images.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from advkit.certification.alpha_crown import raised
from advkit.certification.assumed import assumes, has_own_bounds, narrowed, with_bounds_of, with_own_bounds
from advkit.certification.bounds import Bounds
from advkit.certification.domains import Domains, Pool, joined, settled, split, whole_balls
from advkit.certification.folded import folded
from advkit.certification.graph import Graph
from advkit.certification.inner import open_units, tightened
from advkit.certification.leaves import solved
from advkit.certification.relu_and_pooling import Maximum
from advkit.core.errors import InputError
from advkit.core.outputs import answer_of
from advkit.core.threat import Region

WIDTH = 128
"""Domains that are split at once."""

ROOT_STEPS, STEPS = 20, 4
"""Steps of ascent at the whole ball, and at a part of it."""

CLIMBERS, DESCENT = 8, 8
"""Points of each pass that gradient steps follow, and the number of steps."""

TRIES = 8
"""Maxima whose two halves are bounded before one is split."""

SHARE = 4
"""Open units inside for each part that an image may use up before their own bounds are made tighter."""

ROUNDS = 4
"""Rounds in which the units in front of the last bend are bounded as if there were a counterexample in the ball."""

AGE, UNITS, UNIT_STEPS = 3, 16, 8
"""Splits after which a domain bounds units of its own so; the number of these units, and of the steps for each."""

FAR = 1 / 16
"""Part of the ball's bound below which a domain is worth that."""

NEVER = 2**62
"""More parts than a search can have."""

LEAST = 2.0**-1022
"""The bound of a margin of which only the sign is known."""

STATE = ("closed", "upper", "x_adv", "broken", "given_up", "spent", "count")
"""What a search knows of each image."""

Attacked = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
"""(model, x, y) -> points (N, ...) to try."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """The limits of a search.

    Args:
        time_limit: seconds for each image; the time of a pass is divided among the images by their rows.
        nodes: maximum number of parts of the ball that are bounded for each image.
        tolerance: accuracy to which the least margin is bounded; None stops when its sign is known.
    """

    time_limit: float = 60.0
    nodes: int = 20_000
    tolerance: float | None = None


class Decided(NamedTuple):
    """The results of a search for N images.

    Attributes:
        margin: lower bounds (N, K) float64.
        x_adv: the counterexample of each broken image, else x (N, ...).
        broken: (N,) bool, True where a point of the ball is not classified as y.
    """

    margin: Tensor
    x_adv: Tensor
    broken: Tensor


def check_exact(graph: Graph) -> None:
    """Refuse networks that are not piecewise linear.

    Raises:
        InputError: a layer is not piecewise linear; the message names it.
    """
    for i in graph.bends:
        if not isinstance(graph.nodes[i].operation, Maximum):
            path, kind = graph.nodes[i].layer
            operation = graph.nodes[i].operation
            name = getattr(operation, "name", type(operation).__name__.lower())
            where = f", in {path} ({kind})" if path else ""
            raise InputError(
                f"method='exact' splits rectifiers and max pooling, it has no split for {name}{where}: "
                "use method='alpha_crown'"
            )


def differences(y: Tensor, classes: int) -> Tensor:
    """(N, K, K): row k of sample n takes logit k from logit y_n."""
    eye = torch.eye(classes, dtype=torch.float64, device=y.device)
    return eye[y][:, None] - eye


class BranchAndBound:
    """One search over the balls of N images.

    Args:
        model: callable from images to logits, or to an answer that holds them, in eval mode.
        made: bounds of every node, one row an image.
        region: the possible counterexamples, in the type of the model.
        y: true classes (N,).
        margin: lower bounds of the margins (N, K) that are known.
        search: limits of the search.
        upper: the least margins (N, K) seen so far; None if there are none.
        spent: seconds that each image has used before.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        made: Bounds,
        region: Region,
        y: Tensor,
        margin: Tensor,
        search: Search,
        upper: Tensor | None = None,
        spent: float = 0.0,
    ) -> None:
        self.model: Callable[[Tensor], Tensor] = lambda z: answer_of(model(z))
        self.region, self.y, self.search = region, y, search
        self.made = replace(made, lines={})
        self.light = self.made.light()
        self.patience = open_units(made) // SHARE + 1  # parts after which the bounds inside are made tighter
        self.functions = differences(y, margin.shape[1])
        self.assumes = False  # whether bounds inside assume a counterexample: then a bound > 0 is a proof, no value
        self.closed = torch.full_like(margin, torch.inf)  # the least bound of the parts that are done with
        self.known = margin.clone()
        self.upper = torch.full_like(margin, torch.inf) if upper is None else upper  # the least margin seen
        self.x_adv, self.broken = region.x.clone(), torch.zeros_like(y, dtype=torch.bool)
        self.given_up = torch.zeros_like(self.broken)
        self.spent, self.count = torch.full_like(margin[:, 0], spent), torch.zeros_like(y)

    def run(self) -> Decided:
        """Search until all images are decided or their limits reached."""
        own = torch.nn.functional.one_hot(self.y, self.known.shape[1]).bool()
        asks = ~own & ((self.known <= 0) if self.search.tolerance is None else True)
        image, rival = (asks & ~self.broken[:, None]).nonzero().unbind(1)
        parts = torch.split(torch.arange(len(image), device=image.device), self._at_once)
        self._go_on(joined([self._root(image[rows], rival[rows]) for rows in parts]))
        margin = torch.minimum(self.closed, self.known.where(~asks, torch.inf)).where(~own, 0.0)
        return Decided(torch.maximum(margin, self.known).where(~own, 0.0), self.x_adv, self.broken)

    @property
    def _at_once(self) -> int:
        """Domains in one pass."""
        return self.made.graph.at_once(2 * WIDTH)

    def _root(self, image: Tensor, rival: Tensor) -> Domains:
        """Those whole balls that are still open."""
        start = time.perf_counter()
        found = self._alive(whole_balls(self.made, image, rival, self.known[image, rival]))
        if not len(found.image):
            return found
        image, found = found.image, self._bounded(found, ROOT_STEPS)
        self._charge(image, time.perf_counter() - start)
        return found

    def _go_on(self, found: Domains) -> None:
        """Split the domains with the least bounds until none is left."""
        pool = Pool(found)
        while len(pool):
            parents = self._alive(pool.worst(min(WIDTH, self._at_once)))
            if len(parents.image):
                pool.add(self._halves(parents))
            late = (self.count >= self.patience).nonzero().squeeze(1)  # note: a wait for the device
            for n in late.tolist():
                self.patience[n] = NEVER
                if len(pool) and len((own := pool.of(n)).image):
                    self._alone(n, own)

    def _alone(self, n: int, found: Domains) -> None:
        """Go on with one image that takes long: tighter bounds inside, and the network reduced to what is open."""
        start, image = time.perf_counter(), torch.tensor([n], device=found.image.device)
        reduced = folded(tightened(self.made.take(image)), self.functions[n])
        region, y, known = self.region.take(image), self.y[image], self.known[image]
        part = BranchAndBound(self.model, reduced.made, region, y, known, self.search)
        part.patience.fill_(NEVER)
        part.functions = torch.eye(known.shape[1], dtype=known.dtype, device=known.device)[None]
        for name in STATE:
            setattr(part, name, getattr(self, name)[image])
        part._charge(torch.zeros_like(image), time.perf_counter() - start)
        found = reduced.carried(found)
        if self.search.tolerance is None and assumes(reduced.made.graph):
            found = part._assuming(found)
        part._go_on(part._bounded(found, STEPS))
        for name in STATE:
            getattr(self, name)[image] = getattr(part, name)

    def _assuming(self, found: Domains) -> Domains:
        """From now on assume a counterexample: the domains get the bounds inside that hold in the whole ball then."""
        self.assumes = True
        rival: Tensor = found.rival.unique()  # type: ignore[no-untyped-call]
        image = torch.zeros_like(rival)
        whole = with_own_bounds(whole_balls(self.made, image, rival, self.known[image, rival]), self.made)
        whole = self._bounded(whole, ROOT_STEPS)
        for _ in range(ROUNDS):
            start = time.perf_counter()
            whole = self._narrowed(whole, NEVER, ROOT_STEPS)
            whole = self._bounded(whole, STEPS) if len(whole.image) else whole
            self._charge(torch.zeros_like(rival), time.perf_counter() - start)
        found = found.take(torch.isin(found.rival, whole.rival))
        return with_bounds_of(whole, found, torch.searchsorted(whole.rival, found.rival))

    def _narrowed(self, found: Domains, units: int, steps: int) -> Domains:
        """Those domains that are still open once a counterexample is assumed in each."""
        if not len(found.image):
            return found
        return self._alive(narrowed(found, self.made, self.light, self._functions(found), units=units, steps=steps))

    def _halves(self, parents: Domains) -> Domains:
        """Those halves of the domains that are still open; domains without a choice are solved."""
        start = time.perf_counter()
        halves, whole = split(parents, parents.bounds(self.light), self._functions(parents), TRIES)
        open_ = self._bounded(settled(halves, halves.bounds(self.made)), STEPS) if len(halves.image) else halves
        if bool(whole.any()):
            open_ = joined([open_, self._solved(parents.take(whole))])
        if self.assumes:
            again = (open_.age >= AGE) & (open_.bound < FAR * self.known[open_.image, open_.rival])
            open_ = joined([open_.take(~again), self._narrowed(open_.take(again), UNITS, UNIT_STEPS)])
        self._charge(parents.image, time.perf_counter() - start)
        return open_

    def _bounded(self, found: Domains, steps: int) -> Domains:
        """Bounds of the domains, and their points tried; those that are still open."""
        if not len(found.image):  # such as where linear bounds certify all
            return found
        parts = torch.split(torch.arange(len(found.image), device=found.image.device), self._at_once)
        return self._alive(joined([self._some(found.take(rows), steps) for rows in parts]))

    def _some(self, found: Domains, steps: int) -> Domains:
        made, C = found.bounds(self.made), self._functions(found)
        options: Any = {"splits": found.splits, "alpha": found.alpha, "beta": found.beta}
        light = made if self.light is self.made else found.bounds(self.light)
        best = raised(made, C, light=light, steps=steps, **options)
        points = self.region.take(found.image).maximise(-best.slope.to(self.region.x.dtype))
        self._try(points, found.image)
        worst = best.bound.topk(min(CLIMBERS, len(points)), largest=False).indices
        self._descend(points[worst], found.take(worst))
        self.count += torch.bincount(found.image, minlength=len(self.y))
        alpha, beta = ({i: t.float() for i, t in part.items()} for part in (best.alpha, best.beta))
        bound = torch.maximum(best.bound, found.bound)
        return found._replace(bound=bound, alpha={**found.alpha, **alpha}, beta={**found.beta, **beta})

    def _solved(self, leaves: Domains) -> Domains:
        """Close domains in which the margin is affine; those are left in which it only is where it is at most 0."""
        best, points = solved(leaves, leaves.bounds(self.made), self._functions(leaves))
        region = self.region.take(leaves.image)
        points = region.maximise(-best.slope.to(region.x.dtype)) if points is None else points
        self._try(region.settle(region.clamp(points.to(region.x.dtype))), leaves.image)
        found = leaves._replace(bound=torch.maximum(best.bound, leaves.bound))
        again = torch.zeros_like(found.image, dtype=torch.bool)
        if self.assumes:  # the point need not be a counterexample
            again = (found.bound <= 0) & has_own_bounds(found, self.made)
        self._close(found.take(~again))
        if self.search.tolerance is None:
            self.given_up[found.image[(found.bound <= 0) & ~again]] = True
        return with_own_bounds(found.take(again), self.made) if self.assumes else found.take(again)

    def _alive(self, found: Domains) -> Domains:
        """The domains that are open, of images that are neither broken nor over their limits."""
        if self.search.tolerance is None:
            done = found.bound > 0
        else:
            done = found.bound >= self.upper[found.image, found.rival] - self.search.tolerance
        over = (self.spent > self.search.time_limit) | (self.count >= self.search.nodes)
        ended = self.given_up | over | (self.broken & (self.search.tolerance is None))
        done = done | ended[found.image]
        self._close(found.take(done))
        return found.take(~done)  # note: a wait for the device

    def _close(self, found: Domains) -> None:
        """The bounds of domains that are done with count."""
        place = found.image * self.closed.shape[1] + found.rival
        bound = found.bound.clamp(max=LEAST) if self.assumes else found.bound
        self.closed.view(-1).scatter_reduce_(0, place, bound, "amin")

    def _try(self, points: Tensor, image: Tensor) -> None:
        """Ask the model about points; what is wrong there is broken.

        Args:
            points: feasible points (M, ...) in the type of the model.
            image: row of the image to which each point belongs (M,).
        """
        with torch.no_grad():
            logits = self.model(points).double()
        own = logits.gather(1, self.y[image, None])
        margin = own - logits
        index = image[:, None].expand_as(margin)
        self.upper.scatter_reduce_(0, index, margin, "amin")
        wrong = (logits.scatter(1, self.y[image, None], -torch.inf).amax(1) > own.squeeze(1)) & ~self.broken[image]
        for row in wrong.nonzero().squeeze(1).tolist():  # note: a wait for the device
            self.x_adv[image[row]] = points[row]
        self.broken[image[wrong]] = True

    def _descend(self, points: Tensor, found: Domains) -> None:
        """Signed steps from points (M, ...) to where the margins of these domains are smaller; the ends are tried.

        A model without a gradient of the pixels (it detaches them, or works under no_grad) leaves the points in place.
        """
        region = self.region.take(found.image)
        C = differences(self.y, self.known.shape[1])[found.image, found.rival].to(points.dtype)
        for step in range(DESCENT):
            with torch.enable_grad():
                leaf = points.requires_grad_()
                value = (self.model(leaf) * -C).sum()
                g = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
            if g is None:
                break
            length = region.eps * (0.5 * 0.75**step)
            points = region.step(leaf.detach(), g, length)
        self._try(region.settle(points.detach()), found.image)

    def tried(self, points: Tensor) -> None:
        """Try one feasible point an image (N, ...)."""
        self._try(self.region.settle(self.region.clamp(points)), torch.arange(len(points), device=points.device))

    def _functions(self, found: Domains) -> Tensor:
        """Coefficients of the outputs (M, K): the label's minus the rival's."""
        return self.functions[found.image, found.rival]

    def _charge(self, image: Tensor, seconds: float) -> None:
        """Share the time of a pass among its images."""
        self.spent += torch.bincount(image, minlength=len(self.spent)) * (seconds / len(image))
