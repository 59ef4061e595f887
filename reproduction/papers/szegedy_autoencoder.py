"""AE400-10: a softmax on top of a sparse autoencoder of 400 sigmoid units, which the labels do not change.

Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus 2013: Intriguing properties of neural networks, section
4.2 (arXiv 1312.6199).
"""

import math
from typing import cast

from torch import Tensor, nn

from advkit.core.losses import surprise
from advkit.models import Classifier
from advkit.reproduction.study import Budget, Training
from advkit.training import Recipe

AUTO = "AE400-10"
UNITS, SPARSITY, MEAN = 400, 0.1, 0.1
"""The hidden units, and the weight and the mean activation of the recipe's sparsity penalty.

The paper gives the first alone. The weight, the rate and the epochs were chosen on 500 training digits that were held
out, with a seed of their own.
"""


class AutoencoderSoftmax(nn.Module):
    """A linear classifier of the code of an autoencoder: 784-400-784 and 400-10.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
        width: factor on the number of hidden units.
    """

    def __init__(
        self, input_shape: tuple[int, int, int] = (1, 28, 28), num_classes: int = 10, width: float = 1.0
    ) -> None:
        super().__init__()
        pixels, units = math.prod(input_shape), max(1, round(UNITS * width))
        self.encoder, self.decoder = nn.Linear(pixels, units), nn.Linear(units, pixels)
        self.classifier, self.activation = nn.Linear(units, num_classes), nn.Sigmoid()

    def code(self, x: Tensor) -> Tensor:
        """Return the activations (N, units) of the hidden units, in (0, 1).

        Args:
            x: images (N, C, H, W).
        """
        activations: Tensor = self.activation(self.encoder(x.flatten(1)))
        return activations

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to logits (N, K)."""
        logits: Tensor = self.classifier(self.code(x))
        return logits


def autoencoder_loss(model: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Add the error of reconstruction and the classifier's loss, whose gradient stops at the code: a scalar.

    The sparsity penalty is the recipe's.

    Args:
        model: the network.
        x: images (N, C, H, W).
        y: classes (N,).
    """
    net, pixels = cast(AutoencoderSoftmax, model.net), model.normalize(x)
    code = net.code(pixels)
    rebuilt: Tensor = net.decoder(code).sigmoid()
    lost: Tensor = (rebuilt - pixels.flatten(1)).square().sum(1).mean() / 2
    return lost + surprise(net.classifier(code.detach()), y).mean()


def autoencoder(budget: Budget) -> Training:
    """Return the training of AE400-10: the autoencoder learns without labels, the softmax on its code.

    Args:
        budget: budget of the study.
    """
    recipe = Recipe(
        model=f"{__name__}:{AutoencoderSoftmax.__name__}", data=budget.digits(), input_shape=(1, 28, 28), l2=2e-7,
        optimizer="adamw", epochs=budget.pick(tiny=2, small=60, paper=60), batch_size=100, lr=1e-2, weight_decay=0.0,
        sparsity=SPARSITY,
        sparsity_target=MEAN,
    )  # fmt: skip
    return Training(recipe=recipe, test=budget.digits(), loss=autoencoder_loss)
