"""Layers by name, and their outputs for a batch of images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from advkit.core.classify import looking
from advkit.core.door import check_batch
from advkit.core.errors import InputError, UnknownNameError, check_given
from advkit.core.model_checks import explained
from advkit.core.option_numbers import shown
from advkit.core.plain import is_integer, plain

AXES = (2, 4, 5)
"""Numbers of axes of a batch; one of three may be a single image, whose channels would be taken for images."""


class Reached(Exception):  # noqa: N818
    """Raised to stop a forward pass at the layer that was asked for."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


def layer_names(model: nn.Module) -> list[str]:
    """List the names that `layer=` takes, in the order of the modules; a Classifier's `net.` may be left out.

    Args:
        model: any network.
    """
    check_given("model", model, nn.Module, "a network (an nn.Module)")
    return [name.removeprefix("net.") for name, _ in model.named_modules() if name not in ("", "net")]


def check_units(units: Any, many: int, layer: str, what: str = "units") -> list[int]:
    """Return the numbers of units of a layer as Python's integers.

    Args:
        units: numbers, as a list, range, array or tensor.
        many: number of the layer's units.
        layer: name of the layer.
        what: what the message calls them.

    Raises:
        InputError: one of them is no unit of the layer.
    """
    try:
        found = [plain(unit) for unit in units]
    except TypeError as error:  # a number alone
        raise InputError(f"expected {what} as a list of numbers, got {shown(units)}") from error
    if not all(is_integer(unit) and 0 <= unit < many for unit in found):
        raise InputError(f"expected {what} in 0 .. {many - 1} of layer {layer!r}, got {shown(found)}")
    return found


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Find the module of this name; a Classifier's `net.` may be left out.

    Args:
        model: any network.
        name: name of the module.

    Raises:
        UnknownNameError: no such layer; the message suggests the nearest name.
    """
    check_given("model", model, nn.Module, "a network (an nn.Module)")
    known = dict(model.named_modules())
    for found in (f"net.{name}", name):
        if name and found in known:
            module: nn.Module = known[found]
            return module
    raise UnknownNameError(f"unknown layer {name!r}; did you mean {_near(name, layer_names(model))}?")


def _near(name: str, known: list[str]) -> str:
    """Return the three nearest names, compared letter by letter or by their last part."""
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    last = name.rpartition(".")[2]
    close += [other for other in known if last and last in other.split(".") and other not in close]
    return " or ".join(map(repr, (close or known)[:3]))


def convolutions(model: nn.Module) -> list[str]:
    """List the names of the convolutions: the modules that hold one kernel or more for each of several maps.

    Args:
        model: any network.
    """
    check_given("model", model, nn.Module, "a network (an nn.Module)")
    return [name.removeprefix("net.") for name, module in model.named_modules() if name and is_convolution(module)]


def is_convolution(module: nn.Module) -> bool:
    """Return whether a module convolves images: torch's Conv2d, or a module whose own weights have 3 or 4 axes."""
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim in (3, 4) and not isinstance(module, nn.ConvTranspose2d)


def run_to(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Run the model up to a layer, and return its output, with its graph if gradients are on.

    The first use counts where a layer is used more than once.

    Raises:
        InputError: the pass does not use the layer, or it puts out no tensor (N, ...).
    """

    def stop(_: nn.Module, __: Any, output: Any) -> None:
        raise Reached(output)

    hook = find_layer(model, layer).register_forward_hook(stop)
    try:
        with explained(model, x):
            model(x)
    except Reached as reached:
        if isinstance(reached.output, Tensor) and reached.output.ndim >= 2:
            return reached.output
        raise InputError(f"expected layer {layer!r} to put out a tensor (N, ...), got another object") from None
    finally:
        hook.remove()
    raise InputError(f"layer {layer!r} takes no part in the pass; did you mean {_near(layer, used_layers(model, x))}?")


def used_layers(model: nn.Module, x: Tensor) -> list[str]:
    """List the layers that a pass uses and that return a tensor, in the order of their first outputs.

    Args:
        model: any network, in the mode of the pass.
        x: images (N, C, H, W).
    """
    with recording(model, layer_names(model)) as outputs:
        model(x[:1])
    return list(outputs)


@contextmanager
def recording(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record these layers' outputs: each pass leaves copies in the dictionary, of the first use of each layer."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs.setdefault(name, output.detach().clone())  # the next module may write on it

        return hook

    hooks = [find_layer(model, name).register_forward_hook(keep(name)) for name in layers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def activations(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of several layers for the same images, in one pass in eval mode; the model stays as it was.

    Args:
        model: any network.
        x: images (N, C, H, W) in the range that the model takes.
        layers: names of modules (see `layer_names`).

    Returns:
        The output (N, maps, h, w) or (N, units) of each layer, by name. Where a layer is used more than once,
        its first use counts; layers that the pass does not use are left out.

    Raises:
        InputError: no such layer, or x is no batch of floating-point images.
    """
    check_batch(x, AXES)
    with looking(model, x.device), recording(model, layers) as outputs, explained(model, x):
        model(x)
    return dict(outputs)


def maps(model: nn.Module, x: Tensor, *, layer: str) -> Tensor:
    """Return the maps of one layer: its output for the images, in eval mode.

    Args:
        model: any network.
        x: images (N, C, H, W) in the range that the model takes.
        layer: name of a module (see `layer_names`).

    Returns:
        (N, maps, h, w) of a convolution or pooling, (N, units) of a linear layer; detached.

    Raises:
        InputError: no such layer, or the pass does not use it; x is no batch of floating-point images.
    """
    check_batch(x, AXES)
    with looking(model, x.device):
        return run_to(model, x, layer).detach()
