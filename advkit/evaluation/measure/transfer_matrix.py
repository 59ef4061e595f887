"""Transfer: each model's adversarial images are shown to all others (Szegedy et al. 2013, section 4.3, 1312.6199)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core import door
from advkit.core.attack import Attack
from advkit.core.classify import looking
from advkit.core.driver import reporting
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.intervals import wilson_interval
from advkit.core.layout import Passes
from advkit.core.progress_bar import Progress, shows_progress
from advkit.core.shown import Shown
from advkit.evaluation.measure.any_data import as_data
from advkit.evaluation.measure.asked import asked_attacks
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.plan import most_passes
from advkit.evaluation.measure.stream import Batch, batches, origin, total
from advkit.evaluation.measure.ticker import Ticker


@dataclass(frozen=True, kw_only=True, repr=False)
class TransferMatrix(Shown):
    """The rates at which each of M models is fooled by images made on each other one.

    Attributes:
        data: name of the images, such as "mnist5k:test".
        attack: the attack as a spec string.
        count: the number of images.
        names: names of the models.
        clean_wrong: number of images that each model gets wrong without an attack, M numbers.
        both: `both[s][t]`, number of images that s and t both get right without an attack: the denominators.
        wrong: `wrong[s][t]`, number of these images that t gets wrong after the attack on s.
    """

    data: str
    attack: str
    count: int
    names: tuple[str, ...]
    clean_wrong: tuple[int, ...]
    both: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[int, ...], ...]

    def _brief(self) -> str:
        return f"{self.attack} on {len(self.names)} models, {self.count:,} images"

    def rate(self, source: int, target: int) -> float | None:
        """Return the fraction of the images right in both that the target gets wrong; None if there is no such image.

        Args:
            source: position in `names` of the model that was attacked.
            target: position in `names` of the model that was shown the images.
        """
        both = self.both[source][target]
        return self.wrong[source][target] / both if both else None

    def interval(self, source: int, target: int) -> tuple[float, float] | None:
        """Its 95 % Wilson interval.

        Args:
            source: position in `names` of the model that was attacked.
            target: position in `names` of the model that was shown the images.
        """
        both = self.both[source][target]
        return wilson_interval(self.wrong[source][target], both) if both else None

    @property
    def rates(self) -> list[list[float | None]]:
        """All rates: one row a source, one column a target."""
        places = range(len(self.names))
        return [[self.rate(s, t) for t in places] for s in places]

    def records(self) -> list[dict[str, Any]]:
        """One row a pair of models."""
        places = range(len(self.names))
        return [self._record(s, t) for s in places for t in places]

    def _record(self, s: int, t: int) -> dict[str, Any]:
        low, high = self.interval(s, t) or (None, None)
        pair = {"made_on": self.names[s], "shown_to": self.names[t], "rate": self.rate(s, t), "low": low, "high": high}
        return {**pair, "wrong": self.wrong[s][t], "both_right": self.both[s][t]}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        places = range(len(self.names))
        return {
            "data": self.data,
            "attack": self.attack,
            "count": self.count,
            "models": list(self.names),
            "clean_error": [wrong / self.count for wrong in self.clean_wrong],
            "both": [list(row) for row in self.both],
            "wrong": [list(row) for row in self.wrong],
            "rates": self.rates,
            "intervals": [[self.interval(s, t) for t in places] for s in places],
        }


@shows_progress("transfer")
def transfer_matrix(
    models: Mapping[str, Model],
    data: Any,
    attack: Attack | str,
    *,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    progress: Progress | bool | None = None,
) -> TransferMatrix:
    """Attack every model and show the images to all of them.

    Budget attacks continue to the strongest point (stop "never"), which transfers better than the first adversarial
    one. An image on which the attack failed counts as one that does not transfer.

    Args:
        models: models by name; all take the same images and know the same classes.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        attack: an attack of either kind, or its spec.
        batch_size, count, seed, bounds: options of the evaluation, see `evaluate`.
        progress: called with (done, all) in images times passes of the attack, on all models; True shows a bar.

    Returns:
        Counts, rates and intervals; the diagonal is each model under its own attack.

    Raises:
        InputError: there is no model, or data, attacks or outputs do not fit.
    """
    if not models:
        raise InputError("expected at least one model, got none")
    if not isinstance(attack, Attack | str):
        raise InputError(f"expected an attack such as FGSM(eps=0.1), or its spec, got {attack!r}")
    (attack,) = asked_attacks(attack)
    bounds = door.check_bounds(bounds)
    data = as_data(data, batch_size=batch_size, count=count)
    length = total(data, count)
    tick = Ticker(progress, None if length is None else length * len(models) * most_passes(attack))
    size = len(models)
    seen, clean = 0, torch.zeros(size, dtype=torch.int64)
    both, wrong = torch.zeros(size, size, dtype=torch.int64), torch.zeros(size, size, dtype=torch.int64)
    for batch in batches(data, batch_size=batch_size, count=count):
        right = torch.stack([_right(model, batch.x, batch, bounds) for model in models.values()])  # (M, N)
        for s, model in enumerate(models.values()):
            own = fitted(batch, model, bounds)
            with reporting(tick.within(len(batch.y) * most_passes(attack))):
                call: Any = {"sample_ids": own.sample_ids, "seed": seed, "bounds": bounds, "stop": "never"}
                found = attack(model, own.x, own.y, **call)
            after = torch.stack([_right(other, found.x_adv, batch, bounds) for other in models.values()])
            shared = right[s] & right
            both[s] += shared.sum(1)
            wrong[s] += (shared & ~after).sum(1)
            tick(len(batch.y) * most_passes(attack))
        clean += (~right).sum(1)
        seen += len(batch.y)
    return TransferMatrix(
        data=origin(data),
        attack=attack.spec,
        count=seen,
        names=tuple(models),
        clean_wrong=tuple(clean.tolist()),
        both=tuple(map(tuple, both.tolist())),
        wrong=tuple(map(tuple, wrong.tolist())),
    )


def _right(model: Model, x: Tensor, batch: Batch, bounds: tuple[float, float]) -> Tensor:
    """(N,) bool on the CPU: the model gives these images their labels."""
    own = fitted(batch._replace(x=x, y=batch.y.to(x.device)), model, bounds)
    with looking(model, own.x.device):
        logits: Tensor = Passes(model, own.x)(own.x)
    door.check_answer(logits, own.x, own.y)
    return (logits.argmax(1) == own.y).cpu()
