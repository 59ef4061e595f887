"""A network with its normalisation in front: it takes images in [0, 1] and returns logits."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.door import check_between, check_classes, check_floats
from advkit.core.errors import InputError
from advkit.core.model_checks import check_labels, check_place, explain
from advkit.core.option_numbers import shown
from advkit.core.outputs import answer_of
from advkit.core.plain import numbers_in
from advkit.models._card import Card


class Normalize(nn.Module):
    """`(x - mean) / std` by channel, so that attacks and budgets are always in units of [0, 1].

    Args:
        mean, std: mean and standard deviation, one number for all channels or one for each, as a list, array or tensor.

    Raises:
        InputError: lengths differ, a number is not finite, or a std is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float | Sequence[float] = 0.0, std: float | Sequence[float] = 1.0) -> None:
        super().__init__()
        means, stds = numbers_in(mean) or (), numbers_in(std) or ()
        fit = all(map(math.isfinite, means)) and all(0 < s < math.inf for s in stds)
        if not means or len(means) != len(stds) or not fit:
            raise InputError(
                "expected as many finite means as positive stds, one a channel; "
                f"got mean={shown(mean)}, std={shown(std)}"
            )
        shape = (-1, 1, 1) if len(means) > 1 else (1,)  # one number fits rows of features (N, D) too
        self.register_buffer("mean", torch.tensor(means).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(stds).view(shape), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) in [0, 1] -> the same shape in the network's units.

        Where mean and std are one number, x may have any shape (N, ...).

        Raises:
            InputError: no floating-point tensor, images with another number of channels, or on another device.
        """
        if not isinstance(x, torch.fx.Proxy):  # what torch.fx traces with
            check_floats(x, " in [0, 1]")
        channels = self.mean.shape[0]
        if channels > 1 and (x.ndim < 3 or x.shape[-3] != channels):
            raise InputError(f"expected images (N, {channels}, H, W), got {tuple(x.shape)}")
        try:
            return (x - self.mean) / self.std
        except RuntimeError:
            check_place(self, x)
            raise

    def extra_repr(self) -> str:
        """Return mean and standard deviation, for `print(model)`."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


def _advice(x: Tensor, expected: tuple[int, ...]) -> str:
    """What to do with images of another shape than the network was built for."""
    channels, *size = expected
    if tuple(x.shape[1:]) == (*size, channels):
        return "x.permute(0, 3, 1, 2) puts the channels first"
    if x.ndim == 1 + len(expected):
        return f"resize them, or build it with input_shape={tuple(x.shape[1:])}"
    if math.prod(expected) in (x.numel(), math.prod(x.shape[1:])):
        return f"x.reshape(-1, {', '.join(map(str, expected))}) has that shape"
    return "give a batch of images, with their channels"


class Classifier(nn.Module):
    """Images (N, C, H, W) in [0, 1] -> logits (N, K): `net(normalize(x))`, with a card.

    Args:
        net: any network from normalised images to logits. It may have a method `training_logits(x)`: a list of (weight,
            logits) with auxiliary outputs that are used in training only.
        mean, std: options of `Normalize`; the default leaves the images as they are.
        card: what is known about the network.
    """

    counters = ("card",)  # no part of what the network answers

    def __init__(
        self,
        net: nn.Module,
        *,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        card: Card | None = None,
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        kinds = {p.dtype for p in net.parameters() if p.is_floating_point()}
        if len(kinds) == 1 and kinds <= {torch.float16, torch.bfloat16, torch.float64}:
            self.normalize.to(dtype=kinds.pop())  # else images of this type would reach the network as float32
        self.net = net
        self.card = card or Card(name=type(net).__name__, parameters=parameters(net), source="given by the caller")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K).

        Raises:
            InputError: the images have another shape, type or device than the network, and it fails on them.
        """
        try:
            logits: Tensor | tuple[Tensor, ...] = self.net(self.normalize(x))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:  # torch's, and of vision transformers
            expected = self.card.input_shape
            if isinstance(error, torch.OutOfMemoryError | InputError):  # they say what is wrong
                raise
            explain(error, self, x)
            if expected is None or x.shape[1:] == expected:
                raise
            raise InputError(
                f"{self.card.name} was built for images (N, {', '.join(map(str, expected))}), got {tuple(x.shape)}: "
                f"{_advice(x, expected)}"
            ) from error
        # In train mode torchvision's googlenet and inception_v3 return their auxiliary logits too, after their own.
        return logits[0] if isinstance(logits, tuple) else logits

    def training_logits(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """Return (weight, logits) of every output used in training: the network's own first, then its auxiliaries.

        Args:
            x: images (N, C, H, W) in [0, 1].
        """
        auxiliary: Callable[[Tensor], list[tuple[float, Tensor]]] | None = getattr(self.net, "training_logits", None)
        return [(1.0, self(x))] if auxiliary is None else auxiliary(self.normalize(x))

    def training_loss(self, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the mean cross-entropy plus the weighted ones of the auxiliary classifiers, a scalar.

        Args:
            x: images (N, C, H, W) in [0, 1].
            y: classes (N,).
            label_smoothing: label smoothing of each cross-entropy, in [0, 1].

        Raises:
            InputError: images, classes or label smoothing of another form.
        """
        check_floats(x, " in [0, 1]")
        y = check_classes("labels", y, x)
        label_smoothing = check_between("label_smoothing", label_smoothing, 0, 1)
        outputs = self.training_logits(x)
        answers = [(weight, answer_of(logits)) for weight, logits in outputs]
        try:
            losses = [w * F.cross_entropy(logits, y, label_smoothing=label_smoothing) for w, logits in answers]
        except IndexError:  # torch's, of a class that is no column; a GPU ends the process
            check_labels((int(y.min()), int(y.max())), answers[0][1].shape[1])
            raise
        return torch.stack(losses).sum()


def evaluated_parameters(net: nn.Module) -> int:
    """The number of parameters without those of `net.auxiliary`, the classifiers that are used in training only."""
    auxiliary = getattr(net, "auxiliary", None)
    return parameters(net) - (parameters(auxiliary) if isinstance(auxiliary, nn.Module) else 0)


def parameters(module: nn.Module) -> int:
    """Return the number of parameters; a shared parameter counts once.

    Args:
        module: any module.
    """
    return sum(p.numel() for p in module.parameters())
