"""The base of training losses: frozen dataclasses of a paper's hyperparameters, called as `loss(model, x, y)`."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from advkit.attacks import Attack
from advkit.core import door
from advkit.core.errors import InputError
from advkit.core.goals import wide
from advkit.core.option_names import EXAMPLES, NamedOptions
from advkit.core.plain import plain
from advkit.core.written import written
from advkit.defenses._network import Network, enter


@dataclass(frozen=True, kw_only=True)
class TrainingLoss(NamedOptions, ABC):
    """A loss for any training loop; a subclass defines how examples are made and what their loss is.

    Traits, declared by the class: `paper`; `inside` (the attack that takes options which the loss has not, "" if no
    attack fits); `makes_first` (the examples do not come out of the pass that is trained on); `steps_a_batch` (steps in
    a row that the loop makes on each batch); `norm_updates` (how often batch norm in train mode updates its averages a
    call); `passes` (images that go forward through the network for one image of the batch, None where that is the
    attack's affair); `stays_in_range` (no example leaves `bounds`).

    Args:
        bounds: range of the pixels.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    inside: ClassVar[str] = ""
    makes_first: ClassVar[bool] = True
    _calls: ClassVar[Mapping[str, str]] = {**EXAMPLES, "loss": "loss=TRADES(attack=PGD(eps=0.1))"}

    bounds: tuple[float, float] = (0, 1)

    def __post_init__(self) -> None:
        """Numbers of NumPy and torch become Python's, and a radius is one finite number, "8/255" among them."""
        for field in dataclasses.fields(self):
            if field.init:
                object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        door.check_bounds(self.bounds)
        if getattr(self, "eps", None) is not None:
            object.__setattr__(self, "eps", door.check_finite_eps(getattr(self, "eps")))  # noqa: B009

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar whose `backward` reaches the model's parameters.

        Args:
            model: callable that takes images and returns logits (N, K).
            x: images (N, C, H, W) within `bounds`.
            y: classes (N,), integers.

        Raises:
            InputError: the input is wrong; the message says what was expected.
        """
        return self.batch_loss(*enter(model, x, y, self.bounds))

    def batch_loss(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch whose input has been checked.

        Args:
            network: the network in training.
            x: images (N, C, H, W).
            y: classes (N,).
        """
        return self.value(network, x, self.examples(network, x, y), y)

    def at(self, share: float) -> Self:
        """Return the same loss at a fraction of its radius and of a given step size, as needed for a ramp.

        Args:
            share: share of the radius, in [0, 1].

        Raises:
            InputError: the share is outside its range, or no number.
        """
        share = door.check_between("share", share, 0, 1)
        changes: dict[str, Any] = {}
        for name in ("eps", "step_size"):
            if getattr(self, name, None) is not None:
                changes[name] = getattr(self, name) * share
        inside = getattr(self, "attack", None)
        if isinstance(inside, Attack):
            changes["attack"] = _shrunk(inside, share)
        within = getattr(self, "loss", None)
        if isinstance(within, TrainingLoss):
            changes["loss"] = within.at(share)
        return dataclasses.replace(self, **changes)

    @abstractmethod
    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the images to train on (N, ...), detached.

        Args:
            network: the network in training.
            x: images (N, C, H, W).
            y: classes (N,).
        """

    @abstractmethod
    def value(self, network: Network, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Return the loss for given examples, a scalar, by one pass in the caller's mode.

        Args:
            network: the network in training.
            x: clean images (N, C, H, W).
            x_adv: examples of the same shape.
            y: classes (N,).
        """

    @property
    def steps_a_batch(self) -> int:
        """One."""
        return 1

    @property
    def norm_updates(self) -> int:
        """One."""
        return 1

    @property
    def stays_in_range(self) -> bool:
        """Yes."""
        return True

    @property
    def passes(self) -> int | None:
        """None: not known in general."""
        return None

    @property
    def spec(self) -> str:
        """The string from which `create_defense` makes this defence again."""
        changed = [f for f in dataclasses.fields(self) if f.init and getattr(self, f.name) != f.default]
        options = ", ".join(f"{f.name}={written(getattr(self, f.name))}" for f in changed)
        return f"{self.name}({options})" if options else self.name


def _shrunk(attack: Attack, share: float) -> Attack:
    """The attack at a fraction of its radius and step size; of a wrapper the attack inside."""
    core = attack
    while isinstance(getattr(core, "attack", None), Attack):
        core = core.attack  # type: ignore[attr-defined]
    return attack.having(**{n: getattr(core, n) * share for n in ("eps", "step_size") if getattr(core, n, None)})


@dataclass(frozen=True, kw_only=True)
class AttackedLoss(TrainingLoss):
    """A loss whose examples an attack makes first, on the model in eval mode.

    Args:
        attack: attack that makes the examples.
    """

    inside = "pgd"

    attack: Attack

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.attack, Attack):
            raise InputError(f"expected an attack such as FGSM(eps=0.25), got {self.attack!r}")
        if self.attack.kind == "budget" and getattr(self.attack, "eps", None) is None:
            name = self.attack.name
            raise InputError(f"{name} needs eps to train with: give it, as in '{name}(eps=0.1)'")

    def examples(self, network: Network, x: Tensor, y: Tensor) -> Tensor:
        """Return the attack's examples, by the gradient of the label's cross-entropy or of the attack's own loss."""
        return network.attacked(self.attack, x, y, self.bounds)


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(p || q) (N,) of p = softmax(clean) and q = softmax(adversarial), in float32 or better."""
    p, q = wide(clean).log_softmax(1), wide(adversarial).log_softmax(1)
    return (p.exp() * (p - q)).sum(1)
