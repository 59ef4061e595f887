"""The attacks: a paper is a file or a folder; `around/` wraps attacks, `parts/` is what papers share."""

from typing import Any

from advkit.attacks.alma import ALMA
from advkit.attacks.apgd import APGD, APGDTargeted
from advkit.attacks.around import (
    DI,
    EOT,
    NI,
    SI,
    TI,
    VMI,
    Admix,
    Limited,
    Masked,
    Restarts,
    Smallest,
    Targets,
    Transfer,
    admix,
    di,
    ensemble,
    eot,
    limited,
    masked,
    ni,
    restarts,
    si,
    smallest,
    targets,
    ti,
    transfer,
    vmi,
)
from advkit.attacks.autoattack import AutoAttack
from advkit.attacks.bim import BIM
from advkit.attacks.boundary import Boundary
from advkit.attacks.brendel_bethge import BrendelBethge
from advkit.attacks.cascade import Cascade
from advkit.attacks.colour import Colour
from advkit.attacks.cw import CW
from advkit.attacks.ddn import DDN
from advkit.attacks.deepfool import DeepFool
from advkit.attacks.ead import EAD
from advkit.attacks.fab import FAB
from advkit.attacks.features import Features
from advkit.attacks.fgsm import FGSM
from advkit.attacks.flow import Flow
from advkit.attacks.fmn import FMN
from advkit.attacks.fooling import Fooling, FoolingImages, fooling_images
from advkit.attacks.geoda import GeoDA
from advkit.attacks.hopskipjump import HopSkipJump
from advkit.attacks.jsma import JSMA
from advkit.attacks.lavan import LaVAN
from advkit.attacks.lbfgs import LBFGS
from advkit.attacks.mifgsm import MIFGSM
from advkit.attacks.nes import NES
from advkit.attacks.noise import Noise
from advkit.attacks.one_pixel import OnePixel
from advkit.attacks.patch import AdversarialPatch, Patch, find_patch
from advkit.attacks.pdpgd import PDPGD
from advkit.attacks.pgd import PGD
from advkit.attacks.rays import RayS
from advkit.attacks.sigma_zero import SigmaZero
from advkit.attacks.simba import SimBA
from advkit.attacks.sparse_rs import SparseRS
from advkit.attacks.spatial import Spatial
from advkit.attacks.spsa import SPSA
from advkit.attacks.square import Square
from advkit.attacks.superdeepfool import SuperDeepFool
from advkit.attacks.universal import Universal, UniversalPerturbation, find_universal
from advkit.core.attack import ATTACKS, Attack, BudgetAttack, MinimalAttack
from advkit.core.registry import Spec
from advkit.core.result import Result

__all__ = [
    "ALMA",
    "APGD",
    "ATTACKS",
    "BIM",
    "CW",
    "DDN",
    "DI",
    "EAD",
    "EOT",
    "FAB",
    "FGSM",
    "FMN",
    "JSMA",
    "LBFGS",
    "MIFGSM",
    "NES",
    "NI",
    "PDPGD",
    "PGD",
    "SI",
    "SPSA",
    "TI",
    "VMI",
    "APGDTargeted",
    "Admix",
    "AdversarialPatch",
    "Attack",
    "AutoAttack",
    "Boundary",
    "BrendelBethge",
    "BudgetAttack",
    "Cascade",
    "Colour",
    "DeepFool",
    "Features",
    "Flow",
    "Fooling",
    "FoolingImages",
    "GeoDA",
    "HopSkipJump",
    "LaVAN",
    "Limited",
    "Masked",
    "MinimalAttack",
    "Noise",
    "OnePixel",
    "Patch",
    "RayS",
    "Restarts",
    "Result",
    "SigmaZero",
    "SimBA",
    "Smallest",
    "SparseRS",
    "Spatial",
    "Square",
    "SuperDeepFool",
    "Targets",
    "Transfer",
    "Universal",
    "UniversalPerturbation",
    "admix",
    "create_attack",
    "di",
    "ensemble",
    "eot",
    "find_patch",
    "find_universal",
    "fooling_images",
    "limited",
    "list_attacks",
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


def list_attacks(pattern: str = "*") -> list[str]:
    """Return the names of the attacks that match a shell pattern.

    Args:
        pattern: shell pattern such as "*gd"; default: all names.
    """
    return ATTACKS.names(pattern)


def create_attack(spec: str | Spec, **options: Any) -> Attack:
    """Create an attack from a name or a spec such as "pgd(eps=8/255)"; `options` override those of the spec.

    Args:
        spec: name of an attack, or a spec such as "pgd(eps=8/255, steps=40)".
        **options: hyperparameters of the attack; they override those of the spec.

    Raises:
        InputError: the name or an option is unknown, or the attack refuses a value.
    """
    return ATTACKS.create(spec, **options)
