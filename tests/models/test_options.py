"""Options of the lecture's networks: pooling, activations, dropout of the input, naive Inception, dense evaluation."""

import pytest
import torch
from torch import nn

from advkit.core.errors import InputError
from advkit.models import create_model, list_models, load_model
from advkit.models.googlenet import Inception, NaiveInception
from advkit.models.layers import LRN

SMALL = {"input_shape": (1, 32, 32), "num_classes": 10, "seed": 0}


def kinds(net):
    return {type(module) for module in net.modules()}


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "zfnet", "nin", "vgg11", "vgg16_1x1", "mlp", "mlp_dropconnect"])
def test_another_activation_takes_the_place_of_every_rectifier(name, activation):
    width = 1.0 if name == "lenet5" else 0.125
    net = create_model(f"{name}(activation={activation}, width={width})", **SMALL)
    other = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation]
    plain = create_model(name, width=width, **SMALL)
    assert nn.ReLU not in kinds(net)
    assert sum(type(m) is other for m in net.modules()) == sum(type(m) is nn.ReLU for m in plain.modules())
    assert net.state_dict().keys() == plain.state_dict().keys()
    logits = net(torch.rand(4, 1, 32, 32))
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())


def test_an_unknown_choice_is_one_clear_error():
    for spec, message in (
        ("lenet5(pool=mean)", "pool"),
        ("lenet5(activation=relu6)", "activation"),
        ("googlenet(inception=small, width=0.125)", "inception"),
        ("mlp_dropconnect(masks=one)", "masks"),
        ("nin(head=none)", "head"),
    ):
        with pytest.raises(InputError, match=message):
            create_model(spec, **SMALL)


def test_average_pooling_keeps_lenets_size_and_fractional_pooling_enlarges_it():
    average, fractional = (create_model(f"lenet5(pool={pool})", **SMALL) for pool in ("average", "fractional"))
    assert average.card.parameters == 60_806
    assert nn.AvgPool2d in kinds(average)
    assert fractional.net.features(torch.rand(1, 1, 32, 32)).shape == (1, 16, 10, 10)  # 28 -> 19, 15 -> 10


def test_input_dropout_drops_pixels_in_training_alone():
    net = create_model("mlp(input_dropout=0.2)", **SMALL)
    dropped = net.net.dropout0(torch.ones(100, 784))
    assert abs((dropped == 0).float().mean() - 0.2) < 0.01
    assert torch.equal(net.eval().net.dropout0(torch.ones(2, 784)), torch.ones(2, 784))
    assert not hasattr(create_model("mlp", **SMALL).net, "dropout0")


def test_naive_inception_has_the_modules_of_figure_2a():
    net = create_model("googlenet(inception=naive, width=0.125)", **SMALL)
    assert sum(type(m) is NaiveInception for m in net.modules()) == 9
    assert Inception not in kinds(net)
    assert net.eval()(torch.rand(2, 1, 32, 32)).shape == (2, 10)


def test_dense_evaluation_at_the_built_size_equals_the_fully_connected_head_exactly():
    plain, dense = (
        create_model(f"vgg11(width=0.125, dense={dense})", input_shape=(3, 224, 224), num_classes=7, seed=0).eval()
        for dense in ("false", "true")
    )
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dense(x), plain(x))
    assert dense.state_dict().keys() == plain.state_dict().keys()


def test_dense_evaluation_of_a_larger_image_is_the_mean_over_the_windows_of_its_maps():
    net = create_model("vgg11(width=0.0625, dense=true)", input_shape=(3, 64, 64), num_classes=5, seed=0)
    net = net.double().eval()
    x = torch.rand(2, 3, 128, 96, dtype=torch.float64)
    maps = net.net.features(net.normalize(x))  # 4 x 3, the head's size is 2 x 2
    windows = [maps[:, :, i : i + 2, j : j + 2] for i in range(3) for j in range(2)]
    expected = torch.stack([net.net.classifier(window.flatten(1)) for window in windows]).mean(0)
    torch.testing.assert_close(net(x), expected)
    head = net.net.classifier
    kernel = head[0].weight.view(-1, maps.shape[1], 2, 2)  # the first layer as a convolution, the paper's way
    torch.testing.assert_close(
        nn.functional.conv2d(maps, kernel, head[0].bias).flatten(2).transpose(1, 2),
        head[0](nn.functional.unfold(maps, 2).transpose(1, 2)),
    )
    assert net(x[..., :32, :32]).shape == (2, 5)  # smaller than the head: its maps are stretched, as without `dense`


def test_options_reach_checkpoints_that_ship():
    x = torch.rand(2, 1, 28, 28)
    plain, sampled = (
        load_model("mlp_dropconnect", device="cpu"),
        load_model("mlp_dropconnect(samples=200)", device="cpu"),
    )
    x = torch.rand(2, *plain.card.input_shape)
    assert sampled.net.hidden1.samples == 200
    assert torch.equal(sampled.net.output.weight, plain.net.output.weight)
    assert not torch.equal(sampled(x), plain(x))
    assert torch.equal(load_model("vgg16(dense=true)", device="cpu")(x), load_model("vgg16", device="cpu")(x))


def test_the_convolutional_maxout_network_is_registered():
    assert "maxout_cnn" in list_models("maxout*")
    assert create_model("maxout_cnn", input_shape=(1, 28, 28), seed=0).eval()(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("side", [28, 32, 224])
def test_pooling_without_overlap_gives_alexnet_maps_of_the_same_size(side):
    options = {"input_shape": (1, side, side), "num_classes": 10, "width": 0.0625, "seed": 0}
    ours, plain = (create_model("alexnet", overlapping=overlapping, **options) for overlapping in (True, False))
    assert {m.kernel_size for m in plain.modules() if isinstance(m, nn.MaxPool2d)} == {2}
    assert {m.kernel_size for m in ours.modules() if isinstance(m, nn.MaxPool2d)} == {3}
    sizes = [net.net.features(torch.rand(1, 1, side, side)).shape for net in (ours, plain)]
    assert sizes[0] == sizes[1]


def test_alexnet_without_response_normalisation_has_none():
    assert LRN in kinds(create_model("alexnet(width=0.125)", **SMALL))
    assert LRN not in kinds(create_model("alexnet(width=0.125, lrn=false)", **SMALL))


def test_a_connected_head_reads_every_pixel_of_nins_rectified_maps():
    net = create_model("nin(width=0.125, head=connected, head_dropout=0.5)", **SMALL).eval()
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    maps = net.net.features(net.normalize(x))
    assert maps.shape == (3, 10, 8, 8)
    assert bool((maps >= 0).all())
    linear = net.net.classifier[1]
    assert torch.allclose(net(x), maps.flatten(1) @ linear.weight.T + linear.bias, atol=1e-6)
    average = create_model("nin(width=0.125)", **SMALL)
    assert net.card.parameters == average.card.parameters + 640 * 10 + 10
