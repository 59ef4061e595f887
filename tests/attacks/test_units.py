"""Images from -128 to 128, not 0 to 1: with its default lengths an attack finds the same images in other units."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import ATTACKS, create_attack, find_patch, list_attacks
from advkit.core.attack import Attack
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.core.threat import Threat

EPS = {"linf": 0.1, "l2": 0.5, "l1": 3.0, "l0": 6.0, "l0_pixels": 6.0}
SHORT = {"queries": 40, "steps": 10, "samples": 10, "population": 8, "generations": 4}
SPAN = 256.0
CASES = [(name, norm) for name in list_attacks() for norm in ATTACKS.factory(name).norms]


class Rescaled(nn.Module):
    """The network for images from -128 to 128."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x + 128) / SPAN)


def short(name: str, norm: str, span: float, **more: object) -> Attack:
    made = ATTACKS.factory(name)
    taken = {field.name for field in fields(made)}
    options = {option: value for option, value in SHORT.items() if option in taken}
    if name == "fmn":
        options["steps"] = 100  # fewer find nothing in l0
    if made.kind == "budget":
        options["eps"] = EPS[norm] * (1 if norm.startswith("l0") else span)
    norms = {"norm": norm} if "norm" in taken else {}
    return create_attack(name, **options, **norms, **more)


def case(channels: int, side: int = 6) -> tuple[nn.Module, Tensor, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 16), nn.ReLU(), nn.Linear(16, 4))
        net = net.double().eval()
        x = (64 * torch.rand(4, channels, side, side, dtype=torch.float64)).round() / 64  # other units round nothing
    return net, x, net(x).argmax(1)


def check_units(made: Callable[[float], Attack], channels: int = 1, *, mixed: bool = False, **call: object) -> None:
    """`made(span)` is the attack for pixels of this span; `mixed` labels are all different."""
    net, x, y = case(channels)
    y = torch.arange(4) if mixed else y
    found = made(1.0)(net, x, y, **call)
    other = made(SPAN)(Rescaled(net).eval(), SPAN * x - 128, y, bounds=(-128, 128), **call)
    assert torch.equal(found.success, other.success)
    assert torch.allclose((other.x_adv + 128) / SPAN, found.x_adv, atol=1e-9, rtol=0)
    assert not torch.equal(found.x_adv, x)


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_the_unit_of_the_pixels_is_of_no_account(name: str, norm: str) -> None:
    check_units(lambda span: short(name, norm, span))


MORE = {
    "colour": {"steps": 10, "table": 4},
    "spatial": {"search": "gradient", "rotation": 90.0, "translation": 0.4},
    "patch": {"size": 0.4, "rotation": 45.0, "scale": 0.3, "brightness": 0.2, "smooth": 0.1, "printable": 0.1},
    "fooling": {"confidence": 0.9},
}
"""Options that have to do with light and place, by attack."""


@pytest.mark.parametrize(("name", "channels"), [(name, channels) for name in MORE for channels in (1, 3)])
def test_light_and_place_know_the_range(name: str, channels: int) -> None:
    check_units(lambda span: create_attack(name, **MORE[name]), channels, stop="never")  # type: ignore[arg-type]


AROUND = {"admix": 0.4, "di": 0.9, "eot": 2, "limit": 9, "ni": 1.0, "restarts": 2, "si": 3, "targets": 2}
AROUND |= {"ti": 3, "vmi": 2}


@pytest.mark.parametrize("option", sorted(ATTACKS.wrappers))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_unit_is_of_no_account_around_an_attack(option: str, norm: str) -> None:
    check_units(lambda span: short("pgd", norm, span, **{option: AROUND[option]}), mixed=True, stop="never")


def test_what_a_patch_shows_knows_the_range(tmp_path: Path) -> None:
    """The picture, how printable it is, and that it is put on images of its range."""
    net, x, y = case(3)
    options = {"size": 0.3, "epochs": 2, "printable": 0.1, "smooth": 0.1}
    found = find_patch(net, (x, y), **options)
    other = find_patch(Rescaled(net).eval(), (SPAN * x - 128, y), bounds=(-128, 128), **options)
    assert torch.allclose((other.patch + 128) / SPAN, found.patch, atol=1e-9)
    for name in ("non_printability", "total_variation"):
        assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-5)
    for name, patch in (("one.png", found), ("other.png", other)):
        patch.save(tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()
    with pytest.raises(InputError, match=r"the patch has pixels in \(0.0, 1.0\), the images in \(-128.0, 128.0\)"):
        found(Rescaled(net).eval(), SPAN * x - 128, y, bounds=(-128, 128))
    assert other(Rescaled(net).eval(), SPAN * x - 128, y, bounds=(-128, 128)).success.shape == y.shape


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
