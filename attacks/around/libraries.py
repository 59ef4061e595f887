"""Adapters for Foolbox, torchattacks and ART."""

from importlib import import_module
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advkit.attacks.around.foreign import Call, Foreign
from advkit.core.attack import ATTACKS, Attack


class Foolbox(Foreign):
    """Of Foolbox 3 (Rauber et al. 2017, arXiv 1707.04131); its class says the norm."""

    library = "foolbox"

    def __post_init__(self) -> None:
        distance = getattr(self._class("foolbox.attacks"), "distance", None)
        norms = {0: "l0", 1: "l1", 2: "l2", float("inf"): "linf"}
        object.__setattr__(self, "norm", norms.get(getattr(distance, "p", float("inf")), "linf"))
        super().__post_init__()

    def _is_minimal(self) -> bool:
        names = [base.__name__ for base in self._class("foolbox.attacks").__mro__]
        return "MinimizationAttack" in names

    def _images(self, call: Call) -> Tensor:
        foolbox = import_module("foolbox")
        model = foolbox.PyTorchModel(call.model, bounds=(0, 1), device=call.x.device)
        criterion = (
            foolbox.Misclassification(call.y) if call.target is None else foolbox.TargetedMisclassification(call.target)
        )
        attack = self._made(self._class("foolbox.attacks"))
        epsilons = None if self.kind == "minimal" else [call.eps]
        _, clipped, _ = attack(model, call.x, criterion, epsilons=epsilons)
        found: Tensor = clipped if epsilons is None else clipped[0]
        return found


class Torchattacks(Foreign):
    """Of torchattacks (Kim 2020, arXiv 2010.01950); the norm is linf unless the spec says `norm=l2`."""

    library = "torchattacks"

    def _is_minimal(self) -> bool:
        return "eps" not in signature(self._class("torchattacks").__init__).parameters

    def _images(self, call: Call) -> Tensor:
        radius = {} if self.kind == "minimal" else {"eps": call.eps}
        attack = self._made(self._class("torchattacks"), call.model, **radius)
        labels = call.y
        if call.target is not None:
            attack.set_mode_targeted_by_label(quiet=True)
            labels = call.target
        found: Tensor = attack(call.x, labels)
        return found


class ART(Foreign):
    """Of ART's evasion attacks (Nicolae et al. 2018, arXiv 1807.01069); the norm is linf unless `norm=l2` is given."""

    library = "art"

    def _is_minimal(self) -> bool:
        return "eps" not in signature(self._class("art.attacks.evasion").__init__).parameters

    def _images(self, call: Call) -> Tensor:
        maker = self._class("art.attacks.evasion")
        known = signature(maker.__init__).parameters
        given: dict[str, Any] = {} if self.kind == "minimal" else {"eps": call.eps}
        given |= {"norm": ART_NORMS[self.norm]} if "norm" in known else {}
        given |= {"targeted": call.target is not None} if "targeted" in known else {}
        given |= {"verbose": False} if "verbose" in known and "verbose" not in self.options else {}
        classification = import_module("art.estimators.classification")
        model = classification.PyTorchClassifier(
            model=call.model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(call.x.shape[1:]),
            nb_classes=call.classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if call.x.is_cuda else "cpu",
        )
        labels = call.y if call.target is None else call.target
        images = call.x.detach().cpu().float().numpy()
        found = self._made(maker, model, **given).generate(images, y=np.eye(call.classes)[labels.cpu().numpy()])
        return torch.from_numpy(np.asarray(found))


ART_NORMS: dict[str, Any] = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}


def _register(maker: type[Foreign]) -> None:
    @ATTACKS.library(maker.library)
    def make(
        class_name: str,
        *,
        eps: float | None = None,
        norm: str = "linf",
        target: str | int = "untargeted",
        **options: Any,
    ) -> Attack:
        return maker(class_name=class_name, options=options, eps=eps, norm=norm, target=target)


for _maker in (Foolbox, Torchattacks, ART):
    _register(_maker)
