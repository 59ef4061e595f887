"""What bends: rectifiers, maxima, absolute values, clamps, tanh, sigmoid and the smooth rectifiers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.certification.curves import Smooth, Tanh
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
    return _between(call, expanded(call, z), low, high)


def _between(call: Call, z: Ref, low: float | None, high: float | None) -> Ref:
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


def _smooth(call: Call, name: str, function: Callable[[Tensor], Tensor], **facts: Any) -> Ref:
    return call.add(Smooth(windows=own_entry(call.shape), name=name, function=function, **facts), call.args[0])


def _numbers(call: Call, **defaults: float) -> list[float]:
    """The numbers of an operation after its tensor, by position or by name."""
    given = [*call.args[1:]]
    return [float(given[i] if i < len(given) else call.kwargs.get(n, v)) for i, (n, v) in enumerate(defaults.items())]


@rule("silu")
def _silu(call: Call) -> Ref:
    return _smooth(call, "SiLU", F.silu, bend=0.5, slope=1.1, turns=(-1.2784645427610738,))


@rule("gelu")
def _gelu(call: Call) -> Ref:
    if call.kwargs.get("approximate", "none") == "tanh":
        run = lambda z: F.gelu(z, approximate="tanh")  # noqa: E731
        return _smooth(call, "GELU", run, bend=0.8, slope=1.13, turns=(-0.7524614220710162,))
    return _smooth(call, "GELU", F.gelu, bend=0.8, slope=1.13, turns=(-0.7517915246935645,))


@rule("mish")
def _mish(call: Call) -> Ref:
    return _smooth(call, "Mish", F.mish, bend=0.65, slope=1.09, turns=(-1.1924312145154952,))


@rule("softplus")
def _softplus(call: Call) -> Ref:
    """log(1 + exp(beta z)) / beta; z itself where beta z is above the threshold, which is a jump."""
    beta, threshold = _numbers(call, beta=1.0, threshold=20.0)
    if beta <= 0:
        raise call.refusal("has beta <= 0")
    jump = math.log1p(math.exp(-threshold)) / beta
    run = lambda z: F.softplus(z, beta, threshold)  # noqa: E731
    return _smooth(call, "softplus", run, bend=beta / 4, slope=1.0, corners=(threshold / beta,), jump=jump)


@rule("elu")
def _elu(call: Call) -> Ref:
    """SELU is of this form, too."""
    alpha, scale, rate = _numbers(call, alpha=1.0, scale=1.0, input_scale=1.0)
    return _exponential(call, alpha, scale, rate)


@rule("celu")
def _celu(call: Call) -> Ref:
    (alpha,) = _numbers(call, alpha=1.0)
    return _exponential(call, alpha, 1.0, 1 / alpha)


def _exponential(call: Call, alpha: float, scale: float, rate: float) -> Ref:
    """scale z above 0, scale alpha (exp(rate z) - 1) below."""
    run = lambda z: scale * torch.where(z > 0, z, alpha * torch.expm1(rate * z.clamp(max=0)))  # noqa: E731
    facts = {"bend": abs(scale * alpha) * rate**2, "slope": abs(scale) * max(1.0, abs(alpha * rate))}
    return _smooth(call, "ELU", run, turns=(0.0,), corners=(0.0,), **facts)


@rule("hardsigmoid")
def _hardsigmoid(call: Call) -> Ref:
    """z + 3 between 0 and 6, divided by 6."""
    moved = call.add(Combination(factors=(1.0,), bias=call.constant(3.0), terms=2), call.args[0])
    return call.add(Scale(factor=1 / call.constant(6.0), terms=2), _between(call, moved, 0.0, 6.0))


@rule("hardswish")
def _hardswish(call: Call) -> Ref:
    return _smooth(call, "hardswish", F.hardswish, bend=1 / 3, slope=1.5, turns=(-1.5,), corners=(-3.0, 3.0))
