"""Logits times 1e-6 to 1e4: the boundary stays where it is, and so do the figures of every attack that is invariant."""

import warnings
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import ATTACKS, LBFGS, PGD, create_attack, list_attacks
from advkit.core.attack import Attack
from advkit.core.errors import AdvkitWarning

SHORT = {"queries": 40, "steps": 20, "samples": 8, "searches": 5, "rotations": 3, "shifts": 3, "tries": 15, "turns": 1}
SHORT |= {"population": 8, "generations": 5}
SHORTER = {"brendel_bethge": {"steps": 4, "tries": 5}, "lbfgs": {"searches": 3, "leaps": 1}}
SHORTER |= {name: {"steps": 10} for name in ("nes", "spsa")}
SHORTER |= {name: {"steps": 12, "queries": 20} for name in ("autoattack", "cascade")}
"""Hyperparameters of attacks whose steps take long."""

EPS = {"linf": 0.05, "l2": 0.3, "l1": 1.0, "l0": 3.0, "l0_pixels": 2.0}
SCALES = (1e-6, 1e-3, 1e4)
FEIGN = {
    "spatial": "of several motions that fool it returns any: the distance is no figure of its own",
    **dict.fromkeys(("brendel_bethge l0", "brendel_bethge l0_pixels"), "which entries return is decided by rounding"),
    "autoattack": "begins with APGD on the cross-entropy",
    "universal": "one perturbation for all images climbs the cross-entropy of all",
}
"""Attacks whose figures are held to less, with the reason: the success rate alone."""


class Scaled(nn.Module):
    """A small smooth network whose logits are multiplied by `scale`."""

    def __init__(self, scale: float, dtype: torch.dtype) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 5)).to(dtype)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.net(x)


X = torch.rand(24, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = Scaled(1.0, torch.float64)(X).argmax(1)


def short(name: str) -> dict[str, object]:
    """The options that keep the attack short."""
    taken = {field.name for field in fields(ATTACKS.factory(name)) if field.init}
    return {key: value for key, value in (SHORT | SHORTER.get(name, {})).items() if key in taken}


def invariant(name: str, norm: str) -> Attack:
    """The attack, short; the margin in place of a cross-entropy, whose direction depends on the scale."""
    options = short(name)
    attack = create_attack(name, norm=norm, **options)
    climbs = attack.climbs and attack.loss in ("cross_entropy", "rival")
    return create_attack(name, norm=norm, loss="margin", **options) if climbs else attack


CASES = [(name, norm) for name in list_attacks() for norm in ATTACKS.factory(name).norms]


@pytest.mark.parametrize("dtype", [torch.float32], ids=["float32"])
@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_scale_of_the_logits_changes_no_figure(name: str, norm: str, dtype: torch.dtype) -> None:
    attack = invariant(name, norm)
    call = {} if attack.kind == "minimal" else {"eps": EPS[norm]}
    rates, medians = [], []
    for scale in (1.0, *SCALES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = attack(Scaled(scale, dtype), X.to(dtype), Y, **call)
        rates.append(float(found.success.double().mean()))
        medians.append(float(found.distance[found.success].median()) if bool(found.success.any()) else 0.0)
    assert rates == pytest.approx([rates[0]] * len(rates), abs=0.05)
    if name not in FEIGN and f"{name} {norm}" not in FEIGN:
        assert medians == pytest.approx([medians[0]] * len(medians), rel=0.05)


def test_where_the_formula_forbids_it_a_warning_says_so() -> None:
    model = Scaled(1e-4, torch.float64)
    for attack in (PGD(eps=0.1, steps=3), LBFGS()):
        with pytest.warns(AdvkitWarning, match="no further apart"):
            attack(model, X, Y)
        replace(attack, loss="margin")(model, X, Y)  # warnings are errors


@pytest.mark.parametrize("name", [name for name in list_attacks() if not ATTACKS.factory(name).climbs])
def test_an_attack_without_a_loss_is_not_warned_of_one(name: str) -> None:
    options = {"eps": 0.1} if ATTACKS.factory(name).kind == "budget" else {}
    create_attack(name, **options, **short(name))(Scaled(1e-4, torch.float64), X[:2], Y[:2])  # warnings are errors


@pytest.mark.filterwarnings("ignore:the logits of an image lie no further apart")
@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "mifgsm", "apgd", "ddn", "lbfgs"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cross_entropy_still_shows_where_to_go_at_any_scale(name: str, dtype: torch.dtype) -> None:
    """In float32 its gradient was exactly 0 where the logits lay a hundred apart: these attacks found nothing there."""
    attack, call = create_attack(name), {"eps": 0.1} if ATTACKS.factory(name).kind == "budget" else {}
    for scale in (1e-6, 1.0, 1e4):
        found = attack(Scaled(scale, dtype), X.to(dtype), Y, **call)
        assert not bool(found.zero_gradient.any()), scale
        assert float(found.success.double().mean()) > 0.6, scale
