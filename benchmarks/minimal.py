"""`python benchmarks/minimal.py`: the minimal attacks against those of adv-lib, foolbox and torchattacks.

Equal settings, the same correctly classified test digits, all sides in one run and in turns; one thread, processor
time, the median of the turns. A row gives the share of digits that were fooled, the median distance (a failure counts
as infinitely far), the time, and both as ratios: our distance over the least of the peers' medians, our time over the
time of the fastest peer. A peer that is not installed is left out; passes are forward and backward passes a digit.
"Bare passes": as many passes on the bare network, over the time of the fastest peer: no attack can take less.
"""

import argparse
import importlib
import math
import os
import statistics
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import torch
from victims import add_source, bare_passes, load

from advkit.attacks import create_attack
from advkit.core.norms import get_norm

ORDER = {"l0": 0, "l1": 1, "l2": 2, "linf": math.inf}


def adv_lib(name, **options):
    attack = getattr(importlib.import_module("adv_lib.attacks"), name)
    return lambda model, x, y: attack(model, x, y, **options)


def foolbox(name, **options):
    library = importlib.import_module("foolbox")
    attack = getattr(library.attacks, name)(**options)

    def run(model, x, y):
        wrapped = library.PyTorchModel(model, bounds=(0, 1), device="cpu")
        return attack(wrapped, x, y, epsilons=None)[1]

    return run


def torchattacks(name, **options):
    library = importlib.import_module("torchattacks")
    return lambda model, x, y: getattr(library, name)(model, **options)(x, y)


# Ours, and each peer's maker with its name and options: as many steps, the same step lengths.
ROWS = [
    ("deepfool(norm=l2)", [
        (adv_lib, "df", {"steps": 50}), (foolbox, "L2DeepFoolAttack", {}), (torchattacks, "DeepFool", {"steps": 50}),
    ]),
    ("deepfool(norm=linf)", [
        (adv_lib, "df", {"steps": 50, "norm": math.inf}), (foolbox, "LinfDeepFoolAttack", {}),
    ]),
    ("superdeepfool", [(adv_lib, "sdf", {})]),
    ("cw(searches=5, steps=100)", [
        (adv_lib, "carlini_wagner_l2",
         {"binary_search_steps": 5, "max_iterations": 100, "learning_rate": 0.02, "initial_const": 1.0}),
        (foolbox, "L2CarliniWagnerAttack",
         {"binary_search_steps": 5, "steps": 100, "stepsize": 0.02, "initial_const": 1.0}),
    ]),
    ("cw(norm=linf, searches=20, steps=50)", [
        (adv_lib, "carlini_wagner_linf", {"max_iterations": 50, "learning_rate": 0.02}),
    ]),
    ("ddn", [(adv_lib, "ddn", {"steps": 100, "levels": None}), (foolbox, "DDNAttack", {"steps": 100})]),
    ("alma", [(adv_lib, "alma", {"num_steps": 100, "distance": "l2", "\u03b1": 0.5, "init_lr_distance": 1.0})]),
    ("alma(norm=l1)", [
        (adv_lib, "alma", {"num_steps": 100, "distance": "l1", "\u03b1": 0.5, "init_lr_distance": 10.0}),
    ]),
    *(
        (f"fmn(norm={norm})", [
            (adv_lib, "fmn", {"norm": ORDER[norm], "steps": 100}), (foolbox, f"{theirs}FMNAttack", {"steps": 100}),
        ])
        for norm, theirs in (("l2", "L2"), ("linf", "LInf"), ("l1", "L1"), ("l0", "L0"))
    ),
    *(
        (f"fab(norm={norm}, steps=50)", [(adv_lib, "fab", {"norm": ORDER[norm], "n_iter": 50})])
        for norm in ("linf", "l2", "l1")
    ),
    *(
        (f"brendel_bethge(norm={norm})", [(foolbox, f"{theirs}BrendelBethgeAttack", {"steps": 100})])
        for norm, theirs in (("l2", "L2"), ("linf", "Linfinity"), ("l1", "L1"), ("l0", "L0"))
    ),
    *(
        (f"pdpgd(norm={norm}, steps={steps})", [(adv_lib, "pdpgd", {"norm": ORDER[norm], "num_steps": steps})])
        for steps in (100, 300, 500)
        for norm in ("l2", "linf", "l1", "l0")
    ),
    # Beside all of adv-lib's attacks in l0. VFGA makes the steps that it needs, of a gradient and 21 forward passes.
    ("sigma_zero", [
        (adv_lib, "sigma_zero", {"num_steps": 100}), (adv_lib, "fmn", {"norm": 0, "steps": 100}),
        (adv_lib, "pdpgd", {"norm": 0, "num_steps": 100}), (adv_lib, "vfga", {"targeted": False}),
    ]),
    ("sigma_zero(steps=1000)", [(adv_lib, "sigma_zero", {"num_steps": 1000})]),
    ("jsma", [(torchattacks, "JSMA", {})]),
    ("ead(searches=5, steps=100)", [
        (foolbox, "EADAttack",
         {"binary_search_steps": 5, "steps": 100, "initial_const": 1.0, "regularization": 0.01,
          "decision_rule": "L1"}),
    ]),
]  # fmt: skip


def measure(attack, model, x, y, norm):
    """(median distance, share fooled, seconds): the verdict is ours, outside the time."""
    begin = time.process_time()
    answer = attack(model, x, y)
    seconds = time.process_time() - begin
    points = getattr(answer, "x_adv", answer).detach()
    with torch.no_grad():
        fooled = model(points).argmax(1) != y
    distance = torch.where(fooled, get_norm(norm).size(points.double() - x.double()), torch.inf)
    return float(distance.median()), float(fooled.float().mean()), seconds


def compare(victim, spec, peers, model, x, y, turns):
    ours = create_attack(spec)
    sides = {"advkit": ours}
    for maker, name, options in peers:
        try:
            alone = sum(other is maker for other, _, _ in peers) == 1
            sides[maker.__name__ if alone else f"{maker.__name__}'s {name}"] = maker(name, **options)
        except ImportError:
            continue
    found = {name: [] for name in sides}
    for _ in range(turns):
        for name, attack in sides.items():
            found[name].append(measure(attack, model, x, y, ours.norm))
    figures = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    cells = ", ".join(f"{name} {d:.4g} ({s:.1%}, {t:.2f} s)" for name, (d, s, t) in figures.items())
    rivals = [figure for name, figure in figures.items() if name != "advkit"]
    distance, _, seconds = figures["advkit"]
    result = ours(model, x, y)
    queries, gradients = float(result.queries.float().mean()), float(result.gradients.float().mean())
    passes, ratios = f"{queries:.0f}, {gradients:.0f}", ""
    if rivals:
        fastest = min(t for *_, t in rivals)
        floor = bare_passes(model, x, y, queries, gradients)
        ratios = f"| {distance / min(d for d, _, _ in rivals):.3f} | {seconds / fastest:.2f} | {floor / fastest:.2f} |"
    print(f"| {victim} | `{spec}` | {cells} | {passes} {ratios}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "lenet5-robust", "vgg16"])
    parser.add_argument("--first", type=int, default=0, help="the number of the first digit")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", default="", help="the attacks whose spec begins so")
    add_source(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | attack | median distance (fooled, time) | our passes | distance | time | bare passes |")
    print("|---|---|---|---|---|---|---|")
    for victim in given.victims:
        model, x, y = load(victim, given)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():
            right = (model(x).argmax(1) == y).nonzero().squeeze(1)
        right = right[right >= given.first][: given.count]
        for spec, peers in ROWS:
            if spec.startswith(given.only):
                compare(victim, spec, peers, model, x[right], y[right], given.turns)
