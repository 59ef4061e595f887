"""Options of training losses: numbers of any form are numbers, and what is none is one line."""

import inspect
import warnings
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from torch import nn

from advkit.attacks import FGSM, PGD
from advkit.core.errors import AdvkitWarning, InputError
from advkit.defenses import DEFENSES, AdversarialLoss, NoiseLoss, create_defense, list_defenses

RADII = ["8/255", torch.tensor(8 / 255, dtype=torch.float64), Fraction(8, 255), 8 / 255]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": "fgsm"}, "expected an attack"),
        ({"attack": PGD(eps=None)}, "needs eps"),
        ({"attack": FGSM(eps=0.1), "alpha": 1.1}, "alpha"),
        ({"attack": FGSM(eps=0.1), "alpha": float("nan")}, "alpha"),
        ({"attack": FGSM(eps=0.1), "label_smoothing": 1.0}, "label_smoothing"),
        ({"attack": FGSM(eps=0.1), "bounds": (1, 0)}, "low < high"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AdversarialLoss(**options)  # type: ignore[arg-type]


WITH_EPS = [name for name in list_defenses() if "eps" in inspect.signature(DEFENSES.factory(name)).parameters]


@pytest.mark.parametrize("name", WITH_EPS)
def test_every_defence_refuses_an_eps_that_is_no_radius(name: str) -> None:
    for eps in ("-0.1", "nan"):
        with pytest.raises(InputError, match="eps"):
            create_defense(f"{name}(eps={eps})")


@pytest.mark.parametrize("name", WITH_EPS)
@pytest.mark.parametrize("eps", RADII, ids=repr)
def test_every_defence_takes_an_eps_of_any_form_as_one_number(name: str, eps: object) -> None:
    make, x, y = DEFENSES.factory(name), torch.rand(3, 1, 4, 4, dtype=torch.float64), torch.arange(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double()
    loss, plain = make(eps=eps), make(eps=8 / 255)
    values = []
    for one in (loss, plain):
        torch.manual_seed(0)
        values.append(float(one(model, x, y).detach()))
    assert type(loss.eps) is float
    assert (loss, loss.spec, values[0]) == (plain, plain.spec, values[1])


@pytest.mark.parametrize("name", WITH_EPS)
@pytest.mark.parametrize("eps", [float("inf"), "eight", None, torch.full((2,), 0.1), [0.1]], ids=repr)
def test_what_is_no_radius_is_one_line_before_the_first_call(name: str, eps: object) -> None:
    with pytest.raises(InputError, match=r"expected .*eps"):
        DEFENSES.factory(name)(eps=eps)


@pytest.mark.parametrize(
    ("make", "option"), [(AdversarialLoss, "alpha"), (AdversarialLoss, "label_smoothing"), (NoiseLoss, "alpha")]
)
def test_a_weight_that_is_no_number_is_one_line(make: Callable[..., object], option: str) -> None:
    given = {"attack": FGSM(eps=0.1)} if make is AdversarialLoss else {"eps": 0.1}
    for bad in ("half", None, [0.5], 1.5):
        with pytest.raises(InputError, match=f"expected {option} as a number"):
            make(**given, **{option: bad})


@pytest.mark.parametrize("spec", ["trades(eps=8)", "fgsm(eps=8)", "awp(eps=1)", "fast(eps=2)", "ibp(eps=255/255)"])
def test_a_radius_that_covers_the_range_is_remarked_on(spec: str) -> None:
    with pytest.warns(AdvkitWarning, match=r"eps \d+ covers the whole range .* Did you mean \d+/255"):
        create_defense(spec)


@pytest.mark.parametrize("spec", ["trades(eps=8/255)", "pgd(norm=l2, eps=8)", "trades(eps=8, bounds=[0, 255])"])
def test_other_radii_are_not(spec: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_defense(spec)


@pytest.mark.parametrize("option", ["restarts=2", "limit=9", "vmi=2", "eot=2, restarts=2"])
@pytest.mark.parametrize("spec", ["adversarial(attack={})", "trades(attack={})", "awp(loss=trades(attack={}))"])
def test_a_ramp_reaches_the_attack_inside_a_wrapper(spec: str, option: str) -> None:
    attack = "pgd(eps={}, step_size={}, " + option + ")"
    whole, half = (create_defense(spec.format(attack.format(eps, eps / 4))) for eps in (0.5, 0.25))
    assert whole.at(0.5) == half
