"""Upper bounds of the l2 operator norms of single operations, that is, of their largest singular values.

A power iteration converges from below, so it is no upper bound. This module has three upper bounds, each with its
own rounding added.

Matrices: Gram iteration (Delattre, Barthelemy, Araujo, Allauzen 2023, arXiv 2305.16173). With `G_0 = W` and
`G_(t+1) = G_t* G_t`, `|W|_2 = |G_t|_2^(1/2^t) <= |G_t|_F^(1/2^t)`, which exceeds |W|_2 by the factor rank^(1/2^(t+1)).

Convolutions: with few entries, the matrix itself. With more, the convolution on a torus: an image with its zero padding
is an image on the torus, and the outputs are some of those on the torus, so the norm there is not smaller. On the
torus the norm is the largest over the frequencies of the norm of a small matrix (Sedghi, Gupta, Long 2019, arXiv
1805.10408); a stride adds up the frequencies that it aliases.

Operations whose weights are all >= 0: `|A|_2^2 <= max_j (A^T A v)_j / v_j` for any v > 0 (Collatz, Wielandt).
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from advkit.certification.linear import Affine, Combination, Conv, Dense, Move, Reshape, Scale, Shape
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rounding import DOUBLE, gamma

TURNS = 14
CLOSE = 1e-4
"""A Gram iteration ends where its bound exceeds the norm by no more than this, relative."""

DENSE, ENTRIES = 1200, 2**23
"""A convolution becomes a matrix if its smaller side and its number of entries are at most these."""

CHUNK = 2**21
"""Entries of the matrices of the frequencies that are looked at at once."""

OUTWARD = 1 + 2.0**-40
"""More than the rounding of a few scalar operations."""


def matrix_norm(W: Tensor) -> float:
    """An upper bound of the largest norm among matrices (B, m, n), real or complex, float64."""
    G = W if W.shape[-1] <= W.shape[-2] else W.mH
    error = gamma(4 * G.shape[-2] + 64, DOUBLE)  # of a product of matrices whose Frobenius norm is 1, complex or not
    error = error + gamma(G[0].numel(), DOUBLE)  # and of a Frobenius norm of at most 1
    size = _frobenius(G)
    if not bool(size.isfinite().all()):  # note: a wait for the device
        return math.inf
    log, G = torch.zeros_like(size)[size > 0], G[size > 0]
    if not len(G):
        return 0.0
    upper = log
    for t in range(TURNS):  # |W| = exp(log) |G|^(1 / 2^t)
        size = _frobenius(G)
        log, G = log + size.log() / 2**t, G / size[:, None, None]
        G = G.mH @ G
        size = _frobenius(G)
        upper = log + (size + error).log() / 2 ** (t + 1)
        lower = log + (size - error).clamp(min=0).log() / 2**t  # |G* G|_F <= |G|_2 |G|_F
        most = lower.amax()
        if bool(upper.amax() - most <= CLOSE):  # note: a wait for the device
            break
        left = upper >= most - 1e-6  # the others are not the largest
        log, G = (log + torch.log1p(error / size) / 2 ** (t + 1))[left], G[left]
    return math.exp(float(upper.amax())) * OUTWARD


def _frobenius(G: Tensor) -> Tensor:
    """(B, m, n) -> (B,)."""
    size: Tensor = torch.linalg.vector_norm(G, dim=(1, 2))
    return size


def convolution_norm(op: Conv, inputs: Shape, outputs: Shape) -> float:
    """An upper bound for a convolution or transposed convolution from (C, *in) to (C', *out)."""
    n, m = math.prod(inputs), math.prod(outputs)
    if min(n, m) > DENSE or n * m > ENTRIES:
        return _torus_norm(op, inputs, outputs)
    eye = torch.eye(min(n, m), dtype=torch.float64, device=op.weight.device)
    matrix = op.linear([eye.view(-1, *inputs)]) if n <= m else op.transpose(eye.view(-1, *outputs), [inputs])[0]
    return matrix_norm(matrix.flatten(1)[None])


def _torus_norm(op: Conv, inputs: Shape, outputs: Shape) -> float:
    """The norm around a torus of the least size at which nothing but zero padding is met twice."""
    if op.transposed:  # the adjoint of a convolution the other way
        inputs, outputs = outputs, inputs
    sides = _torus_sides(op, inputs, outputs)
    W = op.weight.double()
    W = W.view(op.groups, -1, *W.shape[1:])  # (G, O, I, *k)
    taps = W.flatten(3).permute(3, 0, 1, 2).flatten(1)  # (taps, G O I)
    per = math.prod(op.stride) * taps.shape[1]
    halved = [range(n) for n in sides[:-1]] + [range(sides[-1] // 2 + 1)]  # the others are conjugate
    places = torch.tensor(list(itertools.product(*halved)), device=W.device)
    error = gamma(4 * len(taps) + 64, DOUBLE) * float(W.flatten(3).abs().sum(3).norm())
    step = max(1, CHUNK // per)
    parts = (places[k : k + step] for k in range(0, len(places), step))
    found = [matrix_norm(_frequencies(op, W.shape, taps, sides, part)) for part in parts]
    return (max(found) + error) * OUTWARD


def _torus_sides(op: Conv, inputs: Shape, outputs: Shape) -> list[int]:
    """Sides of the torus over the strides."""
    axes = zip(inputs[1:], outputs[1:], op.stride, op.padding, strict=True)
    return [-(-max(n + p, (m - 1) * s + 1) // s) for n, m, s, p in axes]


def _frequencies(op: Conv, shape: Sequence[int], taps: Tensor, sides: list[int], places: Tensor) -> Tensor:
    """The matrices of some frequencies, those that the stride makes alike side by side: (F G, O, aliases I)."""
    wholes = [n * s for n, s in zip(sides, op.stride, strict=True)]
    shifts = itertools.product(*(range(s) for s in op.stride))
    aliases = torch.tensor(list(shifts), device=places.device) * torch.tensor(sides, device=places.device)
    wave = (places[:, None] + aliases).unsqueeze(2)  # (F, aliases, 1, axes)
    offsets = torch.tensor(list(itertools.product(*(range(k) for k in shape[3:]))), device=places.device)
    offsets = offsets * torch.tensor(op.dilation, device=places.device)  # (taps, axes)
    size = torch.tensor(wholes, device=places.device)
    turns = ((wave * offsets) % size).double() / size  # whole numbers, so that angles stay small
    phase = torch.polar(torch.ones((), dtype=torch.float64, device=places.device), 2 * math.pi * turns.sum(3))
    hat = (phase.flatten(0, 1) @ taps.to(phase.dtype)) / math.sqrt(math.prod(op.stride))
    G, O, I = shape[:3]  # noqa: E741
    return hat.view(len(places), -1, G, O, I).permute(0, 2, 3, 1, 4).reshape(len(places) * G, O, -1)


def positive_norm(op: Affine, inputs: Shape, device: torch.device, turns: int = 12) -> float:
    """An upper bound for an operation on one input whose weights are all >= 0, by vectors v > 0."""
    v = torch.ones(1, *inputs, dtype=torch.float64, device=device)
    best = math.inf
    for _ in range(turns):
        after = op.transpose(op.linear([v]), [inputs])[0]
        best = min(best, float((after / v).amax()))
        v = (after / after.amax()).nan_to_num(1.0).clamp(min=1e-9)
    return math.sqrt(best * (1 + gamma(op.terms + op.width + 64, DOUBLE))) * OUTWARD


def maximum_norm(op: Maximum, inputs: Shape) -> float:
    """Root of the largest number of windows that share an entry: an output moves as far as one entry of its window."""
    if op.windows.index is None:
        return 1.0
    inside = op.windows.index[op.windows.index < math.prod(inputs)]
    return math.sqrt(int(torch.bincount(inside.flatten()).amax()))


def operator_norm(op: Affine, inputs: Shape, outputs: Shape, device: torch.device) -> float:
    """An upper bound for an affine operation on one input, or for a sum of several."""
    if isinstance(op, Conv):
        return convolution_norm(op, inputs, outputs)
    if isinstance(op, Dense):
        return matrix_norm(op.weight.double()[None])
    if isinstance(op, Scale):
        return float(op.factor.abs().amax()) * OUTWARD
    if isinstance(op, Combination):
        return math.hypot(*op.factors) * OUTWARD if len(op.factors) > 1 else abs(op.factors[0])
    if isinstance(op, Reshape):
        return 1.0
    assert isinstance(op, Move)
    return positive_norm(op, inputs, device)
