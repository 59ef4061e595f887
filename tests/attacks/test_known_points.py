"""Every attack that takes a goal reaches the nearest point, which is known on affine networks, in each of its norms."""

import pytest
import torch
from torch import Tensor, nn

from advkit import goals
from advkit.attacks import ATTACKS, create_attack, list_attacks
from advkit.core.errors import InputError
from advkit.core.norms import get_norm

W = torch.tensor([3.0, -1.0, 2.0, 0.5])
X = torch.full((1, 4), 0.4, dtype=torch.float64)
Y = torch.zeros(1, dtype=torch.int64)
DUAL = {"l2": float(W.norm()), "linf": float(W.abs().sum()), "l1": float(W.abs().max())}


def affine(weight: Tensor, bias: list[float]) -> nn.Module:
    net = nn.Linear(*reversed(weight.shape)).double()
    net.weight.data, net.bias.data = weight.double(), torch.tensor(bias).double()
    return net


CASES = {
    "confident": (affine(torch.stack([0 * W, W]), [0, -2]), Y, goals.confident(lead=1), 1.2),
    "one_logit": (affine(W[None], [-2]), Y, goals.one_logit(), 0.2),
    "multi_label": (affine(torch.stack([W, W.flip(0)]), [-2, -3]), torch.tensor([[0, 0]]), goals.multi_label(), 0.2),
    "regression": (affine(W[None], [-2]), torch.tensor([[-0.2]]), goals.regression(0.5), 0.5),
    "top_k": (affine(torch.stack([0 * W, W, -W]), [0, -2, 1]), Y, goals.top_k(1), 0.2),
}
"""Network, y, goal, and by how much w.x has to grow: the nearest point lies at that over the dual size of w."""

ELSEWHERE = {
    "features": "looks for the representation of another image",
    "noise": "the control follows nothing",
    "square l2": "its smallest square is larger than four pixels in a row",
    **dict.fromkeys(("jsma l0", "jsma l0_pixels"), "changes pixels two by two"),
    **dict.fromkeys(("spatial", "patch", "lavan", "flow", "colour"), "moves images (N, C, H, W)"),
}
"""Attacks that do not look for this point, with the reason."""

SHORT = {
    "one_pixel": {"population": 30, "generations": 3},
    **{name: {"queries": 60} for name in ("simba", "sparse_rs", "square")},
    **{name: {"steps": 20, "queries": 60} for name in ("autoattack", "cascade")},
    **{name: {"samples": 30} for name in ("nes", "spsa")},
    "geoda": {"queries": 400},
    "hopskipjump": {"queries": 800},
    "boundary": {"queries": 400},
    "brendel_bethge": {"steps": 20},
    "pdpgd": {"steps": 300},
}
"""Hyperparameters of attacks that would take long here."""

PAIRS = [
    (name, norm, case)
    for name in list_attacks()
    for norm in ATTACKS.factory(name).norms
    for case in CASES
    if name not in ELSEWHERE and f"{name} {norm}" not in ELSEWHERE
    if ATTACKS.factory(name).knowledge != "labels" or case in ("confident", "one_logit")
]

IN_TURN = {"boundary l2": "one_logit", "hopskipjump l2": "confident", "hopskipjump linf": "one_logit"}
IN_TURN |= {"pdpgd l2": "confident", "pdpgd linf": "one_logit", "pdpgd l1": "regression"}
IN_TURN |= {"pdpgd l0": "top_k", "pdpgd l0_pixels": "multi_label"}
IN_TURN |= {"simba l2": "regression", "simba linf": "multi_label", "square linf": "top_k"}
IN_TURN |= {"brendel_bethge linf": "regression", "brendel_bethge l2": "confident", "brendel_bethge l1": "multi_label"}
IN_TURN |= {"brendel_bethge l0": "one_logit", "brendel_bethge l0_pixels": "top_k"}
IN_TURN |= {"geoda l2": "confident", "geoda linf": "one_logit", "cw l2": "multi_label", "cw linf": "top_k"}
IN_TURN |= {"nes l2": "regression", "nes linf": "one_logit", "spsa l2": "top_k", "spsa linf": "multi_label"}
"""Long attacks, which treat every goal alike: each norm is tried under one; `--slow` takes the others too."""


def pair(name: str, norm: str, case: str) -> object:
    return pytest.param(name, norm, case, marks=[pytest.mark.slow] * (IN_TURN.get(f"{name} {norm}", case) != case))


def test_no_long_attack_is_left_out() -> None:
    assert IN_TURN.items() <= {(f"{name} {norm}", case) for name, norm, case in PAIRS}


@pytest.mark.filterwarnings("ignore:dlr needs")
@pytest.mark.parametrize(("name", "norm", "case"), [pair(*names) for names in PAIRS])
def test_the_nearest_point_of_the_goal_is_reached(name: str, norm: str, case: str) -> None:
    attack, (model, y, goal, gap) = create_attack(name, norm=norm, **SHORT.get(name, {})), CASES[case]
    if (attack.needs_classes or not attack.stepwise) and not goal.of_classes:
        with pytest.raises(InputError, match="compares classes"):
            attack(
                model, X, y, goal=goal, **({} if attack.kind == "minimal" else {"eps": max(0.1, get_norm(norm).grain)})
            )
        return
    grain = get_norm(norm).grain
    nearest = 1.0 if grain else gap / DUAL[norm]
    if attack.kind == "budget":
        assert bool(attack(model, X, y, goal=goal, eps=1.05 * nearest).success)
        assert not bool(attack(model, X, y, goal=goal, eps=nearest - (grain or 0.001 * nearest)).success)
    else:
        found = attack(model, X, y, goal=goal)
        assert bool(found.success)
        assert nearest * (1 - 1e-6) <= float(found.distance) <= 1.08 * nearest
