"""The driver and the oracle: what a run costs, what it returns, and what changes nothing."""

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from advkit.attacks import FGSM, LBFGS, PGD, Attack, Noise, Result, create_attack
from advkit.core import driver
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.norms import get_norm
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier, assert_in_threat, toy_classifier
from advkit.testing._subject import reached
from advkit.testing._toys import affine_case, predicted, toy_case
from advkit.testing.nets import Spy, Wrapped
from advkit.testing.strategies import attacks, classifiers, images, labels

FEW = [FGSM(eps=0.1), FGSM(eps=0.4, norm="l2"), PGD(eps=0.1, steps=6), PGD(eps=0.4, norm="l2", steps=6), LBFGS()]
IDS = [attack.spec for attack in FEW]


def quietly(call: Callable[[], Result]) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvkitWarning)
        return call()


SHORT = {"steps": 4, "searches": 2, "first_steps": 5, "later_steps": 3, "queries": 120, "first": 8, "tries": 10}
SHORT |= {"rotations": 3, "shifts": 3, "population": 6, "generations": 5, "samples": 8, "proximal_steps": 2}
"""Hyperparameters, of those attacks that have them, with which no attack takes long."""


@given(st.data(), attacks(**SHORT), st.sampled_from(["fooled", "never"]))
def test_any_attack_on_any_classifier_is_feasible_and_honest(data: st.DataObject, attack: Attack, stop: str) -> None:
    classes = data.draw(st.integers(2, 4))
    model = data.draw(classifiers((1, 3, 3), classes=classes))
    x = data.draw(images((1, 3, 3), dtype=torch.float64))
    y = data.draw(labels(len(x), classes))
    modes = [m.training for m in model.modules()]
    result = quietly(lambda: attack(model, x, y, stop=stop))
    assert result.queries.max() <= 250, "name in SHORT what makes this attack long"
    assert [m.training for m in model.modules()] == modes
    assert_in_threat(x, result.x_adv, Threat(attack.norm, getattr(attack, "eps", None) or torch.inf))
    logits = model.eval()(result.x_adv).detach()
    assert torch.allclose(result.logits, logits, atol=1e-9)
    if attack.target == "untargeted":
        assert torch.equal(result.success, reached(logits, y, None))
    size = get_norm(attack.norm).size(result.x_adv - x)
    missed = ~result.success if attack.kind == "minimal" else torch.zeros_like(result.success)
    assert torch.allclose(result.distance, size.masked_fill(missed, torch.inf))


@pytest.mark.parametrize(
    ("attack", "queries", "gradients"),
    [
        (FGSM(eps=1e-3), 2, 1),
        (FGSM(eps=1e-3, norm="l1"), 2, 1),
        (Noise(eps=1e-3), 2, 0),
        (PGD(eps=1e-3, steps=5, random_start=False), 6, 5),
        (PGD(eps=1e-3, steps=5), 7, 5),
        (PGD(eps=1e-3, steps=1, random_start=False), 2, 1),
    ],
    ids=lambda value: getattr(value, "spec", None),
)
def test_the_price_of_an_attack_that_fails(attack: Attack, queries: int, gradients: int) -> None:
    model, x, y = affine_case(0)
    sturdy = model.nearest(x, y, "linf")[0] > 0.01
    x, y = x[sturdy], y[sturdy]
    spy = Spy(model)
    result = attack(spy, x, y)
    assert not bool(result.success.any())
    assert result.queries.tolist() == [queries] * len(x)
    assert result.gradients.tolist() == [gradients] * len(x)
    assert (spy.forwards, spy.backwards) == (queries * len(x), gradients * len(x))
    assert not spy.asked


@pytest.mark.parametrize("attack", FEW, ids=IDS)
def test_with_compaction_at_once_the_model_sees_the_counted_rows_and_no_more(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "COMPACT_AT", 0.0)
    case = toy_case(1, samples=12)
    spy = Spy(case.model)
    result = attack(spy, case.x, case.y)
    clean = int(attack.starts_at_x) * len(case.x)  # rows wrong already leave only after the shared first gradient
    assert spy.forwards <= int(result.queries.sum())
    assert spy.backwards <= int(result.gradients.sum()) + clean


@pytest.mark.parametrize("attack", FEW, ids=IDS)
@pytest.mark.parametrize("stop", ["fooled", "never"])
def test_compaction_changes_nothing(attack: Attack, stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = toy_case(2, samples=18)
    results, rows = [], []
    for share in (0.0, 0.25, 2.0):  # at once, as shipped, never
        monkeypatch.setattr(driver, "COMPACT_AT", share)
        spy = Spy(case.model)
        results.append(attack(spy, case.x, case.y, stop=stop))
        rows.append(spy.forwards)
    assert (stop == "never" and attack.kind == "budget") or rows[0] < rows[2] or attack.total_steps == 1
    for other in results[1:]:
        assert torch.allclose(other.x_adv, results[0].x_adv, atol=1e-9)
        for name in ("success", "queries", "gradients", "zero_gradient"):
            assert torch.equal(getattr(other, name), getattr(results[0], name)), name


def test_fooled_samples_leave() -> None:
    case = toy_case(3, samples=18)
    attack = PGD(eps=0.3, steps=30)
    spy = Spy(case.model)
    stopped = attack(spy, case.x, case.y)
    early = spy.forwards
    attack(spy, case.x, case.y, stop="never")
    assert bool(stopped.success.all())
    assert early < (spy.forwards - early) / 2


def test_never_stopping_returns_the_strongest_point() -> None:
    case = toy_case(4)
    attack = PGD(eps=0.1, steps=10, random_start=False, loss="margin")
    seen: list[Tensor] = []

    def record(x: Tensor) -> Tensor:
        seen.append(x.detach().clone())
        return x

    result = attack(Wrapped(case.model, before=record).eval(), case.x, case.y, stop="never")
    lead = [reach_by(case.model(x).detach(), case.y) for x in seen if len(x) == len(case.x)]
    assert torch.allclose(reach_by(result.logits, case.y), torch.stack(lead).amax(0), atol=1e-9)


def reach_by(logits: Tensor, y: Tensor) -> Tensor:
    own = logits.gather(1, y[:, None]).squeeze(1)
    return logits.scatter(1, y[:, None], -torch.inf).amax(1) - own


def test_never_stopping_attacks_what_is_wrong_already() -> None:
    case = toy_case(5, wrong=(0,))
    result = FGSM(eps=0.05)(case.model, case.x, case.y, stop="never")
    assert float(result.distance[0]) > 0
    assert int(result.gradients[0]) == 1


def test_the_last_iterate_is_a_candidate() -> None:
    model, x, y = affine_case(1)
    nearest, _ = model.nearest(x, y, "linf")
    attack = PGD(steps=1, step_size=1.0, random_start=False)
    assert bool(attack(model, x, y, eps=nearest * 1.001).success.all())


def test_a_success_that_the_last_iterate_loses_is_kept() -> None:
    # The wrong class holds a narrow band only: long steps enter it and leave it again.
    def band(x: Tensor) -> Tensor:
        s = x.flatten(1).sum(1)
        inside = 10 * (0.02 - (s - 0.55).abs())
        return torch.stack([0.3 * (s - 0.55) ** 2 + 0 * s, inside - 0.0 * s], 1)

    x = torch.tensor([[[[0.5]]]], dtype=torch.float64)
    y = torch.tensor([0])
    result = PGD(eps=0.3, steps=4, step_size=0.05, random_start=False)(band, x, y, stop="never")
    assert bool(result.success)
    assert float(result.x_adv) == pytest.approx(0.55)


def test_an_unstable_model_cannot_feign_success() -> None:
    # Any second look at a point sees another class: the verdict is the last word.
    class Moody(nn.Module):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            lead = x.flatten(1).sum(1) * 0 + (1 if self.calls == 2 else -1)
            return torch.stack([x.flatten(1).sum(1) * 0, lead + 0 * x.flatten(1).sum(1)], 1)

    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    result = quietly(lambda: PGD(eps=0.1, steps=3)(Moody(), x, torch.zeros(2, dtype=torch.int64), stop="never"))
    assert bool((result.logits.argmax(1) == 1).eq(result.success).all())


@pytest.mark.parametrize("attack", [*FEW, Noise(eps=0.1)], ids=[*IDS, "noise"])
def test_a_model_that_writes_on_its_input_cannot_spoil_the_images(attack: Attack) -> None:
    case = toy_case(6)
    model = Wrapped(case.model, before=lambda x: x + 0.25 if x.requires_grad else x.add_(0.25)).eval()
    before = case.x.clone()
    try:
        result = attack(model, case.x, case.y)
    except InputError:
        pass  # to refuse such a model is right, too
    else:
        assert torch.equal(result.success, reached(case.model(result.x_adv + 0.25).detach(), case.y, None))
    assert torch.equal(case.x, before)


def test_logits_that_are_a_view_of_the_images_do_not_come_back_as_one() -> None:
    x = torch.tensor([[0.25, 0.5], [0.75, 0.125]])
    for y in (torch.tensor([0, 1]), torch.tensor([1, 0])):  # all wrong, all right
        result = FGSM(eps=0.1)(nn.Flatten(), x, y)
        storages = {t.untyped_storage().data_ptr() for t in vars(result).values() if t is not None}
        assert x.untyped_storage().data_ptr() not in storages


@pytest.mark.parametrize("target", ["runner_up", "random", 2, "tensor"])
def test_the_words_for_targets_are_targets(target: str | int) -> None:
    case = toy_case(7, wrong=())
    chosen = case.target if target == "tensor" else target
    result = FGSM(eps=0.3)(case.model, case.x, case.y, target=chosen)
    if target in (2, "tensor"):
        label = torch.full_like(case.y, 2) if target == 2 else case.target
        assert torch.equal(result.success, reached(result.logits, case.y, label))
    else:
        assert not bool((result.logits.argmax(1) == case.y)[result.success].any())


@pytest.mark.parametrize("name", ["fgsm", "lbfgs"])
def test_all_targets_are_as_good_as_the_best_single_one(name: str) -> None:
    case = toy_case(8, samples=4, classes=3, wrong=())
    attack = create_attack(name, **({"eps": 0.15} if name == "fgsm" else {}))
    every = attack(case.model, case.x, case.y, target="all")
    single = [attack(case.model, case.x, case.y, target=(case.y + k) % 3) for k in (1, 2)]
    assert torch.equal(every.success, torch.stack([r.success for r in single]).any(0))
    assert torch.equal(every.queries, single[0].queries + single[1].queries)
    if name == "lbfgs":
        assert torch.equal(every.distance, torch.stack([r.distance for r in single]).amin(0))


def test_a_target_that_is_reached_already_is_a_success_at_distance_zero() -> None:
    case = toy_case(9, wrong=())
    result = LBFGS()(case.model, case.x, case.y, target=case.y)
    assert bool(result.success.all())
    assert result.distance.tolist() == [0] * 9
    assert result.queries.tolist() == [1] * 9


def test_gradients_that_vanish_are_reported_for_their_samples_only() -> None:
    model, x, y = affine_case(2)
    flat = Wrapped(model, before=lambda t: torch.where(torch.arange(9).view(-1, 1, 1, 1) == 4, t.detach(), t)).eval()
    with pytest.warns(AdvkitWarning, match="gradient was exactly zero for 1 of 9 samples"):
        result = FGSM(eps=1e-4)(flat, x, y)
    assert result.zero_gradient.tolist() == [i == 4 for i in range(9)]
    assert torch.equal(result.x_adv[4], x[4])


def test_gradients_that_vanish_in_half_precision_are_reported_and_those_of_bfloat16_do_not() -> None:
    """A cross-entropy of e^-60 is no number of float16; bfloat16 has the range of float32."""
    for dtype in (torch.float16, torch.bfloat16):
        x = toy_case(14).x[:3].to(dtype)
        saturated = Wrapped(toy_classifier(dtype=dtype), after=lambda logits: logits * 1000).eval()
        y = predicted(saturated, x)
        if dtype == torch.float16:
            with pytest.warns(AdvkitWarning, match="exactly zero"):
                FGSM(eps=0.01)(saturated, x, y)
        else:
            assert not bool(FGSM(eps=0.01)(saturated, x, y).zero_gradient.any())


def test_the_returned_point_of_a_failed_minimal_attack_is_a_copy_of_x() -> None:
    x = torch.linspace(0, 1, 8, dtype=torch.float64).view(2, 1, 2, 2)
    y = torch.zeros(2, dtype=torch.int64)
    stubborn = AffineClassifier(torch.zeros(2, 4, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64))
    result = quietly(lambda: LBFGS(searches=1, first_steps=2)(stubborn, x, y))
    assert torch.equal(result.x_adv, x)
    assert result.distance.tolist() == [torch.inf] * 2
    assert not bool(result.success.any())


def test_progress_is_reported_after_each_step() -> None:
    model, x, y = affine_case(0)
    seen: list[tuple[int, int]] = []
    with driver.reporting(lambda step, total: seen.append((step, total))):
        PGD(eps=1e-5, steps=3)(model, x, y)
    PGD(eps=1e-5, steps=3)(model, x, y)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_fgsm_from_a_gradient_that_is_known_is_fgsm() -> None:
    case = toy_case(10, wrong=())
    leaf = case.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(case.model(leaf), case.y), leaf)
    for norm, eps in (("linf", 0.1), ("l2", 0.4), ("l1", 1.0)):
        attack = FGSM(eps=eps, norm=norm)
        known = attack.from_gradient(case.x, gradient)
        assert torch.allclose(known, attack(case.model, case.x, case.y, stop="never").x_adv, atol=1e-9)


def test_fgsm_is_the_formula_of_the_paper() -> None:
    model, _, _ = affine_case(3)
    x = 0.4 + 0.2 * torch.rand(4, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = predicted(model, x)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(leaf), y), leaf)
    expected = x + 0.25 * gradient.sign()
    assert torch.allclose(FGSM(eps=0.25)(model, x, y, stop="never").x_adv, expected, atol=1e-15)


def test_one_step_of_pgd_from_x_is_fgsm() -> None:
    case = toy_case(11)
    step = PGD(eps=0.1, steps=1, step_size=0.1, random_start=False)(case.model, case.x, case.y, stop="never")
    assert torch.allclose(step.x_adv, FGSM(eps=0.1)(case.model, case.x, case.y, stop="never").x_adv, atol=1e-15)


def test_an_infinite_radius_leaves_the_range_only() -> None:
    case = toy_case(12)
    for attack in (FGSM(eps=torch.inf), PGD(eps=torch.inf, steps=3), Noise(eps=torch.inf)):
        result = attack(case.model, case.x, case.y, stop="never")
        assert bool(result.x_adv.isfinite().all())
        assert bool(((result.x_adv >= 0) & (result.x_adv <= 1)).all())


class Blind(nn.Module):
    """Sees the first pixels only: the gradient of the others is exactly 0."""

    def forward(self, x: Tensor) -> Tensor:
        light = x.flatten(1)[:, :8].sum(1)
        return torch.stack([0 * light + 4, light], 1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ["fgsm", "bim", "mifgsm", "pgd", "universal", "apgd"])
def test_a_step_of_no_size_in_an_infinite_radius_is_not_nan(name: str, norm: str) -> None:
    x, y = toy_case(13).x[:4] * 0.3, torch.zeros(4, dtype=torch.int64)
    attack = create_attack(name, norm=norm)
    for eps in (torch.inf, torch.tensor([0.1, torch.inf, torch.inf, 0.2])):
        result = attack(Blind(), x, y, eps=eps, stop="never")
        assert bool(result.x_adv.isfinite().all())
        assert result.success.tolist()[1:3] == [True, True]
