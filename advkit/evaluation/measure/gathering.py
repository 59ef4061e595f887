"""The evidence of the checks: what probing attacks and further passes show of a model."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from advkit.core import model_checks
from advkit.core.classify import classify, looking
from advkit.core.guard import Model
from advkit.data._stream import Batch
from advkit.evaluation.measure.eight_bit import nearest
from advkit.evaluation.measure.probes import Probes

LEVELS = 4
"""Radii at which PGD is tried: from eps to the whole range, in equal ratios."""

FEW = 8
"""Below this many images, or flips, the absence of a sign is no evidence."""


class Level(NamedTuple):
    """The verdicts at one radius, for the n images that are right without an attack."""

    eps: float
    fgsm: Tensor  # (n,) bool: fooled
    pgd: Tensor  # (n,) bool
    noise: Tensor  # (n,) bool


class Evidence(NamedTuple):
    """The input of the checks; images that are wrong without an attack are left out, except in `x` and `logits`."""

    x: Tensor  # (N, ...)
    bounds: tuple[float, float]
    logits: Tensor  # (N, K)
    again: Tensor  # (N, K): the same images, classified once more
    gradient: Tensor  # (n, ...): of the cross-entropy
    levels: list[Level]
    whole: float  # the width of the range
    saved: Tensor  # (n,) bool: fooled at the first radius, and still so when saved with 8 bits
    fooled: Tensor  # (n,) bool: fooled at the first radius by the strongest point
    labels: Tensor  # (N,)
    alone: Tensor  # (m, K): the first few images again, each as a batch of its own
    finite: Tensor  # (n,) bool: the answers near the images are finite
    transferred: Tensor | None  # (n,) bool: fooled by the surrogate's adversarial images


def gather(
    model: Model,
    batch: Batch,
    attacks: Probes,
    surrogate: Model | None,
    *,
    eps: float,
    seed: int,
    bounds: tuple[float, float],
) -> Evidence:
    """Run the probing attacks."""
    with looking(model, batch.x.device), model_checks.explained(model, batch.x):  # one block: it restores random state
        logits, again = model(batch.x), model(batch.x)
        alone = torch.cat([_alone(model, row[None], logits) for row in batch.x[:FEW]])
    model_checks.check_answer(logits, batch.x, batch.y)
    x, y, ids = (part[logits.argmax(1) == batch.y] for part in batch)
    call: dict[str, Any] = {"sample_ids": ids, "seed": seed, "bounds": bounds}

    def verdict(attack: Any, radius: float) -> Tensor:
        fooled: Tensor = attack(model, x, y, eps=radius, **call).success
        return fooled.cpu()

    width = bounds[1] - bounds[0]
    first, *rest = radii(eps, width)
    strongest = attacks.pgd(model, x, y, eps=first, stop="never", **call)
    levels = [Level(first, verdict(attacks.fgsm, first), strongest.success.cpu(), verdict(attacks.noise, first))]
    levels += [Level(r, *(verdict(a, r) for a in (attacks.fgsm, attacks.pgd, attacks.noise))) for r in rest]
    gradient = _gradient(model, x, y)
    return Evidence(
        labels=batch.y,
        alone=alone,
        finite=_finite_near(model, x, gradient, first, bounds),
        x=batch.x,
        bounds=bounds,
        logits=logits,
        again=again,
        gradient=gradient,
        levels=levels,
        whole=width,
        saved=strongest.success.cpu() & _wrong(model, nearest(strongest.x_adv, bounds), y),
        fooled=strongest.success.cpu(),
        transferred=None if surrogate is None else _transferred(model, surrogate, attacks, x, y, eps, call),
    )


def radii(eps: float, width: float) -> list[float]:
    """Return radii from eps to the whole range in equal ratios; only the range if eps is not smaller."""
    if eps >= width:
        return [width]
    return [eps * (width / eps) ** (i / (LEVELS - 1)) for i in range(LEVELS - 1)] + [width]


def _transferred(
    model: Model, surrogate: Model, attacks: Probes, x: Tensor, y: Tensor, eps: float, call: dict[str, Any]
) -> Tensor:
    found = attacks.pgd(surrogate, x, y, eps=eps, stop="never", **call)
    return _wrong(model, found.x_adv, y)


def _wrong(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool on the CPU."""
    if not len(x):
        return torch.zeros(0, dtype=torch.bool, device="cpu")
    return (classify(model, x).argmax(1) != y).cpu()


def _gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the cross-entropy, as autograd gives it; zeros where the logits do not depend on the images."""
    if not len(x):
        return x
    with looking(model, x.device, gradients=True):
        leaf = x.clone().requires_grad_()
        loss = F.cross_entropy(model(leaf.clone()).float(), y.clone(), reduction="sum")
        if not loss.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _alone(model: Model, x: Tensor, logits: Tensor) -> Tensor:
    """(1, K): the answer to one image; NaN where the model takes no batch of one."""
    try:
        answer: Tensor = model(x)
    except (ValueError, RuntimeError):
        return torch.full_like(logits[:1], torch.nan)
    return answer


def _finite_near(model: Model, x: Tensor, gradient: Tensor, eps: float, bounds: tuple[float, float]) -> Tensor:
    """(n,) bool on the CPU: finite answers one step along the gradient, and where all pixels are lighter, or darker."""
    finite = torch.ones(len(x), dtype=torch.bool, device="cpu")
    ones = torch.ones_like(x)
    for step in (gradient.sign().nan_to_num(), ones, -ones) if len(x) else ():
        finite &= classify(model, (x + eps * step).clamp(*bounds)).isfinite().all(1).cpu()
    return finite
