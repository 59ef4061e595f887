"""The layers of a network, written as in the lecture: "6 maps of 28x28, 156 parameters"."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advkit.core.door import check_shape
from advkit.core.errors import InputError
from advkit.models._build import PoolTo
from advkit.models._classifier import Classifier, Normalize, parameters
from advkit.models._registry import MODELS, Facts, facts
from advkit.models.layers import LRN, Maxout
from advkit.models.lenet import TableConv2d
from advkit.models.spatial_transformer import Affine, SpatialTransformer, ThinPlateSpline

_SILENT = (  # they leave shape and count alone, or belong to a row of their own
    *(nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU),
    *(Normalize, PoolTo, Affine, ThinPlateSpline),
)
_POOLS = {nn.MaxPool2d: "max pooling", nn.AvgPool2d: "average pooling", nn.AdaptiveAvgPool2d: "global average pooling"}
_NAMES = {
    nn.Linear: "fully connected",
    LRN: "local response normalisation",
    Maxout: "maximum",
    SpatialTransformer: "spatial transformer",
    nn.BatchNorm2d: "batch normalisation",
}


@dataclass(frozen=True)
class Row:
    """One layer of a network.

    Attributes:
        name: name of the module, as in the state dict.
        kind: "convolution 5x5", "max pooling 2x2/2", "fully connected", ..., or the class's name.
        output: shape without the batch: (maps, H, W) or (units,).
        parameters: number of parameters.
        multiply_adds: number for one image, of convolutions and linear layers; 0 for the rest.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int

    @property
    def text(self) -> str:
        """The layer as in the lecture: "6 maps of 28x28, 156 parameters", "84 units, 10,164 parameters"."""
        count, *size = self.output
        noun, places = ("map", f" of {'x'.join(map(str, size))}") if size else ("unit", "")
        return f"{count:,} {noun}{'s' * (count != 1)}{places}, {self.parameters:,} parameters"


def summary(classifier: nn.Module, input_shape: tuple[int, int, int] | None = None) -> list[Row]:
    """Return the layers that an image passes in eval mode, in that order, without rectifiers and dropout.

    It runs the network once on an image of zeros, which costs nothing for a network on the meta device.

    Args:
        classifier: any network.
        input_shape: shape (C, H, W) of an image; default: that of the card.

    Raises:
        InputError: neither you nor the card gives a shape, or it is none.
    """
    own = classifier.card.input_shape if isinstance(classifier, Classifier) else None
    shape = own if input_shape is None else check_shape("input_shape", input_shape, axes=3)
    if shape is None:
        raise InputError("nothing says which images this network takes: give input_shape=(channels, height, width)")
    rows: list[Row] = []
    names = {module: name.removeprefix("net.") for name, module in classifier.named_modules()}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            own = sum(p.numel() for p in module.parameters(recurse=False))
            rows.append(Row(names[module], _kind(module), tuple(output.shape[1:]), own, _multiply_adds(module, output)))

    hooks = [m.register_forward_hook(note) for m in names if _has_row(m)]
    like = next(classifier.parameters(), torch.empty(0))
    try:
        with torch.no_grad(), _eval_mode(classifier):
            classifier(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return rows


def _has_row(module: nn.Module) -> bool:
    leaf = not list(module.children()) or isinstance(module, Maxout | SpatialTransformer)
    return (leaf or next(module.parameters(recurse=False), None) is not None) and not isinstance(module, _SILENT)


@contextmanager
def _eval_mode(net: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _kind(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return f"convolution {_sides(module.kernel_size)}{_stride(module.stride)}{groups}"
    if isinstance(module, TableConv2d):
        return f"convolution {_sides(module.shape[2:])}, by table"
    for kind, name in _POOLS.items():
        if isinstance(module, kind):
            window = getattr(module, "kernel_size", None)
            return f"{name} {_sides(window)}{_stride(module.stride)}" if window else name  # type: ignore[arg-type]
    return next((name for kind, name in _NAMES.items() if isinstance(module, kind)), type(module).__name__)


def _sides(size: int | tuple[int, ...]) -> str:
    return f"{size}x{size}" if isinstance(size, int) else "x".join(map(str, size))


def _stride(stride: int | tuple[int, ...]) -> str:
    step = stride if isinstance(stride, int) else stride[0]
    return f"/{step}" if step > 1 else ""


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    """Every weight is used once at each place of the output (a linear layer has one place a vector)."""
    if isinstance(module, nn.Conv2d | TableConv2d):
        return module.weight.numel() * output.shape[-2] * output.shape[-1]
    if isinstance(module, nn.Linear):
        return module.weight.numel() * output[0].numel() // module.out_features
    return 0


_COUNTS: dict[str, Any] = json.loads(Path(__file__).with_name("counts.json").read_text(encoding="utf-8"))


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A line of the table of models, at the paper's size.

    Attributes:
        facts: name, paper, year, licence and the paper's own counts.
        input_shape: shape (C, H, W) of an image.
        parameters: number of parameters of our network, without auxiliary classifiers.
        auxiliary: number of parameters of the auxiliary classifiers.
        multiply_adds: number of multiplications with additions for one image.
    """

    facts: Facts
    input_shape: tuple[int, int, int]
    parameters: int
    auxiliary: int
    multiply_adds: int


def overview(name: str, **options: Any) -> Overview:
    """Return the counts of a registered network, by default at the paper's size, without building it in memory.

    At the paper's size they are read from counts.json, since the meta device imports torch's compiler, which takes a
    second; `python -m advkit.models._counts` writes that file, and a test counts again.

    Args:
        name: registered name of a network.
        **options: options of `create_model`, such as `input_shape`.

    Raises:
        InputError: the name or an option is unknown.
    """
    known = facts(name)
    if not options and name in _COUNTS:
        return Overview(facts=known, **{**_COUNTS[name], "input_shape": tuple(_COUNTS[name]["input_shape"])})
    return counted(name, **options)


def counted(name: str, **options: Any) -> Overview:
    """Like `overview`, but always counted on the meta device."""
    known = facts(name)
    with torch.device("meta"):
        classifier = MODELS.create(name, **options)
    shape = classifier.card.input_shape
    assert shape is not None
    return Overview(
        facts=known,
        input_shape=shape,
        parameters=classifier.card.parameters,
        auxiliary=parameters(classifier.net) - classifier.card.parameters,
        multiply_adds=sum(row.multiply_adds for row in summary(classifier)),
    )
