"""The networks that the benchmarks attack: (model, test images, labels) by name."""

import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from advkit.data import load_data
from advkit.models import load_checkpoint, load_model

HERE = Path(__file__).parent / "victims"


def load(name, given=None):
    """A shipped network, or one of the files beside this: `lenet5-robust` was made by

    advkit train --model lenet5 --defense "pgd(eps=0.2, steps=5, alpha=0.5)" --epochs 20 --seed 0

    With `given.module` and `given.images` (`add_source`) it is a network of that file, with those images.
    """
    if given is not None and given.module:
        return _network_of(given.module, name), *_images_of(given.images)
    file = HERE / f"{name}.safetensors"
    model = load_checkpoint(file) if file.exists() else load_model(name, device="cpu")
    x, y = load_data("mnist5k", split="test").tensors()
    return model.eval(), x, y


def add_source(parser):
    """The options of a network of one's own."""
    parser.add_argument("--module", help="a Python file whose load(name) returns a network on images in [0, 1]")
    parser.add_argument("--images", help="an .npz with x, (N, H, W) or (N, H, W, C) bytes, and y, for --module")


def bare_passes(model, x, y, queries, gradients, tries=3):
    """Processor seconds of `queries` and `gradients` passes a sample on the bare network, in batches of x."""

    def forward():
        with torch.no_grad():
            model(x)

    def both():
        leaf = x.detach().requires_grad_()
        torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)

    there, back = (statistics.median(_seconds(work) for _ in range(tries)) for work in (forward, both))
    return queries * there + gradients * (back - there)


def _seconds(work):
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _images_of(file):
    with np.load(file) as held:
        x, y = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    x = x[..., None] if x.ndim == 3 else x
    return x.permute(0, 3, 1, 2).contiguous().float() / 255, y.long()


def _network_of(file, name):
    """`load(name)` of the file; the network itself or the first of several things."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    answer = module.load(name)
    return (answer[0] if isinstance(answer, tuple) else answer).eval()
