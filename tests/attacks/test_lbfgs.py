"""The direction of L-BFGS against the two-loop recursion, and what the host knows changes no result."""

import pytest
import torch
from helpers.cost import network
from torch import Tensor

from advkit.attacks import LBFGS
from advkit.attacks.lbfgs import curvature, lbfgs, minimisation
from advkit.core import driver

Pair = tuple[Tensor, Tensor, Tensor]
"""A step (D,), and the changes of the gradients of a and of b along it."""


def two_loops(pairs: list[Pair], c: Tensor, gradient: Tensor, free: Tensor) -> Tensor:
    """Minus the inverse Hessian times the gradient (D,): Nocedal and Wright 2006, algorithm 7.4, one row."""
    kept = [(s * free, (a + c * b) * free) for s, a, b in pairs]
    kept = [(s, y) for s, y in kept if s @ y > 1e-8 * (y @ y)]
    q, alphas = gradient * free, []
    gamma = kept[-1][0] @ kept[-1][1] / (kept[-1][1] @ kept[-1][1]) if kept else (1 / q.norm()).clamp(max=1)
    for s, y in reversed(kept):
        alphas.append(s @ q / (s @ y))
        q = q - alphas[-1] * y
    r = gamma * q
    for (s, y), alpha in zip(kept, reversed(alphas), strict=True):
        r = r + s * (alpha - y @ r / (s @ y))
    return -r


@pytest.mark.parametrize("memory", [1, 5])
@pytest.mark.parametrize("blocks", [2, 3])
def test_the_direction_is_that_of_the_two_loop_recursion(blocks: int, memory: int) -> None:
    """Rows store when they like, one forgets; some pairs bend the wrong way, and the first round has none."""
    rows, entries = 4, 30
    draw = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=draw)

    root = numbers(entries, entries)
    hessian = root @ root.T / entries
    history, pairs = curvature.empty(numbers(rows, entries), memory, blocks), [[] for _ in range(rows)]
    for i in range(25):
        c, gradient, free = numbers(rows).abs(), numbers(rows, entries), (numbers(rows, entries) > -1).double()
        found = curvature.direction(history, c, gradient, free)
        for r in range(rows):
            torch.testing.assert_close(found[r], two_loops(pairs[r], c[r], gradient[r], free[r]), rtol=1e-9, atol=1e-9)
        if i == 15:
            history, pairs[0] = curvature.cleared(history, torch.arange(rows) == 0), []
        where, s = numbers(rows) > -0.5, numbers(rows, entries)
        a = s @ hessian * (-5 if i % 7 == 3 else 1)
        b = 2 * s if blocks == 2 else 2 * s + 0.1 * numbers(rows, entries)
        history = curvature.push(history, where, *(s, a, b)[:blocks])
        for r in where.nonzero().squeeze(1).tolist():
            pairs[r] = [*pairs[r], (s[r], a[r], b[r])][-memory:]


def test_a_gradient_that_overflows_leaves_a_direction_of_numbers() -> None:
    gradient = torch.full((1, 6), 1e30)
    history = curvature.empty(gradient, 5, 2)
    assert torch.equal(curvature.direction(history, torch.ones(1), gradient, torch.ones(1, 6)), -gradient)


@pytest.mark.parametrize("count", [1, 6])
def test_what_the_host_knows_changes_nothing(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU work is left out where no row asks for it; on other devices it is done all the same."""
    model = network().requires_grad_(False)
    x = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    found = LBFGS()(model, x, y)
    for module in (driver, lbfgs, minimisation):
        monkeypatch.setattr(module, "known_none", lambda rows: False)
    other = LBFGS()(model, x, y)
    assert found.x_adv.equal(other.x_adv)
    assert found.queries.equal(other.queries)
