"""The spatial attack: it moves images as it says, and finds the worst place of its range."""

import math

import pytest
import torch
from torch import nn

from advkit.attacks import Spatial, create_attack
from advkit.attacks.spatial.motion import move
from advkit.core.errors import InputError
from advkit.testing.nets import Spy


def ramp(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def moved(x: torch.Tensor, degrees: float = 0.0, right: float = 0.0, down: float = 0.0) -> torch.Tensor:
    values = (torch.full((len(x),), v, dtype=x.dtype) for v in (math.radians(degrees), right, down))
    return move(x, *values)


def test_nothing_moves_at_zero() -> None:
    x = ramp(2, 3, 5, 8)
    torch.testing.assert_close(moved(x), x, atol=1e-6, rtol=0)


def test_a_shift_by_whole_pixels_is_a_roll_with_black_behind() -> None:
    x = ramp(2, 1, 6, 8)
    right = moved(x, right=2 / 8)
    torch.testing.assert_close(right[..., 2:], x[..., :-2])
    assert (right[..., :2].abs() < 1e-12).all()
    down = moved(x, down=1 / 6)
    torch.testing.assert_close(down[..., 1:, :], x[..., :-1, :])


@pytest.mark.parametrize("side", [5, 8])
def test_a_quarter_turn_is_rot90(side: int) -> None:
    x = ramp(2, 1, side, side)
    torch.testing.assert_close(moved(x, degrees=90), x.rot90(1, (2, 3)))


def test_a_half_turn_of_a_wide_image_is_a_flip_of_both_axes() -> None:
    x = ramp(1, 1, 4, 9)
    torch.testing.assert_close(moved(x, degrees=180), x.flip(2, 3))


def test_a_turn_keeps_lengths_in_an_image_that_is_not_square() -> None:
    """A dot at a given number of pixels right of the centre goes to as many pixels above it, one above to the left."""
    for place, turned in (((4, 13), (1, 10)), ((1, 10), (4, 7))):
        x = torch.zeros(1, 1, 9, 21, dtype=torch.float64)
        x[0, 0, place[0], place[1]] = 1
        assert divmod(int(moved(x, degrees=90)[0, 0].argmax()), 21) == turned


class Corner(nn.Module):
    """Class 1 where the light in the lower right corner outweighs the rest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corner = x[:, :, -2:, -2:].flatten(1).sum(1)
        return torch.stack([0 * corner + 0.9, corner], 1)


def dot(at: int, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.zeros(1, 1, side, side, dtype=torch.float64)
    x[0, 0, at, at] = 1
    return x, torch.zeros(1, dtype=torch.int64)


def test_a_grid_finds_the_shift_that_fools_and_no_other_does() -> None:
    """The dot must go 2 pixels right and 2 down to count."""
    x, y = dot(8)
    found = Spatial(rotation=0, rotations=1, translation=2 / 12, shifts=5)(Corner(), x, y)
    assert found.success.all()
    assert found.x_adv[0, 0, -2, -2] == pytest.approx(1)
    assert not Spatial(rotation=0, rotations=1, translation=1 / 12, shifts=5)(Corner(), x, y).success.any()


def test_the_gradient_leads_where_the_grid_looks() -> None:
    class Smooth(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.linspace(0, 1, x.shape[2], dtype=x.dtype)
            weight = rows[:, None] * rows
            light = (x * weight).flatten(1).sum(1) / x.flatten(1).sum(1).clamp(min=1e-6)
            return torch.stack([0 * light + 0.62, light], 1)

    x, y = dot(8)
    search = Spatial(rotation=0, rotations=1, translation=2 / 12, search="gradient", steps=30)
    assert not Smooth()(x).argmax(1).any()
    assert search(Smooth(), x, y).success.all()
    grid = Spatial(rotation=0, rotations=1, translation=2 / 12)(Smooth(), x, y)
    strongest = search(Smooth(), x, y, stop="never")
    assert strongest.logits[0, 1] >= grid.logits[0, 1] - 1e-3


def test_a_query_a_candidate_and_fooled_images_leave() -> None:
    x, y = dot(2)
    spy = Spy(Corner())
    found = Spatial(rotations=3, shifts=3)(spy, x, y)
    assert int(found.queries) == spy.forwards
    assert 3 * 9 + 1 <= spy.forwards <= 3 * 9 + 2  # the clean image; the best candidate once more
    x, y = dot(9)
    assert int(Spatial(rotation=0, rotations=1, translation=1 / 12, shifts=3)(Corner(), x, y).queries) <= 11


def test_more_draws_never_fool_fewer() -> None:
    from advkit.testing._toys import toy_case

    case = toy_case(3)
    falls = [Spatial(search="random", steps=k, translation=0.3)(case.model, case.x, case.y).success for k in (1, 5, 40)]
    assert (falls[1] | ~falls[0]).all()
    assert (falls[2] | ~falls[1]).all()


def test_eps_limits_what_moves() -> None:
    x, y = dot(8)
    found = Spatial(eps=0.25)(Corner(), x, y, stop="never")
    assert found.distance.max() <= 0.25
    assert not found.success.any()


def test_wrong_options_and_vectors_are_refused() -> None:
    model, x = nn.Linear(7, 3), ramp(3, 7).float()
    with pytest.raises(InputError, match="unknown search 'grit'; did you mean 'grid'"):
        Spatial(search="grit")
    with pytest.raises(InputError, match="expected rotation as a number from 0 to 180, got 190"):
        create_attack("spatial(rotation=190)")
    with pytest.raises(InputError, match=r"images \(N, C, H, W\), got images of shape \(7,\)"):
        Spatial()(model, x, model(x).argmax(1))
