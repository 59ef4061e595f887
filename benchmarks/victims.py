"""The networks that the benchmarks attack: (model, test digits, labels) by name."""

from pathlib import Path

from advkit.data import load_data
from advkit.models import load_checkpoint, load_model

HERE = Path(__file__).parent / "victims"


def load(name):
    """A shipped network, or one of the files beside this: `lenet5-robust` was made by

    advkit train --model lenet5 --defense "pgd(eps=0.2, steps=5, alpha=0.5)" --epochs 20 --seed 0
    """
    file = HERE / f"{name}.safetensors"
    model = load_checkpoint(file) if file.exists() else load_model(name, device="cpu")
    x, y = load_data("mnist5k", split="test").tensors()
    return model.eval(), x, y
