"""Every training loss of the package, with hyperparameters that leave no term out."""

from dataclasses import replace

from advkit.attacks import FGSM, PGD
from advkit.defenses import (
    AWP,
    CROWNIBP,
    IBP,
    MART,
    NFGSM,
    TRADES,
    AdversarialLoss,
    Fast,
    Free,
    NoiseLoss,
    TrainingLoss,
)

INSIDE = PGD(eps=0.1, steps=3)
LOSSES: dict[str, TrainingLoss] = {
    "adversarial": AdversarialLoss(attack=INSIDE, alpha=0.3, label_smoothing=0.1),
    "adversarial, fgsm": AdversarialLoss(attack=FGSM(eps=0.1)),
    "adversarial, examples alone": AdversarialLoss(attack=INSIDE, alpha=0),
    "trades": TRADES(attack=INSIDE, beta=2.0),
    "mart": MART(attack=INSIDE),
    "awp": AWP(loss=AdversarialLoss(attack=replace(INSIDE, random_start=False), alpha=0), gamma=0.05),
    "free": Free(eps=0.1, replays=3),
    "fast": Fast(eps=0.1),
    "nfgsm": NFGSM(eps=0.1),
    "ibp": IBP(eps=0.1, kappa=0.4),
    "crown_ibp": CROWNIBP(eps=0.1, kappa=0.4, beta=0.3),
    "noise": NoiseLoss(eps=0.1),
    "noise, normal": NoiseLoss(eps=0.1, kind="normal", alpha=0.5),
}
