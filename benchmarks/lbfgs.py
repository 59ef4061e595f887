"""`python benchmarks/lbfgs.py`: L-BFGS against scipy's L-BFGS-B, one sample at a time, or against advertorch.

Both minimise `c |r|^2 + J(x + r, target)` in [0, 1] for the runner-up class and search for the largest c that reaches
it. The reference: 8 searches of at most 60 iterations each, c from .1 by a factor of 4 until bracketed, then bisection;
every search from the clean image, or from the last solution that reached the target, whichever is given by `--start`;
its nearest hit among ALL points that it evaluates counts. advertorch 0.2.3 (`--reference advertorch`; it imports a
function that torch has dropped and that its L-BFGS does not call) gives all samples to scipy as one problem, 9 times.
One thread, processor time, both in one run, in chunks that take turns.
"""

import argparse
import importlib
import math
import os
import statistics
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before torch: pinned BLAS is what scipy's loop is fastest with

from _needed import needed

needed("scipy")

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from victims import load

from advkit.attacks import LBFGS


def scipy_lbfgs(model, x, target, start, searches=8, iterations=60, c=0.1):
    """(nearest distance, forward-backward passes) for one image (1, C, H, W)."""
    clean = x.double().flatten().numpy()
    nearest, passes = math.inf, 0

    def objective(point, c):
        nonlocal nearest, passes
        passes += 1
        leaf = torch.from_numpy(point).float().view_as(x).requires_grad_()
        logits = model(leaf)
        loss = F.cross_entropy(logits, target)
        (gradient,) = torch.autograd.grad(loss, leaf)
        r = point - clean
        if int(logits.argmax()) == int(target):
            nearest = min(nearest, float(np.linalg.norm(r)))
        return loss.item() + c * r @ r, gradient.double().flatten().numpy() + 2 * c * r

    hit, miss, begin = 0.0, math.inf, clean
    for _ in range(searches):
        found = minimize(
            objective, begin, args=(c,), jac=True, method="L-BFGS-B",
            bounds=[(0, 1)] * len(clean), options={"maxiter": iterations},
        )  # fmt: skip
        with torch.no_grad():
            reached = int(model(torch.from_numpy(found.x).float().view_as(x)).argmax()) == int(target)
        if reached:
            hit, begin = c, found.x if start == "warm" else clean
        else:
            miss = c
        c = math.sqrt(hit * miss) if hit and miss < math.inf else c * 4 if hit else c / 4
    return nearest, passes


def advertorch_lbfgs(model, x, target):
    """(distances (N,), infinite where the target is not reached, passes a sample) of the whole batch."""
    importlib.import_module("torch.autograd.gradcheck").zero_gradients = None
    from advertorch.attacks import LBFGSAttack

    passes = 0

    def counted(points):
        nonlocal passes
        passes += 1
        return model(points)

    x_adv = LBFGSAttack(counted, int(model(x[:1]).shape[1]), targeted=True).perturb(x, target)
    with torch.no_grad():
        reached = model(x_adv).argmax(1) == target
    return torch.where(reached, (x_adv - x).double().flatten(1).norm(dim=1), torch.inf).numpy(), passes


def one_by_one(model, x, target, start, part, chunks):
    """The same of every `chunks`-th sample from `part` on with scipy: {sample: (distance, passes)}."""
    return {i: scipy_lbfgs(model, x[i : i + 1], target[i : i + 1], start) for i in range(part, len(x), chunks)}


def compare(victim, count, reference, start, chunks):
    model, x, y = load(victim)
    with torch.no_grad():
        logits = model(x)
    right = (logits.argmax(1) == y).nonzero().squeeze(1)[:count]
    x, y, logits = x[right], y[right], logits[right]
    target = logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    LBFGS()(model, x[:2], y[:2])  # warm up
    found, their_time, repeats = {}, 0.0, []
    for part in range(chunks):
        begin = time.process_time()
        if reference == "scipy":
            found.update(one_by_one(model, x, target, start, part, chunks))
            their_time += time.process_time() - begin
        elif part == 0:
            distances, n = advertorch_lbfgs(model, x, target)
            found = {i: (float(distance), n) for i, distance in enumerate(distances)}
            their_time = time.process_time() - begin
        begin = time.process_time()
        result = LBFGS()(model, x, y, target=target)  # the whole batch, once a turn: the median of the turns counts
        repeats.append(time.process_time() - begin)
    our_time = statistics.median(repeats)
    ours, queries, success = result.distance.numpy(), result.queries, result.success
    theirs, passes = (np.array([found[i][part] for i in range(len(x))]) for part in range(2))
    ratio = ours / theirs
    print(
        f"{victim:>13} {start:>5} {len(x):4d} | {float(success.float().mean()):7.1%} | "
        f"{np.median(ours):.4f} {np.median(theirs):.4f} {np.median(ours) / np.median(theirs):6.4f} | "
        f"{np.max(ratio):6.3f} {int((ratio > 1.05).sum()):5d} | "
        f"{float(queries.float().mean()):6.1f} {np.mean(passes):6.1f} | "
        f"{our_time:6.2f} {their_time:7.2f} {our_time / their_time:6.4f}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=["lenet5", "lenet5-robust", "vgg16"])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--chunks", type=int, default=5)
    parser.add_argument("--reference", choices=["scipy", "advertorch"], default="scipy")
    parser.add_argument("--start", choices=["clean", "warm"], default="clean")
    given = parser.parse_args()
    needed(given.reference)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, scipy {scipy.__version__}, one thread, processor time")
    print(
        "       victim start    n |  fooled | l2 ours, theirs, ratio | worst  >1.05 | passes ours, theirs | "
        "seconds ours, theirs, ratio"
    )
    for victim in given.victims:
        compare(victim, given.count, given.reference, given.start, given.chunks)
