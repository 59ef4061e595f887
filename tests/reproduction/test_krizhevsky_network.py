"""The network of four layers: its locally connected layers against torch's convolution, and its parts."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from advkit.models import create_model
from advkit.reproduction.looking_at import error
from advkit.reproduction.papers.krizhevsky_network import LocallyConnected, four_layers
from advkit.reproduction.papers.krizhevsky_rectifiers import EFFECTS, ERROR, FOUR, WHOLE, _errors_in_the_middle
from advkit.training.augment import CropAverage

X = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def test_with_the_same_weights_everywhere_a_local_layer_is_a_convolution() -> None:
    torch.manual_seed(0)
    layer, kernel = LocallyConnected(3, 4, 5), torch.randn(4, 3, 3, 3)
    with torch.no_grad():
        layer.weight.copy_(kernel.flatten(1).expand(25, 4, 27))
        layer.bias.copy_(torch.arange(4.0)[:, None].expand(4, 25))
        torch.testing.assert_close(layer(X), F.conv2d(X, kernel, torch.arange(4.0), padding=1))


def test_the_weights_of_a_place_act_there_alone() -> None:
    torch.manual_seed(0)
    layer = LocallyConnected(3, 4, 5)
    with torch.no_grad():
        before = layer(X)
        layer.weight[7] += 1.0
        changed = (layer(X) != before).any(0).any(0)
    assert changed.flatten().nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("overlapping", [True, False])
def test_the_options_change_pooling_normalisation_and_activation(overlapping: bool) -> None:
    net = four_layers(activation="tanh", lrn=False, overlapping=overlapping)
    kinds = [type(part) for part in net]
    assert kinds.count(nn.LocalResponseNorm) == kinds.count(nn.ReLU) == 0
    assert kinds.count(nn.Tanh) == 4
    assert [type(part) for part in four_layers()].count(nn.LocalResponseNorm) == 2
    x = torch.rand(2, 3, 24, 24)
    assert net[:3](x).shape == (2, 64, 12, 12)
    pooled = F.max_pool2d(net[:2](x), 3 if overlapping else 2, 2, ceil_mode=overlapping)
    torch.testing.assert_close(net[:3](x), pooled)
    assert net(x).shape == (2, 10)


def test_test_images_are_seen_in_their_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    network = create_model(FOUR, input_shape=(3, 24, 24), num_classes=10, seed=0).eval()
    x, y = torch.rand(6, 3, 32, 32), torch.arange(6)
    monkeypatch.setattr("advkit.reproduction.papers.krizhevsky_rectifiers.digits_of", lambda _: (x, y))
    cell = EFFECTS.cell(WHOLE, ERROR)
    found = _errors_in_the_middle({WHOLE: network}, 0, cells={WHOLE: cell}, data="")
    assert found[cell].samples == error(network, x[:, :, 4:28, 4:28], y).samples
    assert CropAverage(network, crops=1).size == 24
