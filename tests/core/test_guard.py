"""What is guarded is as it was, after an exception too."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit.core.guard import guard
from advkit.testing._checks_traces import snapshot
from advkit.testing.nets import toy_classifier


def net() -> nn.Sequential:
    model = toy_classifier(batch_norm=True).train()
    model[1].eval()
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        parameter.grad = torch.full_like(parameter, i) if i % 3 else None
    return model


X = torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Rebinding(nn.Module):
    """Writes a new tensor into its buffer at every pass, as some running averages do."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("absent", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        self.calls += 1
        return x


def disturb(model: nn.Module) -> None:
    """Everything that the guard is to undo."""
    model.train()
    model(X)
    for parameter in model.parameters():
        parameter.requires_grad_()
        parameter.grad = torch.ones_like(parameter)
    torch.manual_seed(99)


@pytest.mark.parametrize("crash", [False, True])
def test_the_model_and_the_random_state_come_back(crash: bool) -> None:
    model = nn.Sequential(Rebinding(), *net())
    before, state = snapshot(model), torch.random.get_rng_state()
    try:
        with guard(model):
            disturb(model)
            if crash:
                raise KeyError("on purpose")
    except KeyError:
        assert crash
    assert snapshot(model) == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_gradients_come_back_as_the_same_tensors() -> None:
    model = net()
    grads = [p.grad for p in model.parameters()]
    with guard(model):
        for p in model.parameters():
            p.grad = None
    assert all(p.grad is g for p, g in zip(model.parameters(), grads, strict=True))


def test_inside_parameters_are_frozen_and_the_mode_is_eval() -> None:
    model = net()
    with guard(model):
        assert not any(p.requires_grad for p in model.parameters())
        assert not any(m.training for m in model.modules())


def test_the_mode_can_be_kept() -> None:
    model = net()
    modes = [m.training for m in model.modules()]
    with guard(model, mode="keep"):
        assert [m.training for m in model.modules()] == modes
        model(X)
    assert [m.training for m in model.modules()] == modes


def test_batch_norm_statistics_survive_a_pass_in_train_mode() -> None:
    model = net()
    for module in model:
        module.train()
    before = snapshot(model)
    with guard(model, mode="keep"):
        model(X)
    assert snapshot(model) == before


def test_a_model_that_overrides_train_is_left_in_its_own_modes() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> "Frozen":
            super().train(mode)
            self[1].training = False
            return self

    model = Frozen(*net().children()).train()
    before = snapshot(model)
    with guard(model):
        disturb(model)
    assert snapshot(model) == before


class Merging(nn.Linear):
    """Adds its second factor to the weights in eval mode and takes it off in train mode, as loralib's layers do."""

    merged = False

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.low_rank = nn.Parameter(torch.ones(outputs, inputs))
        nn.init.constant_(self.weight, 0.5)  # sums without rounding

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if self.merged == mode:
            self.weight.data += -self.low_rank.data if mode else self.low_rank.data
            self.merged = not mode
        return self


class Remembering(nn.Module):
    """Keeps in eval mode what it made of its parameter, until it is trained again, as LeViT's attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.kept = nn.Parameter(torch.zeros(1)), None

    def train(self, mode: bool = True) -> "Remembering":
        super().train(mode)
        self.kept = None if mode else self.kept
        return self

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and self.kept is None:
            self.kept = 2 * self.bias
        return x + (2 * self.bias if self.training else self.kept)


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_modules_that_change_with_their_mode_hear_of_it_on_leaving(outer: bool, inner: bool) -> None:
    model = nn.Sequential(Merging(2, 2), nn.Sequential(nn.Sequential(Merging(2, 2)), Remembering())).train(outer)
    model[1].train(inner)
    weights = [p.clone() for p in model.parameters()]
    with guard(model):
        model(torch.rand(3, 2))
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert [m.merged for m in model.modules() if isinstance(m, Merging)] == [not outer, not inner]
    with torch.no_grad():
        model[1][1].bias.fill_(1)
    if inner:
        assert torch.equal(model[1][1].eval()(torch.zeros(1)), torch.full((1,), 2.0))


def test_shared_modules_and_parameters_are_no_trouble() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    before = snapshot(model)
    with guard(model):
        disturb_shared(model)
    assert snapshot(model) == before


def disturb_shared(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.train()


@pytest.mark.parametrize("train", [False, True])
def test_a_pending_graph_still_gives_its_gradients(train: bool) -> None:
    model = toy_classifier(batch_norm=True).train(train)
    loss = model(X).square().sum()
    with guard(model):
        model(X)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_function_needs_no_guard_but_for_the_random_state() -> None:
    state = torch.random.get_rng_state()

    def function(x: Tensor) -> Any:
        return x

    with guard(function):
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_buffers_made_under_inference_mode_are_no_trouble() -> None:
    model = nn.Sequential(Rebinding(), *toy_classifier())
    with torch.inference_mode():
        model(X)  # a common warm-up: the buffer is an inference tensor from here on
    before = model[0].mean.clone()
    with guard(model):
        model(X)
    assert torch.equal(model[0].mean, before)
