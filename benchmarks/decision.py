"""`python benchmarks/decision.py`: attacks that see labels only, against Foolbox's and ART's at equal queries.

Each peer runs first, on the digits that the network gets right, and its forward passes are counted; then ours gets as
many queries a sample. Medians of the distance, their ratio, and the ratio of processor time, one thread. Needs foolbox
and adversarial-robustness-toolbox (the extra `bench`).
"""

import argparse
import time
import warnings

import foolbox
import numpy as np
import torch
from art.attacks.evasion import GeoDA as ArtGeoDA
from art.attacks.evasion import HopSkipJump as ArtHopSkipJump
from art.estimators.classification import PyTorchClassifier
from torch import nn
from victims import load

from advkit.attacks import Boundary, GeoDA, HopSkipJump
from advkit.core.norms import get_norm

setattr(np, "mat", np.asmatrix)  # noqa: B010 (ART's GeoDA calls it by the name that NumPy 2 has dropped)


class Counter(nn.Module):
    """Counts the images that pass."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, x):
        self.seen += len(x)
        return self.net(x.float())  # ART hands over float64


def from_foolbox(attack):
    def run(model, x, y):
        return attack(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None)[1]

    return run


def from_art(cls, norm, **options):
    def run(model, x, y):
        shape = tuple(x.shape[1:])
        wrapped = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), shape, 10, clip_values=(0.0, 1.0), device_type="cpu"
        )  # fmt: skip
        attack = cls(wrapped, norm={"l2": 2, "linf": np.inf}[norm], verbose=False, **options)
        return torch.from_numpy(attack.generate(x.numpy(), y=y.numpy()))

    return run


def rows(steps):
    """(label, peer, norm, our attack for so many queries)."""
    for few in steps:
        hop, walk = foolbox.attacks.HopSkipJumpAttack, foolbox.attacks.BoundaryAttack
        for norm in ("l2", "linf"):
            label = f"foolbox hopskipjump {norm} steps={few}"
            ours = lambda q, norm=norm: HopSkipJump(norm=norm, queries=q)  # noqa: E731
            yield label, from_foolbox(hop(steps=few, constraint=norm)), norm, ours
        hops = from_art(ArtHopSkipJump, "l2", max_iter=few)
        yield f"art hopskipjump l2 max_iter={few}", hops, "l2", lambda q: HopSkipJump(queries=q)
        for norm in ("l2", "linf"):
            rays = from_art(ArtGeoDA, norm, max_iter=200 * few)
            yield f"art geoda {norm} max_iter={200 * few}", rays, norm, lambda q, norm=norm: GeoDA(norm=norm, queries=q)
        yield (
            f"foolbox boundary steps={200 * few}",
            from_foolbox(walk(steps=200 * few)),
            "l2",
            lambda q: Boundary(queries=q),
        )


def compare(victim, label, peer, norm, make, count, seed):
    model, x, y = load(victim)
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero().squeeze(1)[:count]
    x, y = x[right], y[right]
    size = get_norm(norm).size
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (ART draws from it)
    counter = Counter(model).eval()
    begin = time.process_time()
    found = peer(counter, x, y).detach().to(x.dtype)
    their_time = time.process_time() - begin
    with torch.no_grad():
        fooled = model(found).argmax(1) != y
    theirs = torch.where(fooled, size((found - x).double()), torch.inf)
    queries = counter.seen // len(x)
    begin = time.process_time()
    result = make(queries - 3)(model, x, y, seed=seed)
    our_time = time.process_time() - begin
    ours = result.distance
    print(
        f"{victim:>13} | {label:<34} | {len(x):4d} | {queries:6d} {float(result.queries.double().mean()):8.1f} | "
        f"{float(theirs.median()):7.4f} {float(ours.median()):7.4f} {float(ours.median() / theirs.median()):6.3f} | "
        f"{float(fooled.double().mean()):6.1%} {float(result.success.double().mean()):6.1%} | "
        f"{our_time / their_time:6.2f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "lenet5-robust"])
    parser.add_argument("--steps", nargs="+", type=int, default=[5, 15])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--only", default="", help="rows whose label holds this text")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, foolbox {foolbox.__version__}, one thread, processor time")
    print("victim | peer | n | queries a sample: theirs, ours | median distance: theirs, ours, ratio | fooled | time")
    for victim in given.victims:
        for label, peer, norm, make in rows(given.steps):
            if given.only in label:
                compare(victim, label, peer, norm, make, given.count, given.seed)
