"""Adversarial training: Goodfellow, Shlens, Szegedy 2014, section 6 (arXiv 1412.6572), with any attack."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advkit.core.door import check_between
from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.losses import surprise
from advkit.core.written import written
from advkit.defenses._carry import carry, gradients
from advkit.defenses._loss import AttackedLoss
from advkit.defenses._network import Network
from advkit.defenses._registry import register_defense


@register_defense("adversarial")
@dataclass(frozen=True, kw_only=True)
class AdversarialLoss(AttackedLoss):
    """`alpha J(theta, x, y) + (1 - alpha) J(theta, x_adv, y)`, J the network's own training loss.

    J is the mean cross-entropy of `model(x)`; a model with `training_logits` adds its auxiliary outputs, weighted.
    The example is computed at each call from the current parameters, and no gradient flows through its computation.

        loss = AdversarialLoss(attack=FGSM(eps=0.25), alpha=0.5)
        loss(model, x, y).backward()  # in any loop: autocast, GradScaler, DistributedDataParallel (pass the wrapper)

    With FGSM two passes replace three: the clean pass gives the input gradient and the parameter gradients at once;
    these are stored and passed on by `backward`. Both passes are made in the model's current mode. So in train mode
    batch norm normalises each batch by itself and updates its averages twice a call, clean batch first; dropout draws
    one mask for the clean pass (shared by example and clean loss) and one for the adversarial pass. The example
    maximises J as it is trained on, label smoothing included.

    Any other attack makes the example first, on the model in eval mode, and leaves no trace on it (`stop="never"`: the
    strongest point, for wrong samples too); then one pass in the caller's mode goes over clean and adversarial images
    together, so batch norm sees both as one batch and updates once, and each image has its own dropout mask. Attacks
    that draw random numbers take a new seed from torch's global generator at each call. An FGSM with a target or with
    another loss than the cross-entropy goes this way too, as does a model whose parameters have tensor hooks (which
    would see the clean gradients twice), and a function that is no nn.Module.

    The loss cannot be differentiated twice; `backward(create_graph=True)` raises. Images get no gradient. Under
    `no_grad` the value is the same, without a graph. In float16 (autocast) the stored gradients are scaled on their way
    so that they do not vanish, which costs one wait for the device a call.

    Args:
        attack: attack that makes the example, such as FGSM(eps=0.25) or PGD(eps=8/255, steps=7).
        alpha: weight of the clean loss, in [0, 1]; 0.5 in the paper, 0 is Madry et al.'s training.
        label_smoothing: smoothing of both cross-entropies, in [0, 1).
        bounds: range of the pixels.

    Raises:
        InputError: there is no attack, a budget attack has no eps, or a number is out of its range.
    """

    paper = "Goodfellow et al. 2014, arXiv 1412.6572; Madry et al. 2017, arXiv 1706.06083"

    alpha: float = 0.5
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("alpha", self.alpha, 0, 1)
        if check_between("label_smoothing", self.label_smoothing, 0, 1) == 1:
            raise InputError(f"expected label_smoothing in [0, 1), got {self.label_smoothing!r}")

    @property
    def spec(self) -> str:
        """The spec string of this defence: the attack's, with the loss's options."""
        name, _, options = self.attack.spec.partition("(")
        own = [f"alpha={written(self.alpha)}"]
        own += [f"label_smoothing={written(self.label_smoothing)}"] if self.label_smoothing else []
        own += [f"bounds={written(self.bounds)}"] if self.bounds != (0, 1) else []
        if name == "noise":  # the word is a defence of its own
            return f"{self.name}(attack={self.attack.spec}, {', '.join(own)})"
        return f"{name}({', '.join([*([options.removesuffix(')')] if options else []), *own])})"

    @property
    def norm_updates(self) -> int:
        """Two with FGSM, else one."""
        return 2 if self._is_one_step else 1

    @property
    def passes(self) -> int | None:
        """Two with FGSM."""
        return 2 if self._is_one_step else None

    @property
    def _is_one_step(self) -> bool:
        """Whether the example follows from the gradient of J at x."""
        attack = self.attack
        return hasattr(attack, "from_gradient") and (attack.target, attack.loss) == ("untargeted", "cross_entropy")

    def batch_loss(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss, by two passes if the clean one gives the example, else by the attack."""
        if self._is_one_step and not network.is_hooked:
            return self.two_passes(network, x, y)
        return super().batch_loss(network, x, y)

    def two_passes(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss by the clean pass with both its gradients and the adversarial pass.

        Args:
            network: the network in training.
            x: images (N, C, H, W).
            y: classes (N,).
        """
        trained = network.trained if torch.is_grad_enabled() and self.alpha > 0 else []
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().requires_grad_()
            clean = network.mean(lambda logits: self._cross_entropy(logits, y), leaf)
            by_x, *by_parameter = gradients(clean, [leaf, *trained])
            by_x = torch.zeros_like(x) if by_x is None else by_x
            x_adv = self.attack.from_gradient(x, by_x.contiguous(), bounds=self.bounds)  # type: ignore[attr-defined]
        adversarial = network.mean(lambda logits: self._cross_entropy(logits, y), x_adv)
        return self.alpha * carry(clean.detach(), by_parameter, trained) + (1 - self.alpha) * adversarial

    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Make one pass over both batches, or over the examples only if alpha is 0."""
        if self.alpha == 0:
            return network.mean(lambda logits: self._cross_entropy(logits, y), x_adv)
        return network.mean(lambda clean, adversarial: self._mixed(clean, adversarial, y), x, x_adv)

    def _mixed(self, clean: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        return self.alpha * self._cross_entropy(clean, y) + (1 - self.alpha) * self._cross_entropy(adversarial, y)

    def _cross_entropy(self, logits: Tensor, y: Tensor) -> Tensor:
        loss = surprise(logits, y).mean()
        if not self.label_smoothing:
            return loss
        every_class = (wide(logits).logsumexp(1) - wide(logits).mean(1)).mean()
        return (1 - self.label_smoothing) * loss + self.label_smoothing * every_class
