"""assert_not_masked: honest nets pass, each broken one fails by the sign that is meant for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advkit import load_data, load_model
from advkit.core.errors import InputError, UnknownNameError
from advkit.testing import MaskedError, assert_not_masked, probabilities, random_logits, zero_gradient
from advkit.testing.nets import Wrapped


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return load_model("mlp", device="cpu")


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    return load_data("mnist5k")[:64]


def test_an_honest_net_passes_with_all_findings(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    checks = assert_not_masked(net, *batch)
    assert checks.samples == 64
    assert checks["zero_gradients"].verdict == "ok"
    assert assert_not_masked(net, *batch, count=20).samples == 20


def saturated(net: nn.Module) -> Wrapped:
    return Wrapped(net, after=lambda logits: (1e4 * logits).softmax(1).mul(50).round())


@pytest.mark.parametrize(
    ("mask", "sign"),
    [
        (zero_gradient, "zero_gradients"),
        (saturated, "zero_gradients"),
        (probabilities, "probabilities"),
        (random_logits, "random_logits"),
    ],
)
def test_a_masked_net_fails_and_the_message_says_what_was_seen_and_what_to_do(
    mask: Callable[[nn.Module], nn.Module], sign: str, net: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    with pytest.raises(
        MaskedError, match=rf"of 13 signs of hidden gradients on 64 images(.|\n)*{sign}: .*; \w"
    ) as caught:
        assert_not_masked(mask(net), *batch)
    assert caught.value.checks[sign].verdict == "suspect"


def test_a_finding_may_be_skipped(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    found = assert_not_masked(probabilities(net), *batch, skip=["probabilities"])
    assert found["probabilities"].verdict == "suspect"
    with pytest.raises(UnknownNameError, match="did you mean 'probabilities'"):
        assert_not_masked(net, *batch, skip=["probability"])


def test_images_that_are_all_wrong_prove_nothing(net: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, _ = batch
    with torch.no_grad():
        y = (net(x).argmax(1) + 1) % 10
    with pytest.raises(InputError, match="all 64 images are wrong"):
        assert_not_masked(net, x, y)
