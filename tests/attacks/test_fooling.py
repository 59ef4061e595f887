"""Fooling images: noise in which a network is sure to see a class."""

import pytest
import torch

from advkit.attacks import Fooling, fooling_images
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier
from advkit.testing._toys import SHAPE, toy_case
from advkit.testing.nets import toy_classifier


def sharp(classes: int = 4) -> AffineClassifier:
    """Logits that can lead by far within the range of the pixels."""
    weight = 3 * torch.randn(classes, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return AffineClassifier(weight, -0.5 * weight.sum(1))


def test_every_class_is_seen_in_noise_with_the_confidence_asked_for() -> None:
    model = sharp()
    found = fooling_images(model, [0, 1, 2, 3, 3], shape=(32,), dtype=torch.float64)
    assert found.reached.all()
    assert (found.confidence >= 0.99).all()
    fresh = model(found.images).detach().softmax(1)
    torch.testing.assert_close(fresh[torch.arange(5), found.classes], found.confidence)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert not torch.equal(found.images[3], found.images[4])


def test_it_stops_where_it_is_sure_and_not_before() -> None:
    model = sharp()
    low, high = (
        fooling_images(model, torch.arange(4), shape=(32,), attack=Fooling(confidence=c), dtype=torch.float64)
        for c in (0.6, 0.999)
    )
    assert low.reached.all()
    assert high.reached.all()
    assert (high.confidence >= 0.999).all()
    assert low.confidence.mean() < high.confidence.mean()


def test_a_confidence_out_of_reach_is_reported_as_not_reached() -> None:
    model = toy_classifier(SHAPE, 4, seed=1, dtype=torch.float64)
    found = fooling_images(model, [0, 1], shape=SHAPE, attack=Fooling(confidence=1 - 1e-12), dtype=torch.float64)
    assert not found.reached.any()
    assert (found.confidence > 0.25).all()


def test_it_begins_at_noise_whatever_the_images() -> None:
    case = toy_case(wrong=())
    attack = Fooling(steps=1, step_size=1e-9)
    found = attack(case.model, case.x, case.y, stop="never").x_adv
    again = attack(case.model, 1 - case.x, case.y, stop="never").x_adv
    same = torch.isclose(found, again, atol=1e-6).flatten(1).all(1)
    assert same.sum() >= 6  # where the noise is less adversarial than the image, the image is kept
    noise = found[same]
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(noise.std()) == pytest.approx(0.24, abs=0.04)


def test_with_a_radius_the_noise_is_that_of_the_ball() -> None:
    case = toy_case()
    found = Fooling(eps=0.05)(case.model, case.x, case.y, stop="never")
    assert (found.distance <= 0.05).all()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match="expected confidence as a number above 0 and below 1, got 1"):
        Fooling(confidence=1)
    with pytest.raises(InputError, match="expected classes as integers"):
        fooling_images(sharp(), [0.5], shape=(32,))
    with pytest.raises(InputError, match="expected classes as integers"):
        fooling_images(sharp(), ["a"], shape=(32,))
    with pytest.raises(InputError, match="expected the shape of an image"):
        fooling_images(sharp(), [1], shape=())
    with pytest.raises(InputError, match="expected the shape of an image"):
        fooling_images(sharp(), [1], shape=32)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected bounds"):
        fooling_images(sharp(), [1], shape=(32,), bounds=1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="target out of range"):
        fooling_images(sharp(), [9], shape=(32,), dtype=torch.float64)
