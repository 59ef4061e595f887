"""The layout of the images changes the time, not what comes out, and a model that refuses one is asked in the other."""

import copy

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import FGSM, PGD
from advkit.core.layout import Passes, _is_light
from advkit.defenses import AdversarialLoss


class Flattened(nn.Module):
    """Batch norm, a convolution and a linear layer, with `view`, which channels-last maps refuse, or `flatten`."""

    def __init__(self, *, by_view: bool) -> None:
        super().__init__()
        self.norm, self.conv, self.linear = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)
        self.by_view, self.seen = by_view, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.is_contiguous(memory_format=torch.channels_last))
        maps = self.conv(self.norm(x)).relu()
        return self.linear(maps.view(len(x), -1) if self.by_view else maps.flatten(1))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, 3, 8, 8, generator=generator).double(), torch.randint(0, 5, (6,), generator=generator)


def net(*, by_view: bool) -> Flattened:
    torch.manual_seed(0)
    return Flattened(by_view=by_view).double()


def test_a_network_that_convolves_gets_channels_last_images(batch):
    model = net(by_view=False)
    FGSM(eps=0.1)(model, *batch)
    assert model.seen == [True, True]


def test_a_network_that_refuses_is_asked_once_and_then_gets_the_images_as_they_lie(batch):
    model = net(by_view=True)
    PGD(eps=0.1, steps=3, random_start=False)(model, *batch, stop="never")
    assert model.seen[0]
    assert not any(model.seen[1:])
    model.seen.clear()
    FGSM(eps=0.1)(model, *batch)
    assert model.seen == [False, False]


def test_a_network_that_was_changed_may_refuse_what_it_took(batch):
    model = net(by_view=False)
    PGD(eps=0.1, steps=2)(model, *batch)
    model.by_view = True
    fresh = net(by_view=True)
    one, other = (PGD(eps=0.1, steps=2, random_start=False)(m, *batch, stop="never") for m in (model, fresh))
    assert torch.equal(one.x_adv, other.x_adv)


def test_another_size_of_images_is_tried_again(batch):
    x, _ = batch
    model = net(by_view=True)
    Passes(model, x)(x)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Passes(model, x[..., :7])(x[..., :7])
    assert model.seen == [True, False, True, False]


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), FGSM(eps=0.5, norm="l2"), PGD(eps=0.1, steps=4)], ids=str)
def test_the_layout_does_not_change_the_result(batch, attack):
    one, other = (attack(net(by_view=by_view), *batch, stop="never") for by_view in (False, True))
    assert torch.allclose(one.x_adv, other.x_adv, atol=1e-12)
    assert torch.allclose(one.logits, other.logits, atol=1e-12)
    assert torch.equal(one.queries, other.queries)


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=2)], ids=lambda attack: attack.name)
def test_training_a_network_that_refuses_updates_batch_norm_as_often(batch, attack):
    loss = AdversarialLoss(attack=attack)
    one, other = net(by_view=False).train(), net(by_view=True).train()
    for model in (one, other):
        torch.manual_seed(1)
        loss(model, *batch).backward()
    assert one.norm.num_batches_tracked == other.norm.num_batches_tracked > 0
    assert torch.allclose(one.norm.running_mean, other.norm.running_mean)
    assert torch.allclose(one.conv.weight.grad, other.conv.weight.grad)


def test_a_copy_of_a_model_is_a_model_of_its_own(batch):
    model = net(by_view=True)
    FGSM(eps=0.1)(model, *batch)
    twin = copy.deepcopy(model)
    twin.by_view, twin.seen = False, []
    FGSM(eps=0.1)(twin, *batch)
    assert twin.seen == [True, True]


class Large(nn.Module):
    """Kernels that are large enough to be copied; the second is also the third."""

    def __init__(self, *, normed: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(64, 64, 3, padding=1) for _ in range(3))
        self.third.weight = self.second.weight
        self.stem, self.head, self.seen = nn.Conv2d(3, 64, 1), nn.Linear(64, 5), []
        if normed:
            self.first = nn.utils.parametrizations.weight_norm(self.first)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.first.weight, self.second.weight, self.third.weight
        self.seen.append([w.is_contiguous(memory_format=torch.channels_last) for w in weights])
        x = self.stem(x)
        for layer in (self.first, self.second, self.third):
            x = layer(x).relu() + x
        return self.head(x.mean((2, 3)))


class Every(nn.Module):
    """One convolution of each kind; it fails where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.ConvTranspose2d(8, 4, 3),
            nn.Conv2d(4, 4, (1, 3)),
        )
        self.head, self.seen, self.fails = nn.Linear(4, 5), [], False

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append([m.weight.is_contiguous(memory_format=torch.channels_last) for m in self.layers])
        if self.fails and len(self.seen) > 1:
            raise KeyError("on purpose")
        return self.head(self.layers(x).mean((2, 3)))


@pytest.mark.parametrize("fails", [False, True])
def test_every_kind_of_convolution_borrows_a_kernel_and_gives_it_back(batch, fails):
    torch.manual_seed(0)
    model = Every().double()
    with torch.no_grad():
        plain = model(batch[0])
    own = {name: (p, p.stride(), p.detach().clone()) for name, p in model.named_parameters()}
    model.fails, passes = fails, Passes(model, batch[0])
    with torch.no_grad():
        if fails:
            with pytest.raises(KeyError, match="on purpose"):
                passes(batch[0])
        else:
            torch.testing.assert_close(passes(batch[0]), plain)
    assert all(model.seen[1])
    for name, parameter in model.named_parameters():
        was, stride, values = own[name]
        assert parameter is was
        assert parameter.stride() == stride
        assert parameter.equal(values)


@pytest.mark.parametrize(("stride", "maps", "plainly"), [(2, 8, True), (1, 8, False), (2, 2048, False)])
def test_a_light_strided_network_gets_plain_images_where_no_gradient_is_taken(stride, maps, plainly, batch):
    torch.manual_seed(0)
    model, seen = nn.Sequential(nn.Conv2d(3, maps, 3, stride), nn.Flatten(), nn.LazyLinear(5)).double(), []
    x, y = batch
    model(x)
    model.register_forward_pre_hook(
        lambda _, given: seen.append(
            (given[0].requires_grad, given[0].is_contiguous(memory_format=torch.channels_last))
        )
    )
    PGD(eps=0.1, steps=2)(model, x, y, stop="never")
    assert {laid_out for climbs, laid_out in seen if climbs} == {True}
    assert {laid_out for climbs, laid_out in seen if not climbs} == {not plainly}


@pytest.mark.parametrize(
    ("kind", "count", "laid_out"),
    [
        ("light", 1, True),  # few pixels
        ("light", 33, False),
        ("heavy", 1, True),  # one image
        ("heavy", 2, False),  # several small ones
        ("heavy", 129, True),  # many
        ("dense and light", 2, True),
    ],
)
def test_the_layout_follows_from_the_kernels_and_the_number_of_pixels(kind, count, laid_out):
    """The pixels are 16 x 16; light: up to 2^13 of them, heavy: more than 2^15, or one image."""
    layers = {
        "light": [nn.Conv2d(3, 4, 4, 2)],
        "heavy": [nn.Conv2d(3, 128, 8, 8), nn.Conv2d(128, 256, 3, padding=1)],
        "dense and light": [nn.Conv2d(3, 128, 8, 8), nn.Conv2d(128, 64, 3, padding=1)],
    }[kind]
    assert Passes(nn.Sequential(*layers), x := torch.rand(count, 3, 16, 16)).probe(x) == laid_out


def test_large_kernels_go_in_the_layout_of_the_images_and_the_models_own_stay(batch):
    torch.manual_seed(0)
    model = Large().double()
    before = {name: (p, p.stride(), p.detach().clone()) for name, p in model.named_parameters()}
    with torch.no_grad():
        plain = model(batch[0])
    result = PGD(eps=0.1, steps=3)(model, *batch, stop="never")
    assert not any(model.seen[0])
    assert all(all(seen) for seen in model.seen[1:])
    for name, parameter in model.named_parameters():
        was, stride, values = before[name]
        assert parameter is was
        assert parameter.stride() == stride
        assert parameter.equal(values)
    with torch.no_grad():
        torch.testing.assert_close(result.logits, model(result.x_adv))
        torch.testing.assert_close(Passes(model, batch[0])(batch[0]), plain)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["weight_norm", "scripted", "data parallel", "compiled"])
def test_kernels_that_are_no_plain_parameters_stay_as_they_are(kind, batch):
    torch.manual_seed(0)
    model = Large(normed=kind == "weight_norm").double()
    outer = {
        "weight_norm": lambda: model,
        "scripted": lambda: torch.jit.trace(model, batch[0]),
        "data parallel": lambda: nn.DataParallel(model),
        "compiled": lambda: nn.Sequential(torch.compile(model, backend="eager")),
    }[kind]()
    with torch.no_grad():
        plain = model(batch[0])
        torch.testing.assert_close(Passes(outer, batch[0])(batch[0]), plain)
    assert model.seen[-1][0] is False


def test_kernels_follow_the_parameters_from_call_to_call(batch):
    """Also those that an optimiser writes behind the version counter."""
    torch.manual_seed(0)
    model = Large().double()
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(Passes(model, batch[0])(batch[0]), model(batch[0]))
        model.second.weight.data.add_(0.5)


def test_the_layout_of_a_model_is_channels_last_only_if_it_convolves_and_takes_it():
    x = torch.rand(2, 3, 8, 8)
    flat, convolving = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    assert not Passes(flat, x).probe(x)
    assert not Passes(convolving.forward, x).probe(x)  # a function's layers are not known
    assert Passes(convolving, x).probe(x)


@pytest.mark.parametrize(
    ("layer", "light"),
    [
        (nn.Conv2d(64, 64, 1), True),
        (nn.Conv2d(512, 512, 1, 2), True),
        (nn.Conv2d(3, 8, 3), False),
        (nn.Conv2d(3, 8, 3, (1, 2)), False),
        (nn.Conv2d(3, 8, 2, 2), True),
        (nn.Conv2d(64, 64, 3, 2), False),
        (nn.Conv2d(64, 64, 3, 2, groups=2), True),
        (nn.ConvTranspose2d(8, 8, 2, 2), True),
    ],
)
def test_light_layers_see_one_pixel_or_are_small_and_strided(layer: nn.Conv2d, light: bool) -> None:
    assert _is_light(layer) == light
