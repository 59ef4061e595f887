"""Mutants of core: one line of it is replaced, and the check that a real attack then fails."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from advkit.attacks import FGSM, LBFGS, PGD, Result
from advkit.core import attack as attack_module
from advkit.core import driver, guard, losses, norms, oracle, threat
from advkit.core.goals import Goal
from advkit.testing import BrokenPromiseError, check_attack


def core_no_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(threat.Region, "maximise", lambda self, gradient: self.x)


def core_flipped_sign(patch: pytest.MonkeyPatch) -> None:
    maximise = threat.Region.maximise
    patch.setattr(threat.Region, "maximise", lambda self, gradient: maximise(self, -gradient))


def core_pgd_flipped_sign(patch: pytest.MonkeyPatch) -> None:
    step = threat.Region.step
    patch.setattr(threat.Region, "step", lambda self, x, gradient, length: step(self, x, -gradient, length))


def core_no_projection(patch: pytest.MonkeyPatch) -> None:
    for name in ("project", "_held", "settle", "clamp"):
        patch.setattr(threat.Region, name, lambda self, x_adv: x_adv.to(self.x.dtype))


def core_no_guard(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def none(model: Any, **options: Any) -> Any:
        yield

    patch.setattr(driver, "guard", none)


def core_guard_that_stays_in_eval(patch: pytest.MonkeyPatch) -> None:
    original = guard.guard

    @contextmanager
    def careless(model: Any, **options: Any) -> Any:
        with original(model, **options):
            yield
        if isinstance(model, torch.nn.Module):
            model.eval()

    patch.setattr(driver, "guard", careless)


def core_guard_in_train_mode(patch: pytest.MonkeyPatch) -> None:
    original = guard.guard
    patch.setattr(driver, "guard", lambda model, **options: original(model, **{**options, "mode": "keep"}))


def core_mean_loss(patch: pytest.MonkeyPatch) -> None:
    for name in ("cross_entropy", "rival"):
        sound = losses.LOSSES[name]
        patch.setitem(losses.LOSSES, name, lambda goal, logits, sound=sound: sound(goal, logits) / len(logits))


def core_targets_are_labels(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(driver, "resolve", lambda target, y, logits, draws: Goal(y, y, 1.0))


def core_ties_count(patch: pytest.MonkeyPatch) -> None:
    margin = Goal.margin
    patch.setattr(Goal, "margin", lambda self, logits: margin(self, logits) + 0.05)


def core_counts_nothing(patch: pytest.MonkeyPatch) -> None:
    count = oracle.Oracle._count

    def forget(self: Any, queries: int = 0, gradients: int = 0) -> None:
        count(self, 0, gradients)

    patch.setattr(oracle.Oracle, "_count", forget)


def core_batch_norms_the_direction(patch: pytest.MonkeyPatch) -> None:
    # momentum or gradient normalised over the whole batch mixes the samples
    patch.setattr(norms.L2, "steepest", lambda self, g: g / g.norm().clamp(min=1e-30))


def core_shared_numbers(patch: pytest.MonkeyPatch) -> None:
    check_ids = attack_module.door.check_ids
    patch.setattr(attack_module.door, "check_ids", lambda ids, x: check_ids(None, x) + len(x))


def core_returns_the_image(patch: pytest.MonkeyPatch) -> None:
    result = driver._result

    def alias(whole: Any, record: Any, *, minimal: bool) -> Result:
        return replace(result(whole, record, minimal=minimal), x_adv=whole.region.x)

    patch.setattr(driver, "_result", alias)


SHORT_LBFGS = LBFGS(searches=5, leaps=1, leap_searches=2, first_steps=20, later_steps=10)

CORE: list[tuple[Callable[[pytest.MonkeyPatch], None], Any, str]] = [
    (core_no_step, FGSM(), "fools_a_linear_classifier"),
    (core_flipped_sign, FGSM(), "fools_a_linear_classifier"),
    (core_flipped_sign, FGSM(norm="l2"), "attacks_every_label"),
    (core_pgd_flipped_sign, PGD(steps=4), "fools_a_linear_classifier"),
    (core_no_projection, PGD(steps=4), "stays_in_the_ball"),
    (core_no_projection, PGD(steps=4, norm="l2"), "stays_in_the_bounds"),
    (core_no_guard, FGSM(), "leaves_no_trace_on_the_model"),
    (core_no_guard, FGSM(), "attacks_in_eval_mode"),
    (core_no_guard, FGSM(), "asks_no_gradient_of_parameters"),
    (core_guard_that_stays_in_eval, FGSM(), "leaves_no_trace_on_the_model"),
    (core_guard_in_train_mode, FGSM(), "attacks_in_eval_mode"),
    (core_mean_loss, SHORT_LBFGS, "gives_the_same_alone_or_in_a_batch"),
    (core_targets_are_labels, FGSM(), "follows_its_target"),
    (core_targets_are_labels, SHORT_LBFGS, "follows_its_target"),
    (core_ties_count, PGD(steps=4), "tells_the_truth"),
    (core_counts_nothing, PGD(steps=4), "counts_every_pass"),
    (core_batch_norms_the_direction, PGD(steps=4, norm="l2"), "gives_the_same_alone_or_in_a_batch"),
    (core_shared_numbers, PGD(steps=4), "gives_the_same_in_any_order"),
    (core_returns_the_image, FGSM(), "leaves_its_input_alone"),
]


@pytest.mark.parametrize(("mutate", "attack", "check"), CORE, ids=[f"{m.__name__}-{a.spec}-{c}" for m, a, c in CORE])
def test_each_broken_core_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None], attack: Any, check: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_attack(attack, only=[check])
    mutate(monkeypatch)
    with pytest.raises(BrokenPromiseError):
        check_attack(attack, only=[check])
