"""Every wrapper around every attack: it is refused in one line when it is made, or the call works."""

import dataclasses
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn

from advkit import attacks, evaluate
from advkit.attacks import (
    ATTACKS,
    PGD,
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
from advkit.attacks.around.wrapper import Wrapper
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


def test_every_wrapper_takes_part() -> None:
    made = {type(wrap(short("pgd"))) for wrap in WRAPS.values()} | {type(ensemble(short("pgd"), [NET]))}
    public = {getattr(attacks, name) for name in attacks.__all__}
    assert {cls for cls in public if isinstance(cls, type) and issubclass(cls, Wrapper)} <= made
    assert ATTACKS.wrappers.keys() <= WRAPS.keys()


AIMS = {"class": 3, "runner_up": "runner_up", "random": "random", "all": "all", "tensor": torch.tensor([3, 0])}
NO_AIM = {"targets": set(AIMS), "limit": {"all"}}
"""Wrapper -> the targets that it cannot have."""
AIMED = [(option, word) for option in WRAPS for word in AIMS if word not in NO_AIM.get(option, set())]


@pytest.mark.parametrize(("option", "word"), AIMED)
def test_a_target_of_the_call_is_that_of_the_attack_inside(option: str, word: str) -> None:
    """Whether it is given to the wrapper's call or to the attack; it is not the result without a target."""
    attack, target = WRAPS[option](PGD(eps=0.5, steps=4)), AIMS[word]
    found = attack(NET, X, Y, target=target, stop="never")
    assert not torch.equal(found.x_adv, attack(NET, X, Y, stop="never").x_adv)
    if isinstance(target, torch.Tensor):
        for row, goal in enumerate(target.tolist()):
            one = attack(NET, X, Y, target=goal, stop="never")
            assert torch.equal(found.x_adv[row], one.x_adv[row])
        return
    inside = WRAPS[option](PGD(eps=0.5, steps=4, target=target))
    assert inside.target == target
    assert torch.equal(found.x_adv, inside(NET, X, Y, stop="never").x_adv)


@pytest.mark.parametrize(("option", "word"), [(option, word) for option in NO_AIM for word in sorted(NO_AIM[option])])
def test_a_target_that_a_wrapper_cannot_have_is_refused_with_what_to_do(option: str, word: str) -> None:
    advice = {"targets": "leave one of the two out", "limit": "give targets=K"}[option]
    attack = WRAPS[option](PGD(eps=0.5, steps=4))
    for outer in (attack, masked(attack, LEFT), transfer(attack, OTHER)):
        with pytest.raises(InputError, match=advice):
            outer(NET, X, Y, target=AIMS[word])
    if word != "tensor":
        with pytest.raises(InputError, match=advice):
            WRAPS[option](PGD(eps=0.5, steps=4, target=AIMS[word]))


@pytest.mark.parametrize("option", WRAPS)
def test_options_of_the_attack_inside_are_refused_by_the_wrapper(option: str) -> None:
    attack = WRAPS[option](PGD(eps=0.5, steps=4))
    own = {field.name: getattr(attack, field.name) for field in dataclasses.fields(attack) if field.init}
    assert dataclasses.replace(attack) == attack
    for name, value in {"target": 3, "norm": "l2", "loss": "dlr"}.items():
        with pytest.raises(InputError, match=f"{name} belongs to the attack inside") as caught:
            type(attack)(**own, **{name: value})
        assert f"PGD(eps=0.1, {name}={value!r})" in str(caught.value)
        assert "\n" not in str(caught.value)
        changed = attack.having(**{name: value}) if (option, name) != ("targets", "target") else None
        assert changed is None or getattr(changed, name) == getattr(changed.attack, name) == value


@pytest.mark.parametrize("option", sorted(WRAPS.keys() - {"targets", "limit"}))
def test_all_targets_go_inside_a_wrapper(option: str) -> None:
    attack = targets(WRAPS[option](PGD(eps=0.5, steps=4)), "all")
    assert attack.target == "all"
    expected = WRAPS[option](PGD(eps=0.5, steps=4))(NET, X, Y, target="all", stop="never")
    assert torch.equal(attack(NET, X, Y, stop="never").x_adv, expected.x_adv)


def test_the_radius_of_an_evaluation_goes_inside_a_wrapper() -> None:
    attack = restarts(masked(PGD(steps=2), LEFT), 2)
    report = evaluate(NET, (X, Y), [attack], eps=0.25, checks=False)
    assert report.attacks[0].attack == attack.having(eps=0.25).spec


@pytest.mark.parametrize("name", [name for name in list_attacks() if not ATTACKS.factory(name).targetable])
def test_an_attack_that_takes_no_target_says_so_when_it_is_made(name: str) -> None:
    said = "has no targeted form: leave target out|aims at the likeliest classes"
    with pytest.raises(InputError, match=said):
        create_attack(name, target=3)
    with pytest.raises(InputError, match=said):
        short(name)(NET, X, Y, target=3)
    with pytest.raises(InputError, match="has no targeted form: leave targets out"):
        targets(short(name), "all")


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
