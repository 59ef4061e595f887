"""Patches: where they lie, what they leave alone, and how they climb; LaVAN beside PGD in a square."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from advkit import load_data, load_model
from advkit.attacks import ATTACKS, PGD, AdversarialPatch, LaVAN, Patch, create_attack, find_patch, masked
from advkit.attacks.parts.placing import PLACES, Placing, Pose, corner, put_on, side_of
from advkit.attacks.patch.printing import (
    BLACK,
    SOLIDS,
    colours_of,
    inks,
    non_printability,
    non_printability_slope,
    seen_by,
    total_variation,
    total_variation_slope,
)
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.testing.nets import Spy


@pytest.fixture
def case() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 12 * 14, 5)).double()
    return model, torch.rand(6, 3, 14, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])


def still(n: int, right: float = 0.0, down: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Pose:
    one = torch.ones(n, dtype=torch.float64)
    return Pose(angle * one, scale * one, 0 * one, right * one, down * one)


def test_a_straight_patch_lies_on_the_pixels_to_the_bit():
    x = torch.rand(200, 3, 14, 17, dtype=torch.float64)
    patch = torch.rand(1, 3, 5, 5, dtype=torch.float64).expand(200, -1, -1, -1)
    pose = Placing(0, 0, 0, "random").pose(Draws(0, torch.arange(200)), 0, x)
    shown, inside = put_on(x, patch, pose, "square")
    rows, columns = set(), set()
    for image, place, before in zip(shown, inside[:, 0], x, strict=True):
        down, right = place.any(1).nonzero().min(), place.any(0).nonzero().min()
        rows.add(int(down))
        columns.add(int(right))
        assert int(place.sum()) == 25
        torch.testing.assert_close(image[:, down : down + 5, right : right + 5], patch[0])
        assert image[:, ~place].equal(before[:, ~place])
    assert rows == set(range(10))
    assert columns == set(range(13))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_quarter_turn_is_a_quarter_turn(quarter):
    patch, x = torch.rand(1, 2, 4, 4, dtype=torch.float64), torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    shown, _ = put_on(x, patch, still(1, angle=quarter * math.pi / 2), "square")
    torch.testing.assert_close(shown[:, :, 2:6, 2:6], patch.rot90(-quarter, (2, 3)))
    assert float(shown.sum()) == pytest.approx(float(patch.sum()))


@pytest.mark.parametrize(("shape", "area"), [("square", 1.0), ("circle", math.pi / 4)])
def test_whatever_its_pose_a_patch_lies_whole_within_the_image(shape, area):
    x, patch = torch.zeros(300, 1, 60, 80, dtype=torch.float64), torch.ones(300, 1, 20, 20, dtype=torch.float64)
    pose = Placing(180, 0.5, 0, "random").pose(Draws(1, torch.arange(300)), 3, x)
    shown, inside = put_on(x, patch, pose, shape)
    covered = inside.flatten(1).sum(1).double() / 400
    torch.testing.assert_close(covered, area * pose.scale**2, rtol=0.12, atol=0.02)
    assert shown.sum((1, 2, 3)).equal(inside.flatten(1).sum(1).double())


@pytest.mark.parametrize(
    ("place", "corner_at"),
    [("top_left", (0, 0)), ("top_right", (0, 12)), ("bottom_left", (10, 0)), ("bottom_right", (10, 12))],
)
def test_places_have_names(place, corner_at):
    right, down = PLACES[place]
    x = torch.zeros(1, 1, 14, 16, dtype=torch.float64)
    _, inside = put_on(x, torch.ones(1, 1, 4, 4, dtype=torch.float64), still(1, right, down), "square")
    assert inside[0, 0].nonzero().min(0).values.tolist() == list(corner_at)
    row, column = corner(place, Draws(0, torch.arange(1)), 14, 16, 4)
    assert (int(row), int(column)) == corner_at


def test_random_squares_reach_every_place_alike():
    row, column = corner("random", Draws(0, torch.arange(4000)), 10, 8, 3)
    counts = torch.bincount(row * 6 + column, minlength=48)
    assert len(counts) == 48
    assert int(counts.min()) > 50


def test_a_mask_is_a_shape():
    mask = torch.zeros(4, 4)
    mask[0] = 1
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    _, inside = put_on(x, torch.ones(1, 1, 4, 4, dtype=torch.float64), still(1), mask)
    assert inside[0, 0].nonzero().tolist() == [[2, 2], [2, 3], [2, 4], [2, 5]]


def slow_patch(case, steps: int, *, shared: bool, smooth: float) -> Tensor:
    """The patch after some steps, its gradient taken through the whole composition at once."""
    model, x, y = case
    attack = Patch(size=0.1, rotation=20, scale=0.2, brightness=0.1)
    side, draws = side_of(0.1, 14, 16), Draws(5, torch.arange(6))
    patch = torch.full((1 if shared else 6, 3, side, side), 0.5, dtype=torch.float64)
    for i in range(steps):
        leaf = patch.clone().requires_grad_()
        worn, _ = put_on(x, leaf.expand(6, -1, -1, -1), attack.placing.pose(draws, i, x), "square")
        worn = worn + (worn.clamp(0, 1) - worn).detach()
        value = F.cross_entropy(model(worn), y, reduction="sum") / (6 if shared else 1)
        rough = sum((leaf.diff(dim=d) ** 2).mean((1, 2, 3)).sum() for d in (2, 3))
        (value - smooth * rough).backward()
        patch = (patch + 0.05 * leaf.grad.sign()).clamp(0, 1)
    worn, _ = put_on(x, patch.expand(6, -1, -1, -1), attack.placing.pose(draws, 2**31 - 1, x), "square")
    return worn.clamp(0, 1)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("smooth", [0.0, 3.0])
def test_it_climbs_the_mean_over_random_poses(case, shared, smooth):
    options = {"size": 0.1, "rotation": 20, "scale": 0.2, "brightness": 0.1}
    attack = Patch(steps=6, shared=shared, smooth=smooth, **options)
    found = attack(*case, stop="never", seed=5)
    torch.testing.assert_close(found.x_adv, slow_patch(case, 6, shared=shared, smooth=smooth))
    assert found.gradients.eq(6).all()
    assert found.queries.eq(8).all()


@pytest.mark.parametrize("spec", ["patch(size=0.1, steps=5)", "lavan(size=0.1, steps=5)"])
def test_no_other_pixel_changes(spec, case):
    model, x, y = case
    changed = (create_attack(spec)(model, x, y, stop="never").x_adv != x).any(1).flatten(1)
    side = side_of(0.1, 14, 16)
    assert int(changed.sum(1).max()) <= side**2
    assert int(changed.sum(1).min()) >= side**2 // 2
    spread = changed.view(6, 14, 16)
    for image in spread:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert int(rows.max() - rows.min()) < side
        assert int(columns.max() - columns.min()) < side


@pytest.mark.parametrize("place", ["random", "bottom_left"])
def test_lavan_is_the_margin_climbed_in_a_square(place, case):
    model, x, y = case
    side = side_of(0.05, 14, 16)
    row, column = corner(place, Draws(7, torch.arange(6)), 14, 16, side)
    mask = torch.zeros(6, 1, 14, 16)
    for k in range(6):
        mask[k, :, row[k] : row[k] + side, column[k] : column[k] + side] = 1
    steps = PGD(eps=1.0, steps=9, step_size=5 / 9, random_start=False, loss="margin")
    found = LaVAN(size=0.05, place=place, steps=9)(model, x, y, stop="never", seed=7)
    torch.testing.assert_close(found.x_adv, masked(steps, mask)(model, x, y, stop="never", seed=7).x_adv)


def test_a_patch_found_on_some_images_misleads_on_others(tmp_path):
    model, data = load_model("lenet5"), load_data("mnist5k", split="test")
    x, y = data[:200]
    options = {"size": 0.2, "target": 3}
    attack = find_patch(
        model, load_data("mnist5k", split="train"), shape="circle", epochs=2, count=800, batch_size=20, **options
    )
    assert isinstance(attack, AdversarialPatch)
    rows = y != 3
    reached = model(attack(model, x, y, target=3).x_adv).argmax(1)[rows] == 3
    noise = AdversarialPatch(patch=torch.rand_like(attack.patch), size=0.2, shape="circle", target=3)
    by_chance = model(noise(model, x, y, target=3).x_adv).argmax(1)[rows] == 3
    assert float(reached.double().mean()) > 2 * float(by_chance.double().mean()) + 0.05
    attack.save(tmp_path / "patch.png")
    with Image.open(tmp_path / "patch.png") as picture:
        assert picture.mode == "RGBA"
        side = attack.patch.shape[1]
        assert picture.size == (side, side)
        grey = torch.tensor([picture.getpixel((k, side // 2))[0] for k in range(side)])
        assert picture.getpixel((0, 0))[3] == 0
        assert picture.getpixel((side // 2, side // 2))[3] == 255
    torch.testing.assert_close(grey / 255, attack.patch[0, side // 2].cpu(), atol=0.003, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"size": 1.5},
        {"size": "big"},
        {"shape": "star"},
        {"shape": torch.zeros(3, 3)},
        {"place": "left"},
        {"rotation": 200},
        {"scale": 1},
        {"shared": 1.5},
        {"smooth": -1},
        {"printable": -1},
        {"palette": "no_such_file.txt"},
        {"palette": 3},
        {"palette": [[0.1, 0.2]]},
        {"palette": [["red"]]},
        {"palette": [[0.1, 0.2, 1.2]]},
        {"palette": torch.zeros(0, 3)},
    ],
)
def test_what_means_nothing_is_refused(options):
    with pytest.raises(InputError):
        Patch(**options)


@pytest.mark.parametrize("name", ["patch", "lavan"])
def test_rows_that_are_no_images_are_refused(name):
    with pytest.raises(InputError, match="images"):
        create_attack(name)(nn.Linear(4, 3), torch.rand(2, 4), torch.tensor([0, 1]))


def test_a_patch_of_other_channels_is_refused():
    attack, x = AdversarialPatch(patch=torch.rand(3, 4, 4)), torch.rand(2, 1, 32, 32)
    with pytest.raises(InputError, match="the patch is of shape"):
        attack(load_model("lenet5"), x, torch.tensor([0, 1]), stop="never")


def test_both_slopes_are_the_gradients_of_their_scores():
    torch.manual_seed(1)
    patch, colours = torch.rand(3, 3, 5, 5, dtype=torch.float64), torch.rand(7, 3, dtype=torch.float64)
    for score, slope in (
        (total_variation, total_variation_slope),
        (lambda p: non_printability(p, colours), lambda p: non_printability_slope(p, colours)),
    ):
        leaf = patch.clone().requires_grad_()
        score(leaf).sum().backward()
        torch.testing.assert_close(slope(patch), leaf.grad)


def test_the_distance_to_printable_colours_is_the_least_by_hand():
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1]], dtype=torch.float64)
    patch = torch.tensor([0.1, 0.2, 0.2], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 2, 2).clone()
    assert float(non_printability(patch, colours)) == pytest.approx(0.3)
    patch[:, :, 0, 0] = torch.tensor([1.0, 0.7, 0.6])
    assert float(non_printability(patch, colours)) == pytest.approx((3 * 0.3 + 0.5) / 4)
    on_one = colours[1].view(1, 3, 1, 1).expand(1, 3, 2, 2)
    assert not non_printability_slope(on_one, colours).any()


def test_the_inks_are_halftones_of_their_solids():
    found = inks()
    assert found.shape == (29, 3)
    assert found.unique(dim=0).shape == (29, 3)
    for solid in [*SOLIDS.values(), BLACK]:
        nearest = (found * 255 - torch.tensor(solid, dtype=torch.float64)).abs().amax(1).min()
        assert float(nearest) < 1e-9
    paper, cyan = (torch.tensor(SOLIDS[key], dtype=torch.float64) / 255 for key in ((0, 0, 0), (1, 0, 0)))
    half = ((paper**2.2 + cyan**2.2) / 2) ** (1 / 2.2)  # half of the paper is covered
    assert float((found - half).abs().amax(1).min()) < 1e-9


@pytest.fixture(scope="module")
def plain_and_printed() -> tuple[AdversarialPatch, ...]:
    """A patch for an untrained network of colours: as it comes, printable, and smooth."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 14 * 14, 5))
    x, y = torch.rand(24, 3, 32, 32), torch.arange(24) % 5
    options = {"size": 0.2, "target": 3, "epochs": 40, "step_size": 0.02}
    return tuple(
        find_patch(model, (x, y), **options, **more)
        for more in ({}, {"printable": 1000.0}, {"smooth": 1000.0}, {"printable": 1000.0, "palette": [[0.2, 0.5, 0.9]]})
    )


def test_printable_patches_lie_nearer_the_palette(plain_and_printed):
    plain, printed, _, one = plain_and_printed
    assert plain.non_printability > 0.15
    assert printed.non_printability < 0.03  # within a step of .02 in each channel
    colours = one.patch.permute(1, 2, 0).reshape(-1, 3)
    torch.testing.assert_close(colours, torch.tensor([0.2, 0.5, 0.9]).expand_as(colours), atol=0.03, rtol=0)


def test_smooth_patches_vary_less(plain_and_printed):
    plain, _, smooth, _ = plain_and_printed
    assert smooth.total_variation < plain.total_variation / 20


def test_a_palette_is_a_file_a_list_or_a_name(tmp_path):
    listed = ((0.0, 0.0, 0.0), (1.0, 0.5, 0.2))
    (tmp_path / "shares.txt").write_text("# mine\n0, 0, 0\n1 0.5 0.2  # orange\n\n")
    (tmp_path / "bytes.txt").write_text("0,0,0\n255,127.5,51\n")
    wanted = torch.tensor(listed, dtype=torch.float64)
    for palette in (list(map(list, listed)), listed, wanted, *(str(tmp_path / n) for n in ("shares.txt", "bytes.txt"))):
        torch.testing.assert_close(colours_of(Patch(palette=palette).palette), wanted, atol=1e-6, rtol=0)
    spec = Patch(printable=2.0, palette=listed).spec
    assert create_attack(spec) == Patch(printable=2.0, palette=listed)
    grey = seen_by(wanted, torch.rand(1, 1, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(grey, torch.tensor([[0.0], [0.299 + 0.587 * 0.5 + 0.114 * 0.2]]).double())


def test_of_grey_images_the_palette_is_grey():
    x, y = torch.rand(8, 1, 16, 16), torch.arange(8) % 3
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 3))
    found = find_patch(model, (x, y), size=0.2, epochs=30, step_size=0.02, printable=1e4, palette=[[1.0, 0.0, 0.0]])
    torch.testing.assert_close(found.patch, torch.full_like(found.patch, 0.299), atol=0.03, rtol=0)
    with pytest.raises(InputError, match="1 or 3 channels, got 2"):
        Patch(printable=1.0)(nn.Sequential(nn.Flatten(), nn.Linear(512, 3)), torch.rand(8, 2, 16, 16), y)


def test_a_known_patch_takes_its_share_of_any_image():
    patch = torch.zeros(1, 8, 8)
    patch[:, :, 4:] = 1
    x = torch.full((1, 1, 64, 64), 0.5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64 * 64, 3))
    for size, side in ((1 / 64, 8), (1 / 16, 16), (1 / 4, 32), (1 / 256, 4)):
        attack = AdversarialPatch(patch=patch, size=size, place="top_left")
        shown = attack(model, x, torch.tensor([0]), stop="never").x_adv[0, 0]
        assert int((shown != 0.5).sum()) >= side * (side - 2)  # interpolated edges may be grey
        assert (shown[:, side:] == 0.5).all()
        assert (shown[side:] == 0.5).all()
        assert float(shown[side // 2, 0]) == 0
        assert float(shown[side // 2, side - 1]) == 1
    exact = AdversarialPatch(patch=patch, size=1 / 64, place="top_left")(model, x, torch.tensor([0]), stop="never")
    assert torch.equal(exact.x_adv[0, :, :8, :8], patch)


@pytest.mark.parametrize("target", ["untargeted", 3, "runner_up"])
def test_a_patch_for_a_data_set_costs_one_pass_there_and_back_for_each_image(target):
    torch.manual_seed(0)
    spy = Spy(nn.Sequential(nn.Flatten(), nn.Linear(256, 5)))
    x, y = torch.rand(10, 1, 16, 16), torch.arange(10) % 5
    find_patch(spy, (x, y), size=0.1, epochs=3, batch_size=4, target=target)
    more = 30 if target == "runner_up" else 0  # which class that is takes the clean images
    assert (spy.forwards, spy.backwards) == (30 + more, 30)


def test_the_steps_of_a_data_set_are_those_of_the_batch(case):
    model, x, y = case
    options = {"size": 0.1, "rotation": 20, "place": "random", "smooth": 2.0, "printable": 3.0}
    whole = Patch(steps=5, **options)(model, x, y, stop="never", seed=4)
    found = find_patch(model, (x, y), epochs=5, seed=4, **options)
    assert torch.equal(found(model, x, y, stop="never", seed=4).x_adv, whole.x_adv)


def test_a_class_that_the_model_does_not_have_is_one_line(case):
    with pytest.raises(InputError, match="target out of range: saw classes 5 to 5, the model has 5"):
        find_patch(case[0], case[1:], target=5)
    with pytest.raises(InputError, match="expected target as one class for one patch, got 'all'"):
        find_patch(case[0], case[1:], target="all")


def test_finding_a_patch_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(6 * 14 * 14, 5)
    model = nn.Sequential(*layers).train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[5].weight.grad = torch.ones_like(model[5].weight)
    data = torch.rand(10, 3, 16, 16), torch.arange(10) % 5
    state, random = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    find_patch(model, data, size=0.1, epochs=2, batch_size=4)
    assert [m.training for m in model.modules()] == [True, True, False, True, True, True, True]
    assert [p.requires_grad for p in model.parameters()] == [True, False, True, True, True, True]
    assert torch.equal(model[5].weight.grad, torch.ones_like(model[5].weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "5.weight")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("shape", ["square", "circle"])
def test_no_pixel_outside_the_patch_changes_in_any_pose(shape):
    """Every pose leaves the images' other pixels alone, to the bit: two patches differ where the patch lies only."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)), torch.rand(20, 3, 32, 32) * 0.5 + 0.25
    options = {"size": 0.05, "shape": shape, "rotation": 45.0, "scale": 0.2, "brightness": 0.1}
    shown = [
        AdversarialPatch(patch=torch.full((3, 16, 16), value), **options)(
            model, x, torch.arange(20) % 5, stop="never", seed=2
        ).x_adv
        for value in (0.0, 1.0)
    ]
    worn = (shown[0] != shown[1]).any(1)
    assert torch.equal(torch.where(worn[:, None], x, shown[0]), x)
    share = worn.double().mean((1, 2))
    assert float(share.max()) < 0.05 * 1.2**2 + 0.04  # and the smeared edge
    assert float(share.min()) > 0.02


@pytest.mark.parametrize("size", [0, -0.1, 1.1, math.nan, math.inf, "half", True, None])
@pytest.mark.parametrize("name", ["patch", "lavan"])
def test_a_patch_of_no_area_or_more_than_the_image_is_refused(name, size):
    with pytest.raises(InputError, match="expected size as a number above 0 and at most 1, got"):
        ATTACKS.factory(name)(size=size)


@pytest.mark.parametrize("shape", [[[1, 0]], ((1, 1),), np.ones((2, 2)), 3, None, {"square": 1}])
def test_a_shape_that_is_no_tensor_is_told_how_to_become_one(shape):
    says = r"expected shape as 'square', 'circle' or a tensor \(S, S\), got \w+; torch.tensor\(...\) makes one$"
    with pytest.raises(InputError, match=says):
        Patch(shape=shape)


@pytest.mark.parametrize("place", [["centre"], None, {}, (0, 0)])
@pytest.mark.parametrize("name", ["patch", "lavan"])
def test_a_place_that_is_no_word_is_refused(name, place):
    with pytest.raises(InputError, match="unknown place"):
        ATTACKS.factory(name)(place=place)
