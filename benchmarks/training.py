"""Processor time of an epoch against the bare loop on the same tensors: `python benchmarks/training.py`.

The bare loop: `optimizer.zero_grad(); cross_entropy(net(x[i]), y[i]).backward(); optimizer.step()` over the same float
images in the same batches, once as they lie and once in channels-last order, which `train` chooses by itself where a
network convolves on a CPU. Ours is `train` as it is called by anyone, images held as bytes, without augmentation and
without measuring an error. All three in turn on one thread, from the end of the first step to the end of the last;
medians of times and of ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from advkit.data import MemoryDataset, load_data
from advkit.training import Progress, Recipe, build, train

NETS = {"lenet5": (1.0, 50, 4000), "vgg16": (0.25, 50, 1000), "mlp": (1.0, 50, 4000)}  # name -> width, batch, images


def ours(recipe: Recipe, data: MemoryDataset) -> float:
    times: list[float] = []

    def note(_: Progress) -> None:
        times.append(time.process_time())

    train(build(recipe), data, recipe=recipe, progress=note, device="cpu")
    return times[-2] - times[0]  # the last report comes after the epoch's end


def bare(recipe: Recipe, x: Tensor, y: Tensor, form: torch.memory_format) -> float:
    net = build(recipe).to(memory_format=form)
    x = x.contiguous(memory_format=form)
    optimizer = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    start = 0.0
    for i, rows in enumerate(torch.randperm(len(x)).tensor_split(len(x) // recipe.batch_size)):
        optimizer.zero_grad()
        F.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
        start = start if i else time.process_time()
    return time.process_time() - start


def compare(name: str, width: float, batch: int, images: int, rounds: int) -> str:
    recipe = Recipe(model=name, data="digits", width=width, epochs=1, batch_size=batch, lr=0.01, schedule="constant")
    digits = load_data("mnist5k", split="train")
    x, y = digits[:images]
    data = MemoryDataset("digits", "train", digits.classes, x.mul(255).round().byte(), y)
    ways: list[Callable[[], float]] = [
        lambda: ours(recipe, data),
        lambda: bare(recipe, x, y, torch.contiguous_format),
        lambda: bare(recipe, x, y, torch.channels_last),
    ]
    times = [[way() for way in ways] for _ in range(rounds + 1)][1:]  # the first round warms up
    seconds = [statistics.median(column) for column in zip(*times, strict=True)]
    ratios = [statistics.median(row[0] / row[i] for row in times) for i in (1, 2)]
    speed = (images - batch) / seconds[0]
    return (
        f"{name:8}{width:6g}{batch:7}{speed:10,.0f} images/s"
        f"{seconds[0]:9.2f} s{seconds[1]:9.2f} s{ratios[0]:6.2f}{seconds[2]:9.2f} s{ratios[1]:6.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {given.rounds} rounds, 1 thread, processor time of an epoch but its first step")
    print("net      width  batch                    ours       bare ratio   bare, ch. last ratio")
    for name in given.nets:
        print(compare(name, *NETS[name], given.rounds), flush=True)


if __name__ == "__main__":
    main()
