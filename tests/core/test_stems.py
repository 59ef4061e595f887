"""A first convolution answers as it did, and its gradient to the images is that of torch, by another order of sums."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from advkit.attacks import PGD, DeepFool
from advkit.core import stems as stems_module
from advkit.core.layout import Passes
from advkit.core.loans import lent
from advkit.core.stems import stems


def frozen(*arguments: object, **options: object) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(*arguments, **options).double().requires_grad_(False)


@contextmanager
def borrowed(model: nn.Module) -> Iterator[list]:
    """Inside, the first convolutions of the model run as in a pass."""
    loans = stems(list(model.modules()))
    with lent(loans):
        yield loans


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of any size."""
    monkeypatch.setattr(stems_module, "MANY", 1)


def gradient(module: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
    (found,) = torch.autograd.grad((module(leaf) * weights).sum(), leaf)
    return found


@st.composite
def geometries(draw):
    """Channels in and out, kernel, stride, padding, and images that the kernel fits."""
    kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)).filter(lambda k: max(k) > 1))
    padding = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    least = [max(1, k - 2 * p) for k, p in zip(kernel, padding, strict=True)]
    size = [draw(st.integers(low, low + 18)) for low in least]
    channels = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return channels, kernel, draw(st.integers(1, 9)), padding, size


@given(geometries(), st.booleans(), st.booleans())
def test_the_gradient_is_that_of_torch_for_every_geometry(geometry, bias, channels_last):
    (inputs, outputs), kernel, stride, padding, size = geometry
    module = frozen(inputs, outputs, kernel, stride, padding, bias=bias)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, inputs, *size).double().contiguous(memory_format=layout)
    answer = module(x)
    weights = torch.randn_like(answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stems_module, "MANY", 1)
        expected = gradient(module, x, weights)
        with borrowed(module) as loans:
            assert loans
            assert torch.equal(module(x.clone().requires_grad_()), answer)
            torch.testing.assert_close(gradient(module, x, weights), expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.usefixtures("always")
def test_second_derivatives_tangents_and_many_gradients_at_once_are_those_of_torch():
    module, x = frozen(3, 5, 4, 2, 1), torch.randn(2, 3, 9, 8).double()
    with borrowed(module):
        assert torch.autograd.gradcheck(module, x.clone().requires_grad_())
        assert torch.autograd.gradgradcheck(module, x.clone().requires_grad_())
        leaf = x.clone().requires_grad_()
        answer = module(leaf)
        (many,) = torch.autograd.grad(answer, leaf, torch.stack([answer.detach()] * 3), is_grads_batched=True)
        assert torch.allclose(many[1], gradient(module, x, answer.detach()))
        with forward_ad.dual_level():
            moved = module(forward_ad.make_dual(leaf, tangent := torch.randn_like(x)))
            torch.testing.assert_close(
                forward_ad.unpack_dual(moved).tangent, F.conv2d(tangent, module.weight, None, 2, 1)
            )
        by_function = torch.func.vmap(torch.func.grad(lambda image: module(image[None]).square().sum()))(x)
    torch.testing.assert_close(by_function, gradient(module, x, 2 * answer.detach()))


@pytest.mark.usefixtures("always")
def test_a_model_that_keeps_no_activations_gets_its_gradients():
    """A checkpoint runs its part again in the backward pass, when nothing is borrowed any more."""
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 4, 3)).double().requires_grad_(False)

    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = part

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.part, x, use_reentrant=False)

    x = torch.randn(2, 1, 12, 12).double()
    expected = gradient(part, x, torch.ones(()).double())
    leaf = x.clone().requires_grad_()
    answer = Passes(Saving(), x)(leaf)
    (found,) = torch.autograd.grad(answer.sum(), leaf)
    torch.testing.assert_close(found, expected)


class Odd(nn.Conv2d):
    """A convolution with a forward of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - 1)


def own_forward() -> nn.Module:
    module = nn.Conv2d(1, 4, 3)
    module.forward = lambda x: F.conv2d(x, module.weight)
    return module


OTHERS = {
    "many channels": lambda: nn.Conv2d(5, 4, 3),
    "groups": lambda: nn.Conv2d(2, 4, 3, groups=2),
    "dilated": lambda: nn.Conv2d(1, 4, 3, dilation=2),
    "reflecting": lambda: nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"),
    "same": lambda: nn.Conv2d(1, 4, 4, padding="same"),
    "two strides": lambda: nn.Conv2d(1, 4, 3, (1, 2)),
    "one pixel": lambda: nn.Conv2d(1, 4, 1),
    "a class of its own": lambda: Odd(1, 4, 3),
    "a forward of its own": own_forward,
    "a kernel that is computed": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 3)),
    "transposed": lambda: nn.ConvTranspose2d(1, 4, 3),
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_others_borrow_nothing(kind):
    assert stems([OTHERS[kind]()]) == []


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", ["kernel", "bias", "no gradient", "single image", "autocast", "float32"])
def test_torchs_own_is_taken_where_the_faster_one_would_not_do(kind, monkeypatch):
    module, x = frozen(1, 4, 3), torch.randn(2, 1, 8, 8).double()
    monkeypatch.setattr(stems_module._Convolution, "apply", lambda *_: pytest.fail("taken"))
    if kind in ("kernel", "bias"):
        {"kernel": module.weight, "bias": module.bias}[kind].requires_grad_()
    if kind == "single image":
        x = x[0]
    if kind == "float32":
        module.register_forward_pre_hook(lambda *_: (x.double().requires_grad_(),))
        module.float()
    with borrowed(module):
        if kind == "float32":
            with pytest.raises(RuntimeError, match="should be the same"):
                module(x)
        elif kind == "no gradient":
            with torch.no_grad():
                module(x.requires_grad_())
        else:
            with torch.autocast("cpu", enabled=kind == "autocast"):
                module(x.requires_grad_()).sum().backward()
            assert (module.weight.grad is None) == (kind != "kernel")


def test_few_pixels_take_torchs_own(monkeypatch):
    called = []
    monkeypatch.setattr(stems_module._Blocks, "to_images", lambda _, g, *size: called.append(len(g)) or g.sum())
    module = nn.Conv2d(1, 4, 3).requires_grad_(False)
    with borrowed(module):
        for count in (15, 16):
            answer = module(torch.rand(count, 1, 32, 32).requires_grad_())
            if type(answer.grad_fn).__name__ != "ConvolutionBackward0":
                called.append(count)
    assert called == [16]


class Watched(nn.Module):
    """Says whether its first convolution has borrowed a forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.head = nn.Conv2d(1, 4, 5), nn.Linear(4, 3)
        self.seen, self.fails = [], False

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append("forward" in self.first.__dict__)
        if self.fails:
            raise KeyError("on purpose")
        return self.head(self.first(x).relu().mean((2, 3)))


def test_a_pass_that_fails_leaves_the_model_as_it_was():
    model = Watched()
    model.fails = True
    with pytest.raises(KeyError, match="on purpose"):
        Passes(model, torch.rand(2, 1, 16, 16))(torch.rand(2, 1, 16, 16).requires_grad_())
    assert model.seen == [True]
    assert "forward" not in model.first.__dict__


@pytest.mark.parametrize("attack", [PGD(eps=0.1, steps=5), DeepFool()], ids=lambda attack: attack.name)
def test_an_attack_finds_the_same_points_and_leaves_the_model_as_it_was(attack, monkeypatch):
    model = Watched().double()
    x, y = torch.rand(24, 1, 32, 32).double(), torch.randint(3, (24,))
    twin = copy.deepcopy(model)
    with_blocks = attack(model, x, y)
    assert any(model.seen)
    assert "forward" not in model.first.__dict__
    monkeypatch.setattr(stems_module, "MANY", 10**9)
    without = attack(twin, x, y)
    torch.testing.assert_close(with_blocks.x_adv, without.x_adv)
    assert torch.equal(with_blocks.queries, without.queries)


@pytest.mark.usefixtures("always")
def test_kernels_follow_the_parameters_from_call_to_call():
    model, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(2)), torch.rand(3, 1, 8, 8)
    model(x)
    model.requires_grad_(False)
    for _ in range(2):
        leaf = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(Passes(model, x)(leaf).sum(), leaf)
        torch.testing.assert_close(found, gradient(model, x, torch.ones(())))
        model[0].weight.data.add_(0.5)
