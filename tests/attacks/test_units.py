"""Images from -128 to 128, not 0 to 1: with its default lengths an attack finds the same images in other units."""

from dataclasses import fields

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import ATTACKS, list_attacks
from advkit.core.attack import Attack
from advkit.core.draws import Draws
from advkit.core.threat import Threat

EPS = {"linf": 0.1, "l2": 0.5, "l1": 3.0, "l0": 6.0, "l0_pixels": 6.0}
SHORT = {"queries": 60, "steps": 10, "population": 10, "generations": 6}
SPAN = 256.0
LEFT_OUT = {
    "autoattack": "its parts are here",
    "cascade": "its parts are here",
    "colour": "reads pixels as colours from 0 to 1",
    "spatial": "beyond the edge there is a 0, which is black in one unit and grey in the other",
}
CASES = [(name, norm) for name in list_attacks() if name not in LEFT_OUT for norm in ATTACKS.factory(name).norms]


class Rescaled(nn.Module):
    """The network for images from -128 to 128."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x + 128) / SPAN)


def short(name: str, norm: str, span: float) -> Attack:
    made = ATTACKS.factory(name)
    taken = {field.name for field in fields(made)}
    options = {option: value for option, value in SHORT.items() if option in taken}
    if made.kind == "budget":
        options["eps"] = EPS[norm] * (1 if norm.startswith("l0") else span)
    return made(**options, **({"norm": norm} if "norm" in taken else {}))


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_unit_of_the_pixels_is_of_no_account(name: str, norm: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 4)).double().eval()
        x = (64 * torch.rand(4, 1, 6, 6, dtype=torch.float64)).round() / 64  # the other unit rounds nothing
    y = net(x).argmax(1)
    found = short(name, norm, 1)(net, x, y)
    other = short(name, norm, SPAN)(Rescaled(net).eval(), SPAN * x - 128, y, bounds=(-128, 128))
    assert torch.equal(found.success, other.success)
    assert torch.allclose((other.x_adv + 128) / SPAN, found.x_adv, atol=1e-9, rtol=0)


@pytest.mark.parametrize("span", [1.0, SPAN])
def test_neighbours_are_drawn_in_the_unit_of_the_pixels(span: float) -> None:
    """Of a norm that counts, whose draws are changes of pixels up to the range."""
    x = torch.full((2, 1, 6, 6), 0.5 * span, dtype=torch.float64)
    region = Threat("l0", 6.0, (0.0, span)).around(x)
    draws = Draws(0, torch.arange(2))
    drawn = region.drawn(region.norm.sample, region.eps, draws, 0)
    unit = Threat("l0", 6.0, (0.0, 1.0)).around(x / span)
    assert torch.equal(drawn, span * unit.drawn(unit.norm.sample, unit.eps, draws, 0))
    assert drawn.abs().max() > 0.5 * span
