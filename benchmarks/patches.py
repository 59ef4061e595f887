"""`python benchmarks/patches.py --photographs DIR --module nets.py`: patches found by `find_patch` and by ART.

DIR has one folder a class, called by the class's number. Both sides see the same photographs as often, forward and
back, which is counted at the network; place and pixels alone are random, and the patch is a square of `--size` of the
area. Half of the photographs choose each side's step length, the other half judge, with other seeds. A row gives the
share of photographs that the network takes for the target, or no longer for their class, over `--places` random places
on each: on the half that the patch was found on, and on the other one. Only photographs that are right without a patch,
and not of the target, count. Both patches are laid on by the same plain code.
"""

import argparse
import importlib
import os
import statistics
import time
import warnings

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import torch
from torch import nn
from victims import _network_of

from advkit.attacks import find_patch
from advkit.attacks.parts.placing import side_of
from advkit.data import load_data

GRID = {"advkit": (0.02, 0.05, 0.1), "art": (0.03, 0.1, 0.3), "art, cleared": (0.03, 0.1, 0.3)}
"""Step lengths that are tried. ART's default of 5 is for pixels from 0 to 255."""


class Counted(nn.Module):
    """A network that counts the images that it classifies, and those through which a gradient comes back."""

    def __init__(self, net):
        super().__init__()
        self.net, self.there, self.back = net, 0, 0

    def forward(self, x):
        self.there += len(x)
        x = x.view_as(x)
        if x.requires_grad:
            x.register_hook(self._count)
        return self.net(x)

    def _count(self, gradient):
        self.back += len(gradient)


def photographs(folder, side):
    """The photographs and the numbers of their classes, in an order that mixes them."""
    data = load_data(f"folder:{folder}", size=side)
    x, y = data.tensors()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    return x[order], torch.tensor([int(name) for name in data.classes])[y][order]


def ours(net, x, y, length, given, seed):
    aim = "untargeted" if given.target is None else given.target
    options = {"size": given.size, "target": aim, "step_size": length}
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return find_patch(
        net, (x[order], y[order]), epochs=given.epochs, batch_size=given.batch_size, seed=seed, **options
    ).patch


def theirs(net, x, y, length, given, seed, cleared=False):
    classifiers = importlib.import_module("art.estimators.classification")
    attacks = importlib.import_module("art.attacks.evasion")
    np.random.seed(seed)  # noqa: NPY002  (ART draws places with it)
    torch.manual_seed(seed)
    side, pixels = side_of(given.size, *x.shape[2:]), x.shape[2]
    model = classifiers.PyTorchClassifier(
        net, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 1000, clip_values=(0, 1), device_type="cpu"
    )
    attack = attacks.AdversarialPatchPyTorch(
        model,
        rotation_max=0,
        scale_min=side / pixels,
        scale_max=side / pixels,
        learning_rate=length,
        max_iter=given.epochs,
        batch_size=given.batch_size,
        patch_shape=(x.shape[1], side, side),
        patch_type="square",
        targeted=given.target is not None,
        verbose=False,
    )
    if cleared:
        _clear_before_each_step(attack)
    aim = y if given.target is None else torch.full_like(y, given.target)
    patch, _ = attack.generate(x.numpy(), np.eye(1000, dtype=np.float32)[aim.numpy()])
    return torch.from_numpy(patch).float()


def _clear_before_each_step(attack):
    """ART never clears the gradient of its patch, which adds up from step to step: by hand."""
    step = attack._train_step

    def fresh(*args, **options):
        attack._patch.grad = None
        return step(*args, **options)

    attack._train_step = fresh


def theirs_cleared(net, x, y, length, given, seed):
    return theirs(net, x, y, length, given, seed, cleared=True)


def success(net, x, y, patch, given, seed=1000):
    """The share of (photograph, place) at which the patch does what it is for."""
    side, draw = patch.shape[1], torch.Generator().manual_seed(seed)
    reached = []
    with torch.no_grad():
        for _ in range(given.places):
            corners = torch.randint(0, x.shape[2] - side + 1, (len(x), 2), generator=draw).tolist()
            worn = x.clone()
            for image, (row, column) in zip(worn, corners, strict=True):
                image[:, row : row + side, column : column + side] = patch
            answer = net(worn).argmax(1)
            reached.append((answer != y if given.target is None else answer == given.target).double().mean())
    return float(torch.stack(reached).mean())


def best_length(side, find, net, x, y, given):
    found = {length: success(net, x, y, find(net, x, y, length, given, 99), given) for length in GRID[side]}
    print(f"{side}: " + ", ".join(f"{length:g} {rate:.3f}" for length, rate in found.items()), flush=True)
    return max(found, key=found.get)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", required=True, help="a folder with one folder a class, called by its number")
    parser.add_argument("--module", required=True, help="a Python file whose load(name) returns a network")
    parser.add_argument("--victim", default="imagenet_squeezenet1_1")
    parser.add_argument("--pixels", type=int, default=227, help="side of the photographs")
    parser.add_argument("--target", type=int, help="number of the class to reach; default: any but the right one")
    parser.add_argument("--size", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--count", type=int, default=16, help="photographs in each half")
    parser.add_argument("--places", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    net = Counted(_network_of(given.module, given.victim)).requires_grad_(False)
    x, y = photographs(given.photographs, given.pixels)
    with torch.no_grad():
        right = torch.cat([net(part).argmax(1) for part in x.split(50)]) == y
    keep = right if given.target is None else right & (y != given.target)
    x, y = x[keep], y[keep]
    count = min(given.count, len(y) // 2)
    choose, judge = (x[:count], y[:count]), (x[count : 2 * count], y[count : 2 * count])
    sides = {"advkit": ours} | (
        {"art": theirs, "art, cleared": theirs_cleared} if importlib.util.find_spec("art") else {}
    )
    lengths = {name: best_length(name, find, net, *choose, given) for name, find in sides.items()}
    print("| side | step length | found on these | by seed | on others | forward, backward | seconds |")
    print("|---|---|---|---|---|---|---|")
    found = {name: [] for name in sides}
    for seed in range(given.seeds):
        for name, find in sides.items():
            net.there = net.back = 0
            begin = time.process_time()
            patch = find(net, *judge, lengths[name], given, seed)
            spent, passes = time.process_time() - begin, (net.there, net.back)
            found[name].append((success(net, *judge, patch, given), success(net, *choose, patch, given), spent, passes))
    for name, rows in found.items():
        here, there, seconds, passes = zip(*rows, strict=True)
        each = " ".join(f"{rate:.3f}" for rate in here)
        print(
            f"| {name} | {lengths[name]:g} | {statistics.mean(here):.3f} | {each} | {statistics.mean(there):.3f} "
            f"| {passes[0][0]}, {passes[0][1]} | {statistics.median(seconds):.0f} |"
        )
