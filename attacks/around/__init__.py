"""Wrappers: an attack goes in, an attack comes out; and attacks that follow each other on one batch."""

from advkit.attacks.around.ensemble import ensemble
from advkit.attacks.around.eot import EOT, eot
from advkit.attacks.around.masked import Masked, masked
from advkit.attacks.around.restarts import Restarts, restarts
from advkit.attacks.around.smallest import Smallest, smallest
from advkit.attacks.around.targets import Targets, targets
from advkit.attacks.around.transfer import Transfer, transfer

__all__ = [
    "EOT",
    "Masked",
    "Restarts",
    "Smallest",
    "Targets",
    "Transfer",
    "ensemble",
    "eot",
    "masked",
    "restarts",
    "smallest",
    "targets",
    "transfer",
]
