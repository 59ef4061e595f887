"""Recipes: everything that a training run depends on, as one frozen, comparable value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn

from advkit.core.errors import InputError, unknown
from advkit.training._freeze import rates
from advkit.training._lecture import LectureSGD
from advkit.training._resampled_augment import Augment
from advkit.training.augment import Augmentation

OPTIMIZERS = ("sgd", "adamw", "lecture")
SCHEDULES = ("one_cycle", "cosine", "steps", "constant")
CLEAN = "clean"  # the value of `watch` that means no attack
PRECISIONS = ("float32", "bfloat16", "float16")
INITS = ("default", "interval")
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
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS, "init": INITS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)
        for name, okay, range_ in self._ranges():
            if not okay:
                raise InputError(f"expected {name} {range_}, got {getattr(self, name)!r}")

    def _ranges(self) -> Iterator[tuple[str, bool, str]]:
        """(field, whether it lies in its range, the range in words)."""
        for name, least in (("epochs", 1), ("batch_size", 1), ("accumulate", 1), ("validation", 0)):
            value = getattr(self, name)
            yield name, isinstance(value, int) and value >= least, f"a whole number of {least} or more"
        seed = self.seed  # torch's generators take no other number
        yield "seed", isinstance(seed, int) and -(2**63) <= seed < 2**63, "a whole number below 2^63"
        yield "lr", 0 < self.lr < math.inf, "above 0"
        yield "momentum", 0 <= self.momentum < 1, "in [0, 1)"
        yield "weight_decay", 0 <= self.weight_decay < math.inf, "of 0 or more"
        yield "label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"
        yield "clip", self.clip is None or self.clip > 0, "above 0"
        for name in ("l1", "l2", "sparsity"):
            yield name, 0 <= getattr(self, name) < math.inf, "of 0 or more"
        yield "sparsity_target", 0 < self.sparsity_target < 1, "in (0, 1)"
        yield "max_norm", self.max_norm is None or self.max_norm > 0, "above 0"
        yield "filter_rms", self.filter_rms is None or self.filter_rms > 0, "above 0"
        yield "ema", self.ema is None or 0 < self.ema < 1, "in (0, 1)"
        yield "l1_from", 0 <= self.l1_from < 1, "in [0, 1)"
        yield "ramp", 0 <= self.ramp <= 1, "in [0, 1]"
        yield "layer_decay", 0 < self.layer_decay <= 1, "in (0, 1]"
        yield "patience", self.patience is None or self.patience >= 1, "of 1 or more"
        yield "init", self.init == "default" or self.weights is None, "default where weights= gives them"
        yield "patience", self.patience is None or self.validation > 0, "none unless validation= holds images out"

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
        """
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
