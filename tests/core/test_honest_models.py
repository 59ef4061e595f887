"""What a model may answer, and what an attack says of a model that is not a sound function of one image."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import FGSM, FMN, PGD, create_attack, list_attacks
from advkit.core.attack import ATTACKS, Attack, BudgetAttack
from advkit.core.classify import classify
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.norms import get_norm
from advkit.core.oracle import Oracle
from advkit.models import Output


class Net(nn.Module):
    """A small network whose answer goes through `out`; `spoil` changes the logits by the images."""

    def __init__(
        self, out: Callable[[Tensor], Any] = lambda z: z, spoil: Callable[..., Tensor] = lambda z, x: z
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(12, 4, generator=generator))
        self.out, self.spoil = out, spoil

    def forward(self, x: Tensor) -> Any:
        return self.out(self.spoil(x.flatten(1) @ self.weight, x))


X = torch.rand(16, 3, 2, 2, generator=torch.Generator().manual_seed(1))
Y = classify(Net(), X).argmax(1)
ATTACK = PGD(eps=0.03, steps=5)


@pytest.mark.parametrize(
    "out", [lambda z: {"logits": z}, lambda z: {"logits": z, "loss": None}, lambda z: SimpleNamespace(logits=z)]
)
def test_a_dict_or_an_object_with_logits_is_taken_apart(out: Callable[[Tensor], Any]) -> None:
    assert torch.equal(ATTACK(Net(out), X, Y).x_adv, ATTACK(Net(), X, Y).x_adv)
    assert torch.equal(classify(Net(out), X), classify(Net(), X))


@pytest.mark.parametrize(
    ("out", "which"),
    [(lambda z: (z, -z), 0), (lambda z: [-z, z], 1), (lambda z: {"a": z}, "a"), (lambda z: SimpleNamespace(b=z), "b")],
)
def test_one_of_several_outputs_is_chosen(out: Callable[[Tensor], Any], which: int | str) -> None:
    assert torch.equal(ATTACK(Output(Net(out), which), X, Y).x_adv, ATTACK(Net(), X, Y).x_adv)


@pytest.mark.parametrize("out", [lambda z: (z, z), lambda z: {"a": z}, lambda z: None, lambda z: z + 1j])
def test_what_holds_no_logits_is_refused_in_one_line(out: Callable[[Tensor], Any]) -> None:
    for look in (lambda: ATTACK(Net(out), X, Y), lambda: classify(Net(out), X)):
        with pytest.raises(InputError, match="expected the model to return"):
            look()


@pytest.mark.parametrize("which", [7, "b"])
def test_an_output_that_is_not_there_is_named(which: int | str) -> None:
    with pytest.raises(InputError, match="no output"):
        ATTACK(Output(Net(lambda z: (z,)), which), X, Y)


def test_votes_are_numbers() -> None:
    votes = Net(lambda z: (10 * z).long())
    y = classify(votes, X).argmax(1)
    with pytest.warns(AdvkitWarning, match="zero"):
        found = ATTACK(votes, X, y)
    assert found.logits.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:the gradient was exactly zero")
def test_a_model_that_is_not_finite_on_the_path_is_counted_and_warned_of() -> None:
    """Without the count, PGD called these samples robust and said nothing."""
    hole = Net(spoil=lambda z, x: torch.where(((x - X[: len(x)]).flatten(1).abs().amax(1) > 0)[:, None], torch.nan, z))
    with pytest.warns(AdvkitWarning, match="NaN or infinity"):
        found = PGD(eps=0.3, steps=5)(hole, X, Y, stop="never")
    assert bool(found.non_finite.all())
    assert not bool(found.success.any())
    assert not bool(PGD(eps=0.3, steps=5)(Net(), X, Y).non_finite.any())


@pytest.mark.filterwarnings("ignore:the gradient was exactly zero")
def test_an_infinite_answer_is_no_success() -> None:
    hole = Net(spoil=lambda z, x: torch.where((x > 0.99).flatten(1).any(1)[:, None], z + torch.inf * (z > 0), z))
    inside = X.clamp(max=0.9)
    with pytest.warns(AdvkitWarning, match="NaN or infinity"):
        found = PGD(eps=0.3, steps=5)(hole, inside, classify(hole, inside).argmax(1))
    assert bool(found.logits[found.success].isfinite().all())


def test_a_random_model_is_noticed_at_no_cost() -> None:
    noisy = Net(spoil=lambda z, x: z + 0.3 * torch.randn_like(z))
    y = classify(noisy, X).argmax(1)
    with pytest.warns(AdvkitWarning, match="two answers"):
        found = FMN(steps=20)(noisy, X, y)
    assert bool(found.unsteady.any())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not bool(FMN(steps=20)(Net(), X, Y).unsteady.any())


def test_a_model_that_mixes_the_batch_is_noticed() -> None:
    mixed = Net(spoil=lambda z, x: z + z.mean(0))
    y = classify(mixed, X).argmax(1)
    with pytest.warns(AdvkitWarning, match="two answers"):
        assert bool(PGD(eps=0.2, steps=20)(mixed, X, y).unsteady.any())


class LooksAhead(BudgetAttack):
    """Asks at three times the radius, and goes nowhere."""

    name = "looks_ahead"
    norms = ("linf", "l2", "l1")
    total_steps = 2

    def init(self, oracle: Oracle) -> Any:
        return (oracle.x,)

    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        _, gradient = oracle.loss_and_gradient(oracle.x, self.loss)
        away = oracle.x + 3 * (oracle.region.maximise(gradient) - oracle.x)
        oracle.logits(away)
        return SimpleState(oracle.x + 0.01 * (away - oracle.x))


class SimpleState(tuple):  # type: ignore[type-arg]
    """A state of one tensor."""

    def __new__(cls, *fields: Tensor) -> "SimpleState":
        return super().__new__(cls, fields)

    @property
    def x_adv(self) -> Tensor:
        return self[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("stop", ["fooled", "never"])
def test_a_point_outside_the_region_is_no_candidate(norm: str, stop: str) -> None:
    eps = {"linf": 0.1, "l2": 0.3, "l1": 0.9}[norm]
    attack = LooksAhead(eps=eps, norm=norm)
    found = attack(Net(), X, Y, stop=stop)
    assert torch.allclose(found.logits, classify(Net(), found.x_adv), atol=1e-5)
    assert bool((found.distance <= eps * (1 + 1e-6)).all())
    assert torch.equal(found.success, found.logits.argmax(1) != Y)


SHORT = {
    "brendel_bethge": {"steps": 4, "tries": 2, "search": 3},
    "one_pixel": {"population": 8, "generations": 4},
    "sparse_rs": {"queries": 60},
    "square": {"queries": 100},
    "pdpgd": {"steps": 60},
}
INSIDE = [create_attack(name, **SHORT.get(name, {})) for name in list_attacks() if ATTACKS.factory(name).stays_inside]  # type: ignore[attr-defined]


@pytest.mark.parametrize("attack", INSIDE, ids=lambda a: a.name)
def test_an_attack_that_says_so_asks_about_feasible_points_only(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe, asked = Oracle._observe, []

    def watched(oracle: Oracle, x: Tensor, *rest: Tensor | None) -> None:
        asked.append(bool(oracle.rows.region.holds(x).all()))
        observe(oracle, x, *rest)

    monkeypatch.setattr(Oracle, "_observe", watched)
    for norm in attack.norms:
        one = replace(attack, norm=norm)
        one(Net(), X, Y, **({} if attack.kind == "minimal" else {"eps": max(0.1, get_norm(norm).grain)}))
    assert asked or attack.total_steps == 1  # of FGSM the clean image is known, the rest is the verdict
    assert all(asked)


def test_what_stays_inside_is_not_inherited() -> None:
    class Heir(PGD):
        """Might look ahead."""

    assert PGD.stays_inside
    assert not Heir.stays_inside


def test_two_attacks_at_once_on_one_model_in_train_mode() -> None:
    """Both are right and the model is as it was; without turns it stayed in eval mode, its parameters frozen."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 4)).train()
    alone = PGD(eps=0.1, steps=20)(model, X, Y, stop="never")
    found: list[Any] = []

    def attack() -> None:
        found.append(PGD(eps=0.1, steps=20)(model, X, Y, stop="never"))

    threads = [threading.Thread(target=attack) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(torch.equal(one.x_adv, alone.x_adv) for one in found)
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_an_exported_module_is_taken_in_the_mode_it_has() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    exported = torch.export.export(net, (X,)).module()
    y = classify(net, X).argmax(1)
    assert torch.equal(FGSM(eps=0.1)(exported, X, y, stop="never").x_adv, FGSM(eps=0.1)(net, X, y, stop="never").x_adv)


def test_a_state_of_the_last_batch_in_a_smaller_one_is_refused_in_one_line() -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.state = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.zeros(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.state = 0.9 * self.state.detach() + self.net(x)
            return self.state

    x, y = torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"answered a batch of 1 with \(4, 3\).*reset in forward"):
        evaluate(Remembers(), (x, y), ["fgsm"], eps=0.1)
