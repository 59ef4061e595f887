"""`python benchmarks/black_box.py`: attacks on scores and on labels beside the same attacks of other libraries.

Every image that passes the model is a query of its sample. Attacks on scores: the queries up to and including the
first whose answer fools within the ball, infinity if there is none; the median over the images, and the share that was
fooled. Attacks on labels: the median distance of the nearest point that fooled, at an equal number of queries.

A peer attacks one image at a time, so that a query belongs to that image, and is stopped at the first success or at the
number of queries: many go on, and what they would spend does not count. The image that it returns is asked about last.
Behind a peer's figure stands <a:b p>: ours is ahead on a of the images and behind on b of them, by each image's median
over the seeds, and p is that of the two-sided sign test. Images on which both are equal, or both fail, do not count.
Ours attacks all images in one batch; each row makes its own queries, and the script checks that the model saw as many.

It needs foolbox, torchattacks, torchattack, adversarial-robustness-toolbox and pyautoattack; the first line names those
that are not installed, and they are left out. Test images that the network gets right; sides in turns; one thread.
"""

import argparse
import math
import os
import statistics
import time
import warnings

os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
import torch
from _black_box_peers import ABSENT, PEERS, Settings
from torch import nn
from victims import add_source, load

from advkit.attacks import create_attack, smallest
from advkit.core.norms import get_norm
from advkit.reproduction.significance import signs

OURS = {  # {q}: the number of queries; {g}: of generations of 400
    "square": "square(queries={q})",
    "square-l2": "square(norm=l2, queries={q})",
    "simba": "simba(queries={q}, step_size=0.2)",
    "simba-dct": "simba(queries={q}, step_size=0.2, basis=dct, frequencies=0.125)",
    "nes": "nes(steps=20, samples=50, sigma=0.001)",
    "spsa": "spsa(steps=20, samples=50, sigma=0.01)",
    "one_pixel": "one_pixel(population=400, generations={g})",
    "hopskipjump": "hopskipjump(queries={q})",
    "hopskipjump-linf": "hopskipjump(norm=linf, queries={q})",
    "boundary": "boundary(queries={q})",
    "geoda": "geoda(queries={q})",
    "geoda-linf": "geoda(norm=linf, queries={q})",
    "rays": "rays(queries={q})",
}
TRIALS = 15
"""Of numbers of pixels in the case "pixels": eleven doublings and four halvings."""

RADII = {"lenet5": {"linf": 0.15, "l2": 2.0, "l0_pixels": 30}}


class Enough(Exception):
    """The attack is over: it fooled, or its queries are spent."""


class Asked(nn.Module):
    """The model of one image's attack: it counts what is asked, and notes what fools."""

    def __init__(self, net, x, y, size, eps=None, most=math.inf):
        super().__init__()
        self.net, self.x, self.y, self.size, self.eps, self.most = net, x, y, size, eps, most
        self.queries, self.first, self.nearest = 0, math.inf, math.inf

    def forward(self, z):
        logits = self.net(z.float())
        for found, answer in zip(z.detach(), logits.detach().argmax(1), strict=True):
            self.queries += 1
            if int(answer) != self.y and self.queries <= self.most:
                self._note(float(self.size((found - self.x).double()[None])))
        if self.first < math.inf or self.queries >= self.most:
            raise Enough
        return logits

    def _note(self, distance):
        self.nearest = min(self.nearest, distance)
        if self.eps is not None and distance <= self.eps * (1 + 1e-5) and self.first == math.inf:
            self.first = self.queries


class Counted(nn.Module):
    """The model of a batch, which shows scores and counts the images that it sees."""

    knowledge = "scores"

    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, 0

    def forward(self, z):
        self.seen += len(z)
        return self.net(z)


def ours(attack, model, x, y, eps, seed):
    """(queries to success or distance, of each image); seconds."""
    counted, begin = Counted(model).eval(), time.process_time()
    result = attack(counted, x, y, seed=seed, **({} if eps is None else {"eps": float(eps)}))
    spent = time.process_time() - begin
    assert counted.seen == int(result.queries.sum())
    if eps is None:
        return result.distance.double(), spent
    return torch.where(result.success, result.queries.double() - 1, torch.inf), spent  # the last was the verdict


def theirs(run, model, x, y, norm, eps, queries):
    """The same of a peer."""
    figures, begin = [], time.process_time()
    for image, label in zip(x, y, strict=True):
        most = queries if eps is None else math.inf
        asked = Asked(model, image, int(label), get_norm(norm).size, eps, most).eval()
        try:
            found = run(asked, image[None], label[None])
            if eps is not None and found is not None:
                asked(found.detach())
        except Enough:
            pass
        figures.append(asked.nearest if eps is None else asked.first)
    return torch.tensor(figures, dtype=torch.float64), time.process_time() - begin


def images(victim, given):
    """The network, and the images of this run that it gets right."""
    model, x, y = load(victim, given)
    model.requires_grad_(False)
    with torch.no_grad():
        logits = model(x)
    right = (logits.argmax(1) == y).nonzero().squeeze(1)
    right = right[right >= given.first]
    if given.narrow:
        best = logits[right].topk(2, dim=1).values
        right = right[(best[:, 0] - best[:, 1]).argsort()]
    right = right[: given.count]
    return model, x[right], y[right]


def attack_of(case, queries):
    """Ours, with this many queries. The case "pixels": the least number of changed pixels, all trials together."""
    if case == "pixels":
        return smallest(create_attack(f"sparse_rs(queries={queries // TRIALS})"), halvings=4)
    return create_attack(OURS[case].format(q=queries, g=queries // 400 - 1))


def compare(victim, case, given):
    """Our attack; the radius; {side: (figures (images * seeds,), seconds)}."""
    model, x, y = images(victim, given)
    attack = attack_of(case, given.queries)
    radii = {**RADII.get(victim, {}), **given.eps}
    eps = None if attack.kind == "minimal" else math.inf if case.startswith("simba") else radii[attack.norm]
    told = Settings(attack.norm, eps, given.queries)
    sides = {"advkit": lambda seed: ours(attack, model, x, y, eps, seed)}
    for name, make in PEERS[case].items():
        run = make(told)
        sides[name] = lambda seed, run=run: theirs(run, model, x, y, attack.norm, eps, given.queries)
    found = {name: [] for name in sides}
    for seed in range(given.seeds):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 (ART draws from it)
        for name, side in sides.items():
            found[name].append(side(seed))
    return attack, eps, {n: (torch.cat([f for f, _ in pairs]), sum(s for _, s in pairs)) for n, pairs in found.items()}


def line(victim, case, given):
    """One row of the table."""
    attack, eps, sides = compare(victim, case, given)
    what = "distance" if eps is None else f"queries, {attack.norm} {eps:g}"
    beside = {name: _pairs(sides["advkit"][0], figures, given.seeds) for name, (figures, _) in sides.items()}
    cells = {
        name: _cell(figures, eps) + beside[name] + f" [{t:.1f} s]" * given.times for name, (figures, t) in sides.items()
    }
    return [f"`{attack.spec}`", f"{victim}, {what}", ", ".join(f"{name} {cell}" for name, cell in cells.items())]


def _pairs(mine, other, seeds):
    """On how many images ours is ahead, and on how many it is behind; p of the sign test."""
    if other is mine:
        return ""
    first, second = (figures.view(seeds, -1).median(0).values for figures in (mine, other))
    ahead, behind = int((first < second).sum()), int((second < first).sum())
    return f" <{ahead}:{behind} {signs(first.tolist(), second.tolist()).p:.2g}>"


def _cell(figures, eps):
    middle, share = statistics.median(figures.tolist()), float(figures.isfinite().double().mean())
    text = f"{middle:.4g}" if eps is None else "inf" if middle == math.inf else f"{middle:.0f}"
    return text if share == 1 else f"{text} ({share:.0%})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--victims", nargs="+", default=list(RADII))
    parser.add_argument("--first", type=int, default=0, help="number of the first image")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--narrow", action="store_true", help="take the images with the smallest lead")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--queries", type=int, default=1000, help="at most for each image")
    parser.add_argument("--eps", nargs="+", default=[], metavar="NORM=EPS", help="radii in place of the table's")
    parser.add_argument("--times", action="store_true", help="processor seconds of every side")
    add_source(parser)
    given = parser.parse_args()
    given.eps = {norm: float(eps) for norm, eps in (pair.split("=") for pair in given.eps)}
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print("not installed: " + (", ".join(ABSENT) or "none of the peers"), flush=True)
    for victim in given.victims:
        for case in given.cases:
            print("| " + " | ".join(line(victim, case, given)) + " |", flush=True)
