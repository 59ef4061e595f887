"""Augmentations: what all of them promise, over the registry; their names, and what is refused."""

import math
from dataclasses import fields, replace

import pytest
import torch
from helpers.augment import H, N, W, draws, images
from torchvision.transforms.v2 import functional

from advkit.core.draws import Draws
from advkit.core.errors import InputError, UnknownNameError
from advkit.training import Augment
from advkit.training.augment import (
    AUGMENTATIONS,
    Affine,
    Augmentation,
    ColourCast,
    Compose,
    Elastic,
    Mirror,
    PCAColour,
    RandomPatch,
    RotateCrop,
    ScaleJitter,
    Stretch,
    Vignette,
    create_augmentation,
    deep_image,
    list_augmentations,
    multi_scale,
    ten_crop,
)

COLOURS = PCAColour.fit(images())
STRONG: dict[str, Augmentation] = {
    "patch": RandomPatch(size=16, padding=2),
    "mirror": Mirror(),
    "scale_jitter": ScaleJitter(low=16, high=40, size=15),
    "pca_colour": replace(COLOURS, sd=3.0),
    "cast": ColourCast(amount=0.5),
    "vignette": Vignette(),
    "affine": Affine(),
    "elastic": Elastic(alpha=34, sigma=2),
    "stretch": Stretch(),
    "rotate_crop": RotateCrop(),
    "deep_image": Compose(parts=deep_image().parts),
    "compose": Compose(parts=(RandomPatch(size=18), Mirror(), Elastic(sigma=2), replace(COLOURS, sd=1.0))),
    "augment": Augment(rotation=20, shift=2, scale=0.2, mirror=True),
}
NOTHING: dict[str, Augmentation] = {
    "patch": RandomPatch(size=H),
    "mirror": Mirror(p=0),
    "scale_jitter": ScaleJitter(low=H, high=H, size=H),
    "pca_colour": replace(COLOURS, sd=0),
    "cast": ColourCast(amount=0),
    "vignette": Vignette(strength=0),
    "affine": Affine(rotation=0, shift=0, scale=0, shear=0),
    "elastic": Elastic(alpha=0, sigma=2),
    "stretch": Stretch(horizontal=0, vertical=0),
    "rotate_crop": RotateCrop(degrees=0),
    "deep_image": Compose(parts=deep_image(strength=0).parts[:-1]),
    "compose": Compose(parts=()),
    "augment": Augment(),
}
ALL = pytest.mark.parametrize("name", STRONG)


def test_every_augmentation_is_tested_here() -> None:
    assert set(list_augmentations()) | {"compose", "augment"} == set(STRONG) == set(NOTHING)
    assert all(AUGMENTATIONS.factory(name).__doc__ for name in list_augmentations())


@ALL
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_range_type_and_number_are_kept_and_the_input_stays_as_it_is(name: str, dtype: torch.dtype) -> None:
    augment, x = STRONG[name], images(40).to(dtype)
    before = x.clone()
    for step in range(3):
        y = augment(x, draws(40), step=step)
        assert y.shape == (40, 3, *augment.output_size(H, W))
        assert y.dtype == dtype
        assert 0 <= y.min() <= y.max() <= 1
        assert y.data_ptr() != x.data_ptr()
    assert torch.equal(x, before)


@ALL
def test_ones_stay_within_the_range_however_they_are_rounded(name: str) -> None:
    y = STRONG[name](torch.ones(40, 3, H, W), draws(40))
    assert 0 <= y.min() <= y.max() <= 1


@ALL
def test_at_zero_strength_nothing_changes(name: str) -> None:
    x = images(height=H, width=H)
    torch.testing.assert_close(NOTHING[name](x, draws()), x, rtol=0, atol=1e-12)


@ALL
def test_it_does_something(name: str) -> None:
    augment, x = STRONG[name], images(40, H, H)
    y = augment(x, draws(40))
    changed = torch.ones(40, dtype=torch.bool) if y.shape != x.shape else (x - y).abs().flatten(1).amax(1) > 0.01
    assert changed.sum() > 10


@ALL
def test_a_sample_is_changed_by_its_seed_its_number_and_the_step_alone(name: str) -> None:
    augment, x = STRONG[name], images()
    whole = augment(x, draws(), step=3)
    assert torch.equal(whole, augment(x, draws(), step=3))
    rows = torch.tensor([4, 1, 5])
    part = augment(x[rows], Draws(0, draws().sample_ids[rows]), step=3)
    torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-12)
    assert not torch.equal(whole, augment(x, draws(), step=4))
    assert not torch.equal(whole, augment(x, draws(seed=1), step=3))
    same = augment(x[:1].expand(N, 3, H, W), draws(), step=3)
    assert not torch.equal(same, same[:1].expand_as(same))


@ALL
def test_a_generator_gives_the_numbers_too_and_the_global_state_stays(name: str) -> None:
    augment, x, state = STRONG[name], images(40), torch.get_rng_state()
    generator = torch.Generator().manual_seed(0)
    first, second = augment(x, generator), augment(x, generator)
    assert torch.equal(first, augment(x, torch.Generator().manual_seed(0)))
    assert not torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@ALL
def test_no_image_is_no_error(name: str) -> None:
    assert len(STRONG[name](images(0), draws(0))) == 0


@ALL
def test_wrong_images_are_refused(name: str) -> None:
    eight_bit = (images() * 255).byte()
    for wrong, said in ((images()[0], r"expected images \(N, C, H, W\)"), (eight_bit, r"8-bit images use x\.float")):
        with pytest.raises(InputError, match=said):
            STRONG[name](wrong, draws())
    with pytest.raises(InputError, match="expected 6 sample ids"):
        STRONG[name](images(), draws(5))


@ALL
def test_an_augmentation_is_a_value(name: str) -> None:
    augment = STRONG[name]
    assert augment == replace(augment)
    assert hash(augment) == hash(replace(augment))
    with pytest.raises(AttributeError):
        setattr(augment, fields(augment)[0].name, 0)


def test_parts_are_done_in_order_and_draw_apart() -> None:
    x = images(200, H, H)
    twice = Compose(parts=(Mirror(), Mirror()))(x, draws(200))
    back = (twice == x).flatten(1).all(1)
    assert 60 < back.sum() < 140  # the second mirror does not undo the first
    inner = RandomPatch(size=18)
    both = Compose(parts=(inner, Compose(parts=(Mirror(p=1),))))
    assert torch.equal(both(x, draws(200)), functional.horizontal_flip(inner(x, draws(200))))
    assert both.output_size(H, W) == (18, 18)


def test_names_become_augmentations() -> None:
    assert create_augmentation("mirror") == Mirror()
    assert create_augmentation("patch(size=28, padding=4) + mirror(p=1/4)") == Compose(
        parts=(RandomPatch(size=28, padding=4), Mirror(p=0.25))
    )
    assert create_augmentation("elastic(alpha=3.4e+1)") == Elastic()
    assert create_augmentation("deep_image(strength=1)") == deep_image()
    for spec, message in (
        ("miror", "did you mean 'mirror'"),
        ("mirror(q=1)", "option of augmentation 'mirror'"),
        ("mirror + ", "cannot read the spec"),
    ):
        with pytest.raises(InputError, match=message):
            create_augmentation(spec)
    with pytest.raises(UnknownNameError):
        create_augmentation("elastic + nothing")


def test_pca_colour_by_name_finds_its_colours_in_the_data() -> None:
    from advkit.data import MemoryDataset

    x = images(1200, 4, 4)
    data = MemoryDataset("made", "train", "a", x.float(), torch.zeros(1200, dtype=torch.int64))
    found = create_augmentation("pca_colour(sd=0.2)", data=data)
    assert isinstance(found, PCAColour)
    assert found.sd == 0.2
    torch.testing.assert_close(torch.tensor(found.values), torch.tensor(PCAColour.fit(x).values), rtol=1e-5, atol=1e-7)
    assert create_augmentation("pca_colour") == PCAColour()
    p = torch.tensor(PCAColour().vectors)
    torch.testing.assert_close(p @ p.T, torch.eye(3), rtol=0, atol=1e-3)
    with pytest.raises(InputError, match="option of augmentation 'pca_colour'"):
        create_augmentation("pca_colour(sdd=0.2)", data=data)
    grey = MemoryDataset("grey", "train", "a", x[:, :1].float(), torch.zeros(1200, dtype=torch.int64))
    with pytest.raises(InputError, match=r"three colours .* got \(500, 1, 4, 4\)"):
        create_augmentation("pca_colour", data=grey)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (RandomPatch, {"size": 0}),
        (RandomPatch, {"padding": -1}),
        (Mirror, {"p": 1.1}),
        (ScaleJitter, {"low": 100}),
        (ScaleJitter, {"low": 300, "high": 299}),
        (ColourCast, {"amount": 2}),
        (ColourCast, {"channels": (3,)}),
        (Vignette, {"strength": -0.1}),
        (Vignette, {"strength": 1.01}),
        (Vignette, {"strength": math.nan}),
        (Vignette, {"radius": -0.01}),
        (Vignette, {"radius": 1.0}),
        (Affine, {"rotation": -1}),
        (Affine, {"scale": 1}),
        (Affine, {"shear": 90}),
        (Affine, {"shift": math.nan}),
        (Elastic, {"alpha": -1}),
        (Elastic, {"sigma": 0}),
        (Stretch, {"horizontal": -0.1}),
        (RotateCrop, {"degrees": 91}),
        (deep_image, {"strength": 2}),
    ],
)
def test_impossible_strengths_are_refused(kind: type[Augmentation], options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"expect.* .*{next(iter(options))}"):
        kind(**options)


@pytest.mark.parametrize("strength", [0, 1, 1.0])
@pytest.mark.parametrize("radius", [0, 0.999])
def test_the_strongest_vignette_is_allowed_and_keeps_the_middle(strength: float, radius: float) -> None:
    dark = Vignette(strength=strength, radius=radius)(images(height=9, width=9), draws())
    assert torch.equal(dark[:, :, 4, 4], images(height=9, width=9)[:, :, 4, 4])
    assert dark.min() >= 0


def test_images_that_are_too_small_or_have_no_colour_are_refused() -> None:
    with pytest.raises(InputError, match="expected images of 30 pixels or more with their padding, got 20x24"):
        RandomPatch(size=30, padding=4)(images(), draws())
    for augment in (ColourCast(), COLOURS):
        with pytest.raises(InputError, match="three colours"):
            augment(images(channels=1), draws())


WRONG_INPUT = {
    "a list": ([[0.5]], draws(), 0),
    "an array": (torch.rand(2, 1, 8, 8).numpy(), draws(), 0),
    "bytes": (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), draws(), 0),
    "no draws": (torch.rand(2, 1, 8, 8), None, 0),
    "a seed for draws": (torch.rand(2, 1, 8, 8), 3, 0),
    "ids in a list": (torch.rand(2, 1, 8, 8), Draws(0, [0, 1]), 0),  # type: ignore[arg-type]
    "step as a word": (torch.rand(2, 1, 8, 8), Draws(0, torch.arange(2)), "one"),
    "negative step": (torch.rand(2, 1, 8, 8), Draws(0, torch.arange(2)), -1),
}


@pytest.mark.parametrize("name", WRONG_INPUT)
def test_wrong_input_of_a_call_is_one_line(name):
    x, given, step = WRONG_INPUT[name]
    for augment in (Mirror(), Compose(parts=(Mirror(), Stretch()))):
        with pytest.raises(InputError, match=r"^expected ") as caught:
            augment(x, given, step=step)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [RandomPatch, Mirror, Affine, Elastic, Stretch, RotateCrop, Vignette])
def test_a_wrong_strength_is_one_line_without_a_spec_too(kind):
    for field in fields(kind):
        for wrong in ("a", [1], None):
            with pytest.raises(InputError, match="expect") as caught:
                kind(**{field.name: wrong})
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="expected every part as an augmentation, got str"):
        Compose(parts=("mirror",))


WRONG_PARTS = {
    "values": lambda wrong: PCAColour(values=wrong),
    "vectors": lambda wrong: PCAColour(vectors=wrong),
    "channels": lambda wrong: ColourCast(channels=wrong),
    "strength": lambda wrong: deep_image(strength=wrong),
    "spec": lambda wrong: create_augmentation([wrong]),
    "x": lambda wrong: ten_crop(torch.nn.Flatten(), size=4)(wrong),
    "views": lambda wrong: ten_crop(torch.nn.Flatten(), size=4).views(wrong),
    "size": lambda wrong: ten_crop(torch.nn.Flatten(), size=wrong),
    "scales": lambda wrong: multi_scale(torch.nn.Flatten(), size=4, scales=[wrong]),
    "model": lambda wrong: ten_crop([wrong], size=4),
}


@pytest.mark.parametrize("name", WRONG_PARTS)
@pytest.mark.parametrize("wrong", ["abc", [1, "a"], 0.5j, torch.zeros(2, 3)], ids=["word", "list", "complex", "matrix"])
def test_what_augmentations_and_averages_cannot_take_is_one_line(name, wrong):
    with pytest.raises(InputError, match="expect") as caught:
        WRONG_PARTS[name](wrong)
    assert "\n" not in str(caught.value)
