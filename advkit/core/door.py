"""What a caller can get wrong, checked once, before the first step: what was seen, what was expected, what to do."""

import math
import numbers
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.goals import TARGETS
from advkit.core.threat import Region
from advkit.core.words import fraction


def check_model(model: Any) -> None:
    """A callable whose parameters autograd can work with."""
    if not callable(model):
        raise InputError(f"expected a model (an nn.Module or a function from images to logits), got {_kind(model)}")
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    if any(isinstance(p, nn.UninitializedParameter) for p in parameters):
        raise InputError(
            "the model has lazy layers whose parameters have no shape yet: pass one batch of images through it first"
        )
    if any(p.is_inference() for p in parameters):
        raise InputError(
            "the model was built under torch.inference_mode, so no gradient can pass through it; "
            "build or load it outside, or copy its state_dict into a model built outside"
        )


def check_place(model: Any, x: Tensor) -> None:
    """What to do where a pass failed and the model's numbers are of another type or on another device than the images.

    Raises:
        InputError: they are.
    """
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    like = next((p for p in parameters if p.is_floating_point()), x)
    if (like.dtype, like.device) != (x.dtype, x.device):
        raise InputError(
            f"the model takes no images of {x.dtype} on {x.device}: its parameters are {like.dtype} on {like.device}; "
            f"give x.to({like.device.type!r}, {like.dtype}), or move the model"
        )


def check_images(x: Any, bounds: tuple[float, float]) -> None:
    """Floating-point images (N, ...), finite, within bounds."""
    if not isinstance(x, Tensor):
        raise InputError(f"expected images as a torch tensor (N, C, H, W), got {_kind(x)}")
    if not x.is_floating_point():
        raise InputError(
            f"expected floating-point images in [{bounds[0]:g}, {bounds[1]:g}], got {x.dtype}; "
            "for 8-bit images use x.float() / 255"
        )
    if x.ndim < 2:
        raise InputError(
            f"expected a batch of images (N, C, H, W), got shape {tuple(x.shape)}; add the batch dimension"
        )
    if not x.numel():
        return
    low, high = torch.stack(torch.aminmax(x)).tolist()
    if not low <= high:  # aminmax propagates NaN
        raise InputError(f"the images contain NaN ({int(x.isnan().sum())} of {x.numel()} entries)")
    least, most = torch.tensor(bounds, dtype=x.dtype).tolist()
    if low < least or high > most:
        raise InputError(
            f"images out of bounds: expected pixels in [{bounds[0]:g}, {bounds[1]:g}], saw {low:.6g} to {high:.6g}; "
            "pass images in [0, 1] and put the normalisation into the model (advkit.models.Normalize), or give bounds="
        )


def check_bounds(bounds: Any) -> tuple[float, float]:
    """A pair of numbers, low < high."""
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError) as error:
        raise InputError(f"expected bounds=(low, high), got {bounds!r}") from error
    if not low < high:
        raise InputError(f"expected bounds with low < high, got ({low:g}, {high:g})")
    return low, high


def check_classes(what: str, classes: Any, x: Tensor) -> Tensor:
    """Integer classes, one a sample, on x's device; their range is checked when the model has answered."""
    if not isinstance(classes, Tensor):
        raise InputError(f"expected {what} as an integer tensor (N,), got {_kind(classes)}")
    if classes.shape != (len(x),):
        raise InputError(
            f"expected {what} of shape ({len(x)},), one a sample, got {tuple(classes.shape)}{_rows_advice(classes)}"
        )
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        whole = classes.dtype == torch.bool or (
            classes.is_floating_point() and bool((classes == classes.round()).all())
        )
        advice = "use .long() if they are class indices" if whole else "numbers with a fraction are no classes"
        raise InputError(f"expected {what} as integers, got {classes.dtype}; {advice}")
    if classes.device != x.device:
        raise InputError(f"expected {what} on the images' device {x.device}, got {classes.device}")
    return classes.long()


def _rows_advice(classes: Tensor) -> str:
    """What to do with a row of numbers for each sample; empty where nothing is known."""
    if classes.ndim != 2 or not classes.numel() or classes.is_complex():
        return ""
    if classes.shape[1] == 1:
        return "; a column of classes becomes a row by .squeeze(1)"
    ones = classes == 1
    if bool((ones | (classes == 0)).all()):
        if bool((ones.sum(1) == 1).all()):
            return "; one-hot rows become classes by .argmax(1)"
        return "; several classes a sample are a goal of their own: goal=advkit.goals.multi_label()"
    if bool((classes >= 0).all()) and bool(((classes.double().sum(1) - 1).abs() < 1e-3).all()):
        return "; soft labels are no classes: .argmax(1) takes the likeliest of each"
    return ""


def _read(text: str) -> Any:
    """The number that a text stands for; the text itself where it stands for none."""
    try:
        return fraction(text)
    except InputError:
        return text


def check_eps(eps: Any, x: Tensor | None = None) -> float | Tensor:
    """A number >= 0, a text such as "8/255", or a tensor (N,) of numbers."""
    if isinstance(eps, Tensor) and eps.ndim:
        if x is not None and eps.shape != (len(x),):
            raise InputError(
                f"expected eps as a number or a tensor of shape ({len(x)},), one a sample, got {tuple(eps.shape)}"
            )
        if len(eps) and not bool((eps >= 0).all()):
            raise InputError("expected every eps >= 0, got a negative one or NaN")
        return eps if x is None else eps.to(x.device, torch.float64)
    eps = _read(eps) if isinstance(eps, str) else plain(eps)
    if not _is_real(eps):
        raise InputError(f"expected eps as a number >= 0, got {eps!r}")
    if not eps >= 0:
        raise InputError(f"expected eps >= 0, got {eps:g}")
    return float(eps)


def check_seed(seed: Any) -> int:
    """An integer."""
    seed = plain(seed)
    if not _is_integer(seed):
        raise InputError(f"expected seed as an integer, got {seed!r}")
    return int(seed)


def check_ids(sample_ids: Any, x: Tensor) -> Tensor:
    """The names of the samples (N,): by default the row numbers."""
    if sample_ids is None:
        return torch.arange(len(x), device=x.device)
    return check_classes("sample_ids", torch.as_tensor(sample_ids, device=x.device), x)


def check_target(target: Any, x: Tensor) -> str | int | Tensor:
    """A word, a class, or a tensor of classes (N,)."""
    if isinstance(target, str):
        if target not in TARGETS:
            raise InputError(f"unknown target {target!r}; expected a class, or one of {', '.join(TARGETS)}")
        return target
    target = plain(target)
    if _is_integer(target):
        return int(target)
    return check_classes("target", target, x)


def _at_once(*truths: Tensor | bool) -> list[bool]:
    """The truths, 0-dimensional tensors of one device or known already, with one wait for the device."""
    asked = [truth for truth in truths if isinstance(truth, Tensor)]
    answers = iter(torch.stack(asked).tolist() if asked else [])
    return [next(answers) if isinstance(truth, Tensor) else truth for truth in truths]


def check_answer(logits: Any, x: Tensor, y: Tensor, loss: Any = None) -> None:
    """The model's answer to the clean images: logits (N, K), finite, with a place for every label.

    Warns of logits that look wrong; with a `loss` that is climbed from there, also of those too small for it.
    """
    if not isinstance(logits, Tensor):
        raise InputError(
            f"expected the model to return a tensor of logits, got {_kind(logits)}; wrap it so that it returns them"
        )
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise InputError(
            f"expected logits of shape ({len(x)}, K) with K >= 2 classes for images {tuple(x.shape)}, "
            f"got {tuple(logits.shape)}"
        )
    classes = logits.shape[1]
    finite, inside, sums, same, small = _at_once(
        logits.isfinite().all(),
        ((y >= 0) & (y < classes)).all(),
        (logits >= 0).all() & ((logits.double().sum(1) - 1).abs() < 1e-3).all(),
        (logits == logits[:1]).all() if len(x) > 1 else False,
        _too_small(loss, logits),
    )
    if not finite:
        rows = int((~logits.isfinite()).any(1).sum())
        raise InputError(f"the model returned NaN or infinite logits for {rows} of {len(x)} clean images")
    if not inside:
        raise InputError(
            f"labels out of range: saw {int(y.min())} to {int(y.max())}, "
            f"the model has {classes} classes (0 to {classes - 1})"
        )
    if sums:
        _warn("the model seems to return probabilities; attacks expect logits: remove the final softmax")
    if same and not bool((x == x[:1]).all()):
        _warn("the model gives the same logits for different images: does it use its input?")
    if small:
        _warn(
            f"the logits of an image lie no further apart than {SMALL:g}: the cross-entropy hardly depends on which "
            "class is near, so the attack is weaker than with larger logits; use loss='margin' or 'dlr'"
        )


SMALL = 0.01
"""Logits that lie no further apart make the cross-entropy linear: every other class counts alike, however far it is."""


def _too_small(loss: Any, logits: Tensor) -> Tensor | bool:
    """Whether the loss is a cross-entropy that cannot see which class is near, K > 2."""
    if loss not in ("cross_entropy", "rival") or logits.shape[1] == 2:
        return False
    spread = (logits.amax(1) - logits.amin(1)).median()
    return (spread > 0) & (spread < SMALL)


def check_effect(region: Region, eps: float | Tensor, bounds: tuple[float, float]) -> None:
    """Warn where eps > 0, a number or (N,), is too small for the images' type: no pixel can move."""
    least = torch.finfo(region.x.dtype).eps * max(map(abs, bounds))
    if isinstance(eps, float) and not 0 < eps < least:
        return
    eps = region.eps.flatten()
    lost = int(((eps > 0) & (eps < least) & (region.low == region.high).flatten(1).all(1)).sum())
    if lost:
        _warn(f"eps is below the resolution of the images' type for {lost} of {len(eps)} samples: they cannot change")


def check_outputs(outputs: Any, x: Tensor) -> None:
    """The model's answer to the clean images under a goal of its own form: floats (N, ...), finite."""
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(x):
        seen = tuple(outputs.shape) if isinstance(outputs, Tensor) else _kind(outputs)
        raise InputError(f"expected the model to return a tensor ({len(x)}, ...), one row an image, got {seen}")
    if not bool(outputs.isfinite().all()):
        rows = int((~outputs.reshape(len(outputs), -1).isfinite()).any(1).sum())
        raise InputError(f"the model returned NaN or infinite outputs for {rows} of {len(x)} clean images")


def check_margin(margin: Any, outputs: Tensor) -> None:
    """What a goal says of the outputs: one number a sample."""
    if not isinstance(margin, Tensor) or margin.shape != (len(outputs),):
        seen = tuple(margin.shape) if isinstance(margin, Tensor) else _kind(margin)
        raise InputError(f"expected the goal's margin as a tensor ({len(outputs)},), one number a sample, got {seen}")


def check_rows(y: Any, x: Tensor) -> Tensor:
    """What a goal of its own form compares the outputs with: any tensor of N rows, on x's device."""
    if not isinstance(y, Tensor) or not y.ndim or len(y) != len(x):
        seen = tuple(y.shape) if isinstance(y, Tensor) else _kind(y)
        raise InputError(f"expected y as a tensor of {len(x)} rows, one a sample, got {seen}")
    if y.device != x.device:
        raise InputError(f"expected y on the images' device {x.device}, got {y.device}")
    return y.detach()


def check_path(zero: Tensor, broken: Tensor, unsteady: Tensor) -> None:
    """Warn of what the search met, (N,) bool each: a gradient of 0, an answer that is not finite, two to one image."""
    zeros, broke, moved = torch.stack([zero, broken, unsteady]).sum(1).tolist()
    if zeros:
        _warn(
            f"the gradient was exactly zero for {zeros} of {len(zero)} samples: the attack cannot see where to go "
            "(saturated or quantised outputs, or an input that is not used), so their robustness may be an illusion; "
            "try loss='dlr' or 'margin', or a model in float64"
        )
    if broke:
        _warn(
            f"the model answered NaN or infinity during the search for {broke} of {len(zero)} samples: "
            "what lies there was not searched, so their robustness may be an illusion; mend the model, or use float64"
        )
    if moved:
        _warn(
            f"the model gave the same image two answers, which concerns {moved} of {len(zero)} samples: it is "
            "random, or depends on the rest of the batch; a success is one verdict among many: "
            "use eot=, or evaluate(verdicts=20)"
        )


def plain(value: Any) -> Any:
    """A scalar of NumPy, torch (0 dimensions) or `fractions` as a Python int, float or bool; anything else as it is."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and value.ndim == 0:
        return value.item()
    if isinstance(value, numbers.Real) and not isinstance(value, int | float):
        return float(value)
    return value


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """An integer hyperparameter, as Python's int.

    Raises:
        InputError: no integer, or below `least`.
    """
    value = plain(value)
    if not _is_integer(value) or value < least:
        raise InputError(f"expected {name} as an integer >= {least}, got {value!r}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """A hyperparameter that is on or off.

    Raises:
        InputError: anything but True and False: a word such as "no" would count as yes.
    """
    value = plain(value)
    if not isinstance(value, bool):
        raise InputError(f"expected {name} as True or False, got {value!r}")
    return value


def check_positive(name: str, value: Any, *, optional: bool = False) -> float | None:
    """A real, finite hyperparameter > 0; or None, if it is optional.

    Raises:
        InputError: no number, or not > 0, or infinite.
    """
    if optional and value is None:
        return None
    value = plain(value)
    if not _is_real(value) or not 0 < value < math.inf:
        raise InputError(f"expected {name} as a number > 0, got {value!r}")
    return float(value)


def check_between(name: str, value: Any, low: float, high: float, *, ends: bool = True) -> float:
    """A real hyperparameter from `low` to `high`; with `ends=False` above the one and below the other.

    Raises:
        InputError: no number, or out of that range.
    """
    value = plain(value)
    if not _is_real(value) or not (low <= value <= high if ends else low < value < high):
        span = f"from {low} to {high}" if ends else f"above {low} and below {high}"
        raise InputError(f"expected {name} as a number {span}, got {value!r}")
    return float(value)


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _warn(text: str) -> None:
    warnings.warn(text, AdvkitWarning, stacklevel=5)


def _kind(value: Any) -> str:
    return type(value).__name__
