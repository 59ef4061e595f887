"""Robust networks of at most 400,000 parameters on MNIST: `python benchmarks/mnist_robust.py --data DIR --output DIR`.

Trains TRADES' small network with any of the losses for a number of minutes, then says how many of the first test digits
withstand PGD-40, the cascade and, with --standard, AutoAttack at the same eps. eps grows over the first part of the
run, which keeps the loss from staying at chance. The learning rate follows the share of the time that has passed, so
the script ends in time on any machine; the number of epochs made is in the JSON. DIR holds MNIST's four files, packed
or not, in it or below it.
"""

import argparse
import gzip
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.defenses import create_defense

DEFAULT = "trades(eps=0.3, steps=10, beta=4)"
BATCH = 128


def read(folder: Path, name: str) -> Tensor:
    """An IDX file as a tensor of uint8, without its header."""
    found = sorted(folder.rglob(f"{name}*"))
    if not found:
        raise SystemExit(f"no {name} below {folder}")
    raw = found[0].read_bytes()
    raw = gzip.decompress(raw) if found[0].suffix == ".gz" else raw
    head = 4 + 4 * raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return torch.frombuffer(bytearray(raw[head:]), dtype=torch.uint8).view(shape)


def load(folder: Path, split: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) in [0, 1] and labels."""
    x, y = read(folder, f"{split}-images"), read(folder, f"{split}-labels")
    return (x[:, None].float() / 255).to(device), y.long().to(device)


def network() -> nn.Sequential:
    """The SmallCNN of TRADES: 312,202 parameters without dropout's."""

    def conv(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3), nn.ReLU()]

    return nn.Sequential(
        *conv(1, 32), *conv(32, 32), nn.MaxPool2d(2), *conv(32, 64), *conv(64, 64), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1024, 200), nn.ReLU(), nn.Dropout(0.5), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 10),
    )  # fmt: skip


def with_eps(loss: Any, share: float) -> Any:
    """The loss with a share of its eps; a given length of step shrinks with it."""
    if hasattr(loss, "eps"):
        return replace(loss, eps=loss.eps * share)
    if not hasattr(loss, "attack"):
        return replace(loss, loss=with_eps(loss.loss, share))
    step = getattr(loss.attack, "step_size", None)
    shrunk = {} if step is None else {"step_size": step * share}
    return replace(loss, attack=replace(loss.attack, eps=loss.attack.eps * share, **shrunk))


class Average:
    """The exponential average of the weights, which is what is judged."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.kept = decay, {k: v.detach().clone() for k, v in model.state_dict().items()}

    def add(self, model: nn.Module) -> None:
        for name, value in model.state_dict().items():
            self.kept[name].lerp_(value, 1 - self.decay)


def shifted(x: Tensor, pixels: int) -> Tensor:
    """Every digit moved by up to that many pixels."""
    if not pixels:
        return x
    padded = nn.functional.pad(x, [pixels] * 4)
    rows = torch.randint(2 * pixels + 1, (len(x), 1), device=x.device) + torch.arange(x.shape[2], device=x.device)
    columns = torch.randint(2 * pixels + 1, (len(x), 1), device=x.device) + torch.arange(x.shape[3], device=x.device)
    n = torch.arange(len(x), device=x.device)[:, None, None]
    return padded[n, 0, rows[:, :, None], columns[:, None, :]][:, None]


def fit(model: nn.Module, loss: Any, x: Tensor, y: Tensor, given: argparse.Namespace) -> tuple[Average, float]:
    """Train until the time is over; the averaged weights, and the number of epochs."""
    optimizer = torch.optim.Adam(model.parameters(), lr=given.lr)
    average, begun, steps, value = Average(model, 0.998), time.perf_counter(), 0, torch.zeros(())
    batches = max(1, len(x) // BATCH)  # the last, smaller batch is left out unless it is the only one
    limit, most = 60 * given.minutes, given.epochs * batches
    done, ramp, known = 0.0, -1.0, loss
    while done < 1:
        order = torch.randperm(len(x), device=x.device)
        for rows in order.split(BATCH)[:batches]:
            done = max((time.perf_counter() - begun) / limit, steps / most)
            if done >= 1:
                break
            if (share := min(1.0, round(done / given.ramp * 50) / 50 + 0.02)) != ramp:
                ramp, known = share, with_eps(loss, share)
            for group in optimizer.param_groups:
                group["lr"] = given.lr * min(done / 0.02, 0.5 * (1 + math.cos(math.pi * done)))
            for _ in range(getattr(loss, "steps_a_batch", 1)):
                optimizer.zero_grad(set_to_none=True)
                value = known(model, shifted(x[rows], given.shift), y[rows])
                value.backward()
                optimizer.step()
            average.add(model)
            steps += 1
        print(f"epoch {steps * BATCH / len(x):.1f}, {time.perf_counter() - begun:.0f} s, "
              f"eps {ramp:.2f} of the whole, loss {float(value.detach()):.4f}", flush=True)  # fmt: skip
    return average, steps * BATCH / len(x)


def judge(model: nn.Module, x: Tensor, y: Tensor, spec: str) -> dict[str, Any]:
    """How many images stand."""
    begun = time.perf_counter()
    standing = int((~create_attack(spec)(model, x, y).success).sum())
    found = {"attack": spec, "standing": standing, "of": len(x), "seconds": round(time.perf_counter() - begun, 1)}
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with MNIST's files")
    parser.add_argument("--output", type=Path, required=True, help="folder of the weights and figures")
    parser.add_argument("--loss", default=DEFAULT, help="spec of the training loss")
    parser.add_argument("--minutes", type=float, default=5.0, help="maximum minutes of training")
    parser.add_argument("--epochs", type=int, default=200, help="maximum number of epochs")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--ramp", type=float, default=0.3, help="share of the run in which eps grows")
    parser.add_argument("--shift", type=int, default=0, help="pixels by which the training digits are moved")
    parser.add_argument("--eps", type=float, default=0.3, help="of the judgement")
    parser.add_argument("--count", type=int, default=1000, help="test digits that are attacked")
    parser.add_argument("--standard", action="store_true", help="AutoAttack standard, too")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    device = torch.device(given.device)
    x, y = load(given.data, "train", device)
    test_x, test_y = load(given.data, "t10k", device)
    model, loss = network().to(device), create_defense(given.loss)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count:,} parameters, {loss.spec}, {given.device}", flush=True)
    processor = time.process_time()
    average, epochs = fit(model, loss, x, y, given)
    processor = time.process_time() - processor
    model.load_state_dict(average.kept)
    model.eval()
    given.output.mkdir(parents=True, exist_ok=True)
    stem = loss.spec.partition("(")[0]
    save_file({k: v.cpu().contiguous() for k, v in model.state_dict().items()}, given.output / f"{stem}.safetensors")
    with torch.no_grad():
        wrong = torch.cat([model(part).argmax(1) for part in test_x.split(1000)]) != test_y
    report = {"loss": loss.spec, "parameters": count, "epochs": round(epochs, 2), "processor_seconds": processor}
    report |= {"clean_error": float(wrong.double().mean()), "settings": {k: str(v) for k, v in vars(given).items()}}
    print(f"clean error {100 * report['clean_error']:.2f} % of {len(test_x):,}", flush=True)
    specs = [f"pgd(eps={given.eps}, steps=40)", f"cascade(eps={given.eps})"]
    specs += [f"autoattack(eps={given.eps})"] * given.standard
    report["attacks"] = []
    for spec in specs:
        report["attacks"].append(judge(model, test_x[: given.count], test_y[: given.count], spec))
        (given.output / f"{stem}.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
