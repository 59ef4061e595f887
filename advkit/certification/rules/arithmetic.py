"""Convolutions, matrix products, batch norm, sums, products and powers."""

import math

from torch import Tensor

from advkit.certification.elementary import Power, Product
from advkit.certification.graph import Call, Ref
from advkit.certification.linear import Combination, Conv, Dense, Move, Scale
from advkit.certification.rules.registering import rule


@rule("convolution", "_convolution")
def _convolution(call: Call) -> Ref:
    z, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_ = call.args
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
    if isinstance(weight, Ref) or isinstance(bias, Ref):
        raise call.refusal("multiplies two layers")
    alpha, beta = (call.kwargs.get(name, 1) for name in ("alpha", "beta"))
    if alpha == beta == 1:
        return _dense(call, z, weight, bias)
    shift = call.constant(beta).to(weight.device) * _kept(call, bias).reshape(-1) if beta else None
    factor = call.constant(alpha).to(weight.device)
    return call.add(Scale(factor=factor, bias=shift, terms=3), _dense(call, z, weight, None))


@rule("mm")
def _mm(call: Call) -> Ref:
    z, weight = call.args
    if isinstance(weight, Ref) or not isinstance(z, Ref):
        raise call.refusal("multiplies two layers")
    return _dense(call, z, weight, None)


@rule("mv")
def _mv(call: Call) -> Ref:
    z, weight = call.args
    if isinstance(weight, Ref) or not isinstance(z, Ref):
        raise call.refusal("multiplies two layers")
    return _dense(call, z, weight[:, None], None)


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
    scale = inverse = (var + eps).rsqrt()
    if gain is not None:
        scale = scale * _kept(call, gain)
    bias = -mean * scale
    size = bias.abs()
    if shift is not None:
        bias, size = bias + _kept(call, shift), size + _kept(call, shift).abs()
    first = inverse.clamp(min=1)  # the difference from the mean, and that times 1 / deviation
    shaped = (t.view(-1, *[1] * (len(z.shape) - 1)) for t in (scale, bias, size, first, first * mean.abs()))
    scale, bias, size, *first = shaped
    made = call.add(Scale(factor=scale, bias=bias, bias_size=size, first=tuple(first), terms=8), z, shape=z.shape)
    return made, None, None


@rule("add", "sub", "rsub")
def _sum(call: Call) -> Ref:
    first, second, *_ = call.args
    alpha = float(call.kwargs.get("alpha", call.args[2] if len(call.args) > 2 else 1.0))
    name = str(call.target)
    one, two = (1.0, alpha) if ".add" in name else (1.0, -alpha) if ".rsub" not in name else (-alpha, 1.0)
    parts = [(f, p) for f, p in ((one, first), (two, second)) if isinstance(p, Ref)]
    constants = [f * call.constant(p) for f, p in ((one, first), (two, second)) if not isinstance(p, Ref)]
    bias = constants[0] if constants else None
    refs = [expanded(call, p) for _, p in parts]
    return call.add(Combination(factors=tuple(f for f, _ in parts), bias=bias, terms=2, width=2), *refs)


def expanded(call: Call, z: Ref) -> Ref:
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
        return call.add(Product(), expanded(call, first), expanded(call, second))
    z, factor = (first, second) if isinstance(first, Ref) else (second, first)
    return call.add(Scale(factor=call.constant(factor), terms=1, width=1), expanded(call, z))


@rule("div")
def _divide(call: Call) -> Ref:
    first, second = call.args
    if call.kwargs.get("rounding_mode"):
        raise call.refusal("rounds")
    if not isinstance(second, Ref):
        return call.add(Scale(factor=1 / call.constant(second), terms=2, width=1), expanded(call, first))
    inverse = call.add(Power(p=-1.0), expanded(call, second))
    if not isinstance(first, Ref):
        return call.add(Scale(factor=call.constant(first)), inverse)
    return call.add(Product(), expanded(call, first), inverse)


@rule("pow")
def _power(call: Call) -> Ref:
    z, p = call.args
    if not isinstance(p, int | float) or not isinstance(z, Ref):
        raise call.refusal("has an exponent that depends on the image")
    return call.add(Power(p=float(p)), z)


@rule("reciprocal")
def _reciprocal(call: Call) -> Ref:
    return call.add(Power(p=-1.0), call.args[0])


@rule("square")
def _square(call: Call) -> Ref:
    return call.add(Power(p=2.0), call.args[0])


@rule("sqrt")
def _root(call: Call) -> Ref:
    return call.add(Power(p=0.5), call.args[0])


@rule("rsqrt")
def _inverse_root(call: Call) -> Ref:
    return call.add(Power(p=-0.5), call.args[0])
