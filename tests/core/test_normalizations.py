"""Gradients through batch and instance normalization do not depend on how tensors lie.

Torch's own do, where a batch of one image lies in one layout and what comes back in another.
"""

from collections.abc import Callable, Iterator
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from advkit.attacks import PGD
from advkit.core.classify import looking
from advkit.core.contents import contents_of, digests_of
from advkit.core.guard import guard
from advkit.core.normalizations import normalizations
from advkit.insight import deconv

C = 4
KINDS: dict[str, Callable[[], nn.Module]] = {
    "batch 1d": lambda: nn.BatchNorm1d(C),
    "batch 2d": lambda: nn.BatchNorm2d(C),
    "batch 2d, not affine": lambda: nn.BatchNorm2d(C, affine=False),
    "batch 2d, statistics of the batch": lambda: nn.BatchNorm2d(C, track_running_stats=False),
    "batch 3d": lambda: nn.BatchNorm3d(C),
    "instance 1d": lambda: nn.InstanceNorm1d(C, affine=True),
    "instance 2d": lambda: nn.InstanceNorm2d(C, affine=True),
    "instance 2d, running statistics": lambda: nn.InstanceNorm2d(C, track_running_stats=True),
    "instance 3d": lambda: nn.InstanceNorm3d(C),
    "synchronized": lambda: nn.SyncBatchNorm(C),
}
AXES = {"1d": 3, "2d": 4, "3d": 5}


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    net = KINDS[name]().double()
    for t in [*net.parameters(), *net.buffers()]:
        if t.is_floating_point():
            t.data.uniform_(0.5, 1.5)
    return net.eval()


def by_hand(net: nn.Module, x: Tensor) -> Tensor:
    """The formula of the module, in operations by the pixel."""
    shape = (1, C, *[1] * (x.ndim - 2))
    own = getattr(net, "running_mean", None)
    if own is not None:
        mean, variance = own.view(shape), net.running_var.view(shape)  # type: ignore[union-attr,operator]
    else:
        over = [*([] if "Instance" in type(net).__name__ else [0]), *range(2, x.ndim)]
        mean, variance = x.mean(over, keepdim=True), x.var(over, unbiased=False, keepdim=True)
    found = (x - mean) / (variance + net.eps).sqrt()  # type: ignore[operator]
    return found if net.weight is None else found * net.weight.view(shape) + net.bias.view(shape)  # type: ignore[operator,union-attr]


def lying(t: Tensor, order: tuple[int, ...], stride_of_one: int) -> Tensor:
    """The same numbers, whose axes lie in this order in memory; axes of one entry have this stride."""
    inverse = [order.index(i) for i in range(t.ndim)]
    strides = list(t.permute(order).contiguous().permute(inverse).stride())
    strides = [stride_of_one if size == 1 else s for size, s in zip(t.shape, strides, strict=True)]
    return torch.empty(t.numel(), dtype=t.dtype).as_strided(t.shape, strides).copy_(t)


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_gradients_are_those_of_the_formula_however_tensors_lie(name: str, data: st.DataObject) -> None:
    axes = next((n for word, n in AXES.items() if word in name), 4)
    shape = (data.draw(st.sampled_from([1, 1, 2])), C, *[data.draw(st.integers(1, 3)) + 1 for _ in range(axes - 2)])
    orders = st.sampled_from(list(permutations(range(axes))))
    x, back = torch.randn(shape).double(), torch.randn(shape).double()
    net = made(name)
    with looking(net, gradients=True):
        leaf = lying(x, data.draw(orders), data.draw(st.sampled_from([1, C, 9999]))).requires_grad_()
        came = lying(back, data.draw(orders), data.draw(st.sampled_from([1, C, 9999])))
        (found,) = torch.autograd.grad(net(leaf), leaf, came)
    right = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(by_hand(net, right), right, back)
    assert torch.allclose(found, expected, atol=1e-9)
    assert "forward" not in vars(net)


class Tokens(nn.Module):
    """A convolutional stem whose pixels become tokens, as in LeViT and its kin."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, C, 3, 2, 1), norm
        self.mix, self.head = nn.Linear(C, C), nn.Linear(C, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.stem(x)).flatten(2).transpose(1, 2)
        return self.head(F.gelu(self.mix(tokens)).mean(1))  # type: ignore[no-any-return]


class AndAct(nn.BatchNorm2d):
    """With an activation in it, which writes in place."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch": lambda: nn.BatchNorm2d(C),
    "instance": lambda: nn.InstanceNorm2d(C, affine=True),
    "with an activation": lambda: AndAct(C),
    "in place behind": lambda: nn.Sequential(nn.BatchNorm2d(C), nn.ReLU(inplace=True)),
    "twice": lambda: nn.Sequential(nn.BatchNorm2d(C), nn.InstanceNorm2d(C)),
}


def tokens(name: str) -> Iterator[tuple[nn.Module, Tensor, Tensor]]:
    torch.manual_seed(0)
    net = Tokens(NORMS[name]()).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.5, 2)
    for side in (12, 96):  # few pixels and many: images are laid out otherwise
        yield net, torch.rand(3, 3, side, side).double(), torch.arange(3)


@pytest.mark.parametrize("name", NORMS)
def test_an_attack_on_one_image_is_that_on_the_batch(name: str) -> None:
    for net, x, y in tokens(name):
        attack = PGD(eps=0.5, norm="l2", steps=3, random_start=False)
        whole = attack(net, x, y, stop="never").x_adv
        alone = torch.cat([attack(net, x[i : i + 1], y[i : i + 1], stop="never").x_adv for i in range(3)])
        assert torch.allclose(whole, alone, atol=1e-8)


@pytest.mark.parametrize("name", NORMS)
def test_what_comes_back_to_one_image_is_that_of_the_batch(name: str) -> None:
    for net, x, _ in tokens(name):
        whole = deconv(net, x, layer="mix", position="all", method="gradient")
        alone = torch.cat([deconv(net, x[i : i + 1], layer="mix", position="all", method="gradient") for i in range(3)])
        assert torch.allclose(whole, alone, rtol=1e-6, atol=1e-12)


def test_inside_the_guard_a_network_has_the_digests_that_it_has_outside() -> None:
    net = Tokens(nn.BatchNorm2d(C)).eval()
    before = (digests_of(net), contents_of(net))
    with guard(net), guard(net):
        assert "forward" in vars(net.norm)
        assert (digests_of(net), contents_of(net)) == before
    assert "forward" not in vars(net.norm)
    assert (digests_of(net), contents_of(net)) == before


def test_own_forwards_stay() -> None:
    net = nn.BatchNorm2d(C)
    net.forward = own = lambda x: x + 1  # type: ignore[method-assign,assignment]
    with guard(net):
        assert vars(net)["forward"] is own
    assert vars(net)["forward"] is own


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_code_of_its_own_borrows_nothing() -> None:
    net = Tokens(nn.BatchNorm2d(C)).eval()
    assert len(normalizations(list(net.modules()))) == 1
    compiled = torch.compile(net, backend="eager")
    assert not normalizations(list(compiled.modules()))  # type: ignore[attr-defined]
    assert not normalizations(list(torch.jit.script(net).modules()))
