"""Answers stay as they were given, wherever the model keeps them; a single image has the axis of the batch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import PGD, DeepFool, Square
from advkit.core.classify import classify
from advkit.core.errors import InputError

X = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 4)
    return nn.Sequential(*layers).eval()


Y = network()(X).argmax(1)


class Buffered(nn.Module):
    """Every answer is the beginning of one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.register_buffer("out", torch.zeros(64, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.out = self.out.detach()
        self.out[: len(x)] = self.net(x)
        return self.out[: len(x)]


class Whole(Buffered):
    """Every answer is the buffer itself, as an engine for batches of one size gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.out = torch.zeros(len(X), 4)

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == len(X)
        with torch.no_grad():
            self.out.copy_(self.net(x))
        return self.out


def engine() -> Callable[[Tensor], Tensor]:
    """A function that answers in memory of its own, as wrappers of inference engines do."""
    net, memory = network(), torch.zeros(64, 4)

    def answer(x: Tensor) -> Tensor:
        with torch.no_grad():
            memory[: len(x)].copy_(net(x))
        return memory[: len(x)]

    return answer


class Squeezed(nn.Module):
    """All axes of length 1 are dropped, that of the batch too."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze()


MODELS: dict[str, Callable[[], Any]] = {
    "buffered": Buffered, "whole": Whole, "engine": engine, "squeezed": Squeezed,
}  # fmt: skip


@pytest.mark.parametrize("form", MODELS)
def test_the_answers_are_those_of_the_plain_network(form: str) -> None:
    assert torch.allclose(classify(MODELS[form](), X), classify(network(), X))


@pytest.mark.parametrize("form", MODELS)
def test_an_evaluation_is_that_of_the_plain_network(form: str) -> None:
    attack = Square(queries=20, eps=0.05) if form in ("whole", "engine") else PGD(steps=4, eps=0.05)
    plain, found = (
        evaluate(model, (X, Y), [attack], checks=False, batch_size=12) for model in (network(), MODELS[form]())
    )
    assert found.clean_error == plain.clean_error == 0
    assert [line.adversarial_error for line in found.attacks] == [line.adversarial_error for line in plain.attacks]


@pytest.mark.parametrize("form", ["buffered", "squeezed"])
def test_an_attack_whose_rows_leave_finds_the_same_points(form: str) -> None:
    for attack in (PGD(steps=6, eps=0.03), DeepFool()):
        plain, found = (attack(model, X, Y) for model in (network(), MODELS[form]()))
        assert torch.equal(found.success, plain.success)
        torch.testing.assert_close(found.x_adv, plain.x_adv, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.logits, plain.logits, rtol=1e-4, atol=1e-5)


def test_a_model_without_values_is_one_line() -> None:
    for use in (lambda m: PGD(eps=0.1)(m, X, Y), lambda m: evaluate(m, (X, Y), ["fgsm"])):
        with pytest.raises(InputError, match="no values, on the device meta"):
            use(network().to("meta"))
