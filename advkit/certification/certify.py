"""`certify`: find the images whose class no point of the ball changes."""

from collections.abc import Callable

import torch
from torch import Tensor

from advkit.certification.certificate import Certificate
from advkit.certification.exact import Attacked, Search, check_exact
from advkit.certification.faithful import check_faithful
from advkit.certification.graph import Graph, Tracing, trace
from advkit.certification.lipschitz import stretch
from advkit.certification.pace import Pace
from advkit.certification.questions import Question, Searched, is_safe
from advkit.certification.rounding import check_digits, rounding_of
from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.errors import InputError, unknown
from advkit.core.float64 import lacks_float64
from advkit.core.option_numbers import shown
from advkit.core.progress_bar import Progress, shows_progress

METHODS = ("ibp", "crown_ibp", "crown", "alpha_crown", "exact", "lipschitz")
HALVINGS = 12
"""Steps of the bisection for a radius."""

TIMED = ("crown", "alpha_crown", "exact")
"""Methods that a limit of time ends."""


@shows_progress("certify", "million products")
def certify(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor,
    norm: str = "linf",
    method: str = "crown",
    bounds: tuple[float, float] = (0, 1),
    radius: bool = False,
    attack: Attacked | None = None,
    time_limit: float | None = None,
    nodes: int | None = None,
    tolerance: float | None = None,
    progress: Progress | bool | None = None,
) -> Certificate:
    """Bound the margins of a network over the part of a ball around each image that is within the range of the pixels.

    The bounds are sound in floating point: they are computed in float64, widened by a bound of the rounding in the
    network's own arithmetic (sums in any order), and the ball is rounded outward. Each margin is the larger of the
    interval bound and the method's.

    Args:
        model: an `nn.Module` or a function from images to logits (N, K); it is taken in eval mode and left as it was.
        x: images (N, C, H, W) within `bounds`.
        y: true classes (N,), integers.
        eps: radius of the ball, a number or a tensor (N,).
        norm: "linf", "l2", "l1" or "l0".
        method: "ibp" (intervals), "crown_ibp" (intervals inside, linear bounds of the margins), "crown" (linear
            bounds of every layer) or "alpha_crown" (the same with optimised slopes), each tighter and more expensive
            than the one before. "exact" searches by branch and bound until every image is certified or broken by a
            point. "lipschitz" takes the product of the layers' operator norms instead.
        bounds: range of the pixels.
        radius: find by bisection a radius at which each image is certified, at most `eps`.
        attack: an attack, or another callable `(model, x, y)` that returns points of the balls (N, C, H, W), which
            "exact" tries first.
        time_limit: seconds that "crown", "alpha_crown" or "exact" spends on each image; passes are shared by their
            rows. By default 60 for "exact", and no limit for the others, which warn beforehand if they may take a
            minute. At the limit the bounds found so far count, and they are sound. With `radius` it holds for each step
            of the bisection. Infinity sets no limit.
        nodes: number of parts of the ball that "exact" bounds for each image, 20,000 by default.
        tolerance: accuracy to which "exact" bounds the least margin of every image and class; by default it stops as
            soon as the signs are known.
        progress: called with (done, all) in millions of multiplications while linear bounds are made; all is an
            estimate. True shows a bar.

    Returns:
        A `Certificate`.

    Raises:
        InputError: the input is wrong, or no bound is known for a layer, which the message names.
    """
    if method not in METHODS:
        noise = "(randomised smoothing is advkit.defenses.Smoothed(model, sigma).certify(x))"
        raise unknown("method", str(method), METHODS, noise if method == "smoothing" else "")
    time_limit = door.check_positive("time_limit", time_limit, optional=True, endless=True)
    nodes = None if nodes is None else door.check_count("nodes", nodes)
    tolerance = door.check_positive("tolerance", tolerance, optional=True)
    search = _search(method, attack, time_limit, nodes, tolerance)
    limit = time_limit if search is None else search.time_limit
    model_checks.check_model(model)
    bounds = door.check_bounds(bounds)
    door.check_images(x, bounds)
    y = door.check_classes("labels", y, x)
    if lacks_float64(x):
        raise InputError("certificates need float64, which this device does not have: move model and images to the CPU")
    radii = torch.as_tensor(door.check_eps(eps, x), dtype=torch.float64, device=x.device).expand(len(x))
    tracing = trace(model, x)
    with looking(model, x.device):
        graph = _graph(tracing, method, y)
        rounding = rounding_of(graph.dtype, x.device)
        check_digits(max(getattr(n.operation, "terms", 1) for n in graph.nodes), rounding, graph.dtype)
        check_faithful(model, graph, x, rounding, bounds)
        times = 1 + HALVINGS if radius else 1
        pace = Pace(method, len(x) * times, limit, progress if callable(progress) else None, x.device)
        ask = Question(graph, norm, method, bounds, pace, stretch(graph, x.device) if method == "lipschitz" else None)
        if search is not None:
            ask = Searched(graph, norm, method, bounds, pace, model=model, search=search, attack=attack)
        found = ask.decided(x, y, radii)
        safe = is_safe(found.margin, y)
        reach = _bisect(ask, x, y, radii, safe) if radius else None
        if search is None:  # which says what is undecided
            pace.end()
    more = {"broken": found.broken, "x_adv": found.x_adv} if search is not None else {}
    return Certificate(certified=safe, margin=found.margin, method=method, norm=norm, radius=reach, eps=radii, **more)


def _search(
    method: str, attack: Attacked | None, time_limit: float | None, nodes: int | None, tolerance: float | None
) -> Search | None:
    """When the search of "exact" ends; None for another method."""
    limits = {"time_limit": time_limit, "nodes": nodes, "tolerance": tolerance}
    given = {name: value for name, value in limits.items() if value is not None}
    if method != "exact":
        foreign = [name for name in given if name != "time_limit"] + ([] if attack is None else ["attack"])
        if foreign:
            raise InputError(f"{foreign[0]} belongs to method='exact', got it with method={method!r}")
        if given and method not in TIMED:
            raise InputError(f"time_limit belongs to the methods {', '.join(TIMED)}, got it with method={method!r}")
    if attack is not None and not callable(attack):
        raise InputError(f"expected attack as an attack or a callable (model, x, y), got {shown(attack)}")
    return None if method != "exact" else Search(**given)  # type: ignore[arg-type]


def _graph(tracing: Tracing, method: str, y: Tensor) -> Graph:
    graph = tracing.graph()
    classes = graph.nodes[-1].shape[0]
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise InputError(f"labels out of range: saw {int(y.min())} to {int(y.max())}, the model has {classes} classes")
    if method not in ("ibp", "lipschitz") and graph.closed:
        raise InputError(f"no linear bound passes through {graph.closed[0]}: use method='ibp'")
    if method == "exact":
        check_exact(graph)
    return graph


def _bisect(ask: Question, x: Tensor, y: Tensor, eps: Tensor, safe: Tensor) -> Tensor:
    """The largest certified radius seen, (N,)."""
    low, high = torch.where(safe, eps, 0.0), eps.clone()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        holds = is_safe(ask.decided(x, y, middle).margin, y)
        low, high = torch.where(holds, middle, low), torch.where(holds, high, middle)
    return low
