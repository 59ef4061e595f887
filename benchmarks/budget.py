"""`python benchmarks/budget.py`: robust accuracy and time of the budget attacks beside their peers, in one run.

It needs foolbox, torchattacks, adv-lib and auto-attack's APGD and Square (`pip install pyautoattack`); a peer that is
not installed is left out. The first test digits of mnist5k, every step made (ours: stop=never), and ours once more with
fooled digits leaving; one thread, processor time, sides in turns, medians over the seeds.
"""

import argparse
import logging
import os
import statistics
import time
import warnings

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from victims import load

from advkit.attacks import create_attack


def pgd_peers(model, x, y, eps, seed):
    try:
        import torchattacks

        yield "torchattacks", lambda: torchattacks.PGD(model, eps=eps, alpha=eps / 16, steps=40)(x, y)
    except ImportError:
        pass
    try:
        import foolbox

        attack = foolbox.attacks.LinfPGD(steps=40, abs_stepsize=eps / 16)
        yield "foolbox", lambda: attack(foolbox.PyTorchModel(model, (0, 1)), x, y, epsilons=eps)[1]
    except ImportError:
        pass
    try:
        from adv_lib.attacks import pgd_linf

        yield "adv-lib", lambda: pgd_linf(model, x, y, ε=eps, steps=40, absolute_step_size=eps / 16)
    except ImportError:
        pass


def apgd_peers(loss):
    def peers(model, x, y, eps, seed):
        try:
            from pyautoattack.autopgd_base import APGDAttack
        except ImportError:
            return
        logger = logging.getLogger("apgd")
        attack = APGDAttack(model, n_iter=100, eps=eps, loss=loss, seed=seed, n_restarts=1, device="cpu", logger=logger)
        yield "auto-attack", lambda: _images(attack.perturb(x, y))

    return peers


def square_peers(model, x, y, eps, seed):
    try:
        from pyautoattack.square import SquareAttack
    except ImportError:
        return
    attack = SquareAttack(model, eps=eps, n_queries=1000, p_init=0.8, seed=seed, device="cpu", n_restarts=1)
    yield "auto-attack", lambda: attack.perturb(x, y)


def _images(answer):
    return answer[1] if isinstance(answer, tuple) else answer


CASES = {
    "pgd": ("pgd(steps=40)", pgd_peers),
    "apgd-ce": ("apgd", apgd_peers("ce")),
    "apgd-dlr": ("apgd(loss=dlr)", apgd_peers("dlr")),
    "square": ("square(queries=1000)", square_peers),
}


def compare(case, victim, eps, count, seeds):
    model, x, y = load(victim)
    x, y = x[:count], y[:count]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    spec, peers = CASES[case]
    figures = {}
    for seed in range(seeds):
        torch.manual_seed(seed)
        attack = create_attack(spec, eps=eps)
        sides = dict(peers(model, x, y, eps, seed))
        for stop in ("never", "fooled"):
            sides[f"ours ({stop})"] = lambda stop=stop, attack=attack, seed=seed: (
                attack(model, x, y, seed=seed, stop=stop).x_adv
            )
        for name, work in sides.items():
            begin = time.process_time()
            x_adv = work()
            spent = time.process_time() - begin
            with torch.no_grad():
                robust = float((model(x_adv).argmax(1) == y).float().mean())
            figures.setdefault(name, []).append((robust, spent))
    for name, pairs in figures.items():
        robust, spent = (statistics.mean(r for r, _ in pairs), statistics.median(s for _, s in pairs))
        print(
            f"{case:8} {victim:13} eps {eps:g} {count:4d} digits | {name:15} | robust {robust:.4f} | {spent:6.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--victims", nargs="+", default=["lenet5-robust:0.2", "lenet5:0.1"])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for victim in given.victims:
        for case in given.cases:
            compare(
                case, *(f(v) for f, v in zip((str, float), victim.split(":"), strict=True)), given.count, given.seeds
            )
