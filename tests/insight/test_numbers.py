"""Filters, maps, occlusion, top activations, directions, movement: closed forms, slow references, other networks."""

import pytest
import torch
from torch import nn

from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.data import MemoryDataset, load_data
from advkit.insight import (
    activations,
    activity,
    directions,
    filters,
    maps,
    movement,
    occlusion,
    receptive_fields,
    shuffled,
    top_activations,
)
from advkit.insight.movement import within
from advkit.models import create_model, load_model


def images(n=4, channels=1, side=12, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def dataset(x):
    return MemoryDataset("toy", "test", ("a", "b"), x, torch.zeros(len(x), dtype=torch.int64))


def test_a_dead_and_a_dominating_filter_are_named():
    net = nn.Sequential(nn.Conv2d(1, 6, 3))
    with torch.no_grad():
        net[0].weight.copy_(torch.full((6, 1, 3, 3), 0.1) * torch.tensor([1, 1, 1, 1, 0.05, 4.0]).view(-1, 1, 1, 1))
    found = filters(net)
    assert found.layer == "0"
    assert found.rms.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.005, 0.4])
    assert found.dead.tolist() == [False] * 4 + [True, False]
    assert found.dominating.tolist() == [False] * 5 + [True]
    assert found.scaled().amax().item() == 1
    assert found.scaled(together=False).amax((1, 2, 3)).tolist() == [1] * 6
    assert torch.equal(found.scaled() > 0.5, found.kernels > 0)


def test_a_table_of_connections_gives_whole_kernels_and_no_convolution_is_an_error():
    net = load_model("lenet5", device="cpu")
    kernels = filters(net, "features.c3").kernels
    assert kernels.shape == (16, 6, 5, 5)
    assert (kernels.abs().sum((2, 3)) > 0).sum().item() == 60
    with pytest.raises(InputError, match="expected a convolution"):
        filters(net, "classifier.f5")
    with pytest.raises(InputError, match="without"):
        filters(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))


def test_maps_are_what_the_layer_puts_out_and_survive_a_rectifier_that_writes_on_them():
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2))
    x = images()
    net(x)
    expected = net[0](x)
    assert torch.equal(maps(net, x, layer="0"), expected)
    found = activations(net, x, ["0", "1", "3"])
    assert torch.equal(found["0"], expected)
    assert torch.equal(found["1"], expected.relu())
    assert torch.equal(found["3"], net(x))


def test_receptive_fields_are_those_of_the_arithmetic():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3, stride=2))
    boxes = receptive_fields(net, (1, 20, 20), layer="3", positions=[(0, 0), (1, 2)])
    assert boxes[1] == (4 - 1, 8 - 1, 4 + 6 + 1, 8 + 6 + 1)  # 3 pooled rows from 2 on: pixels 4 to 9, and one more
    assert boxes[0] == (0, 0, 7, 7)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet", "nin"])
def test_what_lies_outside_the_receptive_field_does_not_move_the_unit(name):
    layer = {"lenet5": "features.c3", "googlenet": "inceptions.3a", "nin": "net"}.get(name, "features.4")
    net = load_model(name, device="cpu")
    if name == "nin":
        layer = next(n for n, m in net.net.named_modules() if isinstance(m, nn.MaxPool2d | nn.AvgPool2d))
    x = load_data("mnist5k")[:1][0]
    output = maps(net, x, layer=layer)
    place = (output.shape[2] // 3, output.shape[3] // 3)
    (top, left, bottom, right) = receptive_fields(net, (1, 32, 32), layer=layer, positions=[place])[0]
    assert (bottom - top) * (right - left) < 32 * 32
    other = torch.rand(1, 1, 32, 32)
    other[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right]
    moved = maps(net, other, layer=layer)
    torch.testing.assert_close(moved[..., place[0], place[1]], output[..., place[0], place[1]])
    edge = x.clone()
    edge[:, :, top, left:right] = 1 - edge[:, :, top, left:right]
    edge[:, :, top:bottom, left] = 1 - edge[:, :, top:bottom, left]
    assert not torch.equal(maps(net, edge, layer=layer)[..., place[0], place[1]], output[..., place[0], place[1]])


def test_the_top_images_of_a_unit_are_those_of_a_loop_and_their_patches_give_the_activation():
    net = nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU())
    data = dataset(images(30))
    output = maps(net, data[:][0], layer="1")
    for top in top_activations(net, data, layer="1", count=5, batch_size=7):
        best = output[:, top.unit].flatten(1).amax(1)
        assert top.rows.tolist() == best.argsort(descending=True)[:5].tolist()
        for patch, value, (row, column), (t, left, b, r) in zip(
            top.patches(data), top.values, top.positions.tolist(), top.boxes, strict=True
        ):
            assert (t, left, b, r) == (row, column, row + 5, column + 5)
            assert net(patch[None])[0, top.unit].item() == pytest.approx(value.item(), abs=1e-6)
    assert not bool(activity(net, data, layer="1").dead.all())


def test_directions_of_one_unit_are_its_top_images_and_random_ones_have_length_one():
    net = load_model("lenet5", device="cpu")
    data = load_data("mnist5k")
    found = directions(net, data, layer="classifier.relu6", units=[3], random=2, seed=1, count=6)
    top = top_activations(net, data, layer="classifier.relu6", units=[3], count=6)[0]
    assert found[0].rows.tolist() == top.rows.tolist()
    phi = maps(net, data[:][0], layer="classifier.relu6").double()
    for direction in found:
        assert direction.vector.norm().item() == pytest.approx(1)
        assert direction.values[0].item() == pytest.approx((phi @ direction.vector).max().item())


class Corner(nn.Module):
    """Two classes; class 1 is as likely as the brightness of one 3x3 patch."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        value = 10 * self.conv(x)[:, 0, 2:5, 6:9].mean((1, 2))
        return torch.stack([torch.full_like(value, 5.0), value], 1)


def test_the_square_over_the_only_pixels_that_count_lowers_the_probability_most():
    x = torch.ones(2, 1, 12, 12)
    found = occlusion(
        Corner(), x, torch.ones(2, dtype=torch.int64), size=3, stride=1, value=0, layer="conv", batch_size=7
    )
    assert found.probability.shape == (2, 10, 10)
    assert found.centres().tolist() == [[3.0, 7.0]] * 2
    assert found.probability[0, 2, 6].item() == pytest.approx(1 / (1 + torch.tensor(5.0).exp().item()), rel=1e-5)
    assert found.predicted[0, 2, 6] == 0
    assert torch.equal(found.activation, torch.full((2, 10, 10), 144.0 - 9))
    heat = found.heat()[0]
    assert divmod(heat.argmin().item(), 12) == (3, 7)
    assert heat[11, 11] == pytest.approx(found.clean[0].item())


def test_the_last_square_touches_the_border():
    found = occlusion(Corner(), torch.ones(1, 1, 12, 12), size=5, stride=3)
    assert found.rows.tolist() == [0, 3, 6, 7]
    assert not bool(found.heat().isnan().any())
    with pytest.raises(InputError, match="square"):
        occlusion(Corner(), torch.ones(1, 1, 12, 12), size=13)


def test_shuffled_noise_keeps_every_norm():
    delta = torch.randn(3, 2, 5, 5, dtype=torch.float64) * (torch.rand(3, 2, 5, 5) < 0.5)
    noise = shuffled(delta, Draws(0, torch.arange(3)))
    for p in (0, 1, 2, torch.inf):
        a, b = (torch.linalg.vector_norm(t.flatten(1), ord=p, dim=1) for t in (delta, noise))
        torch.testing.assert_close(a, b)
    assert not torch.equal(noise, delta)
    alone = shuffled(delta[1:2], Draws(0, torch.tensor([1])))
    assert torch.equal(alone, noise[1:2])


def test_movement_of_a_linear_net_is_the_formula_and_noise_moves_it_less():
    x = images(8, side=16) * 0.6 + 0.2
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 1, bias=False))
    delta = 0.1 * net[1].weight.detach().sign().view(1, 1, 16, 16)
    found = movement(net, x, x + delta)
    assert found.layers == ("input", "1")
    a = net(x).detach().double()
    torch.testing.assert_close(found.adversarial[1], ((net(x + delta) - a) / a)[:, 0].abs().double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(found.noise[0], found.adversarial[0])
    assert bool((found.noise[1] < found.adversarial[1]).all())


def test_networks_of_torchvision_are_left_as_they_were():
    net = create_model("torchvision:squeezenet1_1", seed=0)  # in train mode, with dropout
    x = images(2, 3, 64)
    state = torch.random.get_rng_state()
    filters(net)
    occlusion(net, x, size=32, stride=32, layer="features.12")
    movement(net, x, (x + 0.1).clamp(0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_noise_stays_in_the_range_and_keeps_its_size():
    x = torch.rand(4, 1, 12, 12).round()  # all pixels at the ends of the range
    x_adv = (x - 0.3 * (x - 0.5).sign() * torch.rand(x.shape)).clamp(0, 1)
    noisy = within(x, shuffled(x_adv - x, Draws(0, torch.arange(4))), (0, 1))
    assert bool(((noisy >= 0) & (noisy <= 1)).all())
    torch.testing.assert_close((noisy - x).flatten(1).norm(dim=1), (x_adv - x).flatten(1).norm(dim=1))
    found = movement(nn.Sequential(nn.Flatten()), x, x_adv)
    torch.testing.assert_close(found.noise[0], found.adversarial[0], rtol=1e-5, atol=0)


def test_a_network_that_answers_a_dictionary_is_occluded_like_its_logits():
    class Named(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return {"logits": self.inner(x)}

    net, x = Corner(), images(2, side=12)
    plain, named = (occlusion(model, x, size=4, stride=4) for model in (net, Named(net)))
    assert torch.equal(plain.probability, named.probability)
    assert torch.equal(plain.predicted, named.predicted)
