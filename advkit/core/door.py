"""Checks of the caller's input, made once, before the first step. Messages say what was seen and expected."""

import math
from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from advkit.core.advice import batch_advice, floats_advice, rows_advice, tensor_advice
from advkit.core.errors import InputError, warn
from advkit.core.goals import TARGETS
from advkit.core.norms import Norm
from advkit.core.option_numbers import MOST, shown
from advkit.core.plain import integers_in, is_integer, is_real, kind, plain
from advkit.core.threat import Region
from advkit.core.transformed_code import check_eager
from advkit.core.words import fraction


def check_dense(value: Tensor) -> None:
    """Raise InputError unless the tensor holds all its values: it is not sparse, nested or on the device "meta"."""
    if value.layout is not torch.strided or value.is_nested or value.device.type == "meta":
        meta = value.device.type == "meta"
        form = "without values, on the device meta" if meta else f"of {value.layout}; x.to_dense() fills a sparse one"
        raise InputError(f"expected tensors that hold all their values, got one {form}")


def check_floats(x: Any, span: str = "") -> None:
    """Raise InputError unless these are images as a floating-point tensor; it may be one that a tracer records."""
    if not isinstance(x, Tensor):
        raise InputError(f"expected images as a torch tensor (N, C, H, W), got {kind(x)}{tensor_advice(x, 'x')}")
    if not x.is_floating_point():
        raise InputError(f"expected floating-point images{span}, got {x.dtype}{floats_advice(x)}")


def check_batch(x: Any, axes: Sequence[int] = (), span: str = "") -> None:
    """Check that these are images (N, ...) as a floating-point tensor, whatever the range of the pixels.

    Args:
        x: what was given as images.
        axes: numbers of axes that they may have; by default two or more.
        span: the range of the pixels in words, for the message.

    Raises:
        InputError: no such tensor.
    """
    check_eager()
    check_floats(x, span)
    check_dense(x)
    if x.ndim < 2 or (axes and x.ndim not in axes):
        advice = "; a single image needs the axis of the batch: x[None]" if x.ndim == 3 else ""
        advice = "; add the batch dimension" if x.ndim < 2 else advice
        raise InputError(f"expected a batch of images (N, C, H, W), got shape {tuple(x.shape)}{advice}")


def check_images(x: Any, bounds: tuple[float, float], axes: Sequence[int] = ()) -> None:
    """Check that the images (N, ...) are floating-point, finite and within the bounds."""
    check_batch(x, axes, f" in [{bounds[0]:g}, {bounds[1]:g}]")
    if not x.numel():
        return
    low, high = torch.stack(torch.aminmax(x)).tolist()
    if not low <= high:  # aminmax propagates NaN
        raise InputError(f"the images contain NaN ({int(x.isnan().sum())} of {x.numel()} entries)")
    least, most = torch.tensor(bounds, dtype=x.dtype, device="cpu").tolist()
    if low < least or high > most:
        raise InputError(
            f"images out of bounds: expected pixels in [{bounds[0]:g}, {bounds[1]:g}], saw {low:.6g} to {high:.6g}; "
            "pass images in [0, 1] and put the normalisation into the model (advkit.models.Normalize), or give bounds="
        )


def check_bounds(bounds: Any) -> tuple[float, float]:
    """Check that the bounds are a pair of finite numbers, low < high."""
    try:
        low, high = (float(plain(bound)) for bound in (() if isinstance(bounds, str | bytes | dict) else bounds))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"expected bounds=(low, high), got {shown(bounds)}") from error
    if not low < high:
        raise InputError(f"expected bounds with low < high, got ({low:g}, {high:g})")
    if math.isinf(high - low):
        raise InputError(
            f"expected finite bounds, got ({low:g}, {high:g}): lengths and random starts scale with the range; "
            "give the least and the largest value that your pixels can have"
        )
    return low, high


def check_classes(what: str, classes: Any, x: Tensor) -> Tensor:
    """Check for one integer class a sample and move them to x's device; `check_answer` checks their range."""
    if not isinstance(classes, Tensor):
        advice = (batch_advice(x, classes) if what == "labels" else "") or tensor_advice(classes, "y")
        raise InputError(f"expected {what} as an integer tensor (N,), got {kind(classes)}{advice}")
    if classes.shape != (len(x),):
        advice = rows_advice(classes) or (batch_advice(x, classes) if what == "labels" else "")
        raise InputError(f"expected {what} of shape ({len(x)},), one a sample, got {tuple(classes.shape)}{advice}")
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        whole = classes.dtype == torch.bool or (
            classes.is_floating_point() and bool((classes == classes.round()).all())
        )
        advice = "use .long() if they are class indices" if whole else "numbers with a fraction are no classes"
        raise InputError(f"expected {what} as integers, got {classes.dtype}; {advice}")
    check_device(what, classes, x)
    return classes.long()


def check_device(what: str, value: Tensor, x: Tensor) -> None:
    """Check that a tensor lies on the device of the images."""
    if value.device != x.device:
        raise InputError(
            f"expected {what} on the images' device {x.device}, got {value.device}; .to({str(x.device)!r}) moves there"
        )


def _read(text: str) -> Any:
    """The number that a text stands for; the text itself where it stands for none."""
    try:
        return fraction(text)
    except InputError:
        return text


def check_eps(eps: Any, x: Tensor | None = None) -> float | Tensor:
    """Check that eps is a number >= 0, a text such as "8/255", or a tensor (N,) of numbers."""
    if isinstance(eps, Tensor) and eps.ndim:
        if x is not None and eps.shape != (len(x),):
            raise InputError(
                f"expected eps as a number or a tensor of shape ({len(x)},), one a sample, got {tuple(eps.shape)}"
            )
        if len(eps) and not bool((eps >= 0).all()):
            raise InputError("expected every eps >= 0, got a negative one or NaN")
        return eps.detach() if x is None else eps.detach().to(x.device, torch.float64)
    eps = _read(eps) if isinstance(eps, str) else plain(eps)
    if not is_real(eps):
        raise InputError(f"expected eps as a number >= 0, got {shown(eps)}")
    if not eps >= 0:
        raise InputError(f"expected eps >= 0, got {eps:g}")
    return float(eps)


def check_grain(name: str, norm: Norm, eps: float | Tensor) -> None:
    """Check that a norm that counts has an eps that allows one change, or 0.

    Raises:
        InputError: an eps, a number or a tensor (N,), lies between 0 and the least change.
    """
    if not norm.grain:
        return
    if bool(((eps > 0) & (eps < norm.grain)).any()) if isinstance(eps, Tensor) else 0 < eps < norm.grain:
        seen = "one below 1" if isinstance(eps, Tensor) else f"{eps:g}"
        raise InputError(
            f"{name} counts what changes ({norm.name}), and nothing may change at an eps below 1: expected eps as 0 "
            f"or a number >= 1, got {seen}"
        )


def check_one_eps(eps: Any) -> float:
    """Check that eps is one number >= 0 for all samples, or a text such as "8/255"."""
    found = check_eps(eps)
    if not isinstance(found, Tensor):
        return found
    if found.numel() != 1:
        raise InputError(
            f"expected one eps for all samples, got a tensor {tuple(found.shape)}: the call of an attack takes one a "
            "sample, attack(model, x, y, eps=...)"
        )
    return float(found.item())


def check_finite_eps(eps: Any) -> float:
    """Check that eps is one finite number >= 0 for all samples, or a text such as "8/255"."""
    found = check_one_eps(eps)
    if math.isinf(found):
        raise InputError("expected eps as a finite number >= 0, got inf")
    return found


def check_seed(seed: Any) -> int:
    """Check that the seed is an integer."""
    seed = plain(seed)
    if not is_integer(seed):
        raise InputError(f"expected seed as an integer, got {shown(seed)}")
    return int(seed)


def check_torch_seed(seed: Any) -> int:
    """Check that the seed is an integer that the generators of torch take."""
    found = check_seed(seed)
    if not -MOST <= found + 1 <= MOST + 1:
        raise InputError(f"expected seed as an integer of at most 63 bits, got {shown(found)}")
    return found


def generator(seed: Any) -> torch.Generator:
    """Check a seed and return torch's generator of it, on the CPU."""
    return torch.Generator().manual_seed(check_torch_seed(seed))


def check_ids(sample_ids: Any, x: Tensor) -> Tensor:
    """Return the ids of the samples (N,); by default the row numbers."""
    if sample_ids is None:
        return torch.arange(len(x), device=x.device)
    try:
        names = torch.as_tensor(sample_ids, device=x.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"expected sample_ids as integers (N,), one a sample, got {kind(sample_ids)}") from error
    return check_classes("sample_ids", names, x)


def check_target(target: Any, x: Tensor) -> str | int | Tensor:
    """Check that the target is a word, a class, or a tensor of classes (N,)."""
    if isinstance(target, str):
        if target not in TARGETS:
            raise InputError(
                f"unknown target {target!r}; expected the number of a class, or one of {', '.join(TARGETS)}; "
                "only what is given data knows names of classes, such as evaluate and --target"
            )
        return target
    target = plain(target)
    if is_integer(target):
        if not 0 <= target <= MOST:
            raise InputError(f"expected target as the number of a class, 0 or more, got {shown(int(target))}")
        return int(target)
    return check_classes("target", target, x)


def one_target(target: Any, wished: Any, x: Tensor) -> Any:
    """Return the target of the call or that of its goal; None if neither is given.

    Raises:
        InputError: both are given, and they differ for a sample.
    """
    if target is None or wished is None:
        return wished if target is None else target
    ours, theirs = check_target(target, x), check_target(wished, x)
    if isinstance(ours, str) or isinstance(theirs, str):
        same = isinstance(ours, str) and isinstance(theirs, str) and ours == theirs
    else:
        same = bool((torch.as_tensor(ours, device=x.device) == torch.as_tensor(theirs, device=x.device)).all())
    if not same:
        raise InputError("expected one target, got target= and a goal with another target: leave one of them out")
    return target


def check_effect(region: Region, eps: float | Tensor, bounds: tuple[float, float]) -> None:
    """Warn if eps > 0, a number or (N,), is too small for the images' type, so that no pixel can move."""
    least = torch.finfo(region.x.dtype).eps * max(map(abs, bounds))
    if isinstance(eps, float) and not 0 < eps < least:
        return
    eps = region.eps.flatten()
    lost = int(((eps > 0) & (eps < least) & (region.low == region.high).flatten(1).all(1)).sum())
    if lost:
        warn(f"eps is below the resolution of the images' type for {lost} of {len(eps)} samples: they cannot change")


def check_rows(y: Any, x: Tensor) -> Tensor:
    """Check the y of a goal without classes: any tensor of N rows; it is moved to x's device."""
    if not isinstance(y, Tensor) or not y.ndim or len(y) != len(x):
        seen = tuple(y.shape) if isinstance(y, Tensor) else kind(y)
        raise InputError(f"expected y as a tensor of {len(x)} rows, one a sample, got {seen}")
    check_device("y", y, x)
    return y.detach()


def check_clean(clean: Any, x: Tensor) -> Tensor | None:
    """Check the outputs for the clean images that a caller knows: floats of N rows, or None."""
    if clean is None:
        return None
    if not isinstance(clean, Tensor) or not clean.is_floating_point() or not clean.ndim or len(clean) != len(x):
        seen = f"{clean.dtype} {tuple(clean.shape)}" if isinstance(clean, Tensor) else kind(clean)
        raise InputError(f"expected clean as the model's outputs for the {len(x)} images, one row each, got {seen}")
    check_device("clean", clean, x)
    return clean.detach().clone()


def without_graph(value: Any) -> Any:
    """Detach a tensor that the caller differentiates; leave anything else."""
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value


def check_count(name: str, value: Any, *, least: int = 1, most: int = MOST, advice: str = "") -> int:
    """Check an integer hyperparameter and return it as a Python int; `advice` follows the message.

    Raises:
        InputError: the value is no integer, or it is below `least`, or above `most`.
    """
    value = plain(value)
    if not is_integer(value) or not least <= value <= most:
        span = f"from {least} to {most}" if most < MOST else f">= {least}"
        raise InputError(f"expected {name} as an integer {span}, got {shown(value)}{advice}")
    return int(value)


def check_shape(name: str, value: Any, *, axes: int | None = None) -> tuple[int, ...]:
    """Check the shape of one image and return it as a tuple of Python ints; with `axes=3` it is (C, H, W).

    Raises:
        InputError: the value is no list, tuple, array or tensor of positive integers, or of another length.
    """
    found = integers_in(value)
    if not found or not all(0 < length <= MOST for length in found) or (axes and len(found) != axes):
        form = f"{name}=(channels, height, width) of positive whole numbers"
        form = form if axes == 3 else f"the shape of an image as {name}, such as (1, 32, 32)"
        raise InputError(f"expected {form}, got {shown(value)}")
    return found


def check_flag(name: str, value: Any) -> bool:
    """Check a hyperparameter that is on or off.

    Raises:
        InputError: the value is not True or False. A word such as "no" would count as true.
    """
    value = plain(value)
    if not isinstance(value, bool):
        raise InputError(f"expected {name} as True or False, got {shown(value)}")
    return value


@overload
def check_positive(name: str, value: Any, *, optional: Literal[False] = False, endless: bool = False) -> float: ...
@overload
def check_positive(name: str, value: Any, *, optional: Literal[True], endless: bool = False) -> float | None: ...
def check_positive(name: str, value: Any, *, optional: bool = False, endless: bool = False) -> float | None:
    """Check that a hyperparameter is a finite number > 0; an optional one may be None, an endless one infinite.

    Raises:
        InputError: the value is no number, not > 0, or infinite.
    """
    if optional and value is None:
        return None
    value = plain(value)
    if not is_real(value) or not value > 0 or (math.isinf(value) and not endless):
        raise InputError(f"expected {name} as a number > 0, got {shown(value)}")
    return float(value)


def check_number(name: str, value: Any) -> float:
    """Check that a value is a finite number.

    Raises:
        InputError: the value is no number, NaN or infinite.
    """
    value = plain(value)
    if not is_real(value) or not math.isfinite(value):
        raise InputError(f"expected {name} as a finite number, got {shown(value)}")
    return float(value)


def check_share(name: str, value: Any) -> float:
    """Check that a hyperparameter is a number above 0 and at most 1, such as a share of an area.

    Raises:
        InputError: the value is no number, or outside the range.
    """
    value = plain(value)
    if not is_real(value) or not 0 < value <= 1:
        raise InputError(f"expected {name} as a number above 0 and at most 1, got {shown(value)}")
    return float(value)


def check_between(name: str, value: Any, low: float, high: float, *, ends: bool = True, endless: bool = False) -> float:
    """Check that a hyperparameter is a finite number in [low, high]; with `ends=False`, in (low, high).

    With `endless` it may be infinite where `high` is.

    Raises:
        InputError: the value is no number, or outside the range.
    """
    value = plain(value)
    inside = is_real(value) and (low <= value <= high if ends else low < value < high)
    if not inside or (math.isinf(value) and not endless):
        span = f"from {low} to {high}" if ends else f"above {low} and below {high}"
        span = f">= {low}" if ends and math.isinf(high) else span
        raise InputError(f"expected {name} as a number {span}, got {shown(value)}")
    return float(value)
