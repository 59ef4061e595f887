"""What moves, copies, drops, joins and averages entries."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advkit.certification.graph import BATCH, RULES, Call, Ref
from advkit.certification.linear import Move, Reshape
from advkit.certification.rules.registering import rule


@rule("getitem")
def _item(call: Call) -> Any:
    return call.args[0][call.args[1]]


RULES["<built-in function getitem>"] = _item


@rule("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "squeeze_copy", "view_copy",
      "_reshape_copy", "unsqueeze_copy", "reshape_copy")  # fmt: skip
def _reshape(call: Call) -> Ref:
    return call.add(Reshape(shape=call.shape), call.args[0])


CAST = ", as autocast does: certify outside of torch.autocast, or convert network and images"


@rule("clone", "detach", "alias", "contiguous", "dropout", "_to_copy", "alias_copy", "detach_copy", "lift_fresh_copy",
      "lift_fresh")  # fmt: skip
def _same(call: Call) -> Ref:
    dtype = call.kwargs.get("dtype")
    if dtype is not None and dtype != call.graph.dtype:
        raise call.refusal(f"changes the type to {dtype}{CAST}")
    z: Ref = call.args[0]
    return z


@rule("native_dropout")
def _dropped(call: Call) -> tuple[Ref, None]:
    if call.args[2]:
        raise call.refusal("drops units at random")
    return call.args[0], None


@rule("permute", "transpose", "t", "slice", "select", "constant_pad_nd", "index_select", "expand", "flip", "roll",
      "pixel_shuffle", "channel_shuffle", "permute_copy", "transpose_copy", "slice_copy", "select_copy", "expand_copy",
      "narrow", "unfold", "upsample_nearest2d", "replication_pad2d", "reflection_pad2d", "as_strided",
      "index", "_unsafe_index", "repeat", "rot90", "diagonal", "diagonal_copy", "tril", "triu", "pixel_unshuffle",
      "im2col", "_upsample_nearest_exact2d", "upsample_nearest1d", "unfold_copy")  # fmt: skip
def _moved(call: Call) -> Ref:
    """Entries chosen, copied or filled with 0."""
    if "as_strided" in str(call.target):
        raise call.refusal("depends on the layout in memory")
    run, z = _replay(call), call.args[0]
    filled = call.args[2] if "constant_pad_nd" in str(call.target) and len(call.args) > 2 else 0
    bias = None
    if filled:
        bias = run(torch.zeros(1, *z.shape, dtype=torch.float64 if call.double else torch.float32))[0]
        run = _replay(call, {2: 0.0})
    _check_batch(call, run, z)
    return call.add(Move(run=run, name=str(call.target), bias=bias, width=math.prod(call.shape)), z)


@rule("mean", "sum", "avg_pool2d", "_adaptive_avg_pool2d", "avg_pool3d", "avg_pool1d", "_adaptive_avg_pool3d")
def _averaged(call: Call) -> Ref:
    """Weighted sums with weights >= 0."""
    dtype = call.kwargs.get("dtype")
    if dtype is not None and dtype != call.graph.dtype:
        raise call.refusal(f"changes the type to {dtype}{CAST}")
    # The bounds have a type of their own.
    call.kwargs = {name: value for name, value in call.kwargs.items() if name != "dtype"}
    run, z = _replay(call), call.args[0]
    call.shape  # noqa: B018 - refuses a result without a batch
    _check_batch(call, run, z)
    terms = math.prod(z.shape) // max(1, min(math.prod(call.shape), math.prod(z.shape)))
    if "pool" in str(call.target):
        terms = math.prod(z.shape)  # no window is larger than the image
    divided = 0 if "sum" in str(call.target) else terms
    name, width = str(call.target), math.prod(call.shape)
    return call.add(Move(run=run, name=name, terms=terms + 1, width=width, divided=divided), z)


@rule("cat", "stack")
def _joined(call: Call) -> Ref:
    parts, axis = [*call.args, 0][:2]
    if axis % (len(call.shape) + 1) == 0:
        raise call.refusal("joins batches")
    if not all(isinstance(p, Ref) for p in parts):
        raise call.refusal("joins images and constants, as a class token does; certify the network without it")
    run = lambda *ts: call.target(ts, axis)  # noqa: E731
    return call.add(Move(run=run, name=str(call.target)), *parts)


@rule("split", "split_with_sizes", "unbind", "split_copy", "split_with_sizes_copy", "unbind_copy")
def _parted(call: Call) -> tuple[Ref, ...]:
    z = call.args[0]
    parts = _replay(call)(torch.zeros(BATCH, *z.shape))
    return tuple(_part(call, z, i, tuple(part.shape[1:])) for i, part in enumerate(parts))


def _part(call: Call, z: Ref, i: int, shape: tuple[int, ...]) -> Ref:
    """One result of an operation that has several."""
    whole = _replay(call)
    run = lambda t: whole(t)[i]  # noqa: E731
    _check_batch(call, run, z, shape)
    return call.add(Move(run=run, name=str(call.target), width=math.prod(shape)), z, shape=shape)


@rule("zeros_like", "ones_like", "full_like")
def _filled(call: Call) -> Tensor:
    """A constant (1, ...) of the image's shape."""
    filled: Tensor = call.target(torch.zeros(1, *call.args[0].shape, dtype=call.graph.dtype), *call.args[1:])
    return filled


def _replay(call: Call, changed: dict[int, Any] | None = None) -> Callable[[Tensor], Tensor]:
    """The recorded operation on a batch of any size: where a size is that of the traced batch, it follows."""
    target, args, kwargs = call.target, [*call.args], call.kwargs
    for place, value in (changed or {}).items():
        args[place] = value
    sized = "expand" in str(target)

    def run(z: Tensor) -> Tensor:
        given = list(args)
        if sized:
            given[1] = [len(z), *given[1][1:]]
        out: Tensor = target(z, *given[1:], **kwargs)
        return out

    return run


def _check_batch(call: Call, run: Callable[[Tensor], Tensor], z: Ref, shape: tuple[int, ...] | None = None) -> None:
    """The operation leaves the axis of the batch alone.

    Raises:
        InputError: it does not.
    """
    probe = torch.zeros(BATCH + 1, *z.shape)
    probe[1:] = math.nan
    out = run(probe)
    if out.shape != (BATCH + 1, *(call.shape if shape is None else shape)) or bool(out[0].isnan().any()):
        raise call.refusal("mixes the images of a batch")
    if bool((run(torch.ones(1, *z.shape)) < 0).any()):  # such as an average with a negative divisor
        raise call.refusal("has negative weights")
