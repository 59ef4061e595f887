"""Every registered loss keeps its promises, and planted faults are seen."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.training_losses import INSIDE, LOSSES
from torch import Tensor, nn

from advkit.attacks import FGSM, PGD
from advkit.core.errors import InputError
from advkit.core.losses import surprise
from advkit.defenses import (
    AWP,
    MART,
    TRADES,
    AdversarialLoss,
    Fast,
    Free,
    TrainingLoss,
    create_defense,
    list_defenses,
)
from advkit.defenses import awp as awp_file
from advkit.defenses._loss import divergence
from advkit.defenses.mart import boosted
from advkit.testing import check_defense
from advkit.testing._formulas import FORMULAS


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_keeps_its_promises(name: str) -> None:
    report = check_defense(LOSSES[name])
    assert report.outcomes[0].verdict == "kept"


LISTED = {name.partition(",")[0] for name in LOSSES}


@pytest.mark.parametrize("name", [name for name in list_defenses() if name not in LISTED] or ["fast"])
def test_every_other_registered_loss_keeps_the_promises_that_need_no_formula(name: str) -> None:
    assert check_defense(create_defense(f"{name}(eps=0.1)")).ok


class BackwardsTRADES(TRADES):
    def value(self, network: Any, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        def term(a: Tensor, b: Tensor) -> Tensor:
            return surprise(a, y).mean() + self.beta * divergence(b, a).mean()

        return network.mean(term, x, x_adv)  # type: ignore[no-any-return]


class UnweightedMART(MART):
    def value(self, network: Any, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        def term(a: Tensor, b: Tensor) -> Tensor:
            return (boosted(b, y) + self.weight * divergence(a, b)).mean()

        return network.mean(term, x, x_adv)  # type: ignore[no-any-return]


class ForgetfulFree(Free):
    def _keep(self, delta: Tensor) -> None:
        pass


class StartsAtX(Fast):
    def examples(self, network: Any, x: Tensor, y: Tensor) -> Tensor:
        torch.empty_like(x).uniform_()
        step = (x + 1.25 * self.eps * network.ascent(x, y).sign()).clamp(x - self.eps, x + self.eps)
        return step.clamp(*self.bounds)


class TrainModeFast(Fast):
    def examples(self, network: Any, x: Tensor, y: Tensor) -> Tensor:
        network.outputs(x)
        return super().examples(network, x, y)


@dataclass(frozen=True, kw_only=True)
class BoundlessFGSM(FGSM):
    def from_gradient(self, x: Tensor, gradient: Tensor, **options: Any) -> Tensor:
        return super().from_gradient(x, gradient)


@pytest.mark.parametrize(
    ("faulty", "broken"),
    [
        (BackwardsTRADES(attack=INSIDE), "formula_equals"),
        (UnweightedMART(attack=INSIDE), "formula_equals"),
        (ForgetfulFree(eps=0.1), "formula_equals"),
        (StartsAtX(eps=0.1), "formula_equals"),
        (TrainModeFast(eps=0.1), "buffers_are_documented"),
        (TrainModeFast(eps=0.1), "passes_are_counted"),
        (AdversarialLoss(attack=BoundlessFGSM(eps=0.1)), "keeps_to_the_range"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TrainingLoss) else str(value),
)
def test_planted_faults_are_seen(faulty: TrainingLoss, broken: str) -> None:
    assert broken in check_defense(faulty, raises=False).broken


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


def in_eval_mode(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model.eval(), x, y)


def in_train_mode(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model.train(), x, y)


def on_the_images_themselves(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model, x.add_(0.01), y)


def beyond_the_range(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(model, x + 0.1 * torch.randn_like(x).sign(), y)


def seeded(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    torch.manual_seed(0)
    return cross_entropy(model, (x + 0.1 * torch.rand_like(x)).clamp(0, 1), y)


def in_two_passes(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return (cross_entropy(model, x, y) + cross_entropy(model, x / 2, y)) / 2


OWN: list[tuple[Callable[..., Any], str, str]] = [
    (in_eval_mode, "leaves_no_trace", "mode has changed"),
    (in_train_mode, "buffers_are_documented", "expected 0 updates in train=False"),
    (on_the_images_themselves, "leaves_no_trace", "images have changed"),
    (beyond_the_range, "keeps_to_the_range", "expected pixels from 0 to 1"),
    (seeded, "leaves_no_trace", "generator was seeded"),
    (in_two_passes, "buffers_are_documented", "expected 1 .* saw 2; an attribute norm_updates"),
    (lambda model, x, y: cross_entropy(model, x, y).item(), "returns_a_scalar", "got float"),
    (lambda model, x, y: cross_entropy(model, x, y).detach(), "returns_a_scalar", "no graph"),
    (lambda model, x, y: F.cross_entropy(model(x), y, reduction="none"), "returns_a_scalar", "take the mean"),
    (lambda model, x, y: cross_entropy(model, x, y) * torch.nan, "returns_a_scalar", "the value is nan"),
    (lambda model, x, y: None, "returns_a_scalar", "got NoneType"),
]


def test_a_plain_function_is_a_loss_and_what_it_does_not_promise_is_skipped() -> None:
    """It broke a promise whatever it did, and the range of its images counted as kept, though nothing looked at it."""
    report = check_defense(cross_entropy)
    verdicts = {outcome.name: outcome.verdict for outcome in report.outcomes}
    assert verdicts["keeps_to_the_range"] == verdicts["returns_a_scalar"] == "kept"
    skipped = {"formula_equals", "passes_are_counted", "takes_any_attack", "spec_makes_it_again"}
    assert {name for name, verdict in verdicts.items() if verdict == "skipped"} == skipped
    assert str(report).startswith("cross_entropy")


@pytest.mark.parametrize(("loss", "broken", "evidence"), OWN)
def test_planted_faults_of_a_plain_function_are_seen(loss: Callable[..., Any], broken: str, evidence: str) -> None:
    found = {outcome.name: outcome.evidence for outcome in check_defense(loss, raises=False).outcomes}
    assert re.search(evidence, found[broken]), found[broken]


@pytest.mark.parametrize(
    ("loss", "formula", "message"),
    [
        (TRADES, None, r"the class TRADES itself: make one, TRADES\(\.\.\.\)"),
        (nn.CrossEntropyLoss(), None, r"called as loss\(model, x, y\), got CrossEntropyLoss of other arguments"),
        (lambda model, x: 0, None, r"called as loss\(model, x, y\)"),
        ("trades", None, "got str"),
        (cross_entropy, 3, "formula as a function of the loss"),
        (cross_entropy, cross_entropy, "formula as a function of the loss"),
    ],
)
def test_what_is_no_training_loss_is_one_line(loss: Any, formula: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check_defense(loss, formula=formula)
    assert "\n" not in str(caught.value)


def test_a_weight_perturbation_that_does_not_move_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stuck(weights: Any, gradient: Any, gamma: float) -> Iterator[None]:
        with torch.no_grad():
            for w, g in zip(weights, gradient, strict=True):
                if w.ndim > 1:
                    w.add_(gamma * w.norm() / g.norm() * g)
        yield

    monkeypatch.setattr(awp_file, "moved", stuck)
    assert "leaves_no_trace" in check_defense(LOSSES["awp"], raises=False).broken


def test_specs_reach_the_attack_inside() -> None:
    assert create_defense("trades(eps=0.3, steps=40, beta=2)") == TRADES(attack=PGD(eps=0.3, steps=40), beta=2)
    assert create_defense("mart(attack=fgsm(eps=0.1))") == MART(attack=FGSM(eps=0.1))
    inside = AdversarialLoss(attack=PGD(eps=0.1, steps=3), alpha=0)
    assert create_defense("awp(eps=0.1, steps=3, gamma=0.01)") == AWP(loss=inside, gamma=0.01)
    assert create_defense("awp(loss=trades(eps=0.1))") == AWP(loss=TRADES(attack=PGD(eps=0.1)))
    assert create_defense("free(eps=8/255, replays=4)") == Free(eps=8 / 255, replays=4)


def test_free_remembers_through_its_state() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).double()
    x, y = torch.rand(5, 1, 2, 2, dtype=torch.float64), torch.arange(5) % 3
    loss = Free(eps=0.1)
    loss(model, x, y)
    again = Free(eps=0.1)
    again.load_state_dict(loss.state_dict())
    assert torch.equal(loss(model, x, y), again(model, x, y))


def test_trades_follows_divergences_of_any_size() -> None:
    """Beyond log 2 too, where a network of two classes would change its answer."""
    torch.manual_seed(0)
    for scale in (1e-3, 1.0, 30.0):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).double()
        with torch.no_grad():
            model[1].weight.mul_(scale)
        x, y = torch.rand(16, 1, 2, 2, dtype=torch.float64), torch.arange(16) % 3
        loss = TRADES(attack=PGD(eps=0.4, steps=7))
        torch.manual_seed(1)
        ours = loss(model, x, y)
        torch.manual_seed(1)
        torch.testing.assert_close(ours, FORMULAS["trades"](loss)(model, x, y), rtol=1e-12, atol=1e-12)
