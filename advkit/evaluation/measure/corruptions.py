"""Corruption robustness: the error under corruptions without an adversary, at five severities, and its mean.

Kinds and the mean over them are in the manner of Hendrycks, Dietterich 2019 (arXiv 1903.12261), but not their images;
casts, vignette and rotation are Deep Image's (Wu et al. 2015, arXiv 1501.02876). The tables below are ours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.draws import Draws
from advkit.core.errors import InputError, check_given, unknown
from advkit.core.float64 import lacks_float64
from advkit.core.guard import Model
from advkit.core.intervals import wilson_interval
from advkit.core.layout import Passes
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain
from advkit.core.progress_bar import Progress, shows_progress
from advkit.data._any_data import as_data
from advkit.data._stream import batches, how_many, origin, total
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.ticker import Ticker

SEVERITIES = (1, 2, 3, 4, 5)


def gaussian_noise(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Add normal noise of this standard deviation to every value."""
    return x + strength * draws.normal(0, tuple(x.shape[1:])).to(x.dtype)


def impulse_noise(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Set this fraction of the values to black or white."""
    dice = draws.uniform(0, tuple(x.shape[1:]))
    return torch.where(dice < strength / 2, 0.0, torch.where(dice < strength, 1.0, x))


def blur(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Blur with a Gaussian of this standard deviation, a fraction of the shorter side; edges are repeated."""
    sigma = strength * min(x.shape[2:])
    reach = min(math.ceil(3 * sigma), *(side - 1 for side in x.shape[2:])) if min(x.shape[2:]) > 1 else 0
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).repeat(x.shape[1], 1)  # (C, 2 reach + 1)
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, weights[:, None, None, :], groups=x.shape[1])
    return F.conv2d(rows, weights[:, None, :, None], groups=x.shape[1])


def brightness(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Raise or lower all values of an image by this number."""
    return x + strength * _signs(x, draws)


def contrast(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Move all values to the image's mean by this fraction."""
    return x + strength * (x.mean((1, 2, 3), keepdim=True) - x)


def colour_cast(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Raise or lower one channel, drawn for each image, by this number; a grey image has only one."""
    channel = (draws.uniform(1, (1,)) * x.shape[1]).long()  # (N, 1)
    mask = F.one_hot(channel[:, 0], x.shape[1]).to(x.dtype)[:, :, None, None]
    return x + strength * _signs(x, draws) * mask


def vignette(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Darken toward the corners, which lose this fraction of their light."""
    rows, columns = (torch.linspace(-1, 1, side, device=x.device, dtype=x.dtype) for side in x.shape[2:])
    return x * (1 - strength * (rows[:, None] ** 2 + columns[None, :] ** 2) / 2)


def rotation(x: Tensor, strength: float, draws: Draws) -> Tensor:
    """Turn by this many degrees, left or right, one direction an image; the corners become black."""
    angle = math.radians(strength) * _signs(x, draws)[:, 0, 0, 0]
    height, width = x.shape[2:]
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    first = torch.stack([cos, -sin * height / width, none], 1)
    second = torch.stack([sin * width / height, cos, none], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


Corruption = Callable[[Tensor, float, Draws], Tensor]

CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, float, float, float, float]]] = {
    "gaussian_noise": (gaussian_noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "impulse_noise": (impulse_noise, (0.01, 0.03, 0.06, 0.11, 0.17)),
    "blur": (blur, (0.020, 0.030, 0.040, 0.055, 0.070)),
    "brightness": (brightness, (0.05, 0.1, 0.2, 0.3, 0.4)),
    "contrast": (contrast, (0.3, 0.5, 0.6, 0.7, 0.8)),
    "colour_cast": (colour_cast, (0.05, 0.1, 0.2, 0.3, 0.4)),
    "vignette": (vignette, (0.2, 0.4, 0.6, 0.8, 1.0)),
    "rotation": (rotation, (5.0, 10.0, 15.0, 22.5, 30.0)),
}
"""Name -> what it does, and its strength at severities 1 to 5 in units of [0, 1], shares or degrees."""


def corrupt(x: Tensor, name: str, severity: int, *, sample_ids: Tensor | None = None, seed: int = 0) -> Tensor:
    """Apply one corruption to images.

    Args:
        x: images (N, C, H, W) in [0, 1].
        name: one of `CORRUPTIONS`.
        severity: severity of the corruption, 1 to 5.
        sample_ids: (N,) integers that name the samples; an image's random numbers depend on its name and the seed only.
        seed: seed of the random numbers.

    Returns:
        (N, C, H, W) in [0, 1], x's type.

    Raises:
        InputError: the name or the severity is unknown, or x is no batch of such images.
    """
    check_given("name", name, str, "a corruption such as 'blur'")
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    (severity,) = checked_severities([severity])
    door.check_images(x, (0, 1))
    if x.ndim != 4:
        raise InputError(f"expected images (N, C, H, W), got {tuple(x.shape)}")
    apply, strengths = CORRUPTIONS[name]
    draws, place = Draws(door.check_seed(seed), door.check_ids(sample_ids, x)), x.device
    if lacks_float64(x):
        x, draws = x.cpu(), draws._replace(sample_ids=draws.sample_ids.cpu())
    return apply(x, strengths[severity - 1], draws).clamp(0, 1).to(place, x.dtype)


def checked_severities(severities: Any) -> tuple[int, ...]:
    """Check severities, from 1 to 5 each."""
    try:
        found = tuple(map(plain, severities))
    except TypeError as error:
        raise InputError(f"expected severities as several numbers from 1 to 5, got {shown(severities)}") from error
    for severity in found:
        if not is_integer(severity) or severity not in SEVERITIES:
            raise InputError(f"expected a severity from 1 to 5, got {shown(severity)}")
    return found


@dataclass(frozen=True, kw_only=True)
class CorruptionReport:
    """Errors under corruptions; fractions of all images.

    Attributes:
        data: name of the images, such as "mnist5k:test".
        count: the number of images.
        clean_wrong: number of images that are wrong without a corruption.
        wrong: name -> number of wrong images, by severity.
        severities: severities that were tried.
    """

    data: str
    count: int
    clean_wrong: int
    wrong: dict[str, tuple[int, ...]]
    severities: tuple[int, ...]

    @property
    def clean_error(self) -> float:
        """The error without a corruption."""
        return self.clean_wrong / self.count

    def error(self, name: str) -> float:
        """Return the mean error of one corruption over its severities.

        Args:
            name: name of the corruption.
        """
        return sum(self.wrong[name]) / (self.count * len(self.severities))

    @property
    def mean_error(self) -> float:
        """The mean error over corruptions and severities; unlike mCE it is not divided by another network's."""
        return sum(map(self.error, self.wrong)) / len(self.wrong)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "CorruptionReport":
        """Read the result of `to_dict`.

        Args:
            found: the result of `to_dict`, also after JSON.
        """
        count = found["count"]
        wrong = {name: [round(e * count) for e in row["errors"]] for name, row in found["corruptions"].items()}
        return cls(
            data=found["data"],
            count=count,
            clean_wrong=round(found["clean_error"] * count),
            wrong={name: tuple(row) for name, row in wrong.items()},
            severities=tuple(found["severities"]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        rows = {
            name: {
                "errors": [w / self.count for w in wrong],
                "intervals": [wilson_interval(w, self.count) for w in wrong],
                "mean_error": self.error(name),
            }
            for name, wrong in self.wrong.items()
        }
        about = {"data": self.data, "count": self.count, "severities": list(self.severities)}
        return {**about, "clean_error": self.clean_error, "mean_error": self.mean_error, "corruptions": rows}


@shows_progress("corruptions")
def corruption_errors(
    model: Model,
    data: Any,
    *,
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> CorruptionReport:
    """Measure a classifier's error under each corruption at each severity.

    Args:
        model: an nn.Module or a function that takes images (N, C, H, W) in [0, 1] and returns logits (N, K).
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        names: names of `CORRUPTIONS`; default: all, except casts for grey images, where they equal brightness.
        severities: severities to try, from 1 to 5.
        batch_size, count: number of images in a batch and in all, see `evaluate`.
        seed: seed of the corruptions' random numbers.
        progress: called with (done, all) in images times passes; True shows a bar.

    Raises:
        InputError: a name or severity is unknown, or data and outputs do not fit.
    """
    model_checks.check_model(model)
    batch_size, count = how_many(batch_size, count)
    severities, seed = checked_severities(severities), door.check_seed(seed)
    data = as_data(data, batch_size=batch_size, count=count)
    names = fitting(data) if names is None else list(names)

    def apply(x: Tensor, name: str, severity: int, sample_ids: Tensor) -> Tensor:
        return corrupt(x, name, severity, sample_ids=sample_ids, seed=seed)

    return errors_by_kind(
        model,
        data,
        names,
        severities,
        apply,
        name=origin(data),
        batch_size=batch_size,
        count=count,
        progress=progress,
    )


def errors_by_kind(
    model: Model,
    data: Any,
    names: Sequence[str],
    severities: Sequence[int],
    apply: Callable[[Tensor, str, int, Tensor], Tensor],
    *,
    name: str,
    batch_size: int,
    count: int | None,
    progress: Progress | bool | None,
) -> CorruptionReport:
    """Make the report of `corruption_errors` with any function that corrupts.

    Args:
        model: the classifier.
        data: the clean images with their labels.
        names: names of the corruptions.
        severities: severities of each corruption.
        apply: function `(x, name, severity, sample_ids) -> x` that corrupts.
        name: name of the corrupted images in the report.
        batch_size, count: number of images in a batch and in all, see `evaluate`.
        progress: called with (done, all) in images times passes.

    Raises:
        InputError: there is nothing to try, or data and outputs do not fit.
    """
    kinds = [(name, severity) for name in names for severity in severities]
    if not kinds:
        raise InputError("expected at least one corruption and one severity, got none")
    length = total(data, count)
    tick = Ticker(progress if callable(progress) else None, None if length is None else length * (1 + len(kinds)))
    seen, clean, wrong = 0, 0, dict.fromkeys(kinds, 0)
    for batch in batches(data, batch_size=batch_size, count=count):
        batch = fitted(batch, model, (0, 1))
        clean += wrong_on(model, batch.x, batch.y)
        for kind, severity in kinds:
            x = apply(batch.x, kind, severity, batch.sample_ids)
            wrong[kind, severity] += wrong_on(model, x, batch.y)
            tick(len(x))
        tick(len(batch.y))
        seen += len(batch.y)
    return CorruptionReport(
        data=name,
        count=seen,
        clean_wrong=clean,
        wrong={kind: tuple(wrong[kind, severity] for severity in severities) for kind in names},
        severities=tuple(severities),
    )


def fitting(data: Any) -> list[str]:
    """Return all corruptions that are meaningful for these images.

    Raises:
        InputError: the data are no images (N, C, H, W).
    """
    shape = next(batches(data, batch_size=1, count=1)).x.shape
    if len(shape) != 4:
        raise InputError(f"expected images (N, C, H, W) for corruptions, got {tuple(shape)}")
    return [name for name in CORRUPTIONS if not (shape[1] == 1 and name == "colour_cast")]


def wrong_on(model: Model, x: Tensor, y: Tensor) -> int:
    """Count the images x (N, C, H, W) whose predicted class is not y (N,)."""
    with looking(model, x.device), model_checks.explained(model, x):
        logits = Passes(model, x)(x)
    model_checks.check_answer(logits, x, y)
    return int((logits.argmax(1) != y).sum())


def _signs(x: Tensor, draws: Draws) -> Tensor:
    """(N, 1, 1, 1): +1 or -1 for each image."""
    return torch.where(draws.uniform(0, (1, 1, 1)) < 0.5, -1.0, 1.0).to(x.dtype)
