"""Tensors that are so large on a CPU that a further operation, or a question to the host, costs less than it saves."""

import torch
from torch import Tensor

MANY = 2**13
"""Entries: measured on one thread; below it an operation costs its call, above it the memory that it moves."""


def is_large(t: Tensor) -> bool:
    """Return whether the tensor is a plain one of many entries on a CPU, where nobody waits for a device.

    Args:
        t: a tensor.
    """
    return type(t) is Tensor and t.device.type == "cpu" and t.numel() >= MANY


def known_none(rows: Tensor) -> bool:
    """Return whether no entry is True; False where the host would have to wait for a device to know it.

    Args:
        rows: a tensor of bool.
    """
    return type(rows) is Tensor and rows.device.type == "cpu" and not rows.numpy().any()


def in_pieces(t: Tensor) -> Tensor | None:
    """Return the rows (M, ...) as pieces of 16 bytes (M, P) complex128, to be moved and not to be computed with.

    None if they do not lie so. Operations that only move entries take a third of the time on them.

    Args:
        t: rows (M, ...).
    """
    if not is_large(t) or t.requires_grad or not t.is_contiguous():
        return None
    if (t[0].numel() * t.element_size()) % 16 or (t.storage_offset() * t.element_size()) % 16:
        return None
    return t.flatten(1).view(torch.complex128)
