"""Checks of the caller's model, and of what it and its goal answer. Messages say what was seen and expected."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.errors import InputError, warn
from advkit.core.float64 import in_float64
from advkit.core.outputs import answer_of
from advkit.core.plain import kind


def check_model(model: Any) -> None:
    """Check that the model is a callable whose parameters autograd can work with."""
    _check_one(model)
    if not callable(model):
        raise InputError(f"expected a model (an nn.Module or a function from images to logits), got {kind(model)}")
    if isinstance(model, type):
        raise InputError(f"expected a model, got the class {model.__name__} itself: make one, {model.__name__}(...)")
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    if any(isinstance(p, nn.UninitializedParameter) for p in parameters):
        raise InputError(
            "the model has lazy layers whose parameters have no shape yet: pass one batch of images through it first"
        )
    if any(p.is_meta for p in parameters):
        raise InputError("the model's parameters have no values, on the device meta: load its weights first")
    if any(p.is_inference() for p in parameters):
        raise InputError(
            "the model was built under torch.inference_mode, so no gradient can pass through it; "
            "build or load it outside, or copy its state_dict into a model built outside"
        )


def _check_one(model: Any) -> None:
    """Say of a container, and of a module without a forward, what to give instead."""
    if isinstance(model, Mapping) and model and all(isinstance(value, Tensor) for value in model.values()):
        raise InputError(
            f"expected a model (an nn.Module), got {kind(model)} of tensors: load them, net.load_state_dict(...)"
        )
    if isinstance(model, list | tuple | set | Mapping | nn.ModuleList | nn.ModuleDict):
        named = isinstance(model, Mapping | nn.ModuleDict)
        one = f"models[{next(iter(model), 'name')!r}]" if named else "models[0]"
        raise InputError(
            f"expected a model (an nn.Module or a function from images to logits), got {kind(model)} of "
            f"{len(model)}: give one of them, such as {one}, or join layers by nn.Sequential"
        )
    own = getattr(type(model), "forward", None) is nn.Module.forward and "forward" not in vars(model)
    if isinstance(model, nn.Module) and own:
        raise InputError(f"expected a model, got the module {kind(model)}, which has no forward: give it one")


def check_place(model: Any, x: Tensor) -> None:
    """Explain a failed pass if the images lack values or axes, or the model's numbers are of another type or device.

    Raises:
        InputError: they do; the message says what to do.
    """
    if x.layout is not torch.strided:
        raise InputError(f"the model takes no images of {x.layout}: x.to_dense() fills them")
    if x.ndim < 2:
        raise InputError(f"expected a batch of images (N, ...), got shape {tuple(x.shape)}; add the batch dimension")
    held = chain(model.parameters(), model.buffers()) if isinstance(model, nn.Module) else ()
    like = next((p for p in held if p.is_floating_point()), x)
    if (like.dtype, like.device) != (x.dtype, x.device):
        raise InputError(
            f"the model takes no images of {x.dtype} on {x.device}: its parameters are {like.dtype} on {like.device}; "
            f"give x.to({like.device.type!r}, {like.dtype}), or move the model"
        )


def ask(model: Any, x: Tensor, *, like: nn.Module | None = None) -> Tensor:
    """Return the model's answer to x, see `answer_of`; it is a module's way to ask the one inside.

    Args:
        model: callable that takes x.
        x: images (N, ...).
        like: the module whose numbers the images should be like; default: the model.

    Raises:
        InputError: the answer has another form, or the pass failed as `check_place` explains.
    """
    try:
        return answer_of(model(x))
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        if not isinstance(error, InputError | torch.OutOfMemoryError):
            check_place(model if like is None else like, x)
        raise


@contextmanager
def explained(model: Any, x: Tensor) -> Iterator[None]:
    """Context manager: inside the block the model is asked about x, and its errors say so.

    Raises:
        InputError: the pass failed, and the model's numbers differ from the images in type or device.
    """
    try:
        yield
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        explain(error, model, x)
        raise


def explain(error: Exception, model: Any, x: Tensor) -> None:
    """Give the error of a failed pass a note that says what the model was asked.

    Raises:
        InputError: the images cannot be asked about, as `check_place` explains.
    """
    check_place(model, x)
    tell(error, model, x)


def tell(error: Exception, model: Any, x: Tensor) -> None:
    """Note in the model's own error what it was asked, and what may be wrong with it; once, however deep it lies."""
    note = _refused(model, x)
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _refused(model: Any, x: Tensor) -> str:
    shape = tuple(x.shape)
    note = f"advkit asked the model about images of shape {shape}, {x.dtype}"
    if len(shape) == 4 and shape[3] in (1, 3, 4) and shape[1] > 4:
        return f"{note}; their channels seem to come last: give x.permute(0, 3, 1, 2)"
    if len(shape) == 3:
        return f"{note}; a single image needs the axis of the batch: x[None]"
    if not isinstance(model, nn.Module):
        return f"{note}; a function that makes a model is none: call it, and give what it returns"
    return note


def check_answer(logits: Any, x: Tensor, y: Tensor, loss: Any = None) -> None:
    """Check the model's answer to the clean images: finite logits (N, K), with a column for every label.

    Warns of logits that look wrong, and of logits that are too small for the attack's `loss`.
    """
    if not isinstance(logits, Tensor):
        raise InputError(
            f"expected the model to return a tensor of logits, got {kind(logits)}; wrap it so that it returns them"
        )
    check_logits(logits, x)
    classes = logits.shape[1]
    finite, inside, sums, same, small = _at_once(
        logits.isfinite().all(),
        ((y >= 0) & (y < classes)).all(),
        (logits >= 0).all() & ((in_float64(logits).sum(1) - 1).abs() < 1e-3).all().to(logits.device),
        (logits == logits[:1]).all() if len(x) > 1 else False,
        _too_small(loss, logits),
    )
    if not finite:
        check_finite(logits, x)
    if not inside:
        check_labels((int(y.min()), int(y.max())), classes)
    if sums:
        warn("the model seems to return probabilities; attacks expect logits: remove the final softmax")
    if same and not bool((x == x[:1]).all()):
        warn("the model gives the same logits for different images: does it use its input?")
    if small:
        warn(
            f"the logits of an image lie no further apart than {SMALL:g}: the cross-entropy hardly depends on which "
            "class is near, so the attack is weaker than with larger logits; use loss='margin' or 'dlr'"
        )


def check_logits(logits: Tensor, x: Tensor) -> None:
    """Check that the answer to the images has one row of at least two numbers for each: (N, K)."""
    if logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise InputError(
            f"expected logits of shape ({len(x)}, K) with K >= 2 classes for images {tuple(x.shape)}, "
            f"got {tuple(logits.shape)}{_goal_advice(tuple(logits.shape), x)}"
        )


def _goal_advice(shape: tuple[int, ...], x: Tensor) -> str:
    """Name the axis that the images lack, or the goals for outputs of this shape that are no logits of classes."""
    if x.ndim == 3 and len(shape) == 1:
        return "; a single image needs the axis of the batch: x[None]"
    if len(x) == 1 and len(shape) == 1 and shape[0] > 1:
        return "; it lacks the axis of the batch, as after squeeze(): squeeze the axis that is meant, as by squeeze(1)"
    if shape[:1] != x.shape[:1]:
        return ""
    if shape[1:] in ((), (1,)):
        return "; one output an image needs a goal: goal='one_logit()', or 'regression(tolerance=0.1)'"
    if len(shape) == 4 and x.ndim == 4 and shape[2:] == x.shape[2:]:
        return "; one answer a pixel needs a goal: goal='segmentation(share=0.5)'"
    return ""


def check_labels(seen: tuple[int, int], classes: int, advice: str = "") -> None:
    """Check that the smallest and the largest label are columns of the logits (N, K), K = `classes`."""
    least, most = seen
    if not 0 <= least <= most < classes:
        raise InputError(
            f"labels out of range: saw {least} to {most}, the model has {classes} classes (0 to {classes - 1}){advice}"
        )


def _at_once(*truths: Tensor | bool) -> list[bool]:
    """The truths, 0-dimensional tensors of one device or known already, with one wait for the device."""
    asked = [truth for truth in truths if isinstance(truth, Tensor)]
    answers = iter(torch.stack(asked).tolist() if asked else [])
    return [next(answers) if isinstance(truth, Tensor) else truth for truth in truths]


def check_finite(logits: Tensor, x: Tensor) -> None:
    """Check that the logits (N, K) of the clean images are finite."""
    rows = int((~logits.isfinite()).any(1).sum())  # note: a wait for the device
    if rows:
        raise InputError(f"the model returned NaN or infinite logits for {rows} of {len(x)} clean images")


SMALL = 0.01
"""Logits that lie no further apart make the cross-entropy linear: every other class counts alike, however far it is."""


def _too_small(loss: Any, logits: Tensor) -> Tensor | bool:
    """Whether the loss is a cross-entropy that cannot see which class is near, K > 2."""
    if loss not in ("cross_entropy", "rival") or logits.shape[1] == 2:
        return False
    spread = (logits.amax(1) - logits.amin(1)).median()
    return (spread > 0) & (spread < SMALL)


def check_outputs(outputs: Any, x: Tensor) -> None:
    """Check the model's answer to the clean images for a goal without classes: finite floats (N, ...)."""
    if not isinstance(outputs, Tensor) or not outputs.ndim or len(outputs) != len(x):
        seen = tuple(outputs.shape) if isinstance(outputs, Tensor) else kind(outputs)
        raise InputError(f"expected the model to return a tensor ({len(x)}, ...), one row an image, got {seen}")
    if not bool(outputs.isfinite().all()):
        rows = int((~outputs.reshape(len(outputs), -1).isfinite()).any(1).sum())
        raise InputError(f"the model returned NaN or infinite outputs for {rows} of {len(x)} clean images")


def check_margin(margin: Any, outputs: Tensor) -> None:
    """Check that the goal returned one number a sample, and no NaN."""
    if not isinstance(margin, Tensor) or margin.shape != (len(outputs),):
        seen = tuple(margin.shape) if isinstance(margin, Tensor) else kind(margin)
        raise InputError(f"expected the goal's margin as a tensor ({len(outputs)},), one number a sample, got {seen}")
    blank = int(margin.isnan().sum())
    if blank:
        raise InputError(
            f"the goal returned NaN for {blank} of {len(outputs)} clean images, which is neither right nor wrong: "
            "return a number for each, such as -1 where there is nothing to judge"
        )


def check_path(zero: Tensor, broken: Tensor, unsteady: Tensor, other: tuple[str, ...]) -> None:
    """Warn of zero gradients, non-finite answers, and different answers to one image, (N,) bool each.

    Args:
        zero: the gradient was zero.
        broken: an answer was not finite.
        unsteady: two answers differed.
        other: names of losses that the attack takes in place of its own; none if it climbs none.
    """
    zeros, broke, moved = torch.stack([zero, broken, unsteady]).sum(1).tolist()
    if zeros:
        advice = f"loss={' or '.join(map(repr, other))}" if other else "an attack without gradients, such as square"
        warn(
            f"the gradient was exactly zero for {zeros} of {len(zero)} samples: the attack cannot see where to go "
            "(saturated or quantised outputs, an input that is not used, or a loss of NaN), so their robustness may be "
            f"an illusion; try {advice}, or a model in float64"
        )
    if broke:
        warn(
            f"the model answered NaN or infinity, or the goal NaN, during the search for {broke} of {len(zero)} "
            "samples: what lies there was not searched, so their robustness may be an illusion; mend the model or the "
            "goal, or use float64"
        )
    if moved:
        warn(
            f"the model gave the same image two answers, which concerns {moved} of {len(zero)} samples: it is "
            "random, or depends on the rest of the batch; a success is one verdict among many: "
            "use eot=, or evaluate(verdicts=20)"
        )
