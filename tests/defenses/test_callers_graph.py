"""A training loss is a term like any other: a graph of the same network may be open before and after it is made."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers.training_losses import LOSSES
from torch import Tensor, nn


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)]
    return nn.Sequential(*layers).double()


def gradients(model: nn.Module, *losses: Tensor) -> list[Tensor]:
    torch.autograd.backward(sum(losses, torch.zeros(())))
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_a_sum_is_the_sum_of_the_gradients(name: str, training: bool) -> None:
    x, y = torch.rand(5, 1, 6, 6, dtype=torch.float64), torch.arange(5) % 3

    def loss(model: nn.Module) -> Tensor:
        torch.manual_seed(1)
        return copy.deepcopy(LOSSES[name])(model, x, y)

    def after_a_pass() -> tuple[nn.Module, Tensor]:  # in train mode it moves the averages of batch norm
        model = network().train(training)
        return model, F.cross_entropy(model(x), y)

    first, plain = after_a_pass()
    expected = [a + b for a, b in zip(gradients(first, plain), gradients(first, loss(first)), strict=True)]
    second, still_open = after_a_pass()
    torch.testing.assert_close(gradients(second, still_open, loss(second)), expected, rtol=1e-9, atol=1e-12)
