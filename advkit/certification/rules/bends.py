"""What bends: rectifiers, maxima, absolute values, clamps, tanh and sigmoid."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from advkit.certification.curves import Tanh
from advkit.certification.graph import Call, Ref
from advkit.certification.linear import Combination, Scale
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rules.arithmetic import expanded
from advkit.certification.rules.registering import rule
from advkit.certification.windows import Pooling, adaptive, own_entry, pooled, reduced


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


@rule("adaptive_max_pool2d")
def _adaptive_max_pool(call: Call) -> tuple[Ref, None]:
    z, sizes = call.args[:2]
    shape = (z.shape[0], *(n if size is None else size for n, size in zip(z.shape[1:], _both(sizes), strict=True)))
    return _maximum(call, z, lambda inputs: adaptive(inputs, shape, torch.device("cpu")), shape), None


def _both(sizes: Any) -> list[Any]:
    return [sizes, sizes] if isinstance(sizes, int) else [*sizes]


@rule("amin", "min")
def _least_over_axes(call: Call) -> Any:
    """-max(-z)."""
    z = call.args[0]
    call.args = (call.add(Combination(factors=(-1.0,)), z, shape=z.shape), *call.args[1:])
    found = _over_axes(call)
    if isinstance(found, Ref):
        return call.add(Combination(factors=(-1.0,)), found, shape=found.shape)
    return call.add(Combination(factors=(-1.0,)), found[0], shape=found[0].shape), None


@rule("amax", "max")
def _over_axes(call: Call) -> Any:
    given: list[Any] = [*call.args, None]
    z, axes, *_ = given
    listed = _axes(call, z, [axes] if isinstance(axes, int) else axes)
    keep = bool(call.args[2]) if len(call.args) > 2 else bool(call.kwargs.get("keepdim", False))
    shape = tuple(1 if a in listed else n for a, n in enumerate(z.shape) if keep or a not in listed)
    made = _maximum(call, z, lambda inputs: reduced(inputs, listed, shape, torch.device("cpu")), shape)
    return made if ".amax" in str(call.target) or ".amin" in str(call.target) else (made, None)


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
        a, b = expanded(call, a), expanded(call, b)
        lead = _rectified(call, call.add(Combination(factors=(1.0, -1.0), terms=2, width=2), a, b))
        return call.add(Combination(factors=(1.0, 1.0), terms=2, width=2), b, lead)
    edge = call.constant(b)
    lead = _rectified(call, call.add(Combination(factors=(1.0,), bias=-edge, terms=2), expanded(call, a)))
    return call.add(Combination(factors=(1.0,), bias=edge, terms=2), lead)


@rule("minimum")
def _smaller(call: Call) -> Ref:
    """min(a, b) = b - relu(b - a)."""
    a, b = call.args
    if not isinstance(a, Ref):
        a, b = b, a
    a = expanded(call, a)
    if isinstance(b, Ref):
        b = expanded(call, b)
        lead = _rectified(call, call.add(Combination(factors=(1.0, -1.0), terms=2, width=2), b, a))
        return call.add(Combination(factors=(1.0, -1.0), terms=2, width=2), b, lead)
    edge = call.constant(b)
    lead = _rectified(call, call.add(Combination(factors=(-1.0,), bias=edge, terms=2), a))
    return call.add(Combination(factors=(-1.0,), bias=edge, terms=2), lead)


@rule("leaky_relu")
def _leaky(call: Call) -> Ref:
    """slope z + (1 - slope) relu(z)."""
    z, slope = [*call.args, 0.01][:2]
    return call.add(Combination(factors=(slope, 1 - slope), terms=4, width=2), z, _rectified(call, z))


@rule("_prelu_kernel", "prelu")
def _learned_leaky(call: Call) -> Ref:
    """slope z + (1 - slope) relu(z), with a slope for every channel."""
    z, slope = call.args
    if isinstance(slope, Ref):
        raise call.refusal("has slopes that depend on the image")
    a = call.constant(slope)
    if a.ndim == 1 and a.numel() > 1:  # the batch axis of the slopes is not in it
        a = a.view(-1, *[1] * (len(z.shape) - 1))
    straight = call.add(Scale(factor=a, terms=2), z, shape=z.shape)
    bent = call.add(Scale(factor=1 - a, terms=2), _rectified(call, z), shape=z.shape)
    return call.add(Combination(factors=(1.0, 1.0), terms=4, width=2), straight, bent)


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
    if not isinstance(z, Ref) or isinstance(low, Ref) or isinstance(high, Ref):
        raise call.refusal("has limits that depend on the image")
    z = expanded(call, z)
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
