"""TRADES: Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan 2019, section 4 (arXiv 1901.08573)."""

from dataclasses import dataclass

from torch import Tensor

from advkit.attacks import Attack
from advkit.core.door import check_positive
from advkit.core.losses import surprise
from advkit.defenses._loss import AttackedLoss, divergence
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("trades")
@dataclass(frozen=True, kw_only=True)
class TRADES(AttackedLoss):
    """`J(theta, x, y) + beta KL(p(x) || p(x_adv))`, where the attack finds x_adv by maximising that divergence.

    `TRADES(attack=PGD(eps=0.3, steps=40, step_size=0.01), beta=6)`; in a spec "trades(eps=0.3, steps=40, beta=6)".
    The attack maximises the divergence from the clean answer, like `PGD(loss="kl_to_clean")`, whether or not an
    image is fooled. It needs a random start, since the gradient at x is 0: PGD's covers the ball, the paper's is
    x + 0.001 N(0, 1). Attacks that compare classes or climb no loss are refused.

    The example is made on the model in eval mode and leaves no trace on it. Then one pass in the caller's mode goes
    over clean and adversarial images together: batch norm updates once, on both as one batch, and each image has its
    own dropout mask. Gradients flow through both distributions.

    Args:
        attack: attack that makes the example; its loss is replaced by the divergence.
        beta: weight of the divergence, above 0; 1 / lambda in the paper, where 1 to 6 are used.
        bounds: range of the pixels.

    Raises:
        InputError: no attack, one that climbs no loss, a budget attack without eps, or beta out of its range.
    """

    paper = "Zhang et al. 2019, arXiv 1901.08573"

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("beta", self.beta)
        climbing("kl_to_clean", self.attack)

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the points where the attack finds the largest divergence."""
        return network.attacked(climbing("kl_to_clean", self.attack), x, y, self.bounds, goal=nowhere)

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of the clean images and divergence of the examples."""

        def term(clean: Tensor, adversarial: Tensor) -> Tensor:
            return surprise(clean, y).mean() + self.beta * divergence(clean, adversarial).mean()

        return network.mean(term, x, x_adv)


def climbing(loss: str, attack: Attack) -> Attack:
    """Give the attack another loss; in a wrapper the inner attack gets it."""
    return attack.having(loss=loss)


def nowhere(outputs: Tensor) -> Tensor:
    """Return a goal that is never reached: of all points only the loss decides which is the strongest."""
    return outputs.new_full((len(outputs),), -1.0)
