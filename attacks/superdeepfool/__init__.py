"""SuperDeepFool: the attack, and Newton's method from an adversarial point back to the boundary."""

from advkit.attacks.superdeepfool.superdeepfool import SuperDeepFool

__all__ = ["SuperDeepFool"]
