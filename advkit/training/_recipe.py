"""Recipes: everything that a training run depends on, as one frozen, comparable value."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn

from advkit.core.door import check_count, check_shape
from advkit.core.errors import InputError, unknown
from advkit.core.option_numbers import check_kinds
from advkit.core.plain import plain
from advkit.training._freeze import rates
from advkit.training._lecture import LectureSGD
from advkit.training._resampled_augment import Augment
from advkit.training.augment import Augmentation

OPTIMIZERS = ("sgd", "adamw", "lecture")
SCHEDULES = ("one_cycle", "cosine", "steps", "constant")
CLEAN = "clean"  # the value of `watch` that means no attack
PRECISIONS = ("float32", "bfloat16", "float16")
INITS = ("default", "interval")
_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    **dict.fromkeys(
        ("epochs", "batch_size", "accumulate", "num_classes"), (lambda n: n >= 1, "a whole number of 1 or more")
    ),
    "validation": (lambda n: n >= 0, "a whole number of 0 or more"),
    "patience": (lambda n: n >= 1, "of 1 or more"),
    "seed": (lambda _: True, ""),
    **dict.fromkeys(("width", "lr", "clip", "max_norm", "filter_rms"), (lambda v: v > 0, "above 0")),
    **dict.fromkeys(("weight_decay", "l1", "l2", "sparsity"), (lambda v: v >= 0, "of 0 or more")),
    **dict.fromkeys(("momentum", "label_smoothing", "l1_from"), (lambda v: 0 <= v < 1, "in [0, 1)")),
    **dict.fromkeys(("sparsity_target", "ema"), (lambda v: 0 < v < 1, "in (0, 1)")),
    "ramp": (lambda v: 0 <= v <= 1, "in [0, 1]"),
    "layer_decay": (lambda v: 0 < v <= 1, "in (0, 1]"),
}
"""Number in a recipe -> whether a value lies in its range, and the range in words."""

WARMUP = 0.25  # part of a one-cycle run in which the learning rate rises
START = 0.04  # and from which part of its peak


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of a training.

    Args:
        model: registered name of the network.
        data: registered name of the data set.
        width: factor on the width of the network's layers.
        input_shape, num_classes: options of `create_model`.
        options: further options of `create_model`.
        epochs: passes through the training split.
        batch_size: maximum number of images in a step; an epoch is cut into steps of equal size (to one image).
        accumulate: number of parts of a step's batch, which pass through the network one after another; their gradients
            add up to the batch's. Batch norm sees each part by itself.
        optimizer: "sgd" (Nesterov's momentum), "adamw", or "lecture" (Krizhevsky's rule: see LectureSGD).
        lr: the learning rate at its peak.
        schedule: "one_cycle" (up linearly in the first quarter of the steps, then down to 0 along a cosine), "cosine"
            (from `lr` down to 0), "steps" (a tenth after each third of the steps) or "constant".
        momentum: momentum of "sgd" and "lecture"; "adamw" takes its defaults.
        weight_decay: decay of kernels and matrices; biases and norms are left alone, except by "lecture", whose rule
            is one for all.
        label_smoothing: label smoothing of the cross-entropy, in [0, 1); a loss given to `train` has its own.
        clip: largest l2 norm of a step's gradient; longer ones are shortened. None sets no limit.
        l1: weight of the penalty `sum |w|` over kernels and matrices, part of the loss.
        l1_from: share of the steps after which the penalty `l1` begins to count, in [0, 1); 0: from the start.
        l2: weight of the penalty `sum w^2 / 2` over kernels and matrices, part of the loss.
        sparsity: weight of the KL divergence of the hidden units' mean activations from `sparsity_target`, part of the
            loss (see Penalties).
        sparsity_target: mean activation that the penalty `sparsity` pulls the hidden units to.
        max_norm: largest l2 norm of the weights into one unit (see MaxNorm), kept after every step; None: no limit.
        filter_rms: largest root mean square of the weights of one filter of a convolution (feature scale clipping; the
            paper's is 0.1), kept after every step; None: no limit.
        augment: augmentation of the training images; None leaves them as they are.
        defense: spec of the defence whose loss is trained on ("fgsm(eps=0.25, alpha=0.5)"); None: the plain loss.
        validation: number of images that are held out of the training split, drawn by `seed`; their error is logged.
        watch: validation error to watch: "clean", or that under an attack given by its spec ("fgsm(eps=0.25)").
        patience: training stops after this many epochs in a row without a lower validation error and keeps the weights
            of the epoch with the lowest (the first of equals); None: train to the end and keep the last.
        ema: decay of the exponential average of the weights, in (0, 1); the average is measured and kept. None: no
            average.
        ramp: share of the steps in which the radius of the defence grows from 0 to its own; 0: none.
        weights: file of weights, or folder of a run, that the training starts from; tensors of another shape, such as
            the last layer for other classes, start at random. None: all start at random.
        init: how the weights are drawn: "default" as the network does it, or "interval" so that interval bounds neither
            grow nor shrink on their way (see `interval_init`), from which `ibp` and `crown_ibp` learn better.
        freeze: names of parts that stay as they are, or shell patterns, as in "conv1, layer1". Their batch norm stays
            in eval mode.
        layer_decay: factor in (0, 1] on the learning rate from each part of the network to the one before it.
        precision: "float32", "bfloat16" or "float16", the last two by autocast with weights in float32; losses are
            scaled for "float16".
        channels_last: whether images are stored as (N, H, W, C); None: if the network convolves on a CPU and accepts
            it.
        compile: whether torch.compile makes the network's passes; the first steps then take up to minutes.
        seed: seed of the initial weights, the order of the images, augmentation and dropout.
        expected: result and time of the recipe; empty if not measured yet.

    Raises:
        InputError: a value is out of its range, or a choice is unknown.
    """

    model: str
    data: str
    width: float = 1.0
    input_shape: tuple[int, int, int] = (1, 32, 32)
    num_classes: int = 10
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 30
    batch_size: int = 64
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float = 0.05
    schedule: str = "one_cycle"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    clip: float | None = None
    l1: float = 0.0
    l1_from: float = 0.0
    l2: float = 0.0
    sparsity: float = 0.0
    sparsity_target: float = 0.05
    max_norm: float | None = None
    filter_rms: float | None = None
    augment: Augmentation | None = None
    defense: str | None = None
    validation: int = 0
    watch: str = CLEAN
    patience: int | None = None
    ema: float | None = None
    ramp: float = 0.0
    weights: str | None = None
    init: str = "default"
    freeze: str = ""
    layer_decay: float = 1.0
    precision: str = "float32"
    channels_last: bool | None = None
    compile: bool = False
    seed: int = 0
    expected: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            object.__setattr__(self, name, plain(value))
        object.__setattr__(self, "options", {name: plain(value) for name, value in self.options.items()})
        check_kinds("Recipe", Recipe, {name: getattr(self, name) for name in _RANGES})
        object.__setattr__(self, "input_shape", check_shape("input_shape", self.input_shape, axes=3))
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS, "init": INITS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)
        for name, (holds, range_) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise InputError(f"expected {name} {range_}, got {value!r}")
        if self.init != "default" and self.weights is not None:
            raise InputError(f"expected init default where weights= gives them, got {self.init!r}")
        if self.patience is not None and self.validation == 0:
            raise InputError(f"expected patience none unless validation= holds images out, got {self.patience!r}")

    @property
    def name(self) -> str:
        """The name, MODEL-DATA."""
        return f"{self.model}-{self.data}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without `expected`, which does not affect the training."""
        values = asdict(self)
        del values["expected"]
        if self.augment is not None and not isinstance(self.augment, Augment):
            values["augment"] = repr(self.augment)
        return values

    def __str__(self) -> str:
        """Return the name with the options that differ from the defaults: "lenet5-mnist5k(epochs=40, lr=0.1)"."""
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.compare and self._is_changed(f.name)]
        return f"{self.name}({', '.join(shown)})"

    def _is_changed(self, name: str) -> bool:
        default = next(f for f in fields(self) if f.name == name)
        if name in ("model", "data"):
            return False
        value = default.default_factory() if default.default_factory is not MISSING else default.default
        return bool(getattr(self, name) != value)

    def learning_rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step 0 .. steps - 1.

        Args:
            step: number of the step, from 0.
            steps: number of steps in all.

        Raises:
            InputError: there is no such step.
        """
        steps = check_count("steps", steps)
        step = check_count("step", step, least=0, most=steps - 1)
        t = step / max(steps - 1, 1)
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "steps":
            return self.lr / (1.0, 10.0, 100.0)[min(3 * step // steps, 2)]
        if self.schedule == "one_cycle":
            if t < WARMUP:
                return self.lr * (START + (1 - START) * t / WARMUP)
            t = (t - WARMUP) / (1 - WARMUP)
        return self.lr * (1 + math.cos(math.pi * t)) / 2

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Make the optimizer of the model's trainable parameters.

        Args:
            model: the network to train.

        Raises:
            InputError: there are no trainable parameters.
        """
        trained = [p for p in model.parameters() if p.requires_grad]
        if not trained:
            raise InputError("expected a network with parameters to train, got one without: are they all frozen?")
        if self.optimizer == "lecture":
            return LectureSGD(trained, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        groups = self._groups(model, trained)
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.lr)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)

    def _groups(self, model: nn.Module, trained: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Parameters by weight decay and by share of the learning rate ("scale")."""
        shares = {} if self.layer_decay == 1 else rates(getattr(model, "net", model), self.layer_decay)
        groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
        for matrix in (True, False):
            for p in trained:
                if (p.ndim > 1) == matrix:
                    groups.setdefault((matrix, shares.get(p, 1.0)), []).append(p)
        return [
            {"params": found, "weight_decay": self.weight_decay if matrix else 0.0, "scale": scale}
            for (matrix, scale), found in groups.items()
        ]
