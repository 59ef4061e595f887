"""The defences: training losses for any training loop; `create_defense("trades(eps=0.3, beta=6)")`."""

from advkit.defenses._loss import AttackedLoss, TrainingLoss
from advkit.defenses._registry import DEFENSES, Defense, create_defense, list_defenses, register_defense
from advkit.defenses.adversarial import AdversarialLoss
from advkit.defenses.awp import AWP
from advkit.defenses.crown_ibp import CROWNIBP
from advkit.defenses.fast import Fast
from advkit.defenses.free import Free
from advkit.defenses.ibp import IBP
from advkit.defenses.mart import MART
from advkit.defenses.nfgsm import NFGSM
from advkit.defenses.noise import NoiseLoss
from advkit.defenses.probe import probe_for
from advkit.defenses.smoothed import Smoothed, SmoothedRadii, certified_accuracy
from advkit.defenses.trades import TRADES
from advkit.defenses.transformed import Transformed
from advkit.defenses.transforms import TRANSFORMS, Transform, create_transform, list_transforms
from advkit.training.interval_init import interval_init

__all__ = [
    "AWP",
    "CROWNIBP",
    "DEFENSES",
    "IBP",
    "MART",
    "NFGSM",
    "TRADES",
    "TRANSFORMS",
    "AdversarialLoss",
    "AttackedLoss",
    "Defense",
    "Fast",
    "Free",
    "NoiseLoss",
    "Smoothed",
    "SmoothedRadii",
    "TrainingLoss",
    "Transform",
    "Transformed",
    "certified_accuracy",
    "create_defense",
    "create_transform",
    "interval_init",
    "list_defenses",
    "list_transforms",
    "probe_for",
    "register_defense",
]
