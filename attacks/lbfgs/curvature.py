"""The limited-memory BFGS direction for a batch of problems f = a + c b, every row with its own c and its own history.

Where b is |r|^2, the change of its gradient along a step s is 2 s and is not stored.

The inverse Hessian is used in its compact form (Byrd, Nocedal, Schnabel 1994, equation 3.1): the long vectors appear in
two matrix products, the rest is algebra on m x m matrices. The result is that of the two-loop recursion.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, bmm


@dataclass(frozen=True)
class Ring:
    """What all rows share: m pairs lie in a ring. Phase k < m: k pairs are there; m + k: all, the oldest at place k."""

    bases: Tensor  # (2m, 2, 2m + 1, blocks m + 1), by phase: `basis` for c = 0, and what c multiplies
    after: Tensor  # (2m,) int64: the phase that follows each
    places: Tensor  # (2m, blocks) int64: where among the vectors the next pair goes
    steepest: Tensor  # (2m + 1, 1): the weights of s, y and g that make -g
    number: Tensor  # (m,) int64: 1 .. m, from the oldest pair to the newest

    def basis(self, phase: Tensor, c: Tensor) -> Tensor:
        """(M, 2m + 1, blocks m + 1): makes of a row's vectors the steps s, the changes y of f's gradient, and g."""
        bases = self.bases[phase]
        return torch.addcmul(bases[:, 0], bases[:, 1], c[:, None, None])


class History(NamedTuple):
    """The last m pairs of every row."""

    vectors: Tensor  # (M, blocks m + 1, D): steps s, changes of a's gradient along them, those of b's; last, g
    phase: Tensor  # (M,) int64: how many pairs there are, and where, see `Ring`
    ring: Ring


def empty(like: Tensor, memory: int, blocks: int) -> History:
    """Return a history without pairs, for points like (M, D); 2 blocks where b is |r|^2, 3 otherwise."""
    vectors = like.new_zeros(len(like), blocks * memory + 1, like.shape[1])
    return History(vectors, torch.zeros(len(like), dtype=torch.int64, device=like.device), _ring(memory, blocks, like))


def _ring(m: int, blocks: int, like: Tensor) -> Ring:
    order = torch.stack([torch.eye(m, device="cpu").roll(oldest, 1) for oldest in range(m)])  # (m, m, m)
    filled = torch.stack([order[k] * (torch.arange(m, device="cpu") < k) for k in range(m)])
    order = torch.cat([filled, order]).to(like)  # (2m, m, m): the places, oldest pair first
    bases = like.new_zeros(2 * m, 2, 2 * m + 1, blocks * m + 1)
    fixed, weighted = bases.unbind(1)
    fixed[:, :m, :m] = fixed[:, m:-1, m : 2 * m] = order
    fixed[:, -1, -1] = 1
    weighted[:, m:-1, :m] += 2 * order if blocks == 2 else 0
    weighted[:, m:-1, 2 * m : -1] += order if blocks == 3 else 0
    steepest = like.new_zeros(2 * m + 1, 1)
    steepest[-1] = -1
    after = torch.arange(1, 2 * m + 1, device=like.device)
    number = after[:m].clone()
    places = ((after - 1) % m)[:, None] + m * torch.arange(blocks, device=like.device)
    after[-1] = m
    return Ring(bases, after, places, steepest, number)


def push(history: History, where: Tensor, *changes: Tensor) -> History:
    """Store in the rows `where` (M,) a step and the changes of the gradients along it, each (M, D), one a block."""
    vectors, phase, ring = history
    rows = torch.arange(len(where), device=where.device)[:, None]
    places = torch.where(where[:, None], ring.places[phase], -1)  # the place of g is free until it is asked about
    # In place: the history is the one long part of the state, and nothing else refers to it.
    vectors[rows, places] = torch.stack(changes, 1)
    return history._replace(phase=torch.where(where, ring.after[phase], phase))


def cleared(history: History, where: Tensor) -> History:
    """Forget the pairs of the rows `where` (M,)."""
    return history._replace(phase=history.phase.masked_fill(where, 0))


def direction(history: History, c: Tensor, gradient: Tensor, free: Tensor) -> Tensor:
    """Compute minus the inverse Hessian times the gradient (M, D), in the subspace of the free entries.

    Where rounding makes that no direction of descent, it is minus the gradient.

    Args:
        history: the stored pairs.
        c: current weight of b (M,); pairs that were stored under another c serve as well.
        gradient: gradient g of a + c b (M, D).
        free: (M, D), 1 where an entry may move, 0 elsewhere.
    """
    vectors, phase, ring = history
    m = len(ring.number)
    vectors[:, -1] = gradient  # in place, as in `push`
    long = vectors * free[:, None]
    basis = ring.basis(phase, c)
    gram = bmm(bmm(basis, bmm(long, long.mT)), basis.mT)  # (M, 2m + 1, 2m + 1): inner products of s, y and g
    sy, yy = (gram[:, rows, m:-1].diagonal(dim1=1, dim2=2) for rows in (slice(m), slice(m, -1)))  # (M, m)
    scale = sy / yy
    valid = (sy > 0) & (scale > 1e-8)
    newest = torch.where(valid, ring.number, 0).amax(1, keepdim=True)  # 0 if no pair is of use
    steepest = gram[:, -1:, -1].rsqrt().clamp(max=1)
    gamma = torch.cat([steepest, scale], 1).gather(1, newest)[:, :, None]  # (M, 1, 1)
    void = ~valid
    unused = torch.cat([void, void, newest < 0], 1)[:, :, None]  # (M, 2m + 1, 1): g is used
    gram = gram.masked_fill(unused | unused.mT, 0)
    SY, YY, Sg, Yg = gram[:, :m, m:-1], gram[:, m:-1, m:-1], gram[:, :m, -1:], gram[:, m:-1, -1:]
    D = SY.diagonal(dim1=1, dim2=2).masked_fill_(void, 1)[:, :, None]
    u = torch.linalg.solve_triangular(SY, Sg, upper=True)  # R = the upper triangle of SY; the rest is not read
    inner = torch.addcmul(gamma * torch.baddbmm(Yg, YY, u, alpha=-1), D, u, value=-1)
    w = torch.linalg.solve_triangular(SY.mT, inner, upper=False)
    weights = torch.cat([w, gamma * u, -gamma], 1)  # (M, 2m + 1, 1): of s, y and g
    descends = (weights * gram[:, :, -1:]).sum(1, keepdim=True) < 0
    weights = torch.where(descends, weights, ring.steepest)
    return bmm(long.mT, bmm(basis.mT, weights)).squeeze(2)
