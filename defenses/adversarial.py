"""Adversarial training: Goodfellow, Shlens, Szegedy 2014, section 6 (arXiv 1412.6572), with any attack."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from advkit.attacks import Attack
from advkit.core import door
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.goals import wide
from advkit.core.layout import Passes
from advkit.core.losses import surprise
from advkit.defenses._carry import carry, gradients
from advkit.defenses._registry import DEFENSES


@DEFENSES.register("adversarial")
@dataclass(frozen=True, kw_only=True)
class AdversarialLoss:
    """`alpha J(theta, x, y) + (1 - alpha) J(theta, x_adv, y)`, J the mean cross-entropy of `model(x)`.

    The example is remade at each call from the current parameters, and no gradient flows through the making of it.

        loss = AdversarialLoss(attack=FGSM(eps=0.25), alpha=0.5)
        loss(model, x, y).backward()  # in any loop: autocast, GradScaler, DistributedDataParallel (pass the wrapper)

    With FGSM two passes replace three: the clean pass gives the input gradient and the parameter gradients at once;
    these are stored and handed on by `backward`. Both passes are made in the mode the model is in. So in train mode
    batch norm normalises each batch by itself and updates its averages twice a call, clean batch first; dropout draws
    one mask for the clean pass (example and clean loss share it) and one for the adversarial pass. The example climbs
    J as it is trained on, label smoothing included.

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
        attack: makes the example, such as FGSM(eps=0.25) or PGD(eps=8/255, steps=7).
        alpha: weight of the clean loss, in [0, 1]; 0.5 in the paper, 0 is Madry et al.'s training.
        label_smoothing: of both cross-entropies, in [0, 1).
        bounds: the range of the pixels.

    Raises:
        InputError: no attack, a budget attack without eps, or a number out of its range.
    """

    attack: Attack
    alpha: float = 0.5
    label_smoothing: float = 0.0
    bounds: tuple[float, float] = (0, 1)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise InputError(f"expected an attack such as FGSM(eps=0.25), got {self.attack!r}")
        if self.attack.kind == "budget" and getattr(self.attack, "eps", None) is None:
            raise InputError(
                f"{self.attack.name} needs eps to train with: give it, as in '{self.attack.name}(eps=0.1)'"
            )
        if not 0 <= self.alpha <= 1:
            raise InputError(f"expected alpha in [0, 1], got {self.alpha!r}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"expected label_smoothing in [0, 1), got {self.label_smoothing!r}")
        door.check_bounds(self.bounds)

    @property
    def spec(self) -> str:
        """The string from which `create_defense` makes this defence again."""
        name, _, options = self.attack.spec.partition("(")
        own = [f"alpha={self.alpha!r}"]
        own += [f"label_smoothing={self.label_smoothing!r}"] if self.label_smoothing else []
        own += [f"bounds={self.bounds!r}"] if self.bounds != (0, 1) else []
        return f"{name}({', '.join([*([options.removesuffix(')')] if options else []), *own])})"

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The loss of a batch, a scalar whose `backward` reaches the model's parameters.

        Args:
            model: from images to logits (N, K).
            x: images (N, C, H, W) within `bounds`.
            y: classes (N,), integers.

        Raises:
            InputError: wrong input; the message says what was expected.
        """
        door.check_model(model)
        door.check_images(x, self.bounds)
        y = door.check_classes("labels", y, x)
        if not len(x):
            raise InputError("expected a batch of at least one image, got none")
        with torch.inference_mode(False):  # tensors made in inference mode cannot be part of a graph, their copies can
            x, y = (t.clone() if t.is_inference() else t.detach() for t in (x, y))
        passes = Passes(model, x)
        passes.probe(x)
        return (self._two_passes if self._is_one_step(model) else self._made_first)(model, passes, x, y)

    def _is_one_step(self, model: Any) -> bool:
        """Whether the example follows from the gradient of J at x, and the parameter gradients can be stored."""
        attack = self.attack
        if not hasattr(attack, "from_gradient") or (attack.target, attack.loss) != ("untargeted", "cross_entropy"):
            return False
        return isinstance(model, nn.Module) and not any(p._backward_hooks for p in model.parameters())

    def _two_passes(self, model: nn.Module, passes: Passes, x: Tensor, y: Tensor) -> Tensor:
        """The clean pass with both its gradients, then the adversarial pass."""
        trained = [p for p in model.parameters() if p.requires_grad] if self._keeps_graph() else []
        with torch.inference_mode(False), torch.enable_grad():
            leaf = x.detach().requires_grad_()
            clean = self._loss(passes(leaf), y)
            by_x, *by_parameter = gradients(clean, [leaf, *trained])
            by_x = torch.zeros_like(x) if by_x is None else by_x
            x_adv = self.attack.from_gradient(x, by_x.contiguous(), bounds=self.bounds)  # type: ignore[attr-defined]
        adversarial = self._loss(passes(x_adv), y)
        return self.alpha * carry(clean.detach(), by_parameter, trained) + (1 - self.alpha) * adversarial

    def _keeps_graph(self) -> bool:
        return torch.is_grad_enabled() and self.alpha > 0

    def _made_first(self, model: nn.Module, passes: Passes, x: Tensor, y: Tensor) -> Tensor:
        """The attack on the model in eval mode, then one pass over both batches."""
        bare = model.module if isinstance(model, DistributedDataParallel | DataParallel) else model
        seed = 0 if self.attack.deterministic else int(torch.randint(2**62, ()))
        with warnings.catch_warnings():  # in training, images that are learnt so well are no sign of a mistake
            warnings.filterwarnings("ignore", "the gradient was exactly zero", AdvkitWarning)
            x_adv = self.attack(bare, x, y, seed=seed, bounds=self.bounds, stop="never").x_adv
        if self.alpha == 0:
            return self._loss(passes(x_adv), y)
        logits: Tensor = passes(torch.cat([x, x_adv]))  # (2 N, K)
        clean, adversarial = (self._loss(part, y) for part in logits.chunk(2))
        return self.alpha * clean + (1 - self.alpha) * adversarial

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        loss = surprise(logits, y).mean()
        if not self.label_smoothing:
            return loss
        every_class = (wide(logits).logsumexp(1) - wide(logits).mean(1)).mean()
        return (1 - self.label_smoothing) * loss + self.label_smoothing * every_class
