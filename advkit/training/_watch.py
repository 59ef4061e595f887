"""The monitoring of a run: errors of a probe by epoch, and failures that they show."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from advkit.core.door import check_count
from advkit.data import Dataset
from advkit.training._batches import HeldRows
from advkit.training._measure import adversarial_error, clean_error
from advkit.training._processes import World

PROBE = 200
"""Images of the probe."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """The attacks whose errors on a few images are measured after every epoch.

    Args:
        one_step: attack of one step, such as FGSM(eps=0.1).
        many_steps: attack of many steps at the same eps, such as PGD(eps=0.1, steps=10).
        count: number of images, from those held out if there are any, else from the test split, else from the training
            split.

    Raises:
        InputError: the count is no integer of 1 or more.
    """

    one_step: Callable[..., Any]
    many_steps: Callable[..., Any]
    count: int = PROBE

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", check_count("count", self.count))

    def images(self, *sets: Dataset | None) -> Dataset:
        """Choose the probe's images, evenly spread over the first of these sets that exists.

        Args:
            *sets: sets of images in the order of preference; None for one that is missing.
        """
        data = next(s for s in sets if s is not None)
        count = min(self.count, len(data))
        return HeldRows(data, torch.linspace(0, len(data) - 1, count).long())

    def errors(self, model: Any, images: Dataset, world: World) -> dict[str, float]:
        """Return the fractions of the images that are wrong clean, under one step, and under many.

        Args:
            model: the network.
            images: images and labels of the probe.
            world: the processes that share the work.
        """
        return {
            "probe_clean": clean_error(model, images, world),
            "probe_one_step": adversarial_error(model, images, world, self.one_step),
            "probe_many_steps": adversarial_error(model, images, world, self.many_steps),
        }


OVERFITTED = (
    "catastrophic overfitting: the network resists one step (error {one:.0%}) and falls to many ({many:.0%}). "
    "Stop before this epoch (--validation, --watch, --patience), or train with a shorter step, nfgsm, pgd or trades"
)
STUCK = (
    "training is stuck at chance: {clean:.0%} of the clean probe is wrong with {classes} classes. "
    "Lower --lr, set --clip 1, give clean images a weight (alpha), or begin with a smaller eps"
)
PATIENCE = 2
"""Epochs after which a network should do better than chance."""


def remark(log: tuple[Any, ...], classes: int) -> str:
    """Describe a failure shown by the last row of the log, with advice; empty if there is none.

    Stuck at chance: from the third epoch on, the clean error is less than a third of the way from chance to 0.
    Catastrophic overfitting: many steps fool 90 % and one step at most half, and either many steps fooled 20 % fewer in
    an earlier epoch or one step fools at most a quarter.
    """
    row = log[-1]
    clean, one, many = row.probe_clean, row.probe_one_step, row.probe_many_steps
    if clean is None or one is None or many is None:
        return ""
    chance = 1 - 1 / classes
    if row.epoch > PATIENCE and clean > chance * 2 / 3:
        return STUCK.format(clean=clean, classes=classes)
    before = min((r.probe_many_steps for r in log if r.probe_many_steps is not None), default=many)
    if many >= 0.9 and one <= 0.5 and (many - before >= 0.2 or one <= 0.25):
        return OVERFITTED.format(one=one, many=many)
    return ""
