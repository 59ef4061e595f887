"""What transforms of the image gain, by an attack that ignores them and by one that goes through them.

`python benchmarks/transforms.py --count 300`: PGD on a shipped network; the naive attack is made on the network alone
and shown to the network behind the transform. Stop rule "fooled" (the surrogate's attack goes on to the end).

`--then SPEC ...` asks whether what is left is a real gain: the digits that the attack through the transform leaves
standing are given to each of these attacks in turn. `--certify EPS` says how many digits CROWN certifies at EPS.
"""

import argparse

import torch
from torch import Tensor, nn

from advkit.attacks import create_attack, transfer
from advkit.certification import certify
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.defenses import Transformed
from advkit.evaluation import wilson_interval
from advkit.models import load_model

SPECS = (
    "bit_depth(3)",
    "bit_depth(1)",
    "jpeg(75)",
    "jpeg(25)",
    "median(3)",
    "gaussian(1)",
    "total_variation",
    "resize_pad(4)",
    "resize_pad(pixels=4, seed=0)",
)


def error(wrong: torch.Tensor) -> str:
    """`83.0 % (78.3 to 86.8)`."""
    low, high = wilson_interval(int(wrong.sum()), len(wrong))
    return f"{100 * float(wrong.double().mean()):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def then(model: nn.Module, x: Tensor, y: Tensor, fooled: Tensor, specs: list[str]) -> str:
    """What further attacks fool of the digits that stand: ` autoattack(eps=0.1): 1 more of 56;`."""
    said, fooled = "", fooled.clone()
    for spec in specs:
        left = (~fooled).nonzero().squeeze(1)
        found = create_attack(spec)(model, x[left], y[left]).success
        fooled[left] = found
        said += f" {spec}: {int(found.sum())} more of {len(left)};"
    return said


def proven(model: nn.Module, x: Tensor, y: Tensor, eps: float | None) -> str:
    """How many digits CROWN certifies: ` 12 certified at 0.02`."""
    if eps is None:
        return ""
    try:
        return f" {int(certify(model, x, y, eps=eps, method='crown').certified.sum())} certified at {eps}"
    except InputError as error:
        return f" {error}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--attack", default="pgd(eps=0.1, steps=40)")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="number of the first test digit")
    parser.add_argument("--transforms", nargs="+", default=SPECS, metavar="SPEC")
    parser.add_argument("--then", nargs="+", default=[], metavar="SPEC", help="attacks on the digits that stand")
    parser.add_argument("--certify", type=float, metavar="EPS", help="radius at which CROWN certifies digits")
    given = parser.parse_args()
    model, attack = load_model(given.model, device="cpu"), create_attack(given.attack)
    x, y = load_data("mnist5k", split="test")[given.first : given.first + given.count]
    bare = attack(model, x, y).success
    print(f"no transform: {error(bare)}{then(model, x, y, bare, given.then)}{proven(model, x, y, given.certify)}")
    print("| transform | clean | attack that ignores it | attack that goes through it |\n|---|---|---|---|")
    for spec in given.transforms:
        torch.manual_seed(0)
        defended = Transformed(model, spec).eval()
        with torch.no_grad():
            clean = defended(x).argmax(1) != y
        naive, adaptive = (a(defended, x, y).success for a in (transfer(attack, model), attack))
        more = then(defended, x, y, adaptive, given.then) + proven(defended, x, y, given.certify)
        print(f"| `{spec}` | {error(clean)} | {error(naive)} | {error(adaptive)} |{more}", flush=True)


if __name__ == "__main__":
    main()
