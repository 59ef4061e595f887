"""The peers of the budget attacks that are installed: {case: {package: (model, x, y, eps, seed) -> images}}."""

import importlib
import logging
from importlib.util import find_spec


def _torchattacks(kind, **options):
    def run(model, x, y, eps, seed):
        given = {name: value(eps) if callable(value) else value for name, value in options.items()}
        return getattr(importlib.import_module("torchattacks"), kind)(model, eps=eps, **given)(x, y)

    return "torchattacks", run


def _foolbox(kind, alpha=None, **options):
    def run(model, x, y, eps, seed):
        foolbox = importlib.import_module("foolbox")
        given = options if alpha is None else {**options, "abs_stepsize": alpha(eps)}
        return getattr(foolbox.attacks, kind)(**given)(foolbox.PyTorchModel(model, (0, 1)), x, y, epsilons=eps)[1]

    return "foolbox", run


def _adv_lib(alpha, **options):
    def run(model, x, y, eps, seed):
        pgd = importlib.import_module("adv_lib.attacks").pgd_linf
        return pgd(model, x, y, ε=eps, absolute_step_size=alpha(eps), **options)

    return "adv_lib", run


def _auto_attack(file, kind, **options):
    def run(model, x, y, eps, seed):
        attack = getattr(importlib.import_module(f"pyautoattack.{file}"), kind)
        given = options if "n_queries" in options else {**options, "logger": logging.getLogger("apgd")}
        found = attack(model, eps=eps, seed=seed, n_restarts=1, device="cpu", **given).perturb(x, y)
        return found[1] if isinstance(found, tuple) else found

    return "pyautoattack", run


def _eighth(eps):
    return eps / 8


def _sixteenth(eps):
    return eps / 16


def _apgd(norm, loss):
    return [_auto_attack("autopgd_base", "APGDAttack", n_iter=100, norm=norm, loss=loss)]


_PEERS = {
    "fgsm": [_torchattacks("FGSM"), _foolbox("LinfFastGradientAttack")],
    "fgsm-l2": [_foolbox("L2FastGradientAttack")],
    "bim": [
        _torchattacks("BIM", alpha=_eighth, steps=10),
        _foolbox("LinfBasicIterativeAttack", alpha=_eighth, steps=10),
    ],
    "mifgsm": [_torchattacks("MIFGSM", alpha=_eighth, steps=10, decay=1.0)],
    "pgd": [
        _torchattacks("PGD", alpha=_sixteenth, steps=40),
        _foolbox("LinfPGD", alpha=_sixteenth, steps=40),
        _adv_lib(_sixteenth, steps=40),
    ],
    "pgd-l2": [
        _torchattacks("PGDL2", alpha=_sixteenth, steps=40),
        _foolbox("L2PGD", alpha=_sixteenth, steps=40),
    ],
    "pgd-l1": [_foolbox("L1PGD", alpha=_sixteenth, steps=40)],
    "apgd": _apgd("Linf", "ce"),
    "apgd-dlr": _apgd("Linf", "dlr"),
    "apgd-l2": _apgd("L2", "ce"),
    "apgd-l1": _apgd("L1", "ce"),
    "apgd-targeted": [_auto_attack("autopgd_base", "APGDAttack_targeted", n_iter=100, norm="Linf")],
    "square": [_auto_attack("square", "SquareAttack", n_queries=1000, p_init=0.8)],
    "square-l2": [_auto_attack("square", "SquareAttack", n_queries=1000, p_init=0.8, norm="L2")],
}

PEERS = {case: {name: run for name, run in peers if find_spec(name)} for case, peers in _PEERS.items()}
