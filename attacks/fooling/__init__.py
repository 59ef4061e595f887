"""Fooling images: the attack on any start, and the images that are nothing to the eye."""

from advkit.attacks.fooling.fooling import Fooling
from advkit.attacks.fooling.fooling_images import FoolingImages, fooling_images

__all__ = ["Fooling", "FoolingImages", "fooling_images"]
