"""Error against eps for one model: a minimal attack gives the whole curve in one run."""

from dataclasses import replace
from typing import Any

from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.data._stream import origin
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.asked import one_attack
from advkit.evaluation.measure.staircase import Curve, curve_of


def error_curve(model: Model, data: Any, attack: Attack | str, *, name: str = "", **options: Any) -> Curve:
    """Return the fraction of images that are wrong within eps, for every eps at once.

    An image counts from the smallest distance at which the attack found an adversarial point, so the curve is the
    best over all eps' <= eps and never falls. Every point of it is a lower bound.

    Args:
        model: an nn.Module or a function that takes images and returns logits, see `evaluate`.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        attack: a minimal attack, or its spec; `smallest(PGD(...))` turns a budget attack into one, by a search in eps
            for each image.
        name: name of the curve; default: the attack's spec.
        **options: options of `evaluate`: target, batch_size, count, seed, bounds, device, progress.

    Returns:
        The staircase, with the median distance.

    Raises:
        InputError: the attack is a budget attack, or `evaluate` raises it.
    """
    attack = one_attack(attack, data)
    if attack.kind != "minimal":
        raise InputError(
            f"expected a minimal attack, got {attack.spec}: smallest(...) of advkit.attacks makes one of it"
        )
    row = evaluate(model, data, [attack], **options).attacks[0]
    distance = row.distance.where(row.right, 0.0)  # wrong without an attack: from eps 0 on
    curve = curve_of(name or attack.spec, row.wrong, distance)
    return replace(curve, attack=attack.spec, norm=attack.norm, data=origin(data))
