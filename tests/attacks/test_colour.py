"""Colour: CIELUV by its known values, one function for all pixels, and its reach."""

import pytest
import torch

from advkit.attacks import Colour, create_attack
from advkit.attacks.colour.luv import SPAN, to_luv, to_rgb
from advkit.attacks.colour.recolour import colours_of, looked_up
from advkit.core.errors import InputError

KNOWN = {
    (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
    (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    (1.0, 0.0, 0.0): (53.24, 175.01, 37.75),
    (0.0, 1.0, 0.0): (87.73, -83.08, 107.40),
    (0.0, 0.0, 1.0): (32.30, -9.40, -130.34),
}
"""sRGB -> L, u, v of D65, from tables."""


def test_colours_have_their_known_places() -> None:
    span = torch.tensor(SPAN, dtype=torch.float64)
    for rgb, luv in KNOWN.items():
        shares = to_luv(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)).flatten()
        found = shares * (span[:, 1] - span[:, 0]) + span[:, 0]
        torch.testing.assert_close(found, torch.tensor(luv, dtype=torch.float64), atol=0.05, rtol=0)


def test_the_way_there_and_back_is_the_identity_with_finite_gradients() -> None:
    rgb = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).round(decimals=1)
    assert -1e-3 <= to_luv(rgb).min() <= to_luv(rgb).max() <= 1 + 1e-3
    torch.testing.assert_close(to_rgb(to_luv(rgb)), rgb)
    leaf = rgb.requires_grad_()
    to_rgb(to_luv(leaf)).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_table_of_one_value_moves_every_colour_alike_and_corners_are_met(channels: int) -> None:
    g = torch.Generator().manual_seed(1)
    colours = torch.rand(2, channels, 5, 4, generator=g, dtype=torch.float64)
    axes = [3 if axis < channels else 1 for axis in (2, 1, 0)]
    table = torch.rand(2, channels, *axes, generator=g, dtype=torch.float64)
    flat = torch.full_like(table, 0.25)
    torch.testing.assert_close(looked_up(flat, colours), torch.full_like(colours, 0.25))
    colours[:, :, 0, 0] = torch.tensor([1.0, 0.0, 0.5][:channels], dtype=torch.float64)
    place = [slice(None), slice(None), *(0 if n == 1 else (1, 0, 2)[axis] for axis, n in enumerate(axes))]
    torch.testing.assert_close(looked_up(table, colours)[:, :, 0, 0], table[tuple(place)])


def coloured() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(2)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 3)).double()
    net[1].weight.data = torch.randn(3, 3 * 64, generator=g, dtype=torch.float64)
    net[1].bias.data.zero_()
    x = 0.4 + 0.2 * (4 * torch.rand(8, 3, 8, 8, generator=g, dtype=torch.float64)).round() / 4
    return net, x, net(x).argmax(1)


def test_equal_colours_stay_equal_and_none_moves_farther_than_its_reach() -> None:
    net, x, y = coloured()
    found = Colour(reach=0.05, steps=20)(net, x, y, stop="never")
    assert found.size is not None
    moved = (colours_of(found.x_adv) - colours_of(x)).abs().flatten(1).amax(1)
    assert (found.size <= 0.05 + 1e-9).all()
    assert (
        moved <= found.size + 1e-6
    ).float().mean() > 0.9  # beyond sRGB colours are cut off, which may move another axis
    assert (found.size > 0.04).all()
    for image, clean in zip(found.x_adv, x, strict=True):
        colours = {}
        for pixel, before in zip(image.flatten(1).T, clean.flatten(1).T, strict=True):
            first = colours.setdefault(tuple(before.tolist()), pixel)
            torch.testing.assert_close(pixel, first)


def test_more_reach_fools_more() -> None:
    net, x, y = coloured()
    rates = [float(Colour(reach=r, steps=30)(net, x, y).success.double().mean()) for r in (0.001, 0.05, 0.3)]
    assert rates[0] < rates[2]
    assert rates[2] > 0.8


def test_what_has_no_colours_is_refused() -> None:
    y = torch.zeros(2, dtype=torch.int64)
    for x in (torch.rand(2, 5), torch.rand(2, 4, 3, 3)):
        with pytest.raises(InputError, match="colour"):
            Colour()(lambda z: z.flatten(1), x, y, stop="never")
    for spec in ("colour(reach=2)", "colour(table=1)", "colour(step_size=0)"):
        with pytest.raises(InputError):
            create_attack(spec)
