"""Which layers learn from which examples, and what stretches how far."""

import pytest
import torch

from advkit.certification import lipschitz
from advkit.core.losses import surprise
from advkit.models import Classifier, create_model
from advkit.reproduction.looking_at import digits_of
from advkit.reproduction.papers.szegedy_hidden import NEAR, OnLayers, split, stretch

X, Y = digits_of("mnist5k(pad=0)", 30)


def network(hidden: tuple[int, ...] = (20, 10)) -> Classifier:
    return create_model(
        "mlp", hidden=hidden, activation="sigmoid", dropout=0.3, input_shape=(1, 28, 28), mean=0.0, std=1.0, seed=0
    ).eval()


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_two_parts_are_the_network(layer: int) -> None:
    model = network()
    lower, upper = split(model, layer)
    seen = lower(X)
    assert torch.equal(upper(seen), model(X))
    assert seen.flatten(1).shape[1] == (784, 20, 10)[layer]
    assert 0 <= seen.min() <= seen.max() <= 1


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_examples_of_a_layer_train_the_layers_above_alone(layer: int) -> None:
    """The loss is half the clean one and half that of the examples, whose gradient stops at the layer."""
    model = network()
    lower, upper = split(model, layer)
    changed = NEAR.examples(upper, lower(X).detach(), Y)
    assert (upper(changed).argmax(1) != Y).double().mean() > 0.8
    weights = [model.net.hidden1.weight, model.net.hidden2.weight, model.net.output.weight]
    both = OnLayers((layer,))(model, X, Y)
    clean, adversarial = surprise(model(X), Y).mean(), surprise(upper(changed), Y).mean()
    assert both.item() == pytest.approx((clean + adversarial).item() / 2, rel=1e-5)
    found = torch.autograd.grad(both, weights)
    alone = torch.autograd.grad(clean, weights)
    above = torch.autograd.grad(adversarial, weights, allow_unused=True)
    for k, (g, c, a) in enumerate(zip(found, alone, above, strict=True)):
        assert (a is None) == (k < layer)
        assert torch.allclose(g, (c if a is None else c + a) / 2, atol=1e-6)


def test_every_layer_is_drawn() -> None:
    torch.manual_seed(0)
    model = network()
    drawn = {round(OnLayers((0, 2))(model, X, Y).item(), 5) for _ in range(12)}
    assert drawn == {round(OnLayers((layer,))(model, X, Y).item(), 5) for layer in (0, 2)}


def test_a_linear_network_stretches_at_most_by_its_norm_and_reaches_it() -> None:
    model = network(())
    weight = model.net.output.weight.detach()
    longest = torch.linalg.svd(weight.double())[2][0].view(1, 1, 28, 28)
    found = stretch(model, (X + 0.1 * longest).float(), X)
    bound = lipschitz(model, X[:1]).constant
    norm = torch.linalg.matrix_norm(weight.double(), 2).item()
    assert found.value == pytest.approx(norm, rel=1e-3)
    assert norm <= bound <= norm * 1.001
    assert stretch(model, X + 0.1 * torch.rand_like(X), X).value < norm
