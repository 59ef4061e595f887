"""Advice that an attack gives works when it is followed."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import create_attack, find_patch, find_universal, list_attacks
from advkit.core.attack import ATTACKS
from advkit.core.errors import AdvkitWarning, InputError
from advkit.models import BlackBox

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
torch.manual_seed(0)
NET = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
Y = NET(X).argmax(1)
OPEN = [
    (name, norm)
    for name in list_attacks()
    if name != "features"
    for norm in ATTACKS.factory(name).norms
    if getattr(create_attack(name), "eps", 0) is None
]


class Steps(nn.Module):
    """Its answers are right, and flat wherever they have a derivative."""

    def forward(self, x: Tensor) -> Tensor:
        rounded: Tensor = (NET(x) * 8).round()
        return rounded


@pytest.mark.parametrize(("name", "norm"), OPEN)
def test_the_radius_that_is_proposed_is_taken(name: str, norm: str) -> None:
    """In the norms that count, .1 was proposed, and refused when it was given."""
    with pytest.raises(InputError, match="needs eps") as caught:
        create_attack(f"{name}(norm={norm})")(NET, X, Y)
    proposed = re.search(r"(\w+\(eps=[^)]*\))", str(caught.value))
    assert proposed is not None
    attack = create_attack(proposed[1])
    assert (attack.name, attack.norm) == (name, norm)


@pytest.mark.parametrize("name", ["pgd", "deepfool", "fab", "jsma", "superdeepfool", "pdpgd", "alma", "lbfgs", "cw"])
def test_the_loss_that_is_proposed_is_taken_and_another(name: str) -> None:
    """An attack without a loss was told to try one, which it refuses, and one on the margin to try the margin."""
    attack = create_attack(f"{name}(eps=0.1)" if name == "pgd" else name)
    with pytest.warns(AdvkitWarning, match="exactly zero") as told:
        attack(Steps(), X, Y)
    losses = re.findall(r"'(\w+)'", str(told[0].message))
    for loss in losses:
        assert loss != attack.loss
        create_attack(f"{name}(loss={loss})")
    assert bool(losses) == attack.climbs
    assert attack.climbs or "an attack without gradients, such as square" in str(told[0].message)


@pytest.mark.parametrize(
    "find", [lambda net: find_universal(net, (X, Y), eps=0.3), lambda net: find_patch(net, (X, Y))]
)
def test_what_is_found_on_a_black_box_is_found_on_another_network(find):
    """It proposed attacks on single images."""
    box = BlackBox(lambda x: NET(torch.as_tensor(x)).detach().numpy().astype(np.float32), num_classes=5)
    with pytest.raises(InputError, match=r"find one on a network with gradients.*evaluate\(model, data, \[found\]\)"):
        find(box)
    assert evaluate(box, (X, Y), [find(NET)]).count == 4


@pytest.mark.parametrize(
    "find", [lambda net: find_universal(net, (X, Y), eps=0.3), lambda net: find_patch(net, (X, Y))]
)
def test_a_search_on_data_without_gradients_is_remarked_on(find):
    """The perturbation was zero, without a word."""
    with pytest.warns(AdvkitWarning, match=r"exactly zero 40 of 40 times.*loss='dlr' or 'margin'"):
        find(Steps())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find(NET)
