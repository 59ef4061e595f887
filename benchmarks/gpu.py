"""Attacks on a CUDA device: who waits for it inside a step, and PGD-40 beside a plain loop and torchattacks.

    python benchmarks/gpu.py            # on a machine with a GPU; writes gpu.json into $OUT, or the working directory
    python benchmarks/gpu.py --device cpu --batch 4 --steps 3 --models lenet5 --rounds 1   # tries the script itself

Every step of every attack runs under `torch.cuda.set_sync_debug_mode("error")`. Times are medians of rounds in which
the rivals take turns. A ratio is to the plain loop of as many passes. torchattacks is left out where it is missing.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from advkit.attacks import PGD, create_attack, list_attacks
from advkit.core import attack as attack_module

EPS = 8 / 255


class Strict:
    """An attack whose steps run with every wait for the device forbidden; it notes the first that waited."""

    def __init__(self, attack: object) -> None:
        self._attack, self.fault = attack, ""

    def __getattr__(self, name: str) -> object:
        return getattr(self._attack, name)

    def step(self, oracle: object, state: object, i: int) -> object:
        torch.cuda.set_sync_debug_mode("error")
        try:
            return self._attack.step(oracle, state, i)
        except RuntimeError as error:
            self.fault = self.fault or f"step {i}: {str(error).splitlines()[0]}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return self._attack.step(oracle, state, i)


def waits(device: str) -> dict[str, str]:
    """By attack and norm: "none", what waited inside a step, or another error."""
    torch.manual_seed(0)
    conv = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    model = nn.Sequential(*conv, nn.Linear(128, 10)).to(device).eval()
    x = torch.rand(8, 3, 16, 16, device=device)
    y, found, drive = model(x).argmax(1), {}, attack_module.drive
    for name in list_attacks():
        for norm in type(create_attack(name)).norms:
            seen: list[Strict] = []

            def strictly(attack: object, *rest: object, seen: list[Strict] = seen) -> object:
                seen.append(Strict(attack))
                return drive(seen[-1], *rest)

            attack_module.drive = strictly if device == "cuda" else drive
            try:
                attack = create_attack(name, norm=norm)
                budget = {"eps": EPS if norm == "linf" else 1.0} if attack.kind == "budget" else {}
                attack(model, x, y, **budget)
                found[f"{name} {norm}"] = next((s.fault for s in seen if s.fault), "none")
            except Exception as error:  # one attack must not end the list
                found[f"{name} {norm}"] = f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            finally:
                attack_module.drive = drive
    return found


def network(name: str, device: str) -> tuple[nn.Module, Tensor]:
    """An untrained network in eval mode, and the shape of its images."""
    torch.manual_seed(0)
    if name == "lenet5":
        from advkit.models import create_model

        return create_model("lenet5").to(device).eval(), torch.empty(1, 32, 32)
    import torchvision

    return torchvision.models.get_model(name, weights=None).to(device).eval(), torch.empty(3, 224, 224)


def plain_loop(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> Tensor:
    """The textbook's PGD with frozen parameters, and a last pass as the verdict."""
    adv = x.clone()
    for _ in range(steps):
        adv.requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(adv), y, reduction="sum"), adv)
        step = adv.detach() + 2.5 * EPS / steps * gradient.sign()
        adv = torch.clamp(x + torch.clamp(step - x, -EPS, EPS), 0, 1)
    with torch.no_grad():
        model(adv)
    return adv


def graphed(model: nn.Module, x: Tensor) -> nn.Module:
    """The model with its forward and backward pass to the input as CUDA graphs, for batches of x's shape."""
    frozen = [p.requires_grad_(False) for p in model.parameters()]
    assert frozen
    return torch.cuda.make_graphed_callables(model, (x.clone().requires_grad_(),))


def rivals(model: nn.Module, x: Tensor, y: Tensor, steps: int, device: str) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    pgd = PGD(eps=EPS, steps=steps, random_start=False)
    found: dict[str, Callable[[], object]] = {
        "plain loop": lambda: plain_loop(model, x, y, steps),
        'advkit stop="never"': lambda: pgd(model, x, y, stop="never"),
        'advkit stop="fooled"': lambda: pgd(model, x, y),
    }
    try:
        import torchattacks

        theirs = torchattacks.PGD(model, eps=EPS, alpha=2.5 * EPS / steps, steps=steps, random_start=False)
        found["torchattacks"] = lambda: theirs(x, y)
    except ImportError:
        print("torchattacks is not installed", file=sys.stderr)
    if device == "cuda":
        import copy

        graph = graphed(copy.deepcopy(model), x)
        found["plain loop, CUDA graph"] = lambda: plain_loop(graph, x, y, steps)
        found['advkit stop="never", CUDA graph'] = lambda: pgd(graph, x, y, stop="never")
    return found


def seconds(call: Callable[[], object], device: str) -> float:
    """The time of one call, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def timings(name: str, options: argparse.Namespace) -> dict[str, object]:
    """Medians of rounds in turns, by rival."""
    model, like = network(name, options.device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    x = torch.rand(options.batch, *like.shape, device=options.device)
    with torch.no_grad():
        y = model(x).argmax(1)
    times: dict[str, list[float]] = {}
    calls = rivals(model, x, y, options.steps, options.device)
    for turn in range(options.rounds + 1):
        for rival, call in calls.items():
            try:
                spent = seconds(call, options.device)
            except Exception as error:
                times[rival] = []
                print(f"{name}, {rival}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            if turn:  # the first warms up
                times.setdefault(rival, []).append(spent)
    return {rival: statistics.median(all_) if all_ else None for rival, all_ in times.items()}


def table(found: dict[str, dict[str, object]]) -> str:
    """Markdown: the plain loop in seconds, the others as ratios to it."""
    names = list(dict.fromkeys(rival for row in found.values() for rival in row))
    lines = ["| network | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for network_, row in found.items():
        floor = row.get("plain loop")
        cells = [
            "-" if not row.get(n) or not floor else f"{row[n]:.3f} s" if n == "plain loop" else f"{row[n] / floor:.2f}"
            for n in names
        ]
        lines.append(f"| {network_} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Both parts; a failure of one leaves the other's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="*", default=["lenet5", "resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-waits", action="store_true", help="the timings only")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    found: dict[str, object] = {"torch": torch.__version__, "batch": options.batch, "steps": options.steps}
    found["device"] = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    target = Path(os.environ.get("OUT", ".")) / "gpu.json"
    speed: dict[str, dict[str, object]] = {}
    found["seconds"] = speed
    for name in options.models:
        speed[name] = timings(name, options)
        target.write_text(json.dumps(found, indent=1))
    print(f"PGD-{options.steps}, batch {options.batch}, {found['device']}, torch {torch.__version__}\n")
    print(table(speed))
    if not options.skip_waits:
        found["waits"] = waits(options.device)
        target.write_text(json.dumps(found, indent=1))
        print("\n| attack | waits inside a step |\n|---|---|")
        print("\n".join(f"| {name} | {what} |" for name, what in found["waits"].items()))


if __name__ == "__main__":
    main()
