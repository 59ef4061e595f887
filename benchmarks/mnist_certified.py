"""Networks trained for their certificate on MNIST: `python benchmarks/mnist_certified.py --data ROOT --output DIR`.

Trains a small strided convolutional network on the interval bounds (Gowal et al. 2018), then says which share of the
test digits is certified at each --eps, by intervals and, where they leave a digit open, by CROWN; and how many fall to
PGD-40. ROOT is a data root of advkit that holds MNIST. The whole set is trained on but for the digits that `mnist5k`
holds back. No test digit is trained on, and none selects: the last epoch counts. A folder that holds the trained
network is judged without training it again. `--init interval` draws the weights so that intervals neither grow nor
shrink (Shi et al. 2021, section 3, arXiv 2103.17268).

`--standing 1000` asks how many of the first 1,000 test digits stand under the cascade, under AutoAttack standard and
under every attack there is (the certificate). `--peer` asks pyautoattack's standard, too.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _needed import needed
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.data import Dataset, load_data
from advkit.defenses import create_defense, interval_init
from advkit.models import Classifier
from advkit.training import Progress, Recipe, train


def network(width: float, depth: int) -> nn.Sequential:
    """Convolutions of stride 2 and two linear layers; `depth` 3 adds a convolution of stride 1 between them."""
    a, b, hidden = (int(n * width) for n in (16, 32, 128))
    middle = [nn.Conv2d(a, a, 3, 1, 1), nn.ReLU()] if depth == 3 else []
    return nn.Sequential(
        nn.Conv2d(1, a, 4, 2, 1), nn.ReLU(), *middle, nn.Conv2d(a, b, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(b * 49, hidden), nn.ReLU(), nn.Linear(hidden, 10),
    )  # fmt: skip


def judged(model: nn.Module, data: Dataset, eps: float, crown: int) -> dict[str, Any]:
    """Errors on the test digits; CROWN looks at the first `crown` digits that intervals leave open."""
    x, y = data[:]
    begun = time.process_time()
    safe = certify(model, x, y, eps=eps, method="ibp").certified
    by_intervals = 1 - safe.double().mean().item()
    with torch.no_grad():
        right = torch.cat([model(part).argmax(1) for part in x.split(1000)]) == y
    left = (right & ~safe).nonzero().squeeze(1)[:crown]
    if len(left):
        safe[left] = certify(model, x[left], y[left], eps=eps, method="crown").certified
    fooled = create_attack(f"pgd(eps={eps}, steps=40)")(model, x, y).success
    assert not bool((fooled & safe).any()), "a certified digit was fooled"
    return {
        "eps": eps,
        "of": len(x),
        "clean_error": 1 - right.double().mean().item(),
        "pgd_error": fooled.double().mean().item(),
        "certified_error_ibp": by_intervals,
        "certified_error": 1 - safe.double().mean().item(),
        "asked_crown": len(left),
        "processor_seconds": time.process_time() - begun,
    }


def stands(model: nn.Module, data: Dataset, eps: float, count: int, peer: bool) -> dict[str, Any]:
    """How many of the first `count` digits each attack leaves standing.

    No attack can fool the certified ones, so only the others are attacked; `judged` checks that PGD fools none of them.
    """
    x, y = data[:count]
    safe = certify(model, x, y, eps=eps, method="ibp").certified
    left = (~safe).nonzero().squeeze(1)
    safe[left] = certify(model, x[left], y[left], eps=eps, method="crown").certified
    report: dict[str, Any] = {"eps": eps, "of": len(x), "certified": int(safe.sum())}
    x, y = x[~safe], y[~safe]
    attacks: dict[str, Callable[[], Tensor]] = {
        f"{name}(eps={eps})": partial(fooled_by, f"{name}(eps={eps})", model, x, y)
        for name in ("cascade", "autoattack")
    }
    if peer:
        attacks["pyautoattack standard"] = partial(fooled_by_peer, model, x, y, eps)
    for name, attack in attacks.items():
        begun = time.process_time()
        standing = report["certified"] + int((~attack()).sum())
        report[name] = {"standing": standing, "processor_seconds": round(time.process_time() - begun, 1)}
        print(json.dumps(report), flush=True)
    return report


def fooled_by(spec: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool."""
    return create_attack(spec)(model, x, y).success


def fooled_by_peer(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """(N,) bool: AutoAttack standard as pyautoattack has it; seed 0."""
    from pyautoattack import AutoAttack

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    peer = AutoAttack(model, norm="Linf", eps=eps, seed=0, device="cpu")
    answer = peer.run_standard_evaluation(x, y, batch_size=len(x))
    x_adv = answer[0] if isinstance(answer, tuple) else answer
    assert float((x_adv - x).abs().max()) <= eps + 1e-6
    assert 0 <= float(x_adv.min()) <= float(x_adv.max()) <= 1
    with torch.no_grad():
        return model(x_adv).argmax(1) != y


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="data root that holds MNIST")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--loss", default="ibp(eps=0.4)", help="spec of the training loss")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.3], help="radii that are certified")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ramp", type=float, default=0.5, help="share of the run in which eps grows")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--depth", type=int, default=2, choices=(2, 3))
    parser.add_argument("--init", default="interval", choices=("default", "interval"))
    parser.add_argument("--crown", type=int, default=10_000, help="most digits that CROWN looks at")
    parser.add_argument("--standing", type=int, default=0, help="number of first test digits for AutoAttack")
    parser.add_argument("--peer", action="store_true", help="with --standing: pyautoattack's standard as well")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    needed(*["pyautoattack"] * given.peer)
    torch.manual_seed(given.seed)
    data = load_data("mnist", split="train", root=given.data, pad=0)
    test = load_data("mnist", split="test", root=given.data, pad=0)
    net = network(given.width, given.depth)
    if given.init == "interval":
        interval_init(net, seed=given.seed)
    classifier, loss = Classifier(net), create_defense(given.loss)
    recipe = Recipe(
        model="strided", data="mnist", input_shape=(1, 28, 28), epochs=given.epochs, batch_size=given.batch,
        optimizer="adamw", lr=given.lr, weight_decay=0.0, clip=8.0, ramp=given.ramp, defense=loss.spec,
        channels_last=False, seed=given.seed,
    )  # fmt: skip
    begun, last = time.process_time(), [-1]

    def tell(now: Progress) -> None:
        if now.epoch != last[0]:
            last[0] = now.epoch
            print(f"epoch {now.epoch}, {time.process_time() - begun:.0f} s of processor time", flush=True)

    run = train(classifier, data, recipe=recipe, loss=loss, test=test, output=given.output, progress=tell, resume=True)
    report: dict[str, Any] = {"recipe": str(recipe), "processor_seconds": time.process_time() - begun}
    report["parameters"] = sum(p.numel() for p in net.parameters())
    report["judged"] = []
    report["standing"] = []
    for eps in given.eps:
        if given.standing:
            report["standing"].append(stands(run.classifier.eval(), test, eps, given.standing, given.peer))
        report["judged"].append(judged(run.classifier.eval(), test, eps, given.crown))
        print(json.dumps(report["judged"][-1]), flush=True)
        (given.output / "certified.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
