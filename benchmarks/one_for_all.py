"""`python benchmarks/one_for_all.py --victims lenet5`: universal perturbations on images that they were not found on.

The images are cut into two halves. A perturbation is found on each half and judged on the other one, so that every
image is judged once. A row gives the share of the images, right before, that are no longer taken for their class, or
that are taken for the target. Beside it stands noise of the same size: a random sign of the radius at every entry.

With `--photographs DIR`, one folder a class, called by the class's number, and `--module FILE`, it is a network of that
file on photographs. The search sees all images of a half, also those that the network gets wrong.
"""

import argparse
import os
import statistics
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import torch
from patches import photographs
from victims import _network_of, add_source, load

from advkit.attacks import find_universal


def images_of(victim, given):
    """The network, images and labels."""
    if given.photographs is None:
        net, x, y = load(victim, given)
        return net, x[: given.count], y[: given.count]
    x, y = photographs(given.photographs, given.pixels)
    return _network_of(given.module, victim), x[: given.count], y[: given.count]


def answers(net, x):
    with torch.no_grad():
        return torch.cat([net(part).argmax(1) for part in x.split(50)])


def reached(net, x, y, delta, target):
    """(n,) bool, of the images that are right (and not of the target) without the perturbation."""
    clean = answers(net, x)
    counts = (clean == y) if target is None else (clean == y) & (y != target)
    moved = answers(net, (x[counts] + delta).clamp(0, 1))
    return moved != y[counts] if target is None else moved == target


def compare(net, x, y, eps, target, given):
    """Shares of the perturbation and of each seed's noise; seconds a half."""
    half, found, noise, seconds = len(x) // 2, [], [[] for _ in range(given.seeds)], []
    for here, there in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        begin = time.process_time()
        aim = {} if target is None else {"target": target}
        delta = find_universal(
            net, (x[here], y[here]), eps=eps, epochs=given.epochs, batch_size=given.batch_size, **aim
        ).delta
        seconds.append(time.process_time() - begin)
        found.append(reached(net, x[there], y[there], delta, target))
        for seed, told in enumerate(noise):
            draw = torch.randn(x[0].shape, generator=torch.Generator().manual_seed(seed))
            told.append(reached(net, x[there], y[there], eps * draw.sign(), target))
    shares = [float(torch.cat(told).double().mean()) for told in (found, *noise)]
    return shares[0], shares[1:], len(torch.cat(found)), statistics.mean(seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5"])
    parser.add_argument("--photographs", help="a folder with one folder a class, called by its number")
    parser.add_argument("--pixels", type=int, default=227, help="side of the photographs")
    parser.add_argument("--eps", nargs="+", type=float, default=[0.1, 0.2])
    parser.add_argument("--targets", nargs="*", type=int, default=[], help="numbers of classes to reach as well")
    parser.add_argument("--count", type=int, default=400, help="images in both halves together")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3, help="of the noise")
    add_source(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | radius | target | images | perturbation | noise, by seed | seconds |")
    print("|---|---|---|---|---|---|---|")
    for victim in given.victims:
        net, x, y = images_of(victim, given)
        net.requires_grad_(False)
        for eps in given.eps:
            for target in (None, *given.targets):
                share, noise, count, seconds = compare(net, x, y, eps, target, given)
                each = " ".join(f"{rate:.3f}" for rate in noise)
                aim = "any other" if target is None else target
                print(f"| {victim} | {eps:.3g} | {aim} | {count} | {share:.3f} | {each} | {seconds:.1f} |", flush=True)
