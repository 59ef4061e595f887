"""The least margins of any piecewise linear module, by a mixed-integer program.

An affine map is known by its values at 0 and at the unit vectors. So the module itself runs on a batch that holds its
variables: row 0 is the constant part, and row i + 1 adds variable i. Rectifiers and maxima, at which the module would
leave this form, answer with new variables and add their constraints.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Affine = tuple[np.ndarray, float]
"""Coefficients of the variables (V,), and a constant."""

AFFINE = {
    "__get__", "_max_pool2d", "adaptive_avg_pool2d", "add", "avg_pool2d", "batch_norm", "cat", "conv2d",
    "conv_transpose2d", "dim", "dropout", "flatten", "linear", "mul", "neg", "rsub", "size", "sub", "unbind",
    "unflatten",
}  # fmt: skip
"""Names of torch's functions that keep a batch of affine functions one."""


class Program(TorchFunctionMode):
    """While it is entered, rectifiers and maxima of torch make new variables.

    Args:
        low: least values of the first variables.
        high: their largest values.
        most: number of variables that there can be.
    """

    def __init__(self, low: np.ndarray, high: np.ndarray, most: int = 160) -> None:
        super().__init__()
        self.low, self.high, self.whole, self.most = [*low], [*high], [0] * len(low), most
        self.rows: list[tuple[np.ndarray, float, float]] = []

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in ("relu", "relu_"):
            return self._each(args[0], [0.0])
        if name in ("leaky_relu", "leaky_relu_"):
            slope = kwargs.get("negative_slope", args[1] if len(args) > 1 else 0.01)
            return self._largest([args[0], slope * args[0]])
        if name == "hardtanh":  # -max(-max(z, low), -high)
            low, high = args[1:3] or (kwargs["min_val"], kwargs["max_val"])
            return -self._each(-self._each(args[0], [low]), [-high])
        if name == "amax":
            return self._pieces(args[0], args[1] if len(args) > 1 else kwargs["dim"])
        if name == "max_pool2d":
            return self._pooled(args[0], lambda z: func(z, *args[1:], **kwargs))
        assert name in AFFINE, f"is {name} affine?"
        return func(*args, **kwargs)

    def variable(self, low: float, high: float, *, whole: bool = False) -> int:
        """Add a variable and return its number."""
        self.low.append(low)
        self.high.append(high)
        self.whole.append(int(whole))
        assert len(self.low) <= self.most, "too many variables"
        return len(self.low) - 1

    def row(self, entries: dict[int, float] | np.ndarray, least: float, most: float) -> None:
        """Add the constraint least <= <entries, variables> <= most."""
        if isinstance(entries, dict):
            dense = np.zeros(self.most)
            dense[list(entries)] = list(entries.values())
            entries = dense
        self.rows.append((entries, least, most))

    def maximum(self, of: Sequence[Affine]) -> Affine:
        """The largest of some affine functions of the variables."""
        ends = [self._ends(*function) for function in of]
        best = max(low for low, _ in ends)
        kept = [k for k, (_, high) in enumerate(ends) if high >= best]
        if len(kept) == 1:
            return of[kept[0]]
        top = max(ends[k][1] for k in kept)
        value = self.variable(best, top)
        chosen = [self.variable(0, 1, whole=True) for _ in kept]
        self.row(dict.fromkeys(chosen, 1.0), 1, 1)
        for k, bit in zip(kept, chosen, strict=True):
            a, b = of[k]
            above = -a
            above[value] += 1
            self.row(above, b, np.inf)  # value >= a + b
            below = above.copy()
            below[bit] += top - ends[k][0]
            self.row(below, -np.inf, b + top - ends[k][0])  # value <= a + b where the bit is 1
        unit = np.zeros(self.most)
        unit[value] = 1
        return unit, 0.0

    def _ends(self, a: np.ndarray, b: float) -> tuple[float, float]:
        low, high, a = np.array(self.low), np.array(self.high), a[: len(self.low)]
        up, down = np.maximum(a, 0), np.minimum(a, 0)
        return float(b + up @ low + down @ high), float(b + up @ high + down @ low)

    def functions(self, z: Tensor) -> list[Affine]:
        """The entries of the batch (1 + V, ...) as functions of the variables."""
        flat = z.detach().double().numpy().reshape(len(z), -1)
        return [(flat[1:, i] - flat[0, i], float(flat[0, i])) for i in range(flat.shape[1])]

    def _batch(self, functions: Sequence[Affine], shape: Sequence[int]) -> Tensor:
        a, b = np.stack([a for a, _ in functions], 1), np.array([b for _, b in functions])
        return torch.from_numpy(np.concatenate([b[None], a + b])).view(1 + self.most, *shape)

    def _each(self, z: Tensor, others: Sequence[float]) -> Tensor:
        constants = [(np.zeros(self.most), float(c)) for c in others]
        return self._batch([self.maximum([f, *constants]) for f in self.functions(z)], z.shape[1:])

    def _largest(self, of: Sequence[Tensor]) -> Tensor:
        columns = zip(*(self.functions(z) for z in of), strict=True)
        return self._batch([self.maximum(column) for column in columns], of[0].shape[1:])

    def _pieces(self, z: Tensor, dim: int) -> Tensor:
        return self._largest(z.unbind(dim))

    def _pooled(self, z: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        """An entry lies in a window if the window's maximum rises with it."""
        functions = self.functions(z)
        with torch._C.DisableTorchFunction():
            shape = pool(z[:1]).shape[1:]
            ones = torch.eye(len(functions), dtype=z.dtype).view(-1, *z.shape[1:])
            inside = pool(ones).flatten(1).T > 0  # (windows, entries)
        return self._batch([self.maximum([functions[i] for i in w.nonzero().squeeze(1)]) for w in inside], shape)


class UnsolvedError(Exception):
    """HiGHS ends in an error: such as where weights reach 1e12, far beyond its tolerances."""


def least_margins(net: nn.Module, x: Tensor, eps: float, y: int, norm: str = "linf") -> np.ndarray:
    """Return the least values (K,) of logit y minus each other over the ball around one image x (1, ...).

    Args:
        net: the module, in float64 and eval mode.
        x: the image, in [0, 1].
        eps: the radius.
        y: the class.
        norm: linf, l1 or l0.
    """
    optimize, sparse = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.sparse")
    centre = x.double().flatten().numpy()
    n, reach = len(centre), 1.0 if norm == "l0" else eps
    program = Program(np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1))
    if norm != "linf":
        _ball(program, centre, eps, norm)
    start = torch.zeros(1 + program.most, n, dtype=torch.float64)
    start[1 : 1 + n] = torch.eye(n, dtype=torch.float64)
    start = start.view(-1, *x.shape[1:])
    with torch.no_grad(), program:
        out = net(start)
    logits, used = program.functions(out), len(program.low)
    A = sparse.csr_matrix(np.array([a[:used] for a, _, _ in program.rows]).reshape(-1, used))
    rows = [optimize.LinearConstraint(A, *zip(*(ends for _, *ends in program.rows), strict=True))] * bool(A.shape[0])
    least = []
    for a, b in logits:
        cost, constant = (logits[y][0] - a)[:used], logits[y][1] - b
        found = optimize.milp(
            cost, constraints=rows, integrality=program.whole, bounds=optimize.Bounds(program.low, program.high),
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        if found.status == 4:  # "other", as after numerical trouble; a program without a solution is our mistake
            raise UnsolvedError(found.message)
        assert found.status == 0, found.message
        least.append(float(found.fun + constant))
    return np.array(least)


def _ball(program: Program, centre: np.ndarray, eps: float, norm: str) -> None:
    """Each entry moves by at most its own variable (l1), or only if its own is 1 (l0); their sum is at most eps."""
    moved = [program.variable(0, 1, whole=norm == "l0") for _ in centre]
    program.row(dict.fromkeys(moved, 1.0), -np.inf, eps)
    for i, (own, c) in enumerate(zip(moved, centre, strict=True)):
        up, down = (1 - c, c) if norm == "l0" else (1.0, 1.0)
        program.row({i: 1.0, own: -up}, -np.inf, c)
        program.row({i: 1.0, own: down}, c, np.inf)
