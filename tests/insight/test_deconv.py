"""Deconvolution: the transposed Jacobian, unpooling, the explicit reference of the paper, branches, other networks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advkit.core.errors import InputError
from advkit.insight import activations, deconv, layer_names
from advkit.models import create_model
from advkit.models.googlenet import Inception
from advkit.models.layers import LRN


def batch(n=3, channels=2, side=9, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(net, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3
    return net.double().eval()


def dense_jacobian(net, shape):
    """Column by column, by forward passes alone: (outputs, inputs)."""
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    basis = torch.eye(zero.numel(), dtype=torch.float64).view(-1, *shape)
    return (net(basis) - net(zero)).flatten(1).T


@pytest.mark.parametrize("method", ["deconv", "guided", "gradient"])
def test_without_nonlinearity_it_is_the_transposed_jacobian(method):
    net = seeded(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 4, 1), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2, groups=1),
        )
    )  # fmt: skip
    x = batch()
    J, output = dense_jacobian(net, x.shape[1:]), net(x)
    for unit in range(3):
        back = deconv(net, x, layer="3", unit=unit, position=(0, 0), method=method)
        row = J[unit * output[0, 0].numel()]
        signal = output[:, unit, 0, 0]
        torch.testing.assert_close(back.flatten(1), signal[:, None] * row, rtol=1e-12, atol=1e-14)


def reference(convs, x, unit):
    """The paper's deconvnet of conv, rectify, pool (twice), written out with torch's transposed operations."""
    switches, sizes, a = [], [], x
    for conv in convs:
        a = F.relu(conv(a))
        sizes.append(a.shape)
        a, where = F.max_pool2d(a, 2, return_indices=True)
        switches.append(where)
    peak = a[:, unit].flatten(1).argmax(1)
    signal = torch.zeros_like(a)
    for i, p in enumerate(peak.tolist()):
        signal[i, unit].view(-1)[p] = a[i, unit].view(-1)[p]
    for conv, where, size in zip(reversed(convs), reversed(switches), reversed(sizes), strict=True):
        signal = F.max_unpool2d(signal, where, 2, output_size=size)
        signal = F.conv_transpose2d(signal.clamp_min(0), conv.weight, stride=conv.stride, padding=conv.padding)
    return signal


@pytest.mark.parametrize("inplace", [False, True])
def test_it_unpools_rectifies_and_filters_as_the_paper_says(inplace):
    convs = [nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 4, 3)]
    net = seeded(
        nn.Sequential(convs[0], nn.ReLU(inplace), nn.MaxPool2d(2), convs[1], nn.ReLU(inplace), nn.MaxPool2d(2))
    )
    x = batch(side=18)
    for unit in range(4):
        back = deconv(net, x, layer="5", unit=unit)
        torch.testing.assert_close(back, reference(convs, x, unit), rtol=1e-12, atol=1e-14)


def test_a_pooled_map_gets_its_maxima_back_at_their_places():
    net = nn.Sequential(nn.MaxPool2d(3))
    x = batch(side=9)
    back = deconv(net, x, layer="0", position="all")
    windows = x.unfold(2, 3, 3).unfold(3, 3, 3).amax((-1, -2))
    is_max = x == windows.repeat_interleave(3, 2).repeat_interleave(3, 3)
    assert torch.equal(back, x * is_max)
    assert int(is_max.sum()) == windows.numel()


@pytest.mark.parametrize("name", ["lenet5", "alexnet(width=.125)", "zfnet(width=.125)", "googlenet(width=.125)"])
def test_a_batch_gives_what_single_images_give(name):
    net = create_model(name, input_shape=(1, 32, 32), num_classes=10, seed=0).double().eval()
    x = batch(4, 1, 32)
    layer = "inceptions.4a" if "googlenet" in name else "features"
    together = deconv(net, x, layer=layer)
    alone = torch.cat([deconv(net, one[None], layer=layer) for one in x])
    torch.testing.assert_close(together, alone, rtol=1e-10, atol=1e-13)
    assert together.abs().sum() > 0


def test_the_branches_of_an_inception_module_add_up():
    module = seeded(Inception(2, 3, 2, 4, 2, 3, 2))
    x = batch(side=7)
    first, second, third, fourth = module(x).split([3, 4, 3, 2], 1)
    pool = nn.Sequential(module.pool, module.project)
    branches = [
        back_through([module.conv1], first),
        back_through([module.reduce3, module.conv3], second),
        back_through([module.reduce5, module.conv5], third),
        deconv(pool, x, layer="1", position="all"),
    ]
    whole = deconv(nn.Sequential(module), x, layer="0", position="all")
    torch.testing.assert_close(whole, sum(branches), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(pool(x), fourth)
    assert all(part.abs().sum() > 0 for part in branches)


def back_through(convs, signal):
    for conv in reversed(convs):
        signal = F.conv_transpose2d(signal.clamp_min(0), conv.weight, padding=conv.padding)
    return signal


def test_plain_gradients_are_torchs_and_guided_ones_agree_where_both_pass():
    net = create_model("lenet5", seed=0).double().eval()
    x = batch(2, 1, 32).requires_grad_(True)
    value = activations(net, x.detach(), ["features.s4"])["features.s4"][:, 3].flatten(1).amax(1)
    output = net.net.features(net.normalize(x))[:, 3].flatten(1).amax(1)
    (gradient,) = torch.autograd.grad((output * value).sum(), x)
    back = deconv(net, x.detach(), layer="features.s4", unit=3, method="gradient")
    torch.testing.assert_close(back, gradient, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("layer", [LRN(), nn.LocalResponseNorm(5, alpha=0.1, k=2.0)])
def test_normalisation_divides_by_the_scales_of_the_forward_pass(layer):
    net = nn.Sequential(layer)
    a = batch(channels=6) - 0.3
    back = deconv(net, a, layer="0", unit=2, position=(1, 1))
    expected = torch.zeros_like(a)
    expected[:, 2, 1, 1] = layer(a)[:, 2, 1, 1] ** 2 / a[:, 2, 1, 1]
    torch.testing.assert_close(back, expected, rtol=1e-10, atol=1e-13)


FOREIGN = {
    "squeezenet1_1": "features.12",
    "resnet18": "layer3.0",
    "mobilenet_v2": "features.5",
    "densenet121": "features.denseblock1",
    "googlenet": "inception3a",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_networks_of_torchvision(name):
    net = create_model(f"torchvision:{name}", seed=0).eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    for method in ("deconv", "guided", "gradient"):
        back = deconv(net, x, layer=FOREIGN[name], unit=0, method=method)
        assert back.shape == x.shape
        assert bool(back.isfinite().all())
        assert not back.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_wrong_names_and_numbers_get_one_clear_error():
    net, x = create_model("lenet5", seed=0), torch.rand(1, 1, 32, 32)
    assert "features.c1" in layer_names(net)
    for options, text in (
        ({"layer": "features.c4"}, "did you mean"),
        ({"layer": "features.c1", "unit": 6}, "0 .. 5"),
        ({"layer": "features.c1", "unit": 0, "position": (28, 0)}, "28x28"),
        ({"layer": "features.c1", "unit": 0, "position": "middle"}, "position"),
        ({"layer": "features.c1", "method": "cam"}, "method"),
    ):
        with pytest.raises(InputError, match=text):
            deconv(net, x, **options)
