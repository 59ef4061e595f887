"""Certificates: bounds that hold for every attack, sound in floating point."""

from advkit.certification import rules as rules
from advkit.certification.certificate import Certificate
from advkit.certification.certify import METHODS, certify
from advkit.certification.lipschitz import LayerStretch, Lipschitz, lipschitz

__all__ = ["METHODS", "Certificate", "LayerStretch", "Lipschitz", "certify", "lipschitz"]
