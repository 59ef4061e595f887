"""Grids and samplers against the paper's formulas and torch's own; the module in front of, inside, beside networks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.models import create_model
from advkit.models.spatial_transformer import (
    SAMPLERS,
    TRANSFORMS,
    Affine,
    ParallelTransformers,
    Projective,
    SpatialTransformer,
    ThinPlateSpline,
    bilinear,
    nearest,
    regular_grid,
)

F64 = torch.float64


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def by_formula(U: Tensor, grid: Tensor, kernel) -> Tensor:
    """Equation 3, written out: the sum over all pixels."""
    _, _, H, W = U.shape
    x, y = ((grid[..., 0] + 1) * W - 1) / 2, ((grid[..., 1] + 1) * H - 1) / 2  # (N, H', W')
    k_x = kernel(x[..., None], torch.arange(W))  # (N, H', W', W)
    k_y = kernel(y[..., None], torch.arange(H))
    return torch.einsum("nchw,nijw,nijh->ncij", U, k_x, k_y)


def tent(x: Tensor, m: Tensor) -> Tensor:
    return (1 - (x - m).abs()).clamp_min(0)


def delta(x: Tensor, m: Tensor) -> Tensor:
    return ((x + 0.5).floor() == m).to(F64)


@pytest.mark.parametrize("size", [(5, 5), (4, 7)])
def test_affine_and_bilinear_equal_torchs_grid_and_sampler(size):
    U, theta = rand(3, 2, 5, 6), 3 * rand(3, 6) - 1.5
    grid = Affine(size).double()(theta)
    theirs = F.affine_grid(theta.reshape(3, 2, 3), [3, 2, *size], align_corners=False)
    torch.testing.assert_close(grid, theirs)
    torch.testing.assert_close(bilinear(U, grid), F.grid_sample(U, theirs, align_corners=False))


@pytest.mark.parametrize(("sampler", "kernel"), [(bilinear, tent), (nearest, delta)])
def test_the_samplers_are_the_papers_sums(sampler, kernel):
    U, grid = rand(2, 3, 4, 5), 3 * rand(2, 6, 7, 2, seed=1) - 1.5
    torch.testing.assert_close(sampler(U, grid), by_formula(U, grid, kernel))


def test_nearest_rounds_ties_up_where_grid_sample_rounds_them_to_even():
    U = torch.arange(4, dtype=F64).reshape(1, 1, 1, 4)
    columns = torch.tensor([-0.5, 0.5, 1.5, 2.5, 3.5], dtype=F64)
    x = (2 * columns + 1) / 4 - 1
    grid = torch.stack([x, torch.zeros_like(x)], -1)[None, None]  # (1, 1, 5, 2)
    assert nearest(U, grid).flatten().tolist() == [0, 1, 2, 3, 0]  # floor(3.5 + .5) = 4 lies outside
    assert F.grid_sample(U, grid, mode="nearest", align_corners=False).flatten().tolist() == [0, 0, 2, 2, 0]


def test_outside_the_image_lies_zero():
    grid = torch.full((1, 2, 2, 2), 5.0, dtype=F64)
    for sampler in SAMPLERS.values():
        assert not sampler(rand(1, 1, 4, 4), grid).any()
        assert not sampler(rand(1, 1, 4, 4), 1e30 * grid).any()


def away_from_kinks(grid: Tensor, H: int, W: int) -> Tensor:
    """Move points whose pixel coordinates lie within .1 of a whole number."""
    scale = torch.tensor([W, H], dtype=F64)
    pixels = ((grid + 1) * scale - 1) / 2
    whole, part = pixels.floor(), pixels - pixels.floor()
    return (2 * (whole + part.clamp(0.1, 0.9)) + 1) / scale - 1


def test_bilinear_passes_gradcheck_away_from_kinks():
    U = rand(2, 2, 4, 5).requires_grad_()
    grid = away_from_kinks(2.4 * rand(2, 3, 3, 2, seed=3) - 1.2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(bilinear, (U, grid))


def test_nearest_passes_gradcheck_to_the_image_and_none_to_the_points():
    U, grid = rand(1, 2, 4, 5).requires_grad_(), away_from_kinks(2 * rand(1, 3, 3, 2) - 1, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: nearest(u, grid), U)
    nearest(U, grid).sum().backward()
    assert grid.grad is None


def test_at_a_kink_the_gradient_is_torchs_one_from_the_right():
    U = rand(1, 1, 8, 8)
    ours, theirs = (regular_grid((8, 8)).double()[None].clone().requires_grad_() for _ in range(2))
    weights = rand(1, 1, 8, 8, seed=5)
    (bilinear(U, ours) * weights).sum().backward()
    (F.grid_sample(U, theirs, align_corners=False) * weights).sum().backward()
    torch.testing.assert_close(ours.grad[:, :-1, :-1], theirs.grad[:, :-1, :-1])
    assert ours.grad.abs().amax() > 0


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_identity_moves_nothing(transform):
    grid = TRANSFORMS[transform]((6, 9))
    theta = torch.tensor([grid.identity, grid.identity])
    torch.testing.assert_close(grid(theta), regular_grid((6, 9)).expand(2, -1, -1, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_grids_pass_gradcheck(transform):
    grid = TRANSFORMS[transform]((3, 4)).double()
    theta = torch.tensor([grid.identity], dtype=F64) + 0.2 * rand(1, len(grid.identity)) - 0.1
    assert torch.autograd.gradcheck(grid, theta.requires_grad_())


def test_attention_scales_and_shifts():
    grid = TRANSFORMS["attention"]((4, 4))(torch.tensor([[0.5, 0.1, -0.2]]))
    torch.testing.assert_close(grid[0], 0.5 * regular_grid((4, 4)) + torch.tensor([0.1, -0.2]))


def test_a_projective_grid_maps_lines_to_lines_and_survives_the_horizon():
    theta = torch.tensor([[1.0, 0.1, 0.2, -0.1, 0.9, 0.1, 0.3, 0.2]])
    row = Projective((1, 5))(theta)[0, 0]  # five points of a line
    spans = row[1:] - row[0]
    assert (spans[:, 0] * spans[0, 1] - spans[:, 1] * spans[0, 0]).abs().amax() < 1e-6
    horizon = Projective((4, 4))(torch.tensor([[1.0, 0, 0, 0, 1, 0, 0, 4.0]], requires_grad=True))  # w = 0 at y = -.25
    assert horizon.isfinite().all()
    assert bilinear(torch.rand(1, 1, 4, 4), horizon).isfinite().all()


def test_a_projective_grid_divides_by_the_third_coordinate():
    theta = 0.4 * rand(1, 8) - 0.2 + torch.tensor([[1.0, 0, 0, 0, 1, 0, 0, 0]], dtype=F64)
    H = torch.cat([theta, torch.ones(1, 1, dtype=F64)], 1).reshape(3, 3)
    for point, source in zip(
        regular_grid((3, 4)).double().reshape(-1, 2), Projective((3, 4))(theta).reshape(-1, 2), strict=True
    ):
        image = H @ torch.cat([point, torch.ones(1, dtype=F64)])
        torch.testing.assert_close(source, image[:2] / image[2], atol=1e-6, rtol=1e-6)


def test_projective_without_perspective_is_affine():
    theta = 2 * rand(3, 6) - 1
    padded = torch.cat([theta, torch.zeros(3, 2, dtype=F64)], 1)
    torch.testing.assert_close(Projective((5, 4)).double()(padded), Affine((5, 4)).double()(theta))


def test_a_thin_plate_spline_hits_its_control_points():
    grid = ThinPlateSpline((4, 4), points=4)  # the targets are the control points themselves
    theta = torch.tensor([grid.identity]) + 0.3 * torch.rand(1, 32) - 0.15
    torch.testing.assert_close(grid(theta).reshape(1, 32), theta, atol=1e-5, rtol=0)


def test_a_thin_plate_spline_reproduces_affine_maps():
    theta, grid = 2 * torch.rand(2, 6) - 1, ThinPlateSpline((7, 5))
    places = Affine((4, 4))(theta)  # where the affine map sends the control points
    torch.testing.assert_close(grid(places.reshape(2, -1)), Affine((7, 5))(theta), atol=2e-5, rtol=0)


def localiser(shape: tuple[int, int, int], features: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), features), nn.ReLU())


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_transformer_starts_at_the_identity(transform, sampler):
    module = SpatialTransformer(localiser((2, 6, 7)), 5, (6, 7), transform=transform, sampler=sampler)
    U = torch.rand(3, 2, 6, 7)
    torch.testing.assert_close(module(U), U, atol=2e-5, rtol=0)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_training_moves_a_transformer_to_where_the_digit_is(transform):
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 12, 12)
    image[..., 3:9, 3:9] = F.interpolate(torch.rand(1, 1, 3, 3), (6, 6), mode="bilinear")
    shifted = image.roll(2, 3)
    module = SpatialTransformer(localiser((1, 12, 12)), 5, (12, 12), transform=transform)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    start = F.mse_loss(module(shifted), image).item()
    for _ in range(60):
        optimiser.zero_grad()
        F.mse_loss(module(shifted), image).backward()
        optimiser.step()
    assert F.mse_loss(module(shifted), image).item() < 0.2 * start


def test_transformers_work_inside_and_in_series():
    def transformer() -> SpatialTransformer:
        return SpatialTransformer(localiser((2, 6, 6)), 5, (6, 6))

    inside = nn.Sequential(nn.Conv2d(1, 2, 3), transformer(), transformer(), nn.Flatten(), nn.Linear(72, 3))
    assert inside(torch.rand(4, 1, 8, 8)).shape == (4, 3)


def test_parallel_transformers_stack_what_each_makes_of_all_channels():
    branches = [SpatialTransformer(localiser((2, 6, 6)), 5, (4, 5)) for _ in range(3)]
    for branch in branches:
        nn.init.normal_(branch.regression.weight, std=0.3)
    U = torch.rand(4, 2, 6, 6)
    V = ParallelTransformers(branches)(U)
    assert V.shape == (4, 6, 4, 5)
    for i, branch in enumerate(branches):
        assert torch.equal(V[:, 2 * i : 2 * i + 2], branch(U))
    with pytest.raises(InputError, match="one spatial transformer or more"):
        ParallelTransformers([])


def test_training_moves_parallel_transformers_to_different_objects():
    """A light pixel in each of two channels; the targets ask for the first one's crop and the second one's crop."""
    torch.manual_seed(0)
    patch = F.interpolate(torch.rand(2, 1, 3, 3), (6, 6), mode="bilinear")
    image = torch.zeros(1, 2, 16, 16)
    image[0, 0, 1:7, 2:8], image[0, 1, 9:15, 8:14] = patch[0, 0], patch[1, 0]
    module = ParallelTransformers([SpatialTransformer(localiser((2, 16, 16)), 5, (16, 16)) for _ in range(2)])
    wanted = torch.zeros(1, 4, 16, 16)
    wanted[0, 0, 5:11, 5:11], wanted[0, 3, 5:11, 5:11] = patch[0, 0], patch[1, 0]
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        (module(image) - wanted)[:, [0, 3]].square().mean().backward()
        optimiser.step()
    first, second = (branch.theta(image)[0, [2, 5]] for branch in module.branches)
    assert (first < -0.1).all()  # the crop of the first lies above and to the left of the middle
    assert (second > 0.1).all()


@pytest.mark.parametrize("name", ["stn_fcn", "stn_cnn"])
def test_networks_take_parallel_transformers_and_crops(name):
    with torch.device("meta"):
        for crop, side in ((None, 20), (12, 12)):
            net = create_model(name, input_shape=(2, 20, 20), num_classes=19, transformers=2, crop=crop, width=0.25)
            assert net.net.transformer(torch.rand(1, 2, 20, 20)).shape == (1, 4, side, side)
            assert net(torch.rand(3, 2, 20, 20)).shape == (3, 19)
    assert not hasattr(create_model(name, transformers=1).net.transformer, "branches")
    for wrong in ({"transformers": 0}, {"transformers": True}, {"crop": 0}, {"crop": 2.5}):
        with pytest.raises(InputError, match=f"expected {next(iter(wrong))} as a whole number of 1 or more"):
            create_model(name, **wrong)


def test_every_channel_moves_alike_and_the_output_may_have_another_size():
    module = SpatialTransformer(localiser((3, 6, 6)), 5, (4, 9))
    nn.init.normal_(module.regression.weight, std=0.2)
    U = torch.rand(2, 1, 6, 6).expand(-1, 3, -1, -1)
    V = module(U)
    assert V.shape == (2, 3, 4, 9)
    assert torch.equal(V[:, 0], V[:, 2])


def test_sixteen_bits_move_no_point():
    module, U = SpatialTransformer(localiser((1, 28, 28)), 5, (28, 28)), torch.rand(2, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.points(U).dtype == torch.float32
        torch.testing.assert_close(module(U), U, atol=1e-4, rtol=0)


def test_stn_without_a_transformer_is_the_classifier_alone():
    with_it, without = (create_model("stn_cnn", transform=t, seed=0) for t in ("affine", "none"))
    assert without.card.parameters < with_it.card.parameters
    without.net.load_state_dict(with_it.net.classifier.state_dict())
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(with_it(x), without(x), atol=1e-4, rtol=1e-4)


def test_wrong_options_get_one_clear_error():
    with pytest.raises(InputError, match="unknown transform 'afine'; did you mean 'affine'"):
        SpatialTransformer(nn.Flatten(), 4, (2, 2), transform="afine")
    with pytest.raises(InputError, match="unknown sampler 'linear'"):
        SpatialTransformer(nn.Flatten(), 4, (2, 2), sampler="linear")
    with pytest.raises(InputError, match="expected a size of at least 1x1"):
        SpatialTransformer(nn.Flatten(), 4, (0, 2))
