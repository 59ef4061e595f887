"""Advice to who gave images or classes in another form: what turns them into tensors (N, C, H, W) and (N,)."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from advkit.core.float64 import in_float64
from advkit.core.plain import is_real, plain


def floats_advice(x: Tensor) -> str:
    """Say how numbers of another type become pixels; empty if nothing is known."""
    if x.is_complex():
        return ""
    if x.dtype == torch.bool:
        return "; of black and white images use x.float()"
    return "; for 8-bit images use x.float() / 255, or torch.as_tensor(x).float() / 255 of an array"


def tensor_advice(value: Any, name: str) -> str:
    """Say how an array or a list becomes a tensor; empty if nothing is known."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return f"; torch.as_tensor({name}) makes one of an array"
    if not isinstance(value, list | tuple) or not value:
        return ""
    if all(isinstance(one, Tensor) for one in value):
        return f"; torch.stack({name}) joins tensors of one shape"
    if all(is_real(plain(one)) for one in value):
        return f"; torch.as_tensor({name}) makes one of a list"
    if name == "x":
        return "; make each image a tensor (C, H, W) in [0, 1], and join them by torch.stack"
    return ""


def batch_advice(x: Tensor, classes: Any) -> str:
    """Say which axis of a batch the images lack, or have too many of; empty if they may be as they should.

    Args:
        x: images (N, ...), as they were given.
        classes: what was given as a class for each of them, and does not fit.
    """
    one = classes.numel() == 1 if isinstance(classes, Tensor) else isinstance(plain(classes), int)
    if x.ndim == 2 and one and len(x) > 1:
        return (
            "; a single image (H, W) needs the axes of batch and channels, and its class that of the batch: "
            "x[None, None], torch.tensor([y])"
        )
    if x.ndim == 3:
        return "; a single image needs the axis of the batch, and so does its class: x[None], torch.tensor([y])"
    if x.ndim == 5 and len(x) == 1 and isinstance(classes, Tensor) and classes.shape == x.shape[1:2]:
        return f"; x has the axis of the batch twice, {tuple(x.shape)}: x[0]"
    if not one or (isinstance(classes, Tensor) and classes.ndim):
        return ""
    if len(x) == 1:
        return "; a class needs the axis of the batch: torch.tensor([y])"
    return f"; torch.full(({len(x)},), y) gives all of them one class"


def rows_advice(classes: Tensor) -> str:
    """Say what to do with a row of numbers for each sample (N, K); empty if nothing is known."""
    if classes.ndim != 2 or not classes.numel() or classes.is_complex():
        return ""
    if classes.shape[1] == 1:
        return "; a column of classes becomes a row by .squeeze(1)"
    ones = classes == 1
    if bool((ones | (classes == 0)).all()):
        if bool((ones.sum(1) == 1).all()):
            return "; one-hot rows become classes by .argmax(1)"
        return "; several classes a sample are a goal of their own: goal=advkit.goals.multi_label()"
    if bool((classes >= 0).all()) and bool(((in_float64(classes).sum(1) - 1).abs() < 1e-3).all()):
        return "; soft labels are no classes: .argmax(1) takes the likeliest of each"
    return ""
