"""The peers of the attacks without gradients: {case: {package: run(model, x, y)}}, for one image at a time.

A run returns the image that it holds for the best, or None. What it asks on the way is counted at the model.
"""

import contextlib
import importlib
import io
import tempfile
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from torch import nn


class Settings(NamedTuple):
    """What both sides are told."""

    norm: str
    eps: float  # of scores: the radius, or the number of pixels
    queries: int  # at most


def torchattacks(kind, *, seeded=False, **options):
    """`seeded`: the attack has an argument `seed`, and with its default all images would get the same draws."""

    def make(told):
        library = importlib.import_module("torchattacks")
        given = _filled(options, told)

        def run(model, x, y):
            seed = {"seed": _seed()} if seeded else {}
            return getattr(library, kind)(model, **given, **seed)(x, y)

        return run

    return "torchattacks", make


def foolbox(kind, **options):
    def make(told):
        library = importlib.import_module("foolbox")
        attack = getattr(library.attacks, kind)(**_filled(options, told))
        return lambda model, x, y: attack(library.PyTorchModel(model, (0, 1)), x, y, epsilons=None)[1]

    return "foolbox", make


def foolbox_nes(steps, samples, sigma):
    """Foolbox's PGD with its estimate of the gradient by evolution strategies."""

    def make(told):
        library = importlib.import_module("foolbox")
        kind = {"linf": "LinfPGD", "l2": "L2PGD"}[told.norm]
        estimated = library.gradient_estimators.es_gradient_estimator(
            getattr(library.attacks, kind), samples=samples, sigma=sigma, bounds=(0, 1), clip=True
        )
        attack = estimated(steps=steps, abs_stepsize=2.5 * told.eps / steps, random_start=False)
        return lambda model, x, y: attack(library.PyTorchModel(model, (0, 1)), x, y, epsilons=told.eps)[1]

    return "foolbox", make


def art(kind, *, probabilities=False, **options):
    def make(told):
        setattr(np, "mat", np.asmatrix)  # noqa: B010 (ART's GeoDA calls it by the name that NumPy 2 has dropped)
        attacks = importlib.import_module("art.attacks.evasion")
        estimator = importlib.import_module("art.estimators.classification").PyTorchClassifier
        given = _filled(options, told)

        def run(model, x, y):
            net = nn.Sequential(model, nn.Softmax(1)) if probabilities else model
            shape = tuple(x.shape[1:])
            wrapped = estimator(net, nn.CrossEntropyLoss(), shape, 10, clip_values=(0.0, 1.0), device_type="cpu")
            attack = getattr(attacks, kind)(wrapped, verbose=False, **given)
            with contextlib.chdir(tempfile.gettempdir()):  # GeoDA leaves a file where it runs
                return torch.from_numpy(attack.generate(x.numpy().copy(), y=np.eye(10)[y.numpy()]))

        return run

    return "art", make


def torchattack_geoda():
    def make(told):
        kind = importlib.import_module("torchattack").GeoDA

        def run(model, x, y):
            if x.shape[1] != 3:
                return None  # it draws three channels
            with contextlib.redirect_stdout(io.StringIO()):
                attack = kind(model, input_shape=x.shape[1:], p=told.norm, max_queries=told.queries, sub_dim=10)
                return attack(x, y)

        return run

    return "torchattack", make


def pyautoattack():
    def make(told):
        kind = importlib.import_module("pyautoattack.square").SquareAttack
        norm = {"linf": "Linf", "l2": "L2"}[told.norm]

        def run(model, x, y):
            return kind(model, norm, told.queries, told.eps, seed=_seed(), device="cpu").perturb(x, y)

        return run

    return "pyautoattack", make


def _filled(options, told):
    """The options; one that is a function is asked for its value."""
    return {name: value(told) if callable(value) else value for name, value in options.items()}


def _seed():
    """A seed for the attack on one image."""
    return int(torch.randint(2**31, ()))


def _eps(told):
    return told.eps


def _queries(told):
    return told.queries


def _pairs(told):
    return told.queries // 2


def _generations(told):
    return told.queries // 400 - 1


def _order(told):
    return {"linf": np.inf, "l2": 2}[told.norm]


_SQUARE = [
    torchattacks(
        "Square",
        seeded=True,
        norm=lambda told: {"linf": "Linf", "l2": "L2"}[told.norm],
        eps=_eps,
        n_queries=_queries,
    ),
    art("SquareAttack", norm=_order, eps=_eps, max_iter=_queries, p_init=0.8),
    pyautoattack(),
]
_HOPS = [
    foolbox("HopSkipJumpAttack", steps=64, constraint=lambda told: told.norm),
    art("HopSkipJump", norm=_order, max_iter=64),
]
_GEODA = [art("GeoDA", norm=_order, max_iter=_queries), torchattack_geoda()]
_DCT = {"attack": "dct", "order": "random", "epsilon": 0.2, "freq_dim": 4, "stride": 1}

_PEERS = {
    "square": _SQUARE,
    "square-l2": _SQUARE,
    "simba": [
        art("SimBA", probabilities=True, attack="px", order="random", epsilon=0.2, max_iter=_pairs)
    ],
    "simba-dct": [art("SimBA", probabilities=True, max_iter=_pairs, **_DCT)],
    "spsa": [
        torchattacks("SPSA", eps=_eps, delta=0.01, lr=lambda told: 2.5 * told.eps / 20, nb_iter=20, nb_sample=25)
    ],
    "nes": [foolbox_nes(steps=20, samples=50, sigma=1e-3)],
    "one_pixel": [
        torchattacks("OnePixel", pixels=lambda told: int(told.eps), steps=_generations, popsize=400),
        art("PixelAttack", th=lambda told: int(told.eps), es=1, max_iter=_generations),
    ],
    "pixels": [
        torchattacks("Pixle", restarts=1000),
        art("PixelAttack", th=None, es=1, max_iter=10),
    ],
    "hopskipjump": _HOPS,
    "hopskipjump-linf": _HOPS,
    "boundary": [
        foolbox("BoundaryAttack", steps=_queries),
        art("BoundaryAttack", targeted=False, epsilon=0.01, max_iter=_queries),
    ],
    "geoda": _GEODA,
    "geoda-linf": _GEODA,
    "rays": [],
}  # fmt: skip

PEERS = {case: {name: make for name, make in peers if find_spec(name)} for case, peers in _PEERS.items()}
ABSENT = sorted({name for peers in _PEERS.values() for name, _ in peers if not find_spec(name)})
