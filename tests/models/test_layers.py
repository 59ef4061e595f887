"""LRN, DropConnect, maxout and max-norm against their formulas."""

import pytest
import torch
from torch import nn

from advkit.core.errors import InputError
from advkit.models import create_model
from advkit.models.layers import (
    LRN,
    DropConnectLinear,
    FilterClip,
    FractionalMaxPool,
    MaxNorm,
    Maxout,
    MaxoutConv2d,
)


@pytest.mark.parametrize(("n", "maps"), [(5, 12), (5, 3), (3, 7), (1, 4)])
def test_lrn_is_the_papers_formula(n, maps):
    a, layer = torch.randn(2, maps, 3, 4, dtype=torch.float64) * 30, LRN(n)
    b = torch.empty_like(a)
    for i in range(maps):
        around = a[:, max(0, i - n // 2) : min(maps, i + n // 2 + 1)]
        b[:, i] = a[:, i] / (2 + 1e-4 * around.square().sum(1)) ** 0.75
    torch.testing.assert_close(layer(a), b)


def test_lrn_is_torchs_layer_with_n_times_alpha():
    a = torch.randn(2, 9, 3, 4, dtype=torch.float64) * 30
    theirs = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(LRN()(a), theirs(a))


def test_lrn_passes_gradcheck_and_refuses_even_windows():
    a = (torch.randn(1, 6, 2, 2, dtype=torch.float64) * 30).requires_grad_()
    assert torch.autograd.gradcheck(LRN(), a)
    with pytest.raises(InputError, match="expected an odd number of maps n, got 4"):
        LRN(4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("is_auto", [True, False])
def test_lrn_in_16_bits_is_that_in_float32_to_their_precision(dtype, is_auto):
    a = torch.linspace(-400, 400, 12, dtype=dtype).reshape(1, 12, 1, 1).requires_grad_()  # float16: 300^2 is infinite
    with torch.autocast("cpu", dtype, enabled=is_auto):
        b = LRN()(a)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(b.float(), LRN()(a.float()), rtol=2 * eps, atol=0)
    b.sum().backward()
    assert a.grad.isfinite().all()


def test_dropconnect_is_the_linear_layer_in_eval_mode():
    layer, x = DropConnectLinear(7, 5, p=0.5).eval(), torch.randn(3, 7)
    assert torch.equal(layer(x), nn.functional.linear(x, layer.weight, layer.bias))


def test_dropconnect_drops_weights_not_units_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropConnectLinear(30, 20, p=0.25)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = torch.eye(30)
    outputs = torch.stack([layer(x) for _ in range(400)])  # (400, 30, 20): the masked weights themselves
    kept = outputs != 0
    torch.testing.assert_close(outputs[kept], torch.full_like(outputs[kept], 1 / 0.75))
    assert abs(float(kept.float().mean()) - 0.75) < 0.01
    assert (outputs.mean(0) - 1).abs().amax() < 0.15
    assert (kept.all(1) | ~kept.any(1)).float().mean() < 0.01  # dropping units would keep or drop all of them


def test_dropconnect_refuses_p_outside_its_range():
    for p in (-0.1, 1.0):
        with pytest.raises(InputError, match="expected a probability p"):
            DropConnectLinear(2, 2, p=p)


def test_maxout_is_the_largest_of_its_pieces():
    layer, x = Maxout(6, 4, pieces=3), torch.randn(5, 6)
    pieces = layer.linear(x)
    expected = torch.stack([pieces[:, 3 * i : 3 * i + 3].max(1).values for i in range(4)], 1)
    assert torch.equal(layer(x), expected)


def test_max_norm_projects_each_unit_onto_the_ball_and_is_idempotent():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        net[2].weight[0] *= 100
        net[2].weight[1] *= 0.01
    before = net[2].weight.detach().clone()
    constraint = MaxNorm(net, 0.5)
    constraint()
    once = [p.detach().clone() for p in net.parameters()]
    assert all(w.detach().flatten(1).norm(dim=1).amax() <= 0.5 + 1e-6 for w in (net[0].weight, net[2].weight))
    assert torch.equal(net[2].weight[1], before[1])
    torch.testing.assert_close(net[2].weight[0] / net[2].weight[0].norm(), before[0] / before[0].norm())
    constraint()
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(once, net.parameters(), strict=True))


def test_max_norm_follows_an_optimiser():
    net = nn.Linear(4, 2)
    optimiser = torch.optim.SGD(net.parameters(), lr=100.0)
    optimiser.register_step_post_hook(MaxNorm(net, 1.0))
    net(torch.randn(8, 4)).square().sum().backward()
    optimiser.step()
    assert net.weight.detach().norm(dim=1).amax() <= 1 + 1e-6
    with pytest.raises(InputError, match="expected a limit above 0"):
        MaxNorm(net, 0.0)


def test_feature_scale_clipping_bounds_the_rms_of_each_filter_and_leaves_the_others():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.mul_(torch.tensor([0.01, 1.0, 100.0]).view(-1, 1, 1, 1))
    before, linear = net[0].weight.detach().clone(), net[2].weight.detach().clone()
    FilterClip(net, 0.1)()
    rms = net[0].weight.flatten(1).square().mean(1).sqrt()
    assert rms.tolist() == pytest.approx(
        [r if r < 0.1 else 0.1 for r in before.flatten(1).square().mean(1).sqrt().tolist()]
    )
    assert torch.equal(net[0].weight[0], before[0])
    assert torch.equal(net[2].weight, linear)
    torch.testing.assert_close(net[0].weight[2] / before[2], (net[0].weight[2] / before[2]).mean().expand(2, 3, 3))


def test_the_moments_are_mean_and_variance_of_ten_thousand_masks():
    torch.manual_seed(0)
    layer, x = DropConnectLinear(12, 6, p=0.4).double(), torch.randn(3, 12, dtype=torch.float64)
    drawn = torch.stack([layer(x) for _ in range(10_000)]).detach()  # (10000, 3, 6), one mask each
    mean, variance = (part.detach() for part in layer.moments(x))
    error = (drawn.mean(0) - mean) / (variance / 10_000).sqrt()  # standard normal
    assert error.abs().amax() < 4
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.08, atol=0)


def test_samples_have_the_moments_and_are_the_same_for_every_batch():
    torch.manual_seed(0)
    layer = DropConnectLinear(12, 6, p=0.4, samples=10_000).double().eval()
    x = torch.randn(3, 12, dtype=torch.float64)
    drawn, (mean, variance) = layer(x).detach(), layer.moments(x)
    assert drawn.shape == (10_000, 3, 6)
    assert ((drawn.mean(0) - mean) / (variance / 10_000).sqrt()).abs().amax() < 4
    torch.testing.assert_close(drawn.var(0), variance.detach(), rtol=0.08, atol=0)
    torch.testing.assert_close(layer(x[1:2])[:, 0], drawn[:, 1])


def test_a_network_that_samples_gives_the_mean_of_its_activations():
    net = create_model("mlp_dropconnect(samples=4000, hidden=[20])", seed=0, activation="tanh").double().eval()
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    hidden = net.net.hidden1
    mean, variance = hidden.moments(net.normalize(x).flatten(1))
    draws = mean + variance.sqrt() * torch.randn(20_000, 1, 20, dtype=torch.float64)
    found, expected = net.net[:-1](net.normalize(x)), draws.tanh().mean(0)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.08)  # five standard errors of 4,000 draws
    assert (found - mean.tanh()).abs().amax() > 0.15  # not the activation of the mean
    torch.testing.assert_close(net(x), net.net.output(found))
    torch.testing.assert_close(net(x[:1]), net(x)[:1])


def test_one_mask_a_sample_gives_equal_images_different_masks():
    torch.manual_seed(0)
    x = torch.ones(50, 30)
    alike, own = (DropConnectLinear(30, 20, masks=masks)(x) for masks in ("batch", "sample"))
    assert torch.equal(alike[0], alike[1])
    assert not torch.equal(own[0], own[1])
    layer = DropConnectLinear(30, 20, masks="sample")
    many = layer(x[:1].expand(4000, -1)).detach()
    mean, variance = layer.moments(x[:1])
    assert ((many.mean(0) - mean[0]) / (variance[0] / 4000).sqrt()).abs().amax() < 4
    for options, message in (({"masks": "image"}, "masks"), ({"samples": -1}, "samples of 0 or more")):
        with pytest.raises(InputError, match=message):
            DropConnectLinear(2, 2, **options)


def test_fractional_pooling_takes_maxima_of_windows_and_is_a_function_in_eval_mode():
    pool, x = FractionalMaxPool(), torch.rand(2, 3, 28, 20)
    torch.manual_seed(0)
    first, second = pool(x), pool(x)
    assert first.shape == (2, 3, 19, 14)
    assert not torch.equal(first, second)
    pool.eval()
    assert torch.equal(pool(x), pool(x))
    torch.testing.assert_close(pool(x[1:]), pool(x)[1:])
    around = torch.nn.functional.max_pool2d(x, 2, 1)
    assert all(
        bool((around[i, c] == value).any())
        for i in range(2)
        for c in range(3)
        for value in pool(x)[i, c, ::5, ::5].flatten()
    )
    assert torch.equal(FractionalMaxPool(0.5).eval()(x), torch.nn.functional.max_pool2d(x, 2))
    with pytest.raises(InputError, match="ratio"):
        FractionalMaxPool(1.0)


def test_convolutional_maxout_is_the_largest_of_its_pieces():
    layer, x = MaxoutConv2d(2, 4, 3, padding=1, pieces=3), torch.randn(2, 2, 5, 5)
    pieces = layer.conv(x)
    expected = torch.stack([pieces[:, 3 * i : 3 * i + 3].max(1).values for i in range(4)], 1)
    assert torch.equal(layer(x), expected)
