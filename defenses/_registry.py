"""Names become defences here; the name of an attack means adversarial training with that attack."""

from dataclasses import fields
from typing import Any, Protocol

from torch import Tensor, nn

from advkit.attacks import create_attack, list_attacks
from advkit.core.errors import unknown
from advkit.core.registry import Registry, Spec, parse_spec


class Defense(Protocol):
    """A training loss: called in a loop in place of the cross-entropy."""

    @property
    def spec(self) -> str:
        """The string from which `create_defense` makes this defence again."""

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """The loss of a batch, a scalar."""


DEFENSES: Registry[Defense] = Registry("defense", "advkit.defenses")


def list_defenses(pattern: str = "*") -> list[str]:
    """The names of the defences that match a shell pattern; besides, every attack's name is one."""
    return DEFENSES.names(pattern)


def create_defense(spec: str | Spec, **options: Any) -> Defense:
    """A defence from its name or spec; `options` override those of the spec.

    Either names an attack, "fgsm(eps=0.25, alpha=0.5)", which is adversarial training with it (`alpha`,
    `label_smoothing` and `bounds` are AdversarialLoss's, the other options the attack's); or a defence,
    "adversarial(attack=fgsm(eps=0.25), alpha=0.5)".

    Raises:
        InputError: unknown name or option, or a value that defence or attack refuses.
    """
    spec = parse_spec(spec) if isinstance(spec, str) else spec
    given = {**spec.options, **options}
    if spec.name in list_defenses():
        made = {k: create_attack(v) if k == "attack" and isinstance(v, str | Spec) else v for k, v in given.items()}
        return DEFENSES.create(Spec(spec.name, made))
    if spec.name not in list_attacks():
        raise unknown("defense", spec.name, [*list_defenses(), *list_attacks()])
    own = {f.name for f in fields(DEFENSES.factory("adversarial"))}  # type: ignore[arg-type]
    attack = create_attack(Spec(spec.name, {k: v for k, v in given.items() if k not in own}))
    return DEFENSES.create("adversarial", attack=attack, **{k: v for k, v in given.items() if k in own})
