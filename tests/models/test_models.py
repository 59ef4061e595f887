"""Every registered network: the papers' counts, shapes at any size, gradients to the image, and a quiet eval mode."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.models import (
    Card,
    Classifier,
    Normalize,
    create_model,
    facts,
    list_models,
    overview,
    parameters,
    register_model,
    summary,
)
from advkit.models._registry import MODELS
from advkit.models.googlenet import AUXILIARY_WEIGHT, NaiveInception
from advkit.models.lenet import TABLE

NAMES = list_models()
SMALL = {"input_shape": (1, 32, 32), "num_classes": 10}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small(name: str, **options) -> Classifier:
    return create_model(name, **{**SMALL, "width": 0.125, "seed": 0, **options})


def digits(count: int = 2, shape: tuple[int, int, int] = (1, 32, 32)) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def test_the_registry_holds_the_networks_of_the_lecture():
    lecture = """lenet5 alexnet zfnet nin vgg11 vgg11_lrn vgg13 vgg16_1x1 vgg16 vgg19 googlenet stn_fcn stn_cnn
    mlp mlp_dropconnect maxout"""
    assert sorted(name for name in NAMES if name in lecture.split()) == sorted(lecture.split())
    assert list_models("vgg1*") == ["vgg11", "vgg11_lrn", "vgg13", "vgg16", "vgg16_1x1", "vgg19"]


@pytest.mark.parametrize("name", [n for n in NAMES if facts(n).parameters])
def test_the_parameters_are_the_papers_to_the_unit(name):
    counted = overview(name)
    assert counted.parameters == facts(name).parameters
    assert counted.auxiliary == facts(name).auxiliary


@pytest.mark.parametrize(
    ("name", "count"),
    [("lenet5", 60_806), ("alexnet", 60_965_224), ("zfnet", 62_357_608), ("nin", 966_986), ("vgg11", 132_863_336),
     ("vgg11_lrn", 132_863_336), ("vgg13", 133_047_848), ("vgg16_1x1", 133_638_952), ("vgg16", 138_357_544),
     ("vgg19", 143_667_240), ("googlenet", 6_998_552), ("mlp", 1_276_810), ("mlp_dropconnect", 1_276_810),
     ("maxout", 1_233_610)],
)  # fmt: skip
def test_the_papers_counts_are_those_of_the_papers(name, count):
    assert facts(name).parameters == count


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_width_stays_under_a_million_parameters(name):
    width = facts(name).small_width
    with torch.device("meta"):
        net = create_model(name, **SMALL, width=width)
    assert parameters(net) <= 1_000_000
    assert width == 1 or parameters(net) > 30_000  # a network that is made narrower keeps some strength


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "classes"), [((1, 32, 32), 10), ((3, 28, 28), 2), ((3, 72, 66), 7), ((2, 16, 20), 3)]
)
def test_it_takes_any_input_shape_and_number_of_classes(name, shape, classes):
    with torch.device("meta"):
        net = create_model(name, input_shape=shape, num_classes=classes, width=0.3)
        assert net(torch.rand(2, *shape)).shape == (2, classes)
        assert all(logits.shape == (2, classes) for _, logits in net.training_logits(torch.rand(2, *shape)))
    assert net.card.input_shape == shape
    assert net.card.num_classes == classes


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_reaches_every_corner_of_a_network(name):
    net, x = small(name, width=0.25).train(), digits(8)
    if name == "stn_cnn":  # at the identity the localisation network is cut off by its zero regression weights
        nn.init.normal_(net.net.transformer.regression.weight, std=0.1)
    if name == "stn_fcn":
        nn.init.normal_(net.net.transformer.regression.weight, std=0.1)
    net.training_loss(x, torch.arange(8)).backward()
    for parameter, tensor in net.named_parameters():
        assert tensor.grad is not None, parameter
        assert tensor.grad.isfinite().all(), parameter
        assert tensor.grad.any(), parameter


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_to_every_image_is_finite_and_not_zero(name):
    net, x = small(name).eval(), digits(3).requires_grad_()
    gradient = torch.autograd.grad(F.cross_entropy(net(x), torch.tensor([1, 2, 3]), reduction="sum"), x)[0]
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_eval_mode_is_deterministic_and_treats_images_one_by_one(name):
    net, x = small(name).eval().double(), digits(4).double()
    logits = net(x)
    assert torch.equal(logits, net(x))
    torch.testing.assert_close(torch.cat([net(image[None]) for image in x]), logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_changes_nothing_but_rounding(name):
    net, x = small(name, input_shape=(3, 32, 32)).eval().double(), digits(2, (3, 32, 32)).double()
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last)), net(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_and_autocast_give_nearly_the_same_logits_and_a_gradient(name):
    net, x = small(name).eval(), digits()
    logits = net(x).detach()
    near = 0.1 * float(logits.detach().abs().amax())
    half = copy.deepcopy(net).bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - logits).abs().amax() <= near
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        cast = net(x)
    assert (cast.float() - logits).abs().amax() <= near
    assert torch.autograd.grad(cast.float().square().sum(), x)[0].abs().amax() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_the_same_network_and_leaves_the_global_state_alone(name):
    state = torch.get_rng_state()
    first, second, other = small(name), small(name), small(name, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_each_c3_map_of_lenet5_sees_the_s2_maps_of_table_one():
    # The lecture's rows: for each S2 map the C3 maps that see it.
    rows = [
        [0, 4, 5, 6, 9, 10, 11, 12, 14, 15], [0, 1, 5, 6, 7, 10, 11, 12, 13, 15], [0, 1, 2, 6, 7, 8, 11, 13, 14, 15],
        [1, 2, 3, 6, 7, 8, 9, 12, 14, 15], [2, 3, 4, 7, 8, 9, 10, 12, 13, 15], [3, 4, 5, 8, 9, 10, 11, 13, 14, 15],
    ]  # fmt: skip
    c3 = create_model("lenet5", seed=0).net.features.c3
    s2 = digits(1, (6, 14, 14)).requires_grad_()
    sees = [
        torch.autograd.grad(c3(s2)[0, j].sum(), s2)[0][0].flatten(1).any(1).nonzero().flatten().tolist()
        for j in range(16)
    ]
    assert [[j for j in range(16) if i in sees[j]] for i in range(6)] == rows
    assert sum(map(len, TABLE)) == 60


def test_lenet5_equals_a_dense_network_with_zeros_where_the_table_has_none():
    net = create_model("lenet5", seed=0).double()
    dense = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    connections = [(j, i) for j, seen in enumerate(TABLE) for i in seen]
    c3, s2 = net.net.features.c3, digits(2, (6, 14, 14)).double()
    for kernel, (j, i) in zip(c3.weight, connections, strict=True):
        dense[j, i] = kernel
    torch.testing.assert_close(c3(s2), F.conv2d(s2, dense, c3.bias))


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16", "vgg19"])
def test_torchvisions_weights_fit_our_vgg_with_equal_logits(name):
    from torchvision import models

    theirs = models.get_model(name, weights=None, init_weights=False, num_classes=5).eval()
    with torch.device("meta"):
        ours = create_model(name, num_classes=5).net.eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    x = digits(1, (3, 224, 224))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def test_auxiliary_classifiers_count_in_training_only():
    net, x, y = small("googlenet").train(), digits(4), torch.arange(4)
    outputs = net.training_logits(x)
    assert [weight for weight, _ in outputs] == [1.0, AUXILIARY_WEIGHT, AUXILIARY_WEIGHT]
    before = net.eval()(x)
    for tensor in net.net.auxiliary.parameters():
        nn.init.constant_(tensor, float("nan"))
    assert torch.equal(net(x), before)
    assert net.train()(x).isfinite().all()
    assert net.training_loss(x, y).isnan()


def test_training_loss_adds_the_auxiliary_losses_by_their_weight():
    net, x, y = small("googlenet").eval(), digits(4), torch.arange(4)  # eval: dropout out of the way
    (_, main), (_, first), (_, second) = net.training_logits(x)
    expected = F.cross_entropy(main, y) + 0.3 * (F.cross_entropy(first, y) + F.cross_entropy(second, y))
    torch.testing.assert_close(net.training_loss(x, y), expected)
    torch.testing.assert_close(main, net(x))
    plain = small("lenet5")
    torch.testing.assert_close(plain.training_loss(x, y), F.cross_entropy(plain(x), y))


def test_googlenet_without_auxiliaries_has_the_same_logits():
    net, x = small("googlenet").eval(), digits()
    bare = small("googlenet", auxiliaries=False).eval()
    bare.net.load_state_dict({k: v for k, v in net.net.state_dict().items() if not k.startswith("auxiliary.")})
    assert torch.equal(bare(x), net(x))
    assert bare.card.parameters == net.card.parameters == parameters(bare)


def test_the_naive_inception_stacks_its_branches():
    module, x = NaiveInception(4, 2, 3, 5), torch.rand(1, 4, 9, 9)
    y = module(x)
    assert y.shape == (1, module.maps, 9, 9)
    assert torch.equal(y[:, -4:], F.max_pool2d(x, 3, 1, 1))


def test_alexnet_at_the_papers_size_starts_as_in_the_paper():
    net = create_model("alexnet", num_classes=10, input_shape=(3, 64, 64), seed=0).net
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert [float(m.bias.detach().mean()) for m in layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert all(abs(float(m.weight.detach().std()) - 0.01) < 2e-4 for m in layers[:-1])
    assert [m.groups for m in layers if isinstance(m, nn.Conv2d)] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "vgg16", "googlenet", "nin"])
def test_convolutional_networks_take_larger_images_than_they_were_built_for(name):
    net = small(name, input_shape=(3, 64, 64)).eval()
    assert net(digits(1, (3, 96, 80))).shape == (1, 10)


def test_the_mlp_takes_each_activation_and_refuses_others():
    for activation in ("relu", "sigmoid", "tanh"):
        assert small("mlp", activation=activation)(digits()).shape == (2, 10)
    with pytest.raises(InputError, match="unknown activation 'tan'; did you mean 'tanh'"):
        small("mlp", activation="tan")


def test_normalize_works_by_channel_and_refuses_other_channel_counts():
    x = digits(2, (3, 5, 5))
    expected = torch.stack([(x[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)])], 1)
    torch.testing.assert_close(Normalize((0.1, 0.2, 0.3), (1, 2, 4))(x), expected)
    with pytest.raises(InputError, match=r"expected images \(N, 3, H, W\), got \(2, 1, 5, 5\)"):
        Normalize((0.1, 0.2, 0.3), (1, 2, 4))(x[:, :1])
    for mean, std in [(0.0, 0.0), ((0, 0), 1.0), (float("nan"), 1.0), (0.0, -1.0)]:
        with pytest.raises(InputError, match="expected as many finite means"):
            Normalize(mean, std)


def test_one_mean_and_std_fit_rows_of_features_and_add_no_axis():
    rows, net = torch.rand(5, 4), nn.Linear(4, 3)
    assert torch.equal(Normalize(0.5, 0.25)(rows), (rows - 0.5) / 0.25)
    assert torch.equal(Classifier(net, mean=0.5, std=0.25)(rows), net((rows - 0.5) / 0.25))
    assert Normalize(0.5)(rows.half()).dtype == torch.float32  # as with channels: the network's own type
    with pytest.raises(
        InputError, match=r"lenet5 was built for images \(N, 1, 32, 32\), got \(32, 32\): x.reshape\(-1, 1"
    ):
        small("lenet5")(digits()[0, 0])


def test_any_module_becomes_a_classifier():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    classifier, x = Classifier(net, mean=0.5, std=0.5), digits(2, (1, 4, 4))
    torch.testing.assert_close(classifier(x), net(2 * x - 1))
    assert classifier.card.parameters == 51
    assert set(classifier.state_dict()) == {"net.1.weight", "net.1.bias"}


@pytest.mark.parametrize("kind", [RuntimeError, AssertionError, ValueError])
def test_a_network_that_checks_the_size_itself_gets_the_same_line(kind):
    class Strict(nn.Module):
        def forward(self, x):
            if x.shape[-1] != 8:
                raise kind("wrong height")
            return x.flatten(1)[:, :3]

    net = Classifier(Strict(), card=Card(name="strict", input_shape=(1, 8, 8), num_classes=3))
    assert net(torch.rand(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(InputError, match=r"strict was built for images \(N, 1, 8, 8\), got \(2, 1, 6, 6\)"):
        net(torch.rand(2, 1, 6, 6))


def test_an_image_of_another_size_gets_one_clear_error():
    with pytest.raises(InputError, match=r"lenet5 was built for images \(N, 1, 32, 32\), got \(2, 1, 28, 28\)"):
        create_model("lenet5")(digits(2, (1, 28, 28)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_shape": (32, 32)}, r"expected input_shape=\(channels, height, width\)"),
        ({"input_shape": (1, 0, 32)}, "positive whole numbers"),
        ({"input_shape": (1, 6, 6)}, "images of 6x6 are too small"),
        ({"num_classes": 1}, "expected num_classes of at least 2, got 1"),
        ({"width": 0}, "expected a width above 0"),
        ({"width": float("inf")}, "expected a width above 0"),
        ({"mean": (0.1, 0.2)}, "one a channel"),
        ({"widht": 1}, "unknown option of model 'lenet5' 'widht'; did you mean 'width'"),
    ],
)
def test_a_wrong_option_gets_one_clear_error(options, message):
    with pytest.raises(InputError, match=message):
        create_model("lenet5", **options)


def test_unknown_names_suggest_the_nearest():
    for look in (create_model, facts, overview):
        with pytest.raises(InputError, match="unknown model 'lenet6'; did you mean 'lenet5'"):
            look("lenet6")


def test_a_spec_gives_options():
    assert create_model("vgg16(width=1/4, num_classes=10, input_shape=(1, 32, 32))").card.describe() == (
        "vgg16, width 1/4, 0.92 M parameters"
    )


def test_a_network_of_ones_own_registers_in_a_few_lines():
    @register_model("test_tiny", paper="none", year=2000, parameters=None)
    def tiny(*, input_shape=(1, 8, 8), num_classes=10, width=1.0):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    try:
        assert create_model("test_tiny", num_classes=4)(digits(1, (1, 8, 8))).shape == (1, 4)
        assert overview("test_tiny").multiply_adds == 640
    finally:
        del MODELS._factories["test_tiny"]
    with pytest.raises(TypeError, match="must take input_shape="):
        register_model("test_bad", paper="none", year=2000, parameters=None)(lambda *, width: nn.Identity())


def test_the_summary_of_lenet5_reads_like_the_lecture():
    rows = {row.name.split(".")[-1]: row for row in summary(create_model("lenet5"))}
    assert rows["c1"].text == "6 maps of 28x28, 156 parameters"
    assert rows["s2"].text == "6 maps of 14x14, 0 parameters"
    assert rows["c3"].text == "16 maps of 10x10, 1,516 parameters"
    assert rows["f5"].text == "120 units, 48,120 parameters"
    assert rows["output"].text == "10 units, 850 parameters"
    assert rows["c1"].kind == "convolution 5x5"
    assert rows["c1"].multiply_adds == 28 * 28 * 6 * 25
    assert rows["c3"].multiply_adds == 10 * 10 * 60 * 25
    assert rows["f6"].multiply_adds == 120 * 84


@pytest.mark.parametrize(
    ("name", "shape", "sides"),
    [
        ("alexnet", (3, 224, 224), [55, 27, 13, 6]),
        ("alexnet", (1, 32, 32), [32, 16, 8, 4]),
        ("zfnet", (3, 224, 224), [110, 55, 26, 13, 6]),
        ("zfnet", (1, 32, 32), [32, 16, 8, 4]),
        ("nin", (3, 32, 32), [32, 16, 8, 1]),
        ("vgg16", (3, 224, 224), [224, 112, 56, 28, 14, 7]),
        ("vgg16", (1, 28, 28), [28, 14, 7, 4, 2, 1]),
        ("googlenet", (3, 224, 224), [112, 56, 28, 14, 7, 1]),
        ("googlenet", (1, 32, 32), [32, 16, 8, 4, 1]),
    ],
)
def test_the_maps_shrink_as_in_the_paper_and_slowly_on_small_images(name, shape, sides):
    with torch.device("meta"):
        rows = summary(create_model(name, input_shape=shape))
    seen = [row.output[1] for row in rows if len(row.output) == 3]
    assert [side for i, side in enumerate(seen) if i == 0 or side != seen[i - 1]] == sides


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_summary_add_up_and_leave_no_trace(name):
    net = small(name).train()
    rows = summary(net)
    assert sum(row.parameters for row in rows) == net.card.parameters
    assert rows[-1].output == (10,) or rows[-1].kind == "global average pooling"
    assert all(module.training for module in net.modules())
    assert not any(module._forward_hooks for module in net.modules())


def test_multiply_adds_of_the_great_networks():
    # VGG-16: 15.47 G and ResNet-18: 1.81 G are the counts that torchvision publishes.
    assert overview("vgg16").multiply_adds == pytest.approx(15.47e9, rel=1e-3)
    with torch.device("meta"):
        resnet = create_model("torchvision:resnet18")
    assert sum(row.multiply_adds for row in summary(resnet)) == pytest.approx(1.814e9, rel=1e-3)


def test_a_summary_without_a_shape_says_what_to_give():
    with pytest.raises(InputError, match="give input_shape="):
        summary(nn.Linear(2, 2))


@pytest.mark.parametrize("name", list_models())
def test_the_file_of_counts_says_what_is_counted(name):
    from advkit.models._summary import counted, overview

    assert overview(name) == counted(name), "run python -m advkit.models._counts"
