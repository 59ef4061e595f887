"""Training on adversarial examples of the hidden layers' outputs, and how far a network can stretch a change.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus 2013: Intriguing properties of neural networks, sections
4.2 and 4.3 (arXiv 1312.6199).
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from advkit.attacks import Attack, DeepFool
from advkit.certification import lipschitz
from advkit.core.losses import surprise
from advkit.models import Classifier
from advkit.reproduction.looking_at import digits_of, error, logits_of
from advkit.reproduction.papers.szegedy_distortion import DEEP, NETWORKS, PAPER, distortion, fully_connected, nearest
from advkit.reproduction.papers.szegedy_transfer import noisy
from advkit.reproduction.study import (
    STUDIES,
    Budget,
    Cell,
    Claim,
    Measured,
    Measurement,
    Networks,
    Study,
    Table,
    Training,
    claims,
)

DECAY, DROPOUT = "weight decay", "weight decay and dropout"
IMAGE, TOP, ALL = "examples of the image", "examples of the last hidden layer", "examples of every layer"
TEST, BOUND, STRETCHED, BY_NOISE = "test error", "bound", "stretch by examples", "stretch by noise"

ERRORS = Table(
    title="FC100-100-10: regularisers, and training on adversarial examples",
    where="section 4.2",
    checked='against the text of the section in a public bilingual copy. The last row prints "below 1.2 %".',
    columns={TEST: "percent"},
    printed={DECAY: {TEST: 0.016}, DROPOUT: {TEST: 0.013}, IMAGE: {}, TOP: {}, ALL: {TEST: 0.012}},
)
STRETCH = Table(
    title="How much longer a change of the image is at the logits: upper bound, adversarial examples, noise",
    where="section 4.3",
    checked="the paper prints bounds of AlexNet's layers only, which are not compared.",
    columns={BOUND: "number", STRETCHED: "number", BY_NOISE: "number"},
    printed={DECAY: {}, DROPOUT: {}, IMAGE: {}, TOP: {}, ALL: {}},
)
NEAR = DeepFool(steps=5, rivals=3)
"""The attack that makes the examples for training: they lie near the boundary, and it is cheap."""


@dataclass(frozen=True)
class OnLayers:
    """The mean of the cross-entropies of clean images and of adversarial examples of one layer's output.

    Each call draws one of the layers. The examples attack the layers above it, and train only these.

    Args:
        layers: numbers of layers; 0 is the image, k the output of the k-th hidden layer. Outputs must lie in [0, 1].
        attack: attack that makes the examples.
    """

    layers: tuple[int, ...]
    attack: Attack = NEAR

    def __call__(self, model: Classifier, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss of a batch, a scalar.

        Args:
            model: the network.
            x: images (N, C, H, W).
            y: classes (N,).
        """
        layer = self.layers[int(torch.randint(len(self.layers), ()))]
        lower, upper = split(model, layer)
        with torch.no_grad():
            seen = lower(x)
        changed = self.attack.examples(upper, seen, y)
        return (surprise(model(x), y).mean() + surprise(upper(changed), y).mean()) / 2


def split(model: Classifier, layer: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a network into the part up to the output of a layer and the part after it.

    Args:
        model: a network of fully connected layers with an activation after each.
        layer: number of the layer; 0 is the image, k the k-th hidden layer.
    """
    net = model.net
    assert isinstance(net, nn.Sequential)
    cuts = [1] + [i + 1 for i, part in enumerate(net) if isinstance(part, nn.Sigmoid)]
    return nn.Sequential(model.normalize, *net[: cuts[layer]]), nn.Sequential(*net[cuts[layer] :])


def stretch(model: Classifier, changed: Tensor, x: Tensor) -> Measured:
    """Divide the length of the change of the logits by that of the image, where the image has changed.

    Args:
        model: the network.
        changed: changed images (N, C, H, W).
        x: clean images.
    """
    moved = (logits_of(model, changed) - logits_of(model, x)).double().norm(dim=1)
    return Measured.of(moved / (changed - x).double().flatten(1).norm(dim=1))  # 0 / 0 is NaN, which does not count


def _measure(networks: Networks, seed: int, *, data: str, count: int) -> dict[Cell, Measured]:
    test = digits_of(data)
    x, y = test[0][:count], test[1][:count]
    cells = {}
    for name, network in networks.items():
        changed, _ = nearest(network, x, y, target="random", seed=seed)
        cells[ERRORS.cell(name, TEST)] = error(network, *test)
        cells[STRETCH.cell(name, BOUND)] = Measured.of(torch.full((len(x),), lipschitz(network, x[:1]).constant))
        cells[STRETCH.cell(name, STRETCHED)] = stretch(network, changed, x)
        cells[STRETCH.cell(name, BY_NOISE)] = stretch(network, noisy(x, distortion(changed, x), seed), x)
    return cells


def _trainings(budget: Budget) -> dict[str, Training]:
    plain = fully_connected(budget, *NETWORKS[DEEP])
    recipe = replace(plain.recipe, epochs=budget.pick(tiny=1, small=20, paper=60))
    plain, dropped = replace(plain, recipe=recipe), replace(recipe, options={**recipe.options, "dropout": 0.2})
    adversarial = {IMAGE: (0,), TOP: (2,), ALL: (0, 1, 2)}
    return {
        DECAY: plain,
        DROPOUT: replace(plain, recipe=dropped),
        **{name: replace(plain, loss=OnLayers(layers)) for name, layers in adversarial.items()},
    }


def _claims() -> tuple[Claim, ...]:
    errors, stretches = ERRORS.cell, STRETCH.cell
    sentences = {
        "Training on examples of every layer makes fewer errors than weight decay alone.": (
            errors(ALL, TEST), errors(DECAY, TEST), "seeds",
        ),
        "Dropout makes fewer errors than weight decay alone.": (errors(DROPOUT, TEST), errors(DECAY, TEST), "seeds"),
        "Training on examples of every layer makes fewer errors than dropout.": (
            errors(ALL, TEST), errors(DROPOUT, TEST), "seeds",
        ),
        "Examples of the last hidden layer are more useful than those of the image.": (
            errors(TOP, TEST), errors(IMAGE, TEST), "seeds",
        ),
        "Adversarial examples move the logits farther than noise of the same size.": (
            stretches(DECAY, BY_NOISE), stretches(DECAY, STRETCHED), "images",
        ),
        "No example moves the logits farther than the product of the layers' norms allows.": (
            stretches(DECAY, STRETCHED), stretches(DECAY, BOUND), "images",
        ),
    }  # fmt: skip
    return claims(sentences)


@STUDIES.register("szegedy_hidden")
def szegedy_hidden(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of section 4.2's training and of section 4.3."""
    trainings, count = _trainings(budget), budget.pick(tiny=4, small=200, paper=10_000)
    measure = partial(_measure, data=budget.digits(), count=count)
    return Study(
        title="Training on hidden layers' adversarial examples, and bounds of how far a network stretches",
        paper=PAPER,
        trainings=trainings,
        measurements={"errors and stretch": Measurement(networks=tuple(trainings), measure=measure)},
        tables=(ERRORS, STRETCH),
        claims=_claims(),
        differences=(
            f"Digits: {budget.digits()}, {trainings[DECAY].recipe.epochs} epochs; the paper takes MNIST. Changes are "
            f"measured on {count} test digits.",
            "The paper keeps a pool of examples of each layer, made by L-BFGS, and replaces a part of it all the time. "
            "Here DeepFool makes the examples of each batch anew, for a layer that is drawn.",
            "Dropout has probability 0.2 after each hidden layer; the paper says only that it is carefully applied.",
            "All networks have the same small weight decay, which is not tuned for each.",
            "The paper's bounds are of AlexNet on ImageNet; here they are of the networks of this study, and the "
            "changes that adversarial examples and noise make stand beside them.",
        ),
    )
