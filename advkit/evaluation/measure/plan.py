"""The measurements on one batch: a clean pass, each attack, the control; the results are columns on the CPU."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.attack import Attack
from advkit.core.driver import reporting
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.norms import per_row
from advkit.core.result import Result
from advkit.data._stream import Batch
from advkit.evaluation.measure.asked import radius_of
from advkit.evaluation.measure.assembly import Line, assembled
from advkit.evaluation.measure.certificates import CertificateAsked, broken_by
from advkit.evaluation.measure.columns import attack_columns, clean_columns, recorded
from advkit.evaluation.measure.judge import PLAIN, Judge
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.tally import Samples
from advkit.evaluation.measure.ticker import Ticker


@dataclass(frozen=True)
class Plan:
    """The measurements on every batch: a clean pass, each attack, the control."""

    attacks: list[Attack]
    control: Attack | None
    target: int | str | Tensor | None
    options: dict[str, Any]
    judge: Judge = PLAIN
    verdicts: int = 1
    certificate: CertificateAsked | None = None
    record: bool = False  # for a run: four distances and the 8-bit verdict beside the figures, and the images

    @property
    def all(self) -> list[Attack]:
        return [*self.attacks, *([] if self.control is None else [self.control])]

    @property
    def passes(self) -> int:
        """The maximum number of passes over each image; a certificate counts as those that take about as long."""
        return 1 + sum(map(most_passes, self.all)) + (0 if self.certificate is None else self.certificate.passes)

    def check(self) -> None:
        for attack in self.all:
            if not isinstance(attack, Attack):
                raise InputError(
                    f"expected attack objects such as FGSM(eps=0.1), got {attack!r}; create_attack makes one of a name"
                )
        if self.control is not None and self.attacks and self.control.norm != self.attacks[0].norm:
            norm, got = self.attacks[0].norm, self.control.norm
            raise InputError(
                f"expected a control in the first attack's norm, got {got} beside {norm}; give norm={norm!r}"
            )

    def measure(self, model: Model, batch: Batch, tick: Ticker) -> tuple[list[dict[str, Tensor]], list[Tensor]]:
        """Return the columns of one batch (clean, each attack, the control), and their images if they are recorded."""
        often: Any = {"judge": self.judge, "verdicts": self.verdicts, "seed": self.options["seed"]}
        clean, answers = clean_columns(model, batch, **often)
        tick(len(batch.y))
        columns, points = [clean], batch.x
        broken = {"the clean pass": clean["clean_wrong"]}
        images: list[Tensor] = []
        first: Result | None = None
        for i, attack in enumerate(self.all):
            is_control = i == len(self.attacks)
            aim = None if is_control else _aim(self._target(attack), batch)
            eps: float | Tensor | None = None if not is_control or first is None else _budget(self.attacks[0], first)
            start = time.perf_counter()
            with reporting(tick.within(len(batch.y) * most_passes(attack))):
                call: Any = {"target": aim, "goal": self.judge.wish, "eps": eps, "sample_ids": batch.sample_ids}
                result = attack(model, batch.x, batch.y, clean=answers, **call, **self.options)
            columns.append(
                attack_columns(model, batch, result, aim, clean, **often)
            )  # to the CPU: a CPU-GPU sync point
            columns[-1]["seconds"] = torch.tensor([time.perf_counter() - start], dtype=torch.float64, device="cpu")
            if self.certificate is not None:
                wrong = broken_by(self.certificate, clean, columns[-1], batch.x, result.x_adv)
                points = torch.where(per_row(wrong.to(points.device), points), result.x_adv, points)
                broken[attack.spec] = wrong
            if self.record:
                columns[-1].update(recorded(model, batch, result, aim, self.options["bounds"], self.judge))
                images.append(result.x_adv)
            first = result if first is None else first
            tick(len(batch.y) * most_passes(attack))
        if self.certificate is not None:  # after the attacks: an exact search begins with what they found
            passes = len(batch.y) * self.certificate.passes
            clean |= self.certificate.columns(model, batch, self.options["bounds"], points, tick.within(passes))
            for by, wrong in broken.items():
                self.certificate.check(clean, wrong, by)
                clean["broken"] = clean["broken"] | wrong
            tick(passes)
        return columns, images

    def _target(self, attack: Attack) -> int | str | Tensor | None:
        """What was asked for, else the class that the attack itself aims at, if it is one."""
        own = getattr(attack, "target", None)
        return own if self.target is None and isinstance(own, int) else self.target

    @property
    def lines(self) -> list[Line]:
        """The descriptions of `all` for the report."""
        first = self.attacks[0] if self.attacks else self.control
        likes = [*self.attacks, *([] if self.control is None else [first])]
        stop = self.options["stop"]
        pairs = zip(self.all, likes, strict=True)
        return [Line(a.spec, a.name, a.kind, a.norm, radius_of(like), stop) for a, like in pairs if like is not None]

    def report(self, data: str, samples: Samples) -> Report:
        """Make the report from the columns of all batches."""
        about: Any = {"seed": self.options["seed"], "goal": self.goal, "labelled": self.judge.labelled}
        return assembled(
            self.lines, data, samples, control=self.control is not None, certificate=self.certificate, **about
        )

    @property
    def goal(self) -> str:
        """The goal as text; empty if none was given."""
        return "" if self.judge.wish is None else self.judge.wish.spec


def most_passes(attack: Attack) -> int:
    """Return the number of passes of an attack by its steps: one a step, and one for the verdict."""
    return attack.total_steps + 1


def _aim(target: int | str | Tensor | None, batch: Batch) -> Tensor | str | None:
    """The target of each image of the batch, (N,) int64; words go to the attack as they are."""
    if target is None or isinstance(target, str):
        return target
    if isinstance(target, Tensor) and target.ndim:
        last = int(batch.sample_ids.max())
        if target.ndim != 1 or len(target) <= last:
            got = f"shape {tuple(target.shape)} and an image number {last}"
            raise InputError(f"expected target as one class, or (N,) with one for each image of the data, got {got}")
        return target.to(batch.y.device)[batch.sample_ids].long()
    return torch.full_like(batch.y, int(target))


def _budget(attack: Attack, result: Result) -> float | Tensor | None:
    """What the control may spend: the attack's budget, or the distance it needed on each sample (0 if it failed)."""
    eps = radius_of(attack)
    return result.distance.nan_to_num(nan=0.0, posinf=0.0) if eps is None else eps
