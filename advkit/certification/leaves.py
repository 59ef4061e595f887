"""Branches without choices: the margin is affine, and a linear program finds its least value.

The solver only proposes multipliers. The bound is computed from them like any other, so any multipliers are sound.
"""

import importlib.util
from typing import Any

import torch
from torch import Tensor

from advkit.certification.alpha_crown import Raised, Relaxation, raised
from advkit.certification.bounds import Bounds
from advkit.certification.domains import Domains
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.unit_rows import Rows

PRICE = 1e6
"""Price of leaving the branch, in units of the slope: an empty branch gets a large bound."""

STEPS = 60
"""Steps of ascent where no linear program can be solved."""


def solved(found: Domains, made: Bounds, C: Tensor) -> tuple[Raised, Tensor | None]:
    """Bound domains without choices; also return the points (M, ...) of the least margin, if they are known.

    Args:
        found: the domains.
        made: bounds of every node, one row a domain.
        C: coefficients of the logits (M, K).
    """
    options: Any = {"splits": found.splits, "alpha": found.alpha}
    if not made.ball.norm.boxed or importlib.util.find_spec("scipy") is None:
        return raised(made, C, beta=found.beta, steps=STEPS, **options), None
    betas, points = zip(*(_program(found, made, C, row) for row in range(len(C))), strict=True)
    beta = {i: torch.cat([b[i] for b in betas]) for i in found.splits}
    return raised(made, C, beta=beta, steps=0, **options), torch.cat(points)


def _program(found: Domains, made: Bounds, C: Tensor, row: int) -> tuple[dict[int, Tensor], Tensor]:
    """The multipliers of one domain, and the point that the solver found."""
    from scipy.optimize import linprog

    one = torch.tensor([row], device=C.device)
    part, box, shape = found.take(one), made.take(one), made.ball.x.shape[1:]
    relaxed = Relaxation(box, part.splits, part.alpha, {})
    slope = relaxed.line(C[one])[1].flatten()
    exact = box.take(torch.zeros(1, dtype=torch.int64, device=C.device))
    exact.lines.update(relaxed.lines)
    G, g, entries = [], [], []
    for i, splits in part.splits.items():
        node = made.graph.nodes[i]
        assert isinstance(node.operation, Maximum)
        counts = node.operation.counting(splits)[0].nonzero()  # (R, 2)
        if not len(counts):
            continue
        beta = torch.zeros(len(counts), *splits.shape[1:], dtype=torch.float64, device=C.device)
        beta[torch.arange(len(counts)), counts[:, 0], counts[:, 1]] = 1
        terms = node.operation.constrained(splits.expand_as(beta), beta)
        before = made.graph.nodes[node.inputs[0]].shape
        coefficients = node.operation.windows.sums(terms, before)[None]
        line, constant = exact.line(node.inputs[0], Rows(a=coefficients))
        G.append(line.whole(tuple(shape)).a[0].flatten(1))
        g.append(constant[0])
        entries += [(i, int(t), int(o)) for t, o in counts.tolist()]
    low, high = box.ball.low.flatten(), box.ball.high.flatten()
    betas = {i: torch.zeros(1, *s.shape[1:], dtype=torch.float64, device=C.device) for i, s in part.splits.items()}
    if not entries:
        return betas, torch.where(slope > 0, low, high).view(1, *shape)
    A, b = torch.cat(G), -torch.cat(g)
    size, unit = (torch.where(t > 0, t, 1.0) for t in (A.abs().amax(1), slope.abs().amax()))  # numbers near 1
    A, b = torch.cat([A / size[:, None], -A.new_ones(len(A), 1)], 1), b / size  # A x <= b + t, at a price for t
    answer = linprog(
        torch.cat([slope / unit, slope.new_tensor([PRICE])]).cpu().numpy(),
        A_ub=A.cpu().numpy(),
        b_ub=b.cpu().numpy(),
        bounds=[*zip(low.tolist(), high.tolist(), strict=True), (0, None)],
        method="highs",
    )
    if answer.x is None:
        return betas, torch.where(slope > 0, low, high).view(1, *shape)
    prices = unit / size * torch.as_tensor(-answer.ineqlin.marginals, device=C.device)
    for (i, t, o), value in zip(entries, prices.tolist(), strict=True):
        betas[i][0, t, o] = max(value, 0.0)
    return betas, torch.as_tensor(answer.x[:-1], device=C.device).view(1, *shape)
