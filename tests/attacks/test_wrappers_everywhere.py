"""Every wrapper around every attack: it is refused in one line when it is made, or the call works."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from advkit.attacks import (
    ATTACKS,
    Patch,
    admix,
    create_attack,
    di,
    ensemble,
    eot,
    limited,
    list_attacks,
    masked,
    ni,
    restarts,
    si,
    smallest,
    targets,
    ti,
    transfer,
    vmi,
)
from advkit.core.attack import Attack
from advkit.core.errors import AdvkitWarning, InputError
from advkit.testing._subject import RADII

FEW = {"queries": 8, "steps": 2, "searches": 1, "leaps": 0, "rotations": 2, "shifts": 1, "tries": 3, "first": 2}
FEW |= {"population": 4, "generations": 2, "turns": 1, "leap_searches": 1, "first_steps": 2, "later_steps": 2}
FEW |= {"samples": 4, "classes": 2, "table": 2, "search": 1}


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.Tanh(), nn.Linear(4, 4)).eval()


NET, OTHER = network(0), network(1)
X = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0))
Y = NET(X).argmax(1)
LEFT = torch.zeros(12, 12)
LEFT[:, :6] = 1
WRAPS: dict[str, Callable[[Attack], Attack]] = {
    "admix": lambda attack: admix(attack, 0.2),
    "di": lambda attack: di(attack, 0.5),
    "ensemble": lambda attack: ensemble(attack, [NET, OTHER]),
    "eot": lambda attack: eot(attack, 2),
    "limit": lambda attack: limited(attack, 6),
    "masked": lambda attack: masked(attack, LEFT),
    "ni": lambda attack: ni(attack, 1.0),
    "restarts": lambda attack: restarts(attack, 2),
    "si": lambda attack: si(attack, 2),
    "smallest": lambda attack: smallest(attack, halvings=1),
    "targets": lambda attack: targets(attack, 2),
    "ti": lambda attack: ti(attack, 3),
    "transfer": lambda attack: transfer(attack, OTHER),
    "vmi": lambda attack: vmi(attack, 2),
}


FITS = {"ensemble", "transfer"}
"""Wrappers that change the model alone, so that every attack takes them."""


def short(name: str) -> Attack:
    made = ATTACKS.factory(name)
    few = {option: value for option, value in FEW.items() if isinstance(getattr(made, option, None), int)}
    norm = made.norms[0]
    return create_attack(name, norm=norm, **few, **({"eps": RADII[norm]} if made.kind == "budget" else {}))


@pytest.mark.parametrize("name", list_attacks())
def test_every_wrapper_fits_or_says_so_when_it_is_made(name: str) -> None:
    refusals = {}
    for option, wrap in WRAPS.items():
        try:
            attack = wrap(short(name))
        except InputError as error:
            refusals[option] = str(error)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AdvkitWarning)
            found = attack(NET, X, Y)
        assert found.x_adv.shape == X.shape
    assert not any("\n" in said for said in refusals.values())
    assert not FITS & refusals.keys()
    assert name not in ("pgd", "lavan") or not refusals  # steps along the gradient in one ball take every wrapper


@pytest.mark.parametrize(
    "options", [{}, {"rotation": 40.0, "scale": 0.3}, {"shared": False, "size": 0.3}, {"size": 1.0}]
)
def test_a_masked_patch_shows_where_the_mask_is_and_works_there(options: dict[str, float]) -> None:
    attack = masked(Patch(**{"size": 0.4, "steps": 30, **options}), LEFT)  # type: ignore[arg-type]
    found = attack(NET, X, Y, stop="never")
    assert torch.equal(found.x_adv[..., 6:], X[..., 6:])
    before, after = (torch.nn.functional.cross_entropy(NET(x), Y) for x in (X, found.x_adv))
    assert after.item() > before.item()
    everywhere = masked(Patch(steps=3, size=0.3), torch.ones(12, 12))(NET, X, Y, stop="never")
    assert torch.equal(everywhere.x_adv, Patch(steps=3, size=0.3)(NET, X, Y, stop="never").x_adv)
