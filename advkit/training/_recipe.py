"""A recipe: everything that a training run depends on, as one frozen, comparable value."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import torch
from torch import nn

from advkit.core.errors import InputError, unknown
from advkit.training._augment import Augment

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("one_cycle", "cosine", "constant")
PRECISIONS = ("float32", "bfloat16")
WARMUP = 0.25  # part of a one-cycle run in which the learning rate rises
START = 0.04  # and from which part of its peak


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Args:
        model: registered name of the network.
        data: registered name of the data set.
        width, input_shape, num_classes: options of `create_model`.
        options: further options of `create_model`.
        epochs: passes through the training split.
        batch_size: most images a step; an epoch is cut into steps of equal size (to one image).
        optimizer: "sgd" (Nesterov's momentum) or "adamw".
        lr: the learning rate at its peak.
        schedule: "one_cycle" (up linearly in the first quarter of the steps, then down to 0 along a cosine), "cosine"
            (from `lr` down to 0) or "constant".
        momentum: of "sgd"; "adamw" takes its defaults.
        weight_decay: on kernels and matrices; biases and norms are left alone.
        label_smoothing: of the cross-entropy, in [0, 1); a loss given to `train` has its own.
        clip: largest l2 norm of a step's gradient, longer ones are shortened; None: no limit.
        max_norm: largest l2 norm of the weights into one unit (see MaxNorm), kept after every step; None: no limit.
        augment: what is done to the training images; None: nothing.
        defense: spec of the defence whose loss is trained on ("fgsm(eps=0.25, alpha=0.5)"); None: the plain loss.
        precision: "float32", or "bfloat16" (autocast; weights stay in float32).
        channels_last: store images as (N, H, W, C), which convolutions like on many devices.
        seed: of the initial weights, the order of the images, augmentation and dropout.
        expected: what comes out, and in what time; empty: not measured yet.

    Raises:
        InputError: a value out of its range or an unknown choice.
    """

    model: str
    data: str
    width: float = 1.0
    input_shape: tuple[int, int, int] = (1, 32, 32)
    num_classes: int = 10
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 30
    batch_size: int = 64
    optimizer: str = "sgd"
    lr: float = 0.05
    schedule: str = "one_cycle"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    clip: float | None = None
    max_norm: float | None = None
    augment: Augment | None = None
    defense: str | None = None
    precision: str = "float32"
    channels_last: bool = False
    seed: int = 0
    expected: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "precision": PRECISIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise unknown(name, str(getattr(self, name)), known)
        for name, okay, range_ in self._ranges():
            if not okay:
                raise InputError(f"expected {name} {range_}, got {getattr(self, name)!r}")

    def _ranges(self) -> Iterator[tuple[str, bool, str]]:
        """(field, whether it lies in its range, the range in words)."""
        yield "epochs", isinstance(self.epochs, int) and self.epochs >= 1, "of 1 or more"
        yield "batch_size", isinstance(self.batch_size, int) and self.batch_size >= 1, "of 1 or more"
        yield "lr", 0 < self.lr < math.inf, "above 0"
        yield "momentum", 0 <= self.momentum < 1, "in [0, 1)"
        yield "weight_decay", 0 <= self.weight_decay < math.inf, "of 0 or more"
        yield "label_smoothing", 0 <= self.label_smoothing < 1, "in [0, 1)"
        yield "clip", self.clip is None or self.clip > 0, "above 0"
        yield "max_norm", self.max_norm is None or self.max_norm > 0, "above 0"

    @property
    def name(self) -> str:
        """MODEL-DATA."""
        return f"{self.model}-{self.data}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without `expected`, which describes and does not determine."""
        values = asdict(self)
        del values["expected"]
        return values

    def __str__(self) -> str:
        """Only what differs from the defaults: "lenet5-mnist5k(epochs=40, lr=0.1)"."""
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.compare and self._is_changed(f.name)]
        return f"{self.name}({', '.join(shown)})"

    def _is_changed(self, name: str) -> bool:
        default = next(f for f in fields(self) if f.name == name)
        if name in ("model", "data"):
            return False
        value = default.default_factory() if default.default_factory is not MISSING else default.default
        return bool(getattr(self, name) != value)

    def learning_rate(self, step: int, steps: int) -> float:
        """The learning rate of step 0 .. steps - 1."""
        t = step / max(steps - 1, 1)
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "one_cycle":
            if t < WARMUP:
                return self.lr * (START + (1 - START) * t / WARMUP)
            t = (t - WARMUP) / (1 - WARMUP)
        return self.lr * (1 + math.cos(math.pi * t)) / 2

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of the model's trainable parameters; vectors and scalars are not decayed."""
        trained = [p for p in model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if not groups:
            raise InputError("expected a network with parameters to train, got one without: are they all frozen?")
        if self.optimizer == "adamw":
            return torch.optim.AdamW(groups, lr=self.lr)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)
