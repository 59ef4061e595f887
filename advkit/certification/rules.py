"""The rules that convert tensor operations of torch's ATen to nodes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from advkit.certification.curves import Tanh
from advkit.certification.elementary import Power, Product
from advkit.certification.graph import BATCH, RULES, Call, Ref
from advkit.certification.linear import Combination, Conv, Dense, Move, Reshape, Scale
from advkit.certification.maximum import Maximum
from advkit.certification.windows import Pooling, own_entry, pooled, reduced


def rule(*names: str) -> Callable[[Callable[[Call], Any]], Callable[[Call], Any]]:
    """Decorator that registers the rule of these operations."""

    def keep(make: Callable[[Call], Any]) -> Callable[[Call], Any]:
        RULES.update(dict.fromkeys(names, make))
        return make

    return keep


@rule("convolution")
def _convolution(call: Call) -> Ref:
    z, weight, bias, stride, padding, dilation, transposed, output_padding, groups = call.args
    weight = call.constant(weight) if weight.ndim != len(call.batch_shape or ()) else _kept(call, weight)
    per_output = weight[0] if not transposed else weight[:, 0]
    return call.add(
        Conv(
            weight=weight,
            bias=None if bias is None else call.constant(bias).view(-1, *[1] * len(stride)),
            stride=list(stride),
            padding=list(padding),
            dilation=list(dilation),
            transposed=transposed,
            output_padding=list(output_padding),
            groups=groups,
            terms=per_output.numel() + 1,
            width=weight.numel(),
        ),
        z,
    )


def _kept(call: Call, weight: Tensor) -> Tensor:
    """Weights in the type of the bounds, all their axes kept."""
    return weight.double() if call.double else weight


@rule("addmm")
def _addmm(call: Call) -> Ref:
    bias, z, weight = call.args
    if isinstance(weight, Ref) or isinstance(bias, Ref) or call.kwargs:
        raise call.refusal("multiplies two layers")
    return _dense(call, z, weight, bias)


@rule("mm")
def _mm(call: Call) -> Ref:
    z, weight = call.args
    if isinstance(weight, Ref) or not isinstance(z, Ref):
        raise call.refusal("multiplies two layers")
    return _dense(call, z, weight, None)


def _dense(call: Call, z: Ref, weight: Tensor, bias: Tensor | None) -> Ref:
    W = _kept(call, weight).T  # (out, in)
    b = None if bias is None else _kept(call, bias).reshape(-1)
    return call.add(Dense(weight=W, bias=b, terms=W.shape[1] + 1, width=W.shape[0]), z)


@rule("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_native_batch_norm_legit",
      "_native_batch_norm_legit_functional", "_batch_norm_no_update", "batch_norm", "miopen_batch_norm")  # fmt: skip
def _batch_norm(call: Call) -> tuple[Ref, None, None]:
    z, gain, shift, mean, var, *rest = call.args
    if any(t is True for t in rest) or mean is None:
        raise call.refusal("normalises by the statistics of the batch: the bound needs those of the training")
    eps = rest[-1]
    mean, var = (_kept(call, t) for t in (mean, var))
    scale = (var + eps).rsqrt()
    if gain is not None:
        scale = scale * _kept(call, gain)
    bias = -mean * scale
    size = bias.abs()
    if shift is not None:
        bias, size = bias + _kept(call, shift), size + _kept(call, shift).abs()
    scale, bias, size = (t.view(-1, *[1] * (len(z.shape) - 1)) for t in (scale, bias, size))
    made = call.add(Scale(factor=scale, bias=bias, bias_size=size, terms=8), z, shape=z.shape)
    return made, None, None


@rule("getitem")
def _item(call: Call) -> Any:
    return call.args[0][call.args[1]]


RULES["<built-in function getitem>"] = _item


@rule("add", "sub", "rsub")
def _sum(call: Call) -> Ref:
    first, second, *_ = call.args
    alpha = float(call.kwargs.get("alpha", call.args[2] if len(call.args) > 2 else 1.0))
    name = str(call.target)
    one, two = (1.0, alpha) if ".add" in name else (1.0, -alpha) if ".rsub" not in name else (-alpha, 1.0)
    parts = [(f, p) for f, p in ((one, first), (two, second)) if isinstance(p, Ref)]
    constants = [f * call.constant(p) for f, p in ((one, first), (two, second)) if not isinstance(p, Ref)]
    bias = constants[0] if constants else None
    refs = [_expanded(call, p) for _, p in parts]
    return call.add(Combination(factors=tuple(f for f, _ in parts), bias=bias, terms=2, width=2), *refs)


def _expanded(call: Call, z: Ref) -> Ref:
    """z repeated to the shape of the call's result, where they differ."""
    shape = call.shape
    if z.shape == shape:
        return z
    lifted = (1,) * (len(shape) - len(z.shape)) + z.shape
    if len(z.shape) < len(shape):  # a batch axis would meet another axis
        raise call.refusal("broadcasts images against another axis")
    run = lambda t: t.reshape(-1, *lifted).expand(-1, *shape)  # noqa: E731
    return call.add(Move(run=run, name="expand", width=math.prod(shape)), z)


@rule("neg")
def _negative(call: Call) -> Ref:
    return call.add(Combination(factors=(-1.0,)), call.args[0])


@rule("mul")
def _multiply(call: Call) -> Ref:
    first, second = call.args
    if isinstance(first, Ref) and isinstance(second, Ref):
        return call.add(Product(), _expanded(call, first), _expanded(call, second))
    z, factor = (first, second) if isinstance(first, Ref) else (second, first)
    return call.add(Scale(factor=call.constant(factor), terms=1, width=1), _expanded(call, z))


@rule("div")
def _divide(call: Call) -> Ref:
    first, second = call.args
    if call.kwargs.get("rounding_mode"):
        raise call.refusal("rounds")
    if not isinstance(second, Ref):
        return call.add(Scale(factor=1 / call.constant(second), terms=2, width=1), _expanded(call, first))
    inverse = call.add(Power(p=-1.0), _expanded(call, second))
    if not isinstance(first, Ref):
        return call.add(Scale(factor=call.constant(first)), inverse)
    return call.add(Product(), _expanded(call, first), inverse)


@rule("pow")
def _power(call: Call) -> Ref:
    z, p = call.args
    if not isinstance(p, int | float) or not isinstance(z, Ref):
        raise call.refusal("has an exponent that depends on the image")
    return call.add(Power(p=float(p)), z)


@rule("square")
def _square(call: Call) -> Ref:
    return call.add(Power(p=2.0), call.args[0])


@rule("sqrt")
def _root(call: Call) -> Ref:
    return call.add(Power(p=0.5), call.args[0])


@rule("rsqrt")
def _inverse_root(call: Call) -> Ref:
    return call.add(Power(p=-0.5), call.args[0])


@rule("relu")
def _relu(call: Call) -> Ref:
    z = call.args[0]
    below = call.graph.nodes[z.place]
    if isinstance(below.operation, Maximum):  # the maximum of a window and then of 0 is one node
        pooled_ = Maximum(windows=below.operation.windows, rectified=True)
        return call.graph.add(pooled_, below.inputs, z.shape)
    return _rectified(call, z)


def _rectified(call: Call, z: Ref) -> Ref:
    return call.add(Maximum(windows=own_entry(z.shape), rectified=True), z, shape=z.shape)


@rule("max_pool2d_with_indices", "max_pool2d")
def _max_pool(call: Call) -> tuple[Ref, None]:
    given: list[Any] = [*call.args, (), (), (), (), ()]
    z, kernel, stride, padding, dilation, *_ = given
    k = _pair(_listed(kernel), (1, 1))
    pooling = Pooling(
        kernel=k, stride=_pair(_listed(stride), k), padding=_pair(_listed(padding), (0, 0)),
        dilation=_pair(_listed(dilation), (1, 1)),
    )  # fmt: skip
    shape = _pooled_shape(z.shape, pooling, bool(call.args[5]) if len(call.args) > 5 else False)
    return _maximum(call, z, lambda inputs: pooled(inputs, shape, pooling, torch.device("cpu")), shape), None


def _pair(sizes: list[int], default: tuple[int, int]) -> tuple[int, int]:
    return (sizes[0], sizes[-1]) if sizes else default


def _listed(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _pooled_shape(shape: Sequence[int], pooling: Pooling, ceil: bool) -> tuple[int, ...]:
    """(C, H', W') of a max pooling, by torch's rule: no window starts behind the padded end."""
    sizes = []
    for n, k, s, p, d in zip(shape[1:], pooling.kernel, pooling.stride, pooling.padding, pooling.dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        out = (-(-room // s) if ceil else room // s) + 1
        sizes.append(out - 1 if ceil and (out - 1) * s >= n + p else out)
    return (shape[0], *sizes)


def _maximum(call: Call, z: Ref, windows: Callable[[Sequence[int]], Any], shape: tuple[int, ...]) -> Ref:
    """A maximum node; a rectifier right before it, of one entry each, joins it."""
    below = call.graph.nodes[z.place]
    before = below.operation
    joins = isinstance(before, Maximum) and before.rectified and before.windows.index is None
    inputs = below.inputs if joins else (z.place,)
    return call.graph.add(Maximum(windows=windows(z.shape), rectified=joins), inputs, shape)


@rule("amax", "max")
def _over_axes(call: Call) -> Any:
    given: list[Any] = [*call.args, None]
    z, axes, *_ = given
    listed = _axes(call, z, [axes] if isinstance(axes, int) else axes)
    keep = bool(call.args[2]) if len(call.args) > 2 else bool(call.kwargs.get("keepdim", False))
    shape = tuple(1 if a in listed else n for a, n in enumerate(z.shape) if keep or a not in listed)
    made = _maximum(call, z, lambda inputs: reduced(inputs, listed, shape, torch.device("cpu")), shape)
    return made if ".amax" in str(call.target) or str(call.target) == "aten.amax.default" else (made, None)


def _axes(call: Call, z: Ref, axes: Sequence[int] | None) -> list[int]:
    """Axes of one sample; None: all of them are meant, which would mix the batch."""
    ndim = len(z.shape) + 1
    found = [a % ndim - 1 for a in axes] if axes else list(range(-1, ndim - 1))
    if -1 in found:
        raise call.refusal("reduces over the batch")
    return sorted(found)


@rule("maximum")
def _larger(call: Call) -> Ref:
    """max(a, b) = b + relu(a - b)."""
    a, b = call.args
    if not isinstance(a, Ref):
        a, b = b, a
    if isinstance(b, Ref):
        a, b = _expanded(call, a), _expanded(call, b)
        lead = _rectified(call, call.add(Combination(factors=(1.0, -1.0), terms=2, width=2), a, b))
        return call.add(Combination(factors=(1.0, 1.0), terms=2, width=2), b, lead)
    edge = call.constant(b)
    lead = _rectified(call, call.add(Combination(factors=(1.0,), bias=-edge, terms=2), _expanded(call, a)))
    return call.add(Combination(factors=(1.0,), bias=edge, terms=2), lead)


@rule("leaky_relu")
def _leaky(call: Call) -> Ref:
    """slope z + (1 - slope) relu(z)."""
    z, slope = [*call.args, 0.01][:2]
    if not 0 <= slope <= 1:
        raise call.refusal("has a slope outside [0, 1]")
    return call.add(Combination(factors=(slope, 1 - slope), terms=4, width=2), z, _rectified(call, z))


@rule("abs")
def _absolute(call: Call) -> Ref:
    """2 relu(z) - z."""
    z = call.args[0]
    return call.add(Combination(factors=(2.0, -1.0), terms=2, width=2), _rectified(call, z), z)


@rule("clamp", "hardtanh", "clamp_min", "clamp_max")
def _clamped(call: Call) -> Ref:
    """low + relu(z - low), then high - relu(high - z)."""
    given: list[Any] = [*call.args, None, None]
    z: Ref = given[0]
    low, high = given[1:3]
    if "clamp_max" in str(call.target):
        low, high = None, low
    low = call.kwargs.get("min", call.kwargs.get("min_val", low))
    high = call.kwargs.get("max", call.kwargs.get("max_val", high))
    if "hardtanh" in str(call.target):
        low, high = (-1 if low is None else low), (1 if high is None else high)
    if low is not None:
        part = call.add(Combination(factors=(1.0,), bias=call.constant(-low), terms=2), z)
        z = call.add(Combination(factors=(1.0,), bias=call.constant(low), terms=2), _rectified(call, part))
    if high is not None:
        part = call.add(Combination(factors=(-1.0,), bias=call.constant(high), terms=2), z)
        z = call.add(Combination(factors=(-1.0,), bias=call.constant(high), terms=2), _rectified(call, part))
    return z


@rule("tanh")
def _tanh(call: Call) -> Ref:
    return call.add(Tanh(windows=own_entry(call.shape)), call.args[0])


@rule("sigmoid")
def _sigmoid(call: Call) -> Ref:
    """(1 + tanh(z / 2)) / 2."""
    half = torch.tensor(0.5, dtype=torch.float64 if call.double else torch.float32)
    bent = call.add(Tanh(windows=own_entry(call.shape)), call.add(Scale(factor=half), call.args[0]))
    return call.add(Scale(factor=half, bias=half, terms=4), bent)


@rule("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze", "squeeze_copy", "view_copy",
      "_reshape_copy", "unsqueeze_copy", "reshape_copy")  # fmt: skip
def _reshape(call: Call) -> Ref:
    return call.add(Reshape(shape=call.shape), call.args[0])


@rule("clone", "detach", "alias", "contiguous", "dropout", "_to_copy", "alias_copy", "detach_copy", "lift_fresh_copy",
      "lift_fresh")  # fmt: skip
def _same(call: Call) -> Ref:
    dtype = call.kwargs.get("dtype")
    if dtype is not None and dtype != call.graph.dtype:
        raise call.refusal(f"changes the type to {dtype}")
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
      "index", "_unsafe_index")  # fmt: skip
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
    run, z = _replay(call), call.args[0]
    call.shape  # noqa: B018 - refuses a result without a batch
    _check_batch(call, run, z)
    terms = math.prod(z.shape) // max(1, min(math.prod(call.shape), math.prod(z.shape)))
    if "pool" in str(call.target):
        terms = math.prod(z.shape)  # no window is larger than the image
    return call.add(Move(run=run, name=str(call.target), terms=terms + 1, width=math.prod(call.shape)), z)


@rule("cat")
def _joined(call: Call) -> Ref:
    parts, axis = [*call.args, 0][:2]
    if axis % (len(call.shape) + 1) == 0:
        raise call.refusal("joins batches")
    if not all(isinstance(p, Ref) for p in parts):
        raise call.refusal("joins images and constants")
    run = lambda *ts: torch.cat(ts, axis)  # noqa: E731
    return call.add(Move(run=run, name="cat"), *parts)


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


def _check_batch(call: Call, run: Callable[[Tensor], Tensor], z: Ref) -> None:
    """The operation leaves the axis of the batch alone.

    Raises:
        InputError: it does not.
    """
    probe = torch.zeros(BATCH + 1, *z.shape)
    probe[1:] = math.nan
    out = run(probe)
    if out.shape != (BATCH + 1, *call.shape) or bool(out[0].isnan().any()):
        raise call.refusal("mixes the images of a batch")
