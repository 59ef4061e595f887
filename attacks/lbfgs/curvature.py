"""The limited-memory BFGS direction for a batch of problems f = a + c b, every row with its own c and its own history.

Where b is |r|^2, the change of its gradient along a step s is 2 s and is not stored.

The inverse Hessian is used in its compact form (Byrd, Nocedal, Schnabel 1994, equation 3.1): the long vectors appear in
three matrix products, the rest is algebra on m x m matrices. The result is that of the two-loop recursion.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class History(NamedTuple):
    """The last m pairs of every row, in a ring."""

    pairs: Tensor  # (M, blocks, m, D): steps s, changes of a's gradient along them, changes of b's (2 or 3 blocks)
    stored: Tensor  # (M,) int64: pairs stored since the history was cleared


def empty(like: Tensor, memory: int, blocks: int) -> History:
    """Return a history without pairs, for points like (M, D); 2 blocks where b is |r|^2."""
    return History(
        like.new_zeros(len(like), blocks, memory, like.shape[1]),
        torch.zeros(len(like), dtype=torch.int64, device=like.device),
    )


def push(history: History, where: Tensor, *changes: Tensor) -> History:
    """Store in the rows `where` (M,) a step and the changes of the gradients along it, each (M, D), one a block."""
    pairs, stored = history
    rows, slot = torch.arange(len(stored), device=stored.device), stored % pairs.shape[2]
    for block, new in zip(pairs.unbind(1), changes, strict=True):
        # In place: the history is the one long part of the state, and nothing else refers to it.
        block[rows, slot] = torch.where(where[:, None], new, block[rows, slot])
    return History(pairs, stored + where)


def direction(history: History, c: Tensor, gradient: Tensor, free: Tensor) -> Tensor:
    """Compute minus the inverse Hessian times the gradient (M, D), in the subspace of the free entries.

    Args:
        history: the stored pairs.
        c: current weight of b (M,); pairs that were stored under another c serve as well.
        gradient: gradient of a + c b (M, D).
        free: (M, D), 1 where an entry may move, 0 elsewhere.
    """
    pairs, stored = history
    blocks, memory = pairs.shape[1:3]
    gradient = gradient * free
    long = pairs.flatten(1, 2) * free[:, None]  # (M, blocks m, D)
    slots = (stored[:, None] + torch.arange(memory, device=stored.device)) % memory  # (M, m): oldest to newest
    basis = _basis(slots, c, blocks, pairs)  # (M, 2m, blocks m)
    gram = basis @ (long @ long.mT) @ basis.mT  # (M, 2m, 2m)
    along = (basis @ (long @ gradient[:, :, None])).squeeze(2)  # (M, 2m)
    sy, yy = gram[:, :memory, memory:], gram[:, memory:, memory:]
    curvature, bend = sy.diagonal(dim1=1, dim2=2), yy.diagonal(dim1=1, dim2=2)
    filled = slots < stored[:, None]  # (M, m)
    valid = filled & (curvature > 1e-8 * bend) & (bend > 0)
    both = valid[:, :, None] & valid[:, None, :]
    eye = torch.eye(memory, device=c.device, dtype=c.dtype)
    R = torch.where(both, sy.triu(), 0) + eye * ~valid[:, None, :]
    newest = (valid * torch.arange(1, memory + 1, device=c.device)).argmax(1, keepdim=True)
    length = torch.linalg.vector_norm(gradient, dim=1, keepdim=True).clamp(min=1e-30)
    ratio = (curvature / bend.clamp(min=1e-30)).gather(1, newest)
    gamma = torch.where(valid.any(1, keepdim=True), ratio, (1 / length).clamp(max=1))  # (M, 1)
    p, q = torch.where(valid, along[:, :memory], 0), torch.where(valid, along[:, memory:], 0)
    u = torch.linalg.solve_triangular(R, p[:, :, None], upper=True)
    inner = (curvature * u.squeeze(2)) + gamma * ((torch.where(both, yy, 0) @ u).squeeze(2) - q)
    inner = torch.where(valid, inner, 0)
    w = torch.linalg.solve_triangular(R.mT, inner[:, :, None], upper=False)
    weights = torch.cat([w, -gamma[:, :, None] * u], 1)  # (M, 2m, 1)
    return -(gamma * gradient + (long.mT @ (basis.mT @ weights)).squeeze(2))


def _basis(slots: Tensor, c: Tensor, blocks: int, like: Tensor) -> Tensor:
    """(M, 2m, blocks m): what makes of the ring the steps s, oldest first, and then the changes of a + c b."""
    order = torch.nn.functional.one_hot(slots, slots.shape[1]).to(like.dtype)  # (M, m, m)
    none, weighted = torch.zeros_like(order), c[:, None, None] * order
    rows = [(order, none), (2 * weighted, order)] if blocks == 2 else [(order, none, none), (none, order, weighted)]
    return torch.cat([torch.cat(row, 2) for row in rows], 1)
