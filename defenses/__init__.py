"""The defences: training losses to put into anyone's loop; `create_defense("fgsm(eps=0.25, alpha=0.5)")`."""

from advkit.defenses._registry import DEFENSES, Defense, create_defense, list_defenses
from advkit.defenses.adversarial import AdversarialLoss

__all__ = ["DEFENSES", "AdversarialLoss", "Defense", "create_defense", "list_defenses"]
