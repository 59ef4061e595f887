"""Co-localisation: a transformer finds the object that images have in common, without being shown a box.

Jaderberg et al. 2015, appendix A.2, arXiv 1506.02025: minimise over the crops `I_n^T` that the transformer chooses
`sum max(0, |e(I_n^T) - e(I_m^T)|^2 - |e(I_n^T) - e(I_n^rand)|^2 + alpha)`; n and m come from one set of images, and
`I_n^rand` is a random crop of the same image.

Ours: one network serves the sets of all ten digits. The encoding e is the output of the last hidden layer of a LeNet-5
that was trained on clean digits, scaled to length 1. Without the scaling all crops move to empty places, since
empty crops are alike too.
"""

import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_between, check_count, check_floats
from advkit.core.errors import InputError
from advkit.core.model_checks import ask
from advkit.models import Classifier, create_model
from advkit.models.spatial_transformer import Attention, SpatialTransformer, bilinear
from advkit.models.stn import localise_convolutional

CANVAS, FRAME, PAD = 60, 28, 2
WEIGHTS = "weights/colocaliser.safetensors"


class Halved(nn.Module):
    """A localisation network that sees the image at half its size."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.net, self.features = localise_convolutional((1, side // 2, side // 2), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, 1, S, S) to features (N, F)."""
        features: Tensor = self.net(F.avg_pool2d(x, 2))
        return features


class Zoom(Attention):
    """Attention, theta (N, 3) = z, t_x, t_y, whose scale `window * zoom^tanh(z)` stays within a factor of a window.

    Args:
        size: size (H', W') of the crops.
        window: side of the crops at z = 0, as a fraction of the image's side.
        zoom: largest factor on the crops' side, 1 or more; 1 fixes the size.
    """

    identity = (0.0, 0.0, 0.0)

    def __init__(self, size: tuple[int, int], *, window: float, zoom: float) -> None:
        super().__init__(size)
        self.window, self.zoom = window, zoom

    def scale(self, theta: Tensor) -> Tensor:
        """Return the crops' side as a fraction of the image's (N,)."""
        return self.window * self.zoom ** theta[:, 0].tanh()

    def forward(self, theta: Tensor) -> Tensor:
        """Map theta (N, 3) to source points (N, H', W', 2)."""
        return super().forward(torch.cat([self.scale(theta)[:, None], theta[:, 1:]], 1))


class Colocaliser(nn.Module):
    """A transformer that crops 28x28 pixels from a canvas of 60x60, and the frozen LeNet-5 that looks at the crops.

    It maps images in [0, 1] to LeNet-5's logits on the crops, so it is a classifier too.

    Args:
        zoom: largest factor by which the crops' side may depart from 28 pixels; 1 fixes it.
        side: side of the images in pixels.
    """

    def __init__(self, *, zoom: float = 1.25, side: int = CANVAS) -> None:
        super().__init__()
        zoom, side = check_between("zoom", zoom, 1, math.inf), check_count("side", side)
        self.side = side
        localisation = Halved(side)
        size, features = (FRAME, FRAME), localisation.features
        self.transformer = SpatialTransformer(localisation, features, size, transform="attention")
        self.transformer.grid = Zoom(size, window=FRAME / side, zoom=zoom)
        nn.init.zeros_(self.transformer.regression.bias)
        self.eye = create_model("lenet5", seed=0).requires_grad_(False)

    def train(self, mode: bool = True) -> "Colocaliser":
        """Set the mode of the transformer; the frozen LeNet-5 stays in eval mode."""
        super().train(mode)
        self.eye.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, 1, S, S) to logits of the crops (N, 10).

        Raises:
            InputError: no floating-point tensor, or images of another type or on another device than the network.
        """
        check_floats(x, " in [0, 1]")
        return ask(lambda x: self.eye(F.pad(self.transformer(x), (PAD,) * 4)), x, like=self)

    def encode(self, crops: Tensor) -> Tensor:
        """Encode crops (N, 1, 28, 28) as vectors (N, 84) of length 1.

        Args:
            crops: crops (N, 1, 28, 28).
        """
        net, x = self.eye.net, self.eye.normalize(F.pad(crops, (PAD,) * 4))
        hidden = net.classifier[:-1](net.features(x).flatten(1))  # type: ignore[index, operator]
        return F.normalize(hidden, dim=1)

    def boxes(self, x: Tensor) -> Tensor:
        """Return the boxes of the crops (N, 4): top, left, bottom, right in pixels, bottom and right excluded.

        Args:
            x: images (N, C, H, W).
        """
        with looking(self, x.device):
            theta = self.transformer.theta(x)
            half = self._grid.scale(theta)[:, None] * self.side / 2
            centre = (theta[:, [2, 1]] + 1) * self.side / 2  # row, column
        return torch.cat([centre - half, centre + half], 1)

    @property
    def _grid(self) -> Zoom:
        grid = self.transformer.grid
        assert isinstance(grid, Zoom)
        return grid


@dataclass(frozen=True, kw_only=True)
class TripletLoss:
    """The paper's hinge loss of a batch, in which each image is paired with the next of its set; `loss(model, x, y)`.

    Args:
        alpha: margin of the hinge; squared distances of encodings lie in [0, 4].
        inside: weight of the squared part of a crop's side by which it leaves the image.

    Raises:
        InputError: a number is outside its range, or none.
    """

    alpha: float = 1.0
    inside: float = 10.0

    def __post_init__(self) -> None:
        for name in ("alpha", "inside"):
            object.__setattr__(self, name, check_between(name, getattr(self, name), 0, math.inf))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss, a scalar; y (N,) says to which set each image belongs, and is used for nothing else."""
        net = model.net if isinstance(model, Classifier) else model
        assert isinstance(net, Colocaliser)
        transformer, grid = net.transformer, net._grid
        theta = transformer.theta(x)
        size = grid.scale(theta)
        places = (2 * torch.rand(len(x), 2, device=x.device) - 1) * (1 - size.detach())[:, None]
        z = torch.cat([torch.atanh(theta[:, :1].detach().tanh()), places], 1)  # the same size elsewhere
        crops = torch.cat([bilinear(x, grid(theta)), bilinear(x, grid(z))])
        chosen, random = net.encode(crops).chunk(2)
        other = chosen[partners(y)]
        near, far = ((chosen - e).square().sum(1) for e in (other, random))
        beyond = (theta[:, 1:].abs() + size[:, None] - 1).clamp_min(0).square().sum(1)
        loss: Tensor = ((near - far + self.alpha).clamp_min(0) + self.inside * beyond).mean()
        return loss


def partners(y: Tensor) -> Tensor:
    """Return for each row the next one with the same label (N,), cyclically; a row alone in its set is its own."""
    order = y.argsort(stable=True)
    following = order.roll(-1)
    begins = torch.searchsorted(y[order].contiguous(), y[order].contiguous())
    last = y[order] != y[following]
    last[-1] = True
    following = torch.where(last, order[begins], following)
    return torch.empty_like(order).scatter_(0, order, following)


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection over union (N,) of boxes (N, 4) top, left, bottom, right, pair by pair.

    Args:
        a: boxes (N, 4) in pixels.
        b: boxes (N, 4) in pixels.
    """
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    common = (high - low).clamp_min(0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a, b)]
    return common / (areas[0] + areas[1] - common)


def load_colocaliser(weights: str | Path | None = None) -> Colocaliser:
    """Load the co-localiser of cluttered digits that ships with advkit, or one of `advkit.insight.train_colocaliser`.

    Args:
        weights: a safetensors file; by default the one that ships with advkit.

    Raises:
        InputError: no such file, or it holds other weights.
    """
    with resources.as_file(resources.files("advkit.insight") / WEIGHTS) as shipped:
        path = shipped if weights is None else Path(weights)
        if not path.is_file():
            raise InputError(f"no weights at {path}: train them with python -m advkit.insight.train_colocaliser")
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is no safetensors file: {error}") from error
    net = Colocaliser()
    try:
        net.load_state_dict({name.removeprefix("net."): value.float() for name, value in state.items()})
    except RuntimeError as error:
        raise InputError(f"{path} holds no co-localiser: {str(error).splitlines()[0]}") from error
    return net.eval()
