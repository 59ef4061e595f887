"""AE400-10: what its loss trains, and what the sparsity penalty sees."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from advkit.models import Classifier, create_model, parameters
from advkit.reproduction.looking_at import digits_of
from advkit.reproduction.papers.szegedy_autoencoder import AutoencoderSoftmax, autoencoder, autoencoder_loss
from advkit.reproduction.study import Budget
from advkit.training import build
from advkit.training._penalties import Penalties

X, Y = digits_of("mnist5k(pad=0)", 20)


def network() -> Classifier:
    model = f"{AutoencoderSoftmax.__module__}:{AutoencoderSoftmax.__name__}"
    return create_model(model, input_shape=(1, 28, 28), num_classes=10, seed=0)


def gradients(y: torch.Tensor) -> dict[str, torch.Tensor]:
    model = network()
    autoencoder_loss(model, X, y).backward()
    return {name: p.grad for name, p in model.net.named_parameters() if p.grad is not None}


def test_labels_train_the_softmax_alone() -> None:
    one, other = gradients(Y), gradients((Y + 1) % 10)
    assert {name for name in one if not torch.equal(one[name], other[name])} == {"classifier.weight", "classifier.bias"}
    assert all(bool(gradient.abs().max() > 0) for gradient in one.values())
    assert len(one) == 6


def test_the_loss_is_reconstruction_and_cross_entropy() -> None:
    model = network().double().requires_grad_(False)
    net, x = model.net, X.double()
    code = (x.flatten(1) @ net.encoder.weight.T + net.encoder.bias).sigmoid()
    rebuilt = (code @ net.decoder.weight.T + net.decoder.bias).sigmoid()
    logits = code @ net.classifier.weight.T + net.classifier.bias
    lost = sum(float((a - b) @ (a - b)) / 2 for a, b in zip(rebuilt, x.flatten(1), strict=True)) / len(x)
    expected = lost + float(F.cross_entropy(logits, Y))
    assert float(autoencoder_loss(model, x, Y)) == pytest.approx(expected, rel=1e-9)
    assert torch.allclose(model(x), logits)


def test_the_penalty_of_the_recipe_sees_the_code() -> None:
    """And nothing else: the reconstruction is no hidden layer."""
    model, recipe = network(), autoencoder(Budget("small")).recipe
    penalties = Penalties(model, replace(recipe, l2=0.0))
    with penalties.watching():
        autoencoder_loss(model, X, Y)
        found = penalties()
    mean, p = model.net.code(X).mean(0), recipe.sparsity_target
    kl = p * (p / mean).log() + (1 - p) * ((1 - p) / (1 - mean)).log()
    torch.testing.assert_close(found, recipe.sparsity * kl.sum())


def test_it_has_the_papers_units_at_every_budget() -> None:
    for budget in ("small", "paper"):
        assert parameters(build(autoencoder(Budget(budget)).recipe)) == 784 * 400 + 400 + 400 * 784 + 784 + 4010
