"""The inputs of the checks: toy classifiers and images of every kind, the same in every run."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from advkit.core.door import check_count, check_shape, generator
from advkit.core.errors import InputError
from advkit.core.option_numbers import shown
from advkit.testing.affine import AffineClassifier
from advkit.testing.nets import toy_classifier

SHAPE = (2, 4, 4)


class Case(NamedTuple):
    """A classifier and a batch."""

    model: nn.Module
    x: Tensor  # (N, C, H, W) within [0, 1]
    y: Tensor  # (N,)
    target: Tensor  # (N,) neither y nor the predicted class


def awkward_images(samples: int = 9, shape: tuple[int, ...] = SHAPE, *, seed: int = 0) -> Tensor:
    """Draw images (N, *shape) float64: uniform, black, white, grey, saturated, one pixel, clipped, faint, two values.

    Args:
        samples: number of images.
        shape: shape of one image.
        seed: seed of the noise in the images.

    Raises:
        InputError: a number is outside its range, or none.
    """
    samples, source = check_count("samples", samples, least=0), generator(seed)
    shape = check_shape("shape", shape)
    rows = [torch.rand(shape, generator=source, dtype=torch.float64) for _ in range(samples)]
    for i, row in enumerate(rows):
        match i % 9:
            case 1:
                row.zero_()
            case 2:
                row.fill_(1)
            case 3:
                row.fill_(0.5)
            case 4:
                row.round_()
            case 5:
                row.copy_((row == row.amax()).double())
            case 6:
                row.mul_(3).sub_(1).clamp_(0, 1)
            case 7:
                row.mul_(1e-3)
            case 8:
                row.copy_(torch.where(row > 0.5, 1 / 3, 2 / 3))
    return torch.stack(rows) if rows else torch.zeros(0, *shape, dtype=torch.float64)


def predicted(model: nn.Module, x: Tensor) -> Tensor:
    """Return the classes (N,) in eval mode; the model's mode is restored."""
    modes = [(m, m.training) for m in model.modules()]
    with torch.no_grad():
        classes: Tensor = model.eval()(x).argmax(1)
    for module, training in modes:
        module.training = training
    return classes


def toy_case(
    seed: int = 0,
    *,
    samples: int = 9,
    classes: int = 4,
    wrong: tuple[int, ...] = (1,),
    batch_norm: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Make a random net with awkward images; its own predictions are the labels, except for the samples `wrong`.

    Args:
        seed: seed of the weights and the images.
        samples: number of images.
        classes: number of classes.
        wrong: numbers of the samples whose label is not the prediction.
        batch_norm: whether batch norm lies between the layers.
        dtype: type of weights and images.

    Raises:
        InputError: a number is outside its range, or none.
    """
    model = toy_classifier(SHAPE, classes, seed=seed, batch_norm=batch_norm, dtype=dtype)
    x = awkward_images(samples, seed=seed).to(dtype)
    if not isinstance(wrong, tuple | list | Tensor | np.ndarray):
        raise InputError(f"expected wrong as a tuple of numbers of samples, got {shown(wrong)}")
    wrong = tuple(check_count("every number in wrong", i, least=0, most=len(x) - 1) for i in wrong)
    classes_ = predicted(model, x)
    y = classes_.clone()
    for i in wrong:
        y[i] = (y[i] + 1) % classes
    target = (classes_ + 2) % classes
    return Case(model, x, y, torch.where(target == y, (target + 1) % classes, target))


def affine_case(seed: int = 0, *, samples: int = 9) -> tuple[AffineClassifier, Tensor, Tensor]:
    """Make an affine case with two classes and all samples right, where the nearest point is known.

    Args:
        seed: seed of the weights and the images.
        samples: number of images.

    Returns:
        The classifier, x (samples, 1, 4, 4) float64 in [0, 1], and y (samples,): the classes that it gives them.

    Raises:
        InputError: a number is outside its range, or none.
    """
    model = AffineClassifier.random(SHAPE, 2, seed=seed)
    x = awkward_images(samples, seed=seed)
    return model, x, predicted(model, x)
