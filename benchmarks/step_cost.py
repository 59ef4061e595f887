"""The small operations of a step beside its passes, by attack and norm, as a Markdown table.

    python benchmarks/step_cost.py [ATTACK ...]

Counted by a dispatch mode on a network without convolutions, views left out, the mean of all steps but the first.
"""

import sys
import warnings
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.cost import network, passes, watching

from advkit.attacks import create_attack
from advkit.core.norms import get_norm

ATTACKS = ["pgd", "mifgsm", "ddn", "apgd", "fmn", "alma", "superdeepfool", "lbfgs"]


def main() -> None:
    """One row an attack and norm."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    model = network().requires_grad_(False)
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    print('| attack | norm | stop="never" | stop="fooled" |\n|---|---|---|---|')
    for name in sys.argv[1:] or ATTACKS:
        for norm in type(create_attack(name)).norms:
            attack, eps, cells = create_attack(name, norm=norm), max(1e-4, get_norm(norm).grain), []
            for stop in ("never", "fooled") if attack.kind == "budget" else ("never",):
                with watching() as notes:
                    attack(model, x, y, stop=stop, **({"eps": eps} if attack.kind == "budget" else {}))
                floor = passes(model, x)
                steps = [sum(names.values()) - floor for names in notes[1:]]
                cells.append(f"{sum(steps) / max(len(steps), 1):.0f}")
            print(f"| {name} | {norm} | {' | '.join(cells + ['-'] * (2 - len(cells)))} |")


if __name__ == "__main__":
    main()
