"""The registry of networks through the attacks: they run, their gradients are the derivative, nothing is left behind.

A network is tested from the moment it is registered. All are tiny, in float64, and moved off the points where ReLU,
maximum and sampler have kinks, which initialisations (biases 0, the identity) hit exactly.
"""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.attacks import FGSM, create_attack
from advkit.models import Classifier, create_model, list_models
from advkit.models.layers import LRN, DropConnectLinear, Maxout
from advkit.models.spatial_transformer import SAMPLERS, TRANSFORMS, SpatialTransformer

NAMES = list_models()
SHAPE, CLASSES, COUNT = (1, 20, 20), 4, 4
ATTACKS = [
    "fgsm(eps=0.1)",
    "pgd(eps=0.1, steps=2)",
    "lbfgs(searches=2, first_steps=3, later_steps=2, leaps=0, target=untargeted)",
]


@pytest.fixture(autouse=True)
def own_random_state():
    with torch.random.fork_rng():
        yield


@cache
def built(name: str) -> Classifier:
    return create_model(name, input_shape=SHAPE, num_classes=CLASSES, width=1 / 16, seed=0).double()


def tiny(name: str) -> Classifier:
    """The network in eval mode, every parameter random, so that no path is cut off."""
    net = scatter(built(name).eval())
    for parameter in net.parameters():
        parameter.grad = None
    return net


def scatter(net: nn.Module) -> nn.Module:
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            parameter.copy_(scale * torch.randn(parameter.shape, generator=draws, dtype=parameter.dtype))
        for part in net.modules():
            if isinstance(part, SpatialTransformer):  # near the identity, as trained ones are
                part.regression.weight.mul_(0.1)
                part.regression.bias.add_(torch.tensor(part.grid.identity))
    return net


def images(*shape: int) -> Tensor:
    return torch.rand(COUNT, *(shape or SHAPE), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


LABELS = torch.arange(COUNT) % CLASSES


class Peek(FGSM):
    """FGSM that shows the gradient that it was given."""

    def step(self, oracle, state, i):
        SEEN.append(oracle.loss_and_gradient(state.x_adv, self.loss)[1])
        return state


SEEN: list[Tensor] = []


def attack_gradient(net: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """What attacks climb: the gradient of the summed cross-entropy to each image."""
    Peek(eps=0.1)(net, x, y, stop="never")
    return SEEN.pop()


def check_is_the_derivative(f, gradient: Tensor, x: Tensor) -> None:
    """`gradient` (N, ...) predicts the differences of f: x -> (N,) along itself and along a random direction."""
    assert (gradient.flatten(1).norm(dim=1) > 0).all()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    for along in (direction, F.normalize(gradient.flatten(1)).view_as(x)):
        with torch.no_grad():
            measured = (f(x + 1e-6 * along) - f(x - 1e-6 * along)) / 2e-6
        torch.testing.assert_close((gradient * along).flatten(1).sum(1), measured, rtol=1e-5, atol=1e-8)


def check_layer(layer: nn.Module, x: Tensor) -> None:
    """The gradient through a layer alone, to a random mixture of its outputs."""
    with torch.no_grad():
        mixture = torch.randn(layer(x)[0].shape, generator=torch.Generator().manual_seed(4), dtype=x.dtype)

    def f(at: Tensor) -> Tensor:
        torch.manual_seed(0)
        return (layer(at) * mixture).flatten(1).sum(1)

    leaf = x.clone().requires_grad_()
    check_is_the_derivative(f, torch.autograd.grad(f(leaf).sum(), leaf)[0], x)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_that_attacks_are_given_is_the_derivative_of_the_loss(name):
    net, x = tiny(name), images()
    gradient = attack_gradient(net, x, LABELS)
    check_is_the_derivative(lambda at: F.cross_entropy(net(at), LABELS, reduction="none"), gradient, x)


@pytest.mark.parametrize("name", NAMES)
def test_with_dropout_and_its_kin_at_work_the_gradient_is_still_the_derivative(name):
    check_layer(tiny(name).train(), images())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_gradient_through_dropconnect_is_the_derivative(mode):
    layer = scatter(DropConnectLinear(12, 5).double()).train(mode == "train")
    check_layer(layer, images(12))
    torch.manual_seed(0)
    first = layer(images(12))
    torch.manual_seed(1)
    assert torch.equal(first, layer(images(12))) == (mode == "eval")


@pytest.mark.parametrize(
    "layer", [LRN(k=1.0, alpha=0.3), Maxout(8, 5, pieces=3)], ids=lambda layer: type(layer).__name__
)
def test_the_gradient_through_lrn_and_maxout_is_the_derivative(layer):
    shape = (8,) if isinstance(layer, Maxout) else (8, 3, 3)
    check_layer(scatter(layer.double()), images(*shape))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_gradient_through_a_spatial_transformer_is_the_derivative(transform, sampler):
    localisation = nn.Sequential(nn.Flatten(), nn.Linear(72, 6), nn.Tanh())
    layer = SpatialTransformer(localisation, 6, (5, 7), transform=transform, sampler=sampler)
    check_layer(scatter(layer.double()), images(2, 6, 6))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", NAMES)
def test_an_attack_runs_and_what_it_says_is_true(name, attack):
    net, x = tiny(name), images()
    result = create_attack(attack)(net, x, LABELS)
    with torch.no_grad():
        clean, fooled = (net(at).argmax(1) != LABELS for at in (x, result.x_adv))
    assert torch.equal(fooled, result.success)
    assert result.x_adv.min() >= 0
    assert result.x_adv.max() <= 1
    moved = (result.x_adv - x).flatten(1).abs().amax(1)
    assert (moved[clean] == 0).all()
    if not attack.startswith("lbfgs"):
        assert (moved <= 0.1).all()
        assert (moved[~clean] > 0).all()
        assert not result.zero_gradient.any()


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_on_a_batch_is_the_attack_on_each_image(name):
    net, x, attack = tiny(name), images(), create_attack("pgd(eps=0.1, steps=2)")
    whole = attack(net, x, LABELS, stop="never").x_adv
    for i in range(COUNT):
        one = attack(net, x[i : i + 1], LABELS[i : i + 1], sample_ids=torch.tensor([i]), stop="never").x_adv
        torch.testing.assert_close(one, whole[i : i + 1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_on_a_network_in_train_mode_leaves_no_trace(name):
    net, x = tiny(name), images()
    expected = create_attack(ATTACKS[1])(net, x, LABELS).x_adv
    net.train()
    first = next(net.parameters())
    first.requires_grad_(False)
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, random = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    try:
        assert torch.equal(create_attack(ATTACKS[1])(net, x, LABELS).x_adv, expected)
        assert all(module.training for module in net.modules())
        assert [p.requires_grad for p in net.parameters()] == [p is not first for p in net.parameters()]
        assert all((p.grad == 1).all() for p in net.parameters())
        assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
        assert torch.equal(torch.get_rng_state(), random)
    finally:
        first.requires_grad_(True)


@pytest.mark.parametrize("name", NAMES)
def test_what_serves_training_alone_never_leaks_into_evaluation(name):
    net, x = tiny(name), images()
    gradients = torch.autograd.grad(net(x).sum(), list(net.parameters()), allow_unused=True)
    unused = [p for p, g in zip(net.parameters(), gradients, strict=True) if g is None]
    assert sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in unused) == net.card.parameters
    logits, x_adv = net(x), create_attack(ATTACKS[1])(net, x, LABELS).x_adv
    with torch.no_grad():
        for parameter in unused:
            parameter.fill_(torch.nan)
    assert torch.equal(net(x), logits)
    assert torch.equal(create_attack(ATTACKS[1])(net, x, LABELS).x_adv, x_adv)
    assert net.train()(x).isfinite().all()
    assert len(unused) == 0 or net.training_loss(x, LABELS).isnan()


def test_googlenet_has_parameters_that_serve_training_alone():
    assert len(list(tiny("googlenet").net.auxiliary.parameters())) == 12
