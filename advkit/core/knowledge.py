"""What an attacker can see of a model: gradients, scores, labels, or nothing."""

from collections.abc import Callable
from typing import Any

from advkit.core.errors import InputError
from advkit.core.guard import modules_of

KNOWLEDGE = ("nothing", "labels", "scores", "gradients")
"""From the least to the most."""


def knowledge_of(model: Any) -> str:
    """Return what an attacker sees of this model: gradients, unless the model or a module in it declares less.

    Args:
        model: the model; what it answers is in its attribute `knowledge`, if it has one.
    """
    said = [found for part in (model, *modules_of(model)) if (found := getattr(part, "knowledge", None)) in KNOWLEDGE]
    return min(said, key=KNOWLEDGE.index, default="gradients")


def is_enough(model: Any, attack: Any) -> bool:
    """Return whether the model shows what the attack needs.

    Args:
        model: the model.
        attack: an attack with the trait `knowledge`.
    """
    return KNOWLEDGE.index(attack.knowledge) <= KNOWLEDGE.index(knowledge_of(model))


def check_open(model: Any, purpose: str, advice: str = "") -> None:
    """Check that the model shows its gradients, and so what is inside.

    Args:
        model: the model.
        purpose: what looks inside, for the message.
        advice: what to do otherwise, for the message.

    Raises:
        InputError: the model shows less.
    """
    shown = knowledge_of(model)
    if shown != "gradients":
        raise InputError(
            f"{purpose} look inside the network, and the model shows {shown} only{advice and ': '}{advice}"
        )


def check_knowledge(model: Any, attack: Any, registered: Callable[[], dict[str, str]]) -> None:
    """Raise an error if the attack needs more than the model shows.

    Args:
        model: the model.
        attack: an attack with the trait `knowledge`.
        registered: function that gives name -> `knowledge` of the attacks that the message may propose.

    Raises:
        InputError: the attack needs more; the message names attacks that do not.
    """
    if is_enough(model, attack):
        return
    shown = knowledge_of(model)
    rank = KNOWLEDGE.index(shown)
    fit = [name for name, needs in registered().items() if 1 <= KNOWLEDGE.index(needs) <= rank]
    have = "there is no gradient: the model shows scores only" if shown == "scores" else f"the model shows {shown} only"
    raise InputError(
        f"{attack.name} needs {attack.knowledge}, and {have}; use {', '.join(sorted(fit))}, "
        "or transfer(attack, surrogate)"
    )
