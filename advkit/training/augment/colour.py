"""Changes of colour and light: PCA colour, casts, vignette.

PCA colour: Krizhevsky, Sutskever, Hinton 2012, sec. 4.1. Casts and vignette: Wu et al. 2015 (Deep Image), arXiv
1501.02876, sec. 3.2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_flag
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.training.augment._base import AUGMENTATIONS, Augmentation, Numbers, check, check_numbers, per_image

Triple = tuple[float, float, float]

IMAGENET_VECTORS = ((0.5675, 0.5808, 0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203))
IMAGENET_VALUES = (0.2175, 0.0188, 0.0045)
"""Eigenvalues of ImageNet's pixels in [0, 1], as fb.resnet.torch publishes them."""


@AUGMENTATIONS.register("pca_colour")
@dataclass(frozen=True, kw_only=True)
class PCAColour(Augmentation):
    """Adds [p1, p2, p3] [a1 l1, a2 l2, a3 l3]^T to each pixel of an image, with a ~ N(0, sd) drawn once an image.

    p and l are the eigenvectors and eigenvalues of the covariance of red, green and blue over all pixels of the
    training images, as `PCAColour.fit` finds them. The formula depends on the unit of the pixels, for an eigenvalue is
    a variance: here the unit is the range [0, 1]. With `root` the standard deviations sqrt(l) replace l, which makes
    it independent of the unit, and stronger (ImageNet's: 11.9 instead of 5.5 levels of 255 along p1).

    Args:
        vectors: p1, p2, p3, each (red, green, blue), of length 1; default: ImageNet's.
        values: l1, l2, l3, in the square of the pixels' range; default: ImageNet's.
        sd: standard deviation of a; at 0 nothing changes.
        root: True uses sqrt(l) instead of l, see above.

    Raises:
        InputError: values or sd are negative; when called: images do not have three channels.
    """

    vectors: tuple[Triple, Triple, Triple] = IMAGENET_VECTORS
    values: Triple = IMAGENET_VALUES
    sd: float = 0.1
    root: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check("sd", self.sd, self.sd >= 0, "of 0 or more")
        check_flag("root", self.root)
        check_numbers("values", self.values, (3,))
        check_numbers("vectors", self.vectors, (3, 3))
        check("the smallest of values", min(self.values), min(self.values) >= 0, "of 0 or more")

    @classmethod
    def fit(cls, data: Dataset | Tensor, *, sd: float = 0.1, root: bool = False) -> "PCAColour":
        """Fit to the pixels of all images of a data set, or of a tensor (N, 3, H, W) in [0, 1].

        Args:
            data: data set, or images (N, 3, H, W) in [0, 1].
            sd: standard deviation of a; at 0 nothing changes.
            root: True uses sqrt(l) instead of l, see the class.

        Raises:
            InputError: images do not have three channels, or there are none.
        """
        count, total, square = 0, torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
        batches = torch.split(data, 500) if isinstance(data, Tensor) else (x for x, _ in data.batches(500))
        for x in batches:
            _check_colour(x)
            pixels = x.double().cpu().transpose(0, 1).flatten(1)  # (3, N H W)
            count, total, square = count + pixels.shape[1], total + pixels.sum(1), square + pixels @ pixels.T
        if not count:
            raise InputError("expected images to find the colours of, got none")
        mean = total / count
        values, columns = torch.linalg.eigh(square / count - mean.outer(mean))
        vectors = columns.T.flip(0)  # the largest first
        vectors = vectors * vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()  # eigh leaves the sign open
        found = values.flip(0).clamp(min=0)
        p1, p2, p3 = (_triple(vector) for vector in vectors)
        return cls(vectors=(p1, p2, p3), values=_triple(found), sd=sd, root=root)

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return the sum, kept in [0, 1]."""
        _check_colour(x)
        a = self.sd * numbers.normal((3,))  # (N, 3)
        l, p = (torch.tensor(v, dtype=a.dtype, device=a.device) for v in (self.values, self.vectors))  # noqa: E741
        added = (a * (l.sqrt() if self.root else l)) @ p  # (N, 3): the rows of p are the vectors
        return (x + added.to(x)[:, :, None, None]).clamp_(0, 1)


@AUGMENTATIONS.register("cast")
@dataclass(frozen=True, kw_only=True)
class ColourCast(Augmentation):
    """Red, green and blue casts: a number is added to all pixels of each channel, with probability p.

    Args:
        amount: largest absolute value of the number, which is uniform in [-amount, amount]; the paper draws whole
            numbers up to 20 of 255. At 0 nothing changes.
        p: probability that a channel is altered.
        channels: channels that may be altered: 0 red, 1 green, 2 blue.

    Raises:
        InputError: a value is out of its range; when called: images do not have three channels.
    """

    amount: float = 20 / 255
    p: float = 0.5
    channels: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        check("amount", self.amount, 0 <= self.amount <= 1, "in [0, 1]")
        check("p", self.p, 0 <= self.p <= 1, "in [0, 1]")
        check_numbers("channels", self.channels, (-1,))
        if not set(self.channels) <= {0, 1, 2}:
            raise InputError(f"expected channels among 0, 1 and 2, got {self.channels}")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return the sum, kept in [0, 1]."""
        _check_colour(x)
        is_altered = numbers.uniform(shape=(3,)) < self.p
        added = torch.where(is_altered, numbers.uniform(-self.amount, self.amount, (3,)), 0.0)  # (N, 3)
        kept = torch.tensor([channel in self.channels for channel in range(3)], device=added.device)
        return (x + (added * kept).to(x)[:, :, None, None]).clamp_(0, 1)


@AUGMENTATIONS.register("vignette")
@dataclass(frozen=True, kw_only=True)
class Vignette(Augmentation):
    """Darkens the edges of the image to x (1 - s t^2) where the distance d from the centre (corner: 1) exceeds r.

    t = (d - r) / (1 - r) is 0 at r and 1 in the corners; r, where the shade begins, and s, how dark the corners get,
    are drawn for each image, uniform in [0, radius] and [0, strength].

    Args:
        strength: largest share of its light that a corner loses; at 0 nothing changes.
        radius: largest distance from the centre at which the shade begins.

    Raises:
        InputError: the strength is outside [0, 1], or the radius outside [0, 1).
    """

    strength: float = 0.8
    radius: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check("strength", self.strength, 0 <= self.strength <= 1, "in [0, 1]")
        check("radius", self.radius, 0 <= self.radius < 1, "in [0, 1)")

    def apply(self, x: Tensor, numbers: Numbers) -> Tensor:
        """Return the darkened images."""
        r, s = numbers.uniform(0, self.radius), numbers.uniform(0, self.strength)
        down, right = (torch.linspace(1 / n - 1, 1 - 1 / n, n, dtype=x.dtype, device=x.device) for n in x.shape[2:])
        d = (down.square()[:, None] + right.square()).div(2).sqrt()  # (H, W); 1 in the very corners
        t = ((d - per_image(r, x)) / per_image(1 - r, x)).clamp(min=0)  # (N, 1, H, W)
        return x * (1 - per_image(s, x) * t.square())


def _triple(vector: Tensor) -> Triple:
    red, green, blue = vector.tolist()
    return red, green, blue


def _check_colour(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise InputError(f"expected images of three colours (N, 3, H, W), got {tuple(x.shape)}")
