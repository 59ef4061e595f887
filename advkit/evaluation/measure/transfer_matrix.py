"""Transfer: each model's adversarial images are shown to all others (Szegedy et al. 2013, section 4.3, 1312.6199)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core import door, model_checks
from advkit.core.attack import Attack
from advkit.core.classify import looking
from advkit.core.driver import reporting
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.intervals import wilson_interval
from advkit.core.knowledge import is_enough
from advkit.core.layout import Passes
from advkit.core.option_numbers import shown
from advkit.core.plain import plain
from advkit.core.progress_bar import Progress, shows_progress
from advkit.core.shown import Shown
from advkit.data._any_data import as_data
from advkit.data._stream import Batch, batches, how_many, origin, total
from advkit.evaluation.measure.aims import aim_at
from advkit.evaluation.measure.asked import one_attack
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.plan import most_passes
from advkit.evaluation.measure.ticker import Ticker

Together = Callable[[Attack, Sequence[Model]], Attack]
"""An attack, and the models that it is made on together: see `advkit.attacks.ensemble`."""

OTHERS = "all others"
"""The row of an attack made on all models but the one that is shown the images."""


@dataclass(frozen=True, kw_only=True, repr=False)
class TransferMatrix(Shown):
    """The rates at which each of M models is fooled by images made on each other one.

    Attributes:
        data: name of the images, such as "mnist5k:test".
        attack: the attack as a spec string.
        count: the number of images.
        names: names of the models.
        clean_wrong: number of images that each model gets wrong without an attack, M numbers.
        both: `both[s][t]`, number of images that s and t both get right without an attack: the denominators. With a
            target, images of that class do not count.
        wrong: `wrong[s][t]`, number of these images that t gets wrong after the attack on s; with a target, that t then
            takes for this class.
        target: the class to reach, by its name or number; empty without one.
        closed: names of the models that show less than the attack needs, such as an ONNX file under `pgd`. They are
            shown the images of the others; their own rows of `both` and `wrong` are 0.

    Where all models but t were attacked together, `both` and `wrong` have one row more, the last; its denominators are
    the images that all models get right.
    """

    data: str
    attack: str
    count: int
    names: tuple[str, ...]
    clean_wrong: tuple[int, ...]
    both: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[int, ...], ...]
    target: str = ""
    closed: tuple[str, ...] = ()

    def _brief(self) -> str:
        return f"{self.attack} on {len(self.names)} models, {self.count:,} images"

    @property
    def sources(self) -> tuple[str, ...]:
        """What the images of each row were made on: the models, then "all others" if there is such a row."""
        return (*self.names, OTHERS)[: len(self.both)]

    def rate(self, source: int, target: int) -> float | None:
        """Return the fraction of the images right in both that the target gets wrong; None if there is no such image.

        Args:
            source: position in `sources` of what was attacked.
            target: position in `names` of the model that was shown the images.

        Raises:
            InputError: there is no such source or target.
        """
        source, target = self._place(source, target)
        both = self.both[source][target]
        return self.wrong[source][target] / both if both else None

    def interval(self, source: int, target: int) -> tuple[float, float] | None:
        """Return the 95 % Wilson interval of a transfer rate; None if no image is right for both.

        Args:
            source: position in `sources` of what was attacked.
            target: position in `names` of the model that was shown the images.

        Raises:
            InputError: there is no such source or target.
        """
        source, target = self._place(source, target)
        both = self.both[source][target]
        return wilson_interval(self.wrong[source][target], both) if both else None

    def _place(self, source: Any, target: Any) -> tuple[int, int]:
        most = len(self.sources) - 1, len(self.names) - 1
        source = door.check_count("source", source, least=0, most=most[0])
        return source, door.check_count("target", target, least=0, most=most[1])

    @property
    def rates(self) -> list[list[float | None]]:
        """All rates: one row a source, one column a target."""
        places = range(len(self.names))
        return [[self.rate(s, t) for t in places] for s in range(len(self.sources))]

    def records(self) -> list[dict[str, Any]]:
        """One row a pair of models."""
        places = range(len(self.names))
        return [self._record(s, t) for s in range(len(self.sources)) for t in places]

    def _record(self, s: int, t: int) -> dict[str, Any]:
        low, high = self.interval(s, t) or (None, None)
        pair = {"made_on": self.sources[s], "shown_to": self.names[t]}
        return {
            **pair,
            "rate": self.rate(s, t),
            "low": low,
            "high": high,
            "wrong": self.wrong[s][t],
            "both_right": self.both[s][t],
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        rows, places = range(len(self.sources)), range(len(self.names))
        return {
            "data": self.data,
            "attack": self.attack,
            "target": self.target or None,
            "count": self.count,
            "models": list(self.names),
            "made_on": list(self.sources),
            "closed": list(self.closed),
            "clean_error": [wrong / self.count for wrong in self.clean_wrong],
            "both": [list(row) for row in self.both],
            "wrong": [list(row) for row in self.wrong],
            "rates": self.rates,
            "intervals": [[self.interval(s, t) for t in places] for s in rows],
        }


@shows_progress("transfer")
def transfer_matrix(
    models: Mapping[str, Model],
    data: Any,
    attack: Attack | str,
    *,
    together: Together | None = None,
    target: int | str | None = None,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
    progress: Progress | bool | None = None,
) -> TransferMatrix:
    """Attack every model and show the images to all of them.

    A model that shows less than the attack needs (an ONNX file has no gradients) is shown the images of the others.
    Budget attacks continue to the strongest point (stop "never"), which transfers better than the first adversarial
    one. An image on which the attack failed counts as one that does not transfer.

    Args:
        models: models by name; all take the same images and know the same classes.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        attack: an attack of either kind, or its spec.
        together: function that makes the attack on several models at once, such as `advkit.attacks.ensemble`; the
            matrix then has one more row, made on all models but the one that is shown the images and those that
            show too little. It needs three models or more that are attacked. Default: no such row.
        target: the class to reach, by its number or by its name in the data. A rate then counts the images that are
            taken for this class. By default every mistake counts.
        batch_size, count, seed, bounds: options of the evaluation, see `evaluate`.
        progress: called with (done, all) in images times passes of the attack, on all models; True shows a bar.

    Returns:
        Counts, rates and intervals; the diagonal is each model under its own attack.

    Raises:
        InputError: there is no model, or none shows what the attack needs, or data, attacks or outputs do not fit.
    """
    if not isinstance(models, Mapping):
        raise InputError(
            f"expected models as a mapping of names to models, such as {{'lenet5': model}}, got {type(models).__name__}"
        )
    for name, model in models.items():
        if not isinstance(name, str):
            raise InputError(f"expected the names of models as text, got {name!r}")
        model_checks.check_model(model)
    if not models:
        raise InputError("expected at least one model, got none")
    if not isinstance(attack, Attack | str):
        raise InputError(f"expected an attack such as FGSM(eps=0.1), or its spec, got {attack!r}")
    attack = one_attack(attack, data)
    nets = list(models.values())
    given = [s for s, net in enumerate(nets) if is_enough(net, attack)] or [*range(len(nets))]  # or it says so
    if together is not None and len(given) < 3:
        which = "" if len(given) == len(nets) else f" that show {attack.knowledge}"
        raise InputError(f"all others together: expected three models or more{which}, got {len(given)}")
    bounds = door.check_bounds(bounds)
    batch_size, count = how_many(batch_size, count)
    data = as_data(data, batch_size=batch_size, count=count)
    length = total(data, count)
    size, rows = len(models), len(models) + (together is not None)
    made = len(given) + (size if together else 0)
    tick = Ticker(progress, None if length is None else length * made * most_passes(attack))
    aim, seed = aim_at(target, data), door.check_seed(seed)
    if isinstance(aim, str | Tensor):
        several = shown(target)
        raise InputError(f"expected target as one class, got {several}: transfer shows how often it is reached")
    call = {"seed": seed, "bounds": bounds, "stop": "never", "target": aim}
    seen, clean = 0, torch.zeros(size, dtype=torch.int64, device="cpu")
    both, wrong = (
        torch.zeros(rows, size, dtype=torch.int64, device="cpu"),
        torch.zeros(rows, size, dtype=torch.int64, device="cpu"),
    )
    for batch in batches(data, batch_size=batch_size, count=count):
        right = torch.stack([_answer(net, batch.x, batch, bounds) for net in nets]) == batch.y.cpu()  # (M, N)
        meant = torch.ones_like(right[0]) if aim is None else batch.y.cpu() != aim
        for s in given:
            fooled = _fooled(attack, nets[s], nets, batch, call, tick)
            shared = right[s] & right & meant
            both[s] += shared.sum(1)
            wrong[s] += (shared & fooled).sum(1)
        for t, net in enumerate(nets if together is not None else []):
            others = together(attack, [nets[s] for s in given if s != t])  # type: ignore[misc]
            fooled = _fooled(others, net, [net], batch, call, tick)[0]
            shared = right.all(0) & meant
            both[size, t] += shared.sum()
            wrong[size, t] += (shared & fooled).sum()
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
        target="" if target is None else str(plain(target)),
        closed=tuple(name for s, name in enumerate(models) if s not in given),
    )


def _fooled(
    attack: Attack, net: Model, shown_to: Sequence[Model], batch: Batch, call: dict[str, Any], tick: Ticker
) -> Tensor:
    """(M, N) bool: whether each of M models errs, or reaches the target, on what the attack on `net` leaves."""
    own = fitted(batch, net, call["bounds"])
    with reporting(tick.within(len(batch.y) * most_passes(attack))):
        found = attack(net, own.x, own.y, sample_ids=own.sample_ids, **call)
    tick(len(batch.y) * most_passes(attack))
    answers = torch.stack([_answer(other, found.x_adv, batch, call["bounds"]) for other in shown_to])
    return answers != batch.y.cpu() if call["target"] is None else answers == call["target"]


def _answer(model: Model, x: Tensor, batch: Batch, bounds: tuple[float, float]) -> Tensor:
    """(N,) int64 on the CPU: the class that the model gives these images."""
    own = fitted(batch._replace(x=x, y=batch.y.to(x.device)), model, bounds)
    with looking(model, own.x.device), model_checks.explained(model, own.x):
        logits: Tensor = Passes(model, own.x)(own.x)
    model_checks.check_answer(logits, own.x, own.y)
    return logits.argmax(1).cpu()
