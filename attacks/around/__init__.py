"""Wrappers: an attack goes in, an attack comes out; and attacks that follow each other on one batch."""

from advkit.attacks.around.admix import Admix, admix
from advkit.attacks.around.di import DI, di
from advkit.attacks.around.ensemble import ensemble
from advkit.attacks.around.eot import EOT, eot
from advkit.attacks.around.libraries import ART, Foolbox, Torchattacks
from advkit.attacks.around.limited import Limited, limited
from advkit.attacks.around.masked import Masked, masked
from advkit.attacks.around.ni import NI, ni
from advkit.attacks.around.restarts import Restarts, restarts
from advkit.attacks.around.si import SI, si
from advkit.attacks.around.smallest import Smallest, smallest
from advkit.attacks.around.targets import Targets, targets
from advkit.attacks.around.ti import TI, ti
from advkit.attacks.around.transfer import Transfer, transfer
from advkit.attacks.around.vmi import VMI, vmi

__all__ = [
    "ART",
    "DI",
    "EOT",
    "NI",
    "SI",
    "TI",
    "VMI",
    "Admix",
    "Foolbox",
    "Limited",
    "Masked",
    "Restarts",
    "Smallest",
    "Targets",
    "Torchattacks",
    "Transfer",
    "admix",
    "di",
    "ensemble",
    "eot",
    "limited",
    "masked",
    "ni",
    "restarts",
    "si",
    "smallest",
    "targets",
    "ti",
    "transfer",
    "vmi",
]
