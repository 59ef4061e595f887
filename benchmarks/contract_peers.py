"""`python benchmarks/contract_peers.py`: other libraries' attacks through check_attack, and the table of what breaks.

Each attack stands behind an adapter of a few lines, without a random start, so that it may be called deterministic, and
with one radius for a batch (`radius_per_sample=False`: samples with radii of their own are attacked one by one). All at
their defaults, except that torchattacks' PGD gets a step of eps / 4, since its own does not follow eps, and that C&W is
cut to 4 searches of 100 steps; the checks of its strength give it 9 searches of 1,000. adv-lib has no FGSM: one step of
its PGD stands for it. Needs foolbox, torchattacks and adv-lib. `--write` puts the table into docs/testing.md;
`--evidence` prints what was seen.
"""

import argparse
import logging
import re
import warnings
from importlib.metadata import version
from pathlib import Path

from _needed import needed

needed("adv_lib", "foolbox", "torchattacks")

import adv_lib.attacks
import foolbox
import torch
import torchattacks

from advkit.attacks import CW, FGSM, PGD, DeepFool
from advkit.testing import CheckReport, check_attack, list_checks

DOCS = Path(__file__).resolve().parents[1] / "docs" / "testing.md"
BUDGET = {"deterministic": True, "radius_per_sample": False}
MINIMAL = {"deterministic": True, "kind": "minimal", "norm": "l2"}


def foolbox_budget(attack):
    def run(model, x, y, *, eps=0.1, bounds=(0, 1)):
        return attack(foolbox.PyTorchModel(model, bounds=bounds), x, y, epsilons=eps)[1]

    return run


def foolbox_minimal(attack):
    def run(model, x, y, *, bounds=(0, 1)):
        return attack(foolbox.PyTorchModel(model, bounds=bounds), x, y, epsilons=None)[1]

    return run


def torchattacks_budget(make, **options):
    def run(model, x, y, *, eps=0.1):
        return make(model, eps=eps, **options)(x, y)

    return run


def torchattacks_pgd(model, x, y, *, eps=0.1):
    return torchattacks.PGD(model, eps=eps, alpha=eps / 4, random_start=False)(x, y)


def torchattacks_minimal(make, **options):
    def run(model, x, y):
        return make(model, **options)(x, y)

    return run


def adv_lib_budget(attack, **options):
    def run(model, x, y, *, eps=0.1):
        return attack(model, x, y, ε=eps, **options)

    return run


def adv_lib_minimal(attack, **options):
    def run(model, x, y):
        return attack(model, x, y, **options)

    return run


ATTACKS = {
    "advkit": {
        "FGSM": (FGSM(), {}),
        "PGD": (PGD(random_start=False), {}),
        "DeepFool": (DeepFool(), {}),
        "C&W": (CW(), {}),
    },
    "foolbox": {
        "FGSM": (foolbox_budget(foolbox.attacks.LinfFastGradientAttack()), BUDGET),
        "PGD": (foolbox_budget(foolbox.attacks.LinfPGD(random_start=False)), BUDGET),
        "DeepFool": (foolbox_minimal(foolbox.attacks.L2DeepFoolAttack()), MINIMAL),
        "C&W": (foolbox_minimal(foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=4, steps=100)), MINIMAL),
    },
    "torchattacks": {
        "FGSM": (torchattacks_budget(torchattacks.FGSM), BUDGET),
        "PGD": (torchattacks_pgd, BUDGET),
        "DeepFool": (torchattacks_minimal(torchattacks.DeepFool), MINIMAL),
        "C&W": (torchattacks_minimal(torchattacks.CW, steps=100), MINIMAL),
    },
    "adv-lib": {
        "FGSM": (
            adv_lib_budget(adv_lib.attacks.pgd_linf, steps=1, relative_step_size=1.0, random_init=False),
            BUDGET,
        ),
        "PGD": (adv_lib_budget(adv_lib.attacks.pgd_linf, random_init=False), BUDGET),
        "DeepFool": (adv_lib_minimal(adv_lib.attacks.df), MINIMAL),
        "C&W": (
            adv_lib_minimal(adv_lib.attacks.carlini_wagner_l2, binary_search_steps=4, max_iterations=100),
            MINIMAL,
        ),
    },
}
STRENGTH = ["fools_a_linear_classifier", "moves_pixels_off_the_bounds", "attacks_every_label"]
STRONGER = {
    ("foolbox", "C&W"): foolbox_minimal(foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=1000)),
    ("torchattacks", "C&W"): torchattacks_minimal(torchattacks.CW, steps=1000),
    ("adv-lib", "C&W"): adv_lib_minimal(adv_lib.attacks.carlini_wagner_l2, binary_search_steps=9, max_iterations=1000),
}
"""What the checks of strength are run with, where it is not the same."""

MARKS = {"kept": "·", "broken": "**x**", "skipped": ""}


def checked(key, attack, traits):
    """The report of one attack."""
    strong = STRONGER.get(key)
    rest = check_attack(attack, raises=False, skip=STRENGTH if strong else (), **traits)
    if strong is None:
        return rest
    again = {o.name: o for o in check_attack(strong, raises=False, only=STRENGTH, **traits).outcomes}
    return CheckReport(rest.attack, tuple(again.get(o.name, o) for o in rest.outcomes))


def table(reports):
    """Markdown: a line a promise, a column an attack; x: broken, a dot: kept, empty: not promised by such an attack."""
    head = "| promise | " + " | ".join(f"{library}<br>{name}" for library, name in reports) + " |"
    lines = [head, "|---" * (len(reports) + 1) + "|"]
    verdicts = [{o.name: o.verdict for o in report.outcomes} for report in reports.values()]
    for check in list_checks():
        cells = [MARKS[found[check]] for found in verdicts]
        lines.append(f"| `{check}` | " + " | ".join(cells) + " |")
    counts = [str(len(report.broken)) for report in reports.values()]
    return "\n".join([*lines, "| broken | " + " | ".join(counts) + " |"])


def main(evidence: bool, write: bool, only: str) -> None:
    torch.set_num_threads(1)
    warnings.showwarning = lambda *_, **__: None  # Foolbox insists on its own
    logging.disable()
    reports = {}
    for library, attacks in ATTACKS.items():
        for name, (attack, traits) in attacks.items():
            if only in f"{library} {name}":
                reports[library, name] = checked((library, name), attack, traits)
                print(f"{library} {name}: {len(reports[library, name].broken)} broken", flush=True)
                if evidence:
                    print(reports[library, name], flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("foolbox", "torchattacks", "adv-lib", "torch"))
    text = f"Measured with {versions}.\n\n{table(reports)}"
    print(text)
    if write:
        page = DOCS.read_text()
        pattern = r"(<!-- peers: begin -->\n).*(<!-- peers: end -->)"
        DOCS.write_text(re.sub(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.DOTALL))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evidence", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="a part of 'library attack'")
    given = parser.parse_args()
    main(given.evidence, given.write, given.only)
