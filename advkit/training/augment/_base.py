"""The base of augmentations: changed copies of a batch, with random numbers for each sample."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_count, check_dense, check_floats
from advkit.core.draws import Draws
from advkit.core.errors import InputError, check_given
from advkit.core.float64 import lacks_float64
from advkit.core.option_numbers import check_kinds, shown
from advkit.core.plain import plain
from advkit.core.registry import Registry

AUGMENTATIONS: Registry["Augmentation"] = Registry("augmentation", "advkit.training.augment", example="patch(size=28)")


class Numbers:
    """The random numbers of one call, float64; every request gives a new draw.

    Args:
        draws: random numbers by seed and sample, or a generator on the CPU. With a generator the samples are numbered
            by their rows, with a seed from the generator.
        step: step of the training; the same sample gets other numbers at another step.
        count: number of samples.
        device: device on which the numbers are made.
    """

    def __init__(self, draws: Draws | torch.Generator, step: int, count: int, device: torch.device) -> None:
        check_given("draws", draws, (Draws, torch.Generator), "Draws(seed, sample_ids) or a torch.Generator")
        check_count("step", step, least=0)
        if isinstance(draws, torch.Generator):
            seed = int(torch.randint(2**62, (), generator=draws))
            draws = Draws(seed, torch.arange(count, device=device))
        if draws.sample_ids.shape != (count,):
            raise InputError(f"expected {count} sample ids, one for each image, got {tuple(draws.sample_ids.shape)}")
        self._draws, self._step, self._device, self._stream = draws, step, device, 0

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (N, *shape), uniform in [low, high).

        Args:
            low: least value.
            high: upper bound, which is not reached.
            shape: shape of the numbers of each sample.
        """
        unit = self._draws.uniform(self._step, shape, 2 * self._next() + 1)
        return (low + (high - low) * unit).to(self._device)

    def normal(self, shape: tuple[int, ...] = ()) -> Tensor:
        """Draw (N, *shape), standard normal.

        Args:
            shape: shape of the numbers of each sample.
        """
        return self._draws.normal(self._step, shape, self._next()).to(self._device)

    def integer(self, low: int | Tensor, high: int | Tensor) -> Tensor:
        """Draw (N,) int64, uniform in low .. high, both included; the bounds are numbers or (N,).

        Args:
            low: least value, a number or (N,).
            high: largest value, a number or (N,).
        """
        return low + (self.uniform() * (high - low + 1)).long()

    def chance(self, p: float) -> Tensor:
        """Draw (N,) bool, true with probability p.

        Args:
            p: probability of True.
        """
        return self.uniform() < p

    def _next(self) -> int:
        """The stream of this request: the normal numbers of stream s take 2 s + 1 and 2 s + 2."""
        self._stream += 1
        return self._stream


@dataclass(frozen=True, kw_only=True)
class Augmentation(ABC):
    """A function from images to changed copies: a frozen dataclass of strengths, which change nothing if all are zero.

    `augment(x, draws, step=3)` takes images (N, C, H, W), float in [0, 1], and returns as many, in the same order and
    range, of the size given by `output_size`. The result for a sample depends only on (seed, sample id, step), not
    on the rest of the batch. Labels do not change, and x is left as it is.
    """

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            object.__setattr__(self, name, plain(value))
        check_kinds(type(self).__name__, type(self), vars(self))

    def __call__(self, x: Tensor, draws: Draws | torch.Generator, *, step: int = 0) -> Tensor:
        """Return changed copies of x; the random numbers come from `draws` only (see Numbers).

        Raises:
            InputError: x is no batch of images, or `draws` no random numbers.
        """
        check_batch(x)
        check_given("draws", draws, (Draws, torch.Generator), "Draws(seed, sample_ids) or a torch.Generator")
        if isinstance(draws, Draws):
            check_given("sample_ids", draws.sample_ids, Tensor, "a tensor (N,) of integers")
        if lacks_float64(x):
            held = draws._replace(sample_ids=draws.sample_ids.cpu()) if isinstance(draws, Draws) else draws
            return self(x.cpu(), held, step=step).to(x.device)
        numbers = Numbers(draws, check_count("step", step, least=0), len(x), x.device)
        return self.apply(x, numbers) if len(x) else x.new_empty(0, x.shape[1], *self.output_size(*x.shape[2:]))

    @abstractmethod
    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return the changed images; the requests to `numbers` must not depend on x.

        Args:
            x: images (N, C, H, W) in [0, 1].
            numbers: random numbers of the samples.
        """

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the results for images of this size.

        Args:
            height: height of the images.
            width: width of the images.

        Raises:
            InputError: a number is below 1 or none, or the images are too small.
        """
        height, width = check_count("height", height), check_count("width", width)
        return height, width


@dataclass(frozen=True, kw_only=True)
class Compose(Augmentation):
    """Several augmentations, one after the other.

    Args:
        parts: the augmentations, the first one first.
    """

    parts: tuple[Augmentation, ...]

    def __post_init__(self) -> None:
        check_given("parts", self.parts, (tuple, list), "a tuple of augmentations")
        for part in self.parts:
            check_given("every part", part, Augmentation, "an augmentation")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Apply all parts."""
        for part in self.parts:
            x = part.apply(x, numbers)
        return x

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size after all parts."""
        height, width = check_count("height", height), check_count("width", width)
        for part in self.parts:
            height, width = part.output_size(height, width)
        return height, width


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, 1, 1), in the type of `like`."""
    return values.to(like)[:, None, None, None]


def check_batch(x: Tensor) -> None:
    """Raise InputError unless x is a batch of images."""
    check_floats(x, " in [0, 1]")
    check_dense(x)
    if x.ndim != 4:
        raise InputError(f"expected images (N, C, H, W), got {tuple(x.shape)}")


def check_numbers(name: str, values: object, shape: tuple[int, ...]) -> None:
    """Raise InputError unless the values are finite numbers in this shape; -1 stands for any length."""
    try:
        found = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        found = torch.full((), math.nan, device="cpu")
    fits = found.ndim == len(shape) and all(want in (-1, have) for want, have in zip(shape, found.shape, strict=True))
    if not fits or not bool(found.isfinite().all()):
        form = " of ".join("some" if want == -1 else str(want) for want in shape)
        raise InputError(f"expected {name} as a tuple of {form} finite numbers, got {shown(values)}")


def check(name: str, value: float, okay: bool, range_: str) -> None:
    """Raise InputError unless a strength is in its range."""
    if not okay:
        raise InputError(f"expected {name} {range_}, got {shown(value)}")
