"""Any goal, any loss: the nearest points on affine networks are known, and "success" is what the goal says."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit import goals
from advkit.attacks import (
    ALMA,
    BIM,
    CW,
    DDN,
    EAD,
    FMN,
    PGD,
    DeepFool,
    Square,
    SuperDeepFool,
    create_attack,
)
from advkit.core.attack import Attack
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.core.goals import Goal
from advkit.core.threat import Threat
from advkit.core.wishes import Wish
from advkit.defenses import TRADES
from advkit.defenses._network import Network

W = torch.tensor([3.0, -1.0, 2.0, 0.5])
X = torch.full((1, 4), 0.4, dtype=torch.float64)
Y = torch.zeros(1, dtype=torch.int64)


def affine(weight: Tensor, bias: Tensor) -> nn.Module:
    net = nn.Linear(*reversed(weight.shape)).double()
    net.weight.data, net.bias.data = weight.double(), bias.double()
    return net


def two_classes() -> nn.Module:
    """Logits (0, w.x - 2): at X class 0 leads by 0.2."""
    return affine(torch.stack([torch.zeros(4), W]), torch.tensor([0.0, -2.0]))


NEAREST = {"l2": 1.2 / float(W.norm()), "linf": 1.2 / float(W.abs().sum())}


@pytest.mark.parametrize(
    ("attack", "slack"),
    [
        (CW(steps=400), 0.02),
        (CW(norm="linf", steps=400), 0.06),
        (DDN(steps=400), 0.02),
        (FMN(norm="l2", steps=300), 0.02),
        (FMN(norm="linf", steps=300), 0.02),
        (ALMA(steps=400), 0.02),
        (DeepFool(), 0.03),
        (DeepFool(norm="linf"), 0.03),
        (SuperDeepFool(), 0.03),
        (create_attack("lbfgs"), 0.02),
        (create_attack("fab(norm=l2)"), 0.02),
    ],
    ids=str,
)
def test_the_nearest_confident_point_of_an_affine_network_is_found(attack: Attack, slack: float) -> None:
    found = attack(two_classes(), X, Y, goal=goals.confident(lead=1))
    lead = two_classes()(found.x_adv).detach() @ torch.tensor([-1.0, 1.0], dtype=torch.float64)
    assert bool(found.success.all())
    assert float(lead) > 1
    assert NEAREST[attack.norm] <= float(found.distance) * (1 + 1e-6) <= NEAREST[attack.norm] * (1 + slack)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_confidence_of_cw_decides_what_is_a_success(norm: str) -> None:
    """Without it in the goal, CW(confidence=1) returned a lead of .0005 at distance .0538."""
    found = CW(norm=norm, confidence=1.0, steps=400)(two_classes(), X, Y)
    asked = CW(norm=norm, steps=400)(two_classes(), X, Y, goal=goals.confident(lead=1))
    assert torch.equal(found.x_adv, asked.x_adv)
    assert float(found.distance) == pytest.approx(NEAREST[norm], rel=0.06)
    assert float(found.distance) >= NEAREST[norm] * (1 - 1e-6)


@pytest.mark.parametrize("bad", [float("nan"), -3, "abc", float("inf")])
def test_a_confidence_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(InputError, match="expected confidence as a number >= 0"):
        CW(confidence=bad)  # type: ignore[arg-type]


def test_a_sample_that_is_wrong_but_not_confidently_is_attacked() -> None:
    found = DeepFool()(two_classes(), X + 0.06, Y, goal=goals.confident(lead=1))
    assert bool(found.success)
    assert float(found.distance) > 0.1


OPEN = {
    "one_logit": (affine(W[None], torch.tensor([-2.0])), torch.tensor([0]), goals.one_logit(), 0.2),
    "multi_label": (
        affine(torch.stack([W, W.flip(0)]), torch.tensor([-2.0, -3.0])),
        torch.tensor([[0, 0]]),
        goals.multi_label(),
        0.2,
    ),
    "regression": (affine(W[None], torch.tensor([-2.0])), torch.tensor([[-0.2]]), goals.regression(0.5), 0.5),
    "function": (affine(W[None], torch.tensor([-2.0])), Y, lambda outputs: outputs[:, 0] - 0.3, 0.5),
}


OPEN_ATTACKS = [
    CW(steps=400),
    DDN(steps=400),
    FMN(norm="l2", steps=300),
    ALMA(steps=800),
    EAD(),
]


@pytest.mark.parametrize("form", OPEN)
@pytest.mark.parametrize("attack", OPEN_ATTACKS, ids=lambda a: a.name)
def test_the_nearest_point_of_an_open_goal_is_found(attack: Attack, form: str) -> None:
    model, y, goal, gap = OPEN[form]
    found = attack(model, X, y, goal=goal)
    nearest = gap / float(W.norm())
    size = float((found.x_adv - X).norm())
    assert bool(found.success.all())
    assert nearest * (1 - 1e-6) <= size <= nearest * (1.6 if attack.norm == "l1" else 1.05)


@pytest.mark.parametrize(
    "attack", [PGD(eps=0.1, steps=5), BIM(eps=0.1), Square(eps=0.1, queries=50)], ids=lambda a: a.name
)
def test_budget_attacks_pursue_open_goals_row_by_row(attack: Attack) -> None:
    model = affine(W[None], torch.tensor([-2.0]))
    x, y = X.repeat(6, 1), torch.tensor([0, 1, 0, 1, 0, 1])
    found = attack(model, x, y, goal=goals.one_logit())
    assert found.success.tolist() == ((model(found.x_adv)[:, 0] > 0) != y.bool()).tolist()
    assert bool(found.success.all())
    assert float(found.distance[1]) == 0  # wrong already


def test_top_k_and_segmentation_say_what_they_mean() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(200, 5), torch.randint(5, (200,))
    rank = (logits > logits.gather(1, y[:, None])).sum(1)
    for k in (1, 2, 4):
        margin = goals.top_k(k).bind(Goal(y, y, 1.0)).margin(logits)
        assert torch.equal(margin > 0, rank >= k)
    maps, labels = torch.randn(50, 3, 4, 4), torch.randint(3, (50, 4, 4))
    wrong = (maps.argmax(1) != labels).flatten(1).float().mean(1)
    for share in (0.0, 0.5, 0.6875, 0.99):
        margin = goals.segmentation(share).bind(Goal(labels, labels, 1.0)).margin(maps)
        assert torch.equal(margin > 0, wrong > share)


def test_a_probability_is_reached_exactly_where_the_softmax_says_so() -> None:
    torch.manual_seed(0)
    logits, y = 3 * torch.randn(300, 4, dtype=torch.float64), torch.randint(4, (300,))
    best = logits.softmax(1).scatter(1, y[:, None], 0.0).amax(1)
    assert torch.equal(goals.confident(probability=0.7).bind(Goal(y, y, 1.0)).margin(logits) > 0, best > 0.7)


def test_a_target_may_be_a_goal() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 4), torch.rand(8, 6)
    y = model(x).argmax(1)
    one = PGD(eps=0.3, steps=3)(model, x, y, goal=goals.target(2))
    assert torch.equal(one.x_adv, PGD(eps=0.3, steps=3)(model, x, y, target=2).x_adv)


@pytest.mark.parametrize(
    "attack",
    [DeepFool(), *map(create_attack, ("fab", "jsma", "lbfgs", "pgd(eps=.1, target=all)"))],
    ids=str,
)
def test_an_attack_that_needs_classes_refuses_other_goals(attack: Attack) -> None:
    with pytest.raises(InputError, match="goal"):
        attack(affine(W[None], torch.tensor([-2.0])), X, Y, goal=goals.one_logit())


@pytest.mark.parametrize("goal", [3, "one_logits", "top_k", lambda a, b, c: a])
def test_what_is_no_goal_is_refused(goal: object) -> None:
    with pytest.raises(InputError, match="goal"):
        FMN()(two_classes(), X, Y, goal=goal)


def test_a_goal_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(InputError, match="one number a sample"):
        FMN()(two_classes(), X, Y, goal=lambda outputs: outputs.sum())


def test_the_inner_maximisation_of_trades_is_one_line() -> None:
    """PGD(loss="kl_to_clean") finds the points TRADES trains on, and those of the formula with PyTorch's own KL."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    x = torch.rand(5, 3, 2, 2).double()
    y = model(x).argmax(1)
    inside = PGD(eps=0.1, steps=4, step_size=0.04)
    torch.manual_seed(3)
    trained_on = TRADES(attack=inside).examples(Network(model, x), x, y)
    torch.manual_seed(3)
    seed = int(torch.randint(2**62, ()))

    def never(outputs: Tensor) -> Tensor:
        return -outputs.new_ones(len(outputs))

    found = PGD(eps=0.1, steps=4, step_size=0.04, loss="kl_to_clean")(model, x, y, seed=seed, goal=never, stop="never")
    assert torch.equal(found.x_adv, trained_on)

    clean = model(x).softmax(1).detach()
    region = Threat("linf", 0.1, (0, 1)).around(x)
    point = region.start(Draws(seed, torch.arange(5)), step=0)
    best, most = x, torch.full((5,), -torch.inf).double()
    for i in range(5):
        leaf = point.clone().requires_grad_()
        kl = F.kl_div(model(leaf).log_softmax(1), clean, reduction="none").sum(1)
        (gradient,) = torch.autograd.grad(kl.sum(), leaf)
        best = torch.where((kl >= most).view(-1, 1, 1, 1), point, best)
        most = most.maximum(kl.detach())
        point = (point + 0.04 * gradient.sign()).clamp(region.low, region.high) if i < 4 else point
    torch.testing.assert_close(found.x_adv, best, rtol=0, atol=1e-12)


def test_a_loss_is_a_function_of_two_or_three_arguments() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 4), torch.rand(8, 6)
    y = model(x).argmax(1)
    named = PGD(eps=0.1, steps=3, loss="margin")(model, x, y)
    for loss in (lambda goal, logits: goal.margin(logits), lambda goal, logits, clean: goal.margin(logits)):
        assert torch.equal(PGD(eps=0.1, steps=3, loss=loss)(model, x, y).x_adv, named.x_adv)
    with pytest.raises(InputError, match="one number a sample"):
        PGD(eps=0.1, loss=lambda goal, logits: goal.margin(logits).mean())(model, x, y)
    with pytest.raises(InputError, match="loss"):
        PGD(eps=0.1, loss=lambda logits: logits)
    with pytest.raises(InputError, match="loss"):
        PGD(eps=0.1, loss=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["deepfool", "superdeepfool", "jsma", "fab", "boundary", "hopskipjump", "noise"])
def test_an_attack_without_a_loss_refuses_one(name: str) -> None:
    with pytest.raises(InputError, match="leave loss out"):
        create_attack(name, loss="dlr")


def test_every_goal_is_a_wish() -> None:
    assert isinstance(goals.top_k(2), Wish)
