"""Checks of an attack's strength, on affine classifiers, where the required result is known."""

import torch
from torch import Tensor

from advkit.core.norms import get_norm
from advkit.testing._check import check
from advkit.testing._checks_result import budget, expect
from advkit.testing._subject import Subject, reached
from advkit.testing._toys import affine_case, awkward_images
from advkit.testing.affine import AffineClassifier

SHARE = {"gradients": 1.0, "scores": 0.8, "labels": 0.5}
"""Share of the samples that must be fooled at 1.5 times the least radius, by what the attack may know."""

NEAR = 0.05
"""What a minimal attack may miss the nearest point by besides, as a share of the toys' usual radius."""


@check(budget)
def moves(subject: Subject) -> None:
    """With a radius above 0, images change."""
    model, x, y = affine_case()
    found = subject(model, x, y, stop="never")
    changed = (found.x_adv != x).flatten(1).any(1)
    expect(changed.any(), f"no image changed at eps {subject.eps:g}")


@check(lambda subject: subject.knowledge in SHARE and not subject.farther)
def fools_a_linear_classifier(subject: Subject) -> None:
    """On two affine classes samples fall at 1.5 times their least radius, or are found about that near."""
    for seed in range(2):
        model, x, y = affine_case(seed)
        nearest, _ = model.nearest(x, y, subject.norm)
        possible = nearest.isfinite() & (1.5 * nearest > 0)
        _falls(subject, model, x[possible], y[possible], 1.5 * nearest[possible], f"seed {seed}")


def _falls(subject: Subject, model: AffineClassifier, x: Tensor, y: Tensor, radius: Tensor, context: str) -> None:
    share = SHARE[subject.knowledge]
    if get_norm(subject.norm).grain:
        radius = radius.ceil()
    found = subject(model, x, y, **({"eps": radius} if budget(subject) else {}))
    fallen = subject.reached(model, found.x_adv, y)
    if subject.kind == "minimal":
        fallen &= get_norm(subject.norm).size(found.x_adv.double() - x.double()) <= radius + NEAR * subject.eps
    standing = (~fallen).nonzero().flatten().tolist()
    expect(
        float(fallen.double().mean()) >= share,
        f"samples {standing} of labels {y[standing].tolist()} stand at {radius[standing].tolist()} ({context})",
    )


@check(lambda subject: subject.knowledge in SHARE and not subject.farther)
def moves_pixels_off_the_bounds(subject: Subject) -> None:
    """Images of exact zeros and ones fall like any others."""
    model, _, _ = affine_case(5)
    x = awkward_images(5, seed=5)[torch.tensor([1, 2, 4])]
    y = model(x).argmax(1).detach()
    nearest, _ = model.nearest(x, y, subject.norm)
    _falls(subject, model, x, y, 1.5 * nearest, "black, white and saturated images")


@check(lambda subject: subject.targetable and subject.knowledge in SHARE)
def follows_its_target(subject: Subject) -> None:
    """A target is reached where every class is within reach, and another wrong class is no success."""
    model, x, y = _orthogonal()
    for shift in (1, 2, 3):
        target = (y + shift) % 4
        nearest, _ = model.nearest(x, y, "l2", target=target)
        eps = _generous(subject.norm, x, nearest)
        found = subject(model, x, y, target=target, **({"eps": eps} if budget(subject) else {}))
        answer = model(found.x_adv).detach()
        hit = reached(answer, y, target)
        expect(
            float(hit.double().mean()) >= SHARE[subject.knowledge],
            f"targets {target.tolist()}, reached classes {answer.argmax(1).tolist()}",
        )
        expect(
            found.success is None or torch.equal(found.success, hit),
            f"targets {target.tolist()}, classes {answer.argmax(1).tolist()}, success {found.success}",
        )


def _orthogonal() -> tuple[AffineClassifier, Tensor, Tensor]:
    """Four classes whose rows are orthogonal patterns of +-1: each can be raised without the others."""
    a = torch.tensor([[1.0, 1], [1, -1]], dtype=torch.float64)
    hadamard = torch.kron(torch.kron(a, a), torch.kron(a, torch.kron(a, a)))  # (32, 32)
    weight = hadamard[[3, 5, 9, 17]]
    model = AffineClassifier(weight, -0.5 * weight.sum(1))
    x = 0.5 + 0.1 * (awkward_images(28, seed=6)[::9].repeat(3, 1, 1, 1) - 0.5)
    x = x + 0.02 * weight[torch.arange(len(x)) % 4].view(x.shape)
    return model, x, model(x).argmax(1).detach()


def _generous(norm: str, x: Tensor, nearest: Tensor) -> Tensor:
    """Radii (N,) of a ball that is sure to hold a ball of twice the least l2 radius, by the norms' inequalities."""
    entries = x[0].numel()
    factor = {"l1": entries**0.5}.get(norm, 1.0)
    return torch.full_like(nearest, entries) if get_norm(norm).grain else 2 * factor * nearest


@check(lambda subject: subject.knowledge in SHARE and not (subject.targeted or subject.farther))
def attacks_every_label(subject: Subject) -> None:
    """Samples of the first, the last and every other class fall alike."""
    model, x, y = _orthogonal()
    nearest, _ = model.nearest(x, y, "l2")
    found = subject(model, x, y, **({"eps": _generous(subject.norm, x, nearest)} if budget(subject) else {}))
    fallen = subject.reached(model, found.x_adv, y).double()
    shares = {label: float(fallen[y == label].mean()) for label in sorted(set(y.tolist()))}
    expect(len(shares) == 4, f"the toy has labels {sorted(shares)}")
    expect(min(shares.values()) >= SHARE[subject.knowledge], f"share of fallen samples by label: {shares}")
