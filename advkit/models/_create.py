"""Untrained networks by name or by reference."""

from typing import Any

from advkit.core.errors import check_given
from advkit.models._classifier import Classifier
from advkit.models._reference import create_reference, is_reference, split_reference
from advkit.models._registry import MODELS


def create_model(name: str, **options: Any) -> Classifier:
    """Create an untrained network, on the CPU and in train mode.

    Args:
        name: a registered name or a spec ("lenet5", "vgg16(width=1/4)"), or a reference ("torchvision:resnet50",
            "timm:NAME", "hf:ORG/NAME", "package.module:factory"; the last imports and runs that code), with options as
            in "timm:resnet18(in_chans=1)".
        **options: `input_shape` (C, H, W), `num_classes`, `width`; `mean` and `std` of `Normalize` (default: MNIST's
            for one channel, ImageNet's for three); `seed` of the random weights (default: torch's global state); and
            what the network itself takes. The defaults are the paper's. Under `torch.device("meta")` it costs nothing.

    Raises:
        InputError: the name or an option is unknown, or the network refuses a value.
    """
    check_given("name", name, str, "text such as 'lenet5'")
    if is_reference(name):
        name, given = split_reference(name)
        return create_reference(name, {**given, **options})
    return MODELS.create(MODELS.read(name), **options)
