"""The common part of the commands: a network, suitable images, names of classes, and adversarial images."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.cli.evaluate import loaded
from advkit.cli.visualize.augment import in_turn
from advkit.core.classify import classify
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.data import Dataset
from advkit.data._class_names import imagenet_names
from advkit.evaluation.measure.aims import aimed
from advkit.insight import activations, convolutions, leaves
from advkit.models import Classifier

IMAGENET = 1000
"""A network with this many classes is taken for one of ImageNet."""


class Part(Dataset):
    """Some images of a data set, read when they are used."""

    def __init__(self, whole: Dataset, rows: Tensor) -> None:
        self.name, self.split, self.classes, self.input_shape = (
            whole.name,
            whole.split,
            whole.classes,
            whole.input_shape,
        )
        self.whole, self.rows, self.labels = whole, rows, whole.labels[rows]

    def _images(self, rows: Tensor) -> Tensor:
        return self.whole._images(self.rows[rows])


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A network and the images to draw.

    Attributes:
        classifier: the network.
        data: the data set.
        rows: numbers of the images (N,).
        x: images (N, C, H, W) on the network's device.
        y: their labels in the data set (N,).
        seed: seed of the attack.
    """

    classifier: Classifier
    data: Dataset
    rows: Tensor
    x: Tensor
    y: Tensor
    seed: int = 0

    @property
    def title(self) -> str:
        """The network and its weights."""
        card = self.classifier.card
        return f"{card.describe()}; weights: {card.source}"

    @property
    def source(self) -> str:
        """Data set, split and numbers of the images."""
        return f"{self.data.name} {self.data.split}, images {', '.join(map(str, self.rows.tolist()))}"

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the network's classes."""
        known = self.classifier.card.num_classes == IMAGENET and len(self.data.classes) != IMAGENET
        return tuple(name for name, _ in imagenet_names()) if known or self.numbered else self.data.classes

    @property
    def numbered(self) -> bool:
        """Whether the data set's classes are only numbers of ImageNet's classes."""
        outputs = self.classifier.card.num_classes
        return outputs == IMAGENET and all(name.isdecimal() and int(name) < IMAGENET for name in self.data.classes)

    @property
    def true(self) -> list[int | None]:
        """The network's class of each image; None if the data set has other classes."""
        outputs = self.classifier.card.num_classes
        same = self.numbered or outputs is None or outputs == len(self.data.classes)
        return [int(label) if same else None for label in self.y]

    @property
    def labels(self) -> list[str]:
        """The name of each image's class."""
        pairs = zip(self.true, self.y.tolist(), strict=True)
        return [self.data.classes[label] if true is None else self.named(true) for true, label in pairs]

    def named(self, label: int) -> str:
        """Return the name of one of the network's classes, or its number."""
        return self.classes[label] if label < len(self.classes) else str(label)

    def adversarial(self, spec: str) -> Tensor:
        """Images of the attack on the true class, or on the predicted class if the true one is unknown."""
        given = classify(self.classifier, self.x).argmax(1).tolist()
        known = [guess if true is None else true for true, guess in zip(self.true, given, strict=True)]
        y = torch.tensor(known, device=self.x.device)
        attack = create_attack(aimed(spec, self))
        result = attack(self.classifier, self.x, y, sample_ids=self.rows.to(y.device), seed=self.seed)
        return result.x_adv

    def groups(self, spec: str | None) -> list[tuple[str, Tensor]]:
        """Return the images, and with an attack the adversarial ones."""
        return [("clean", self.x), *([("adversarial", self.adversarial(spec))] if spec else [])]

    def part(self, images: int) -> Dataset:
        """Return the data set, or if it is larger, this many first images from all classes in turn."""
        return self.data if len(self.data) <= images else Part(self.data, in_turn(self.data)[:images])


def scene(model: str, *, device: str, count: int = 1, first: int = 0, seed: int = 0, **options: Any) -> Scene:
    """Load network and images, from each class in turn.

    Raises:
        InputError: an error that the user can fix, such as images of another size than the network's.
    """
    device = str(find_device(device, float64=True))
    classifier, data = loaded(model, device, options)
    expected = classifier.card.input_shape
    if expected is not None and expected != data.input_shape and options["image_size"] is None:
        raise InputError(
            f"{model} was built for images {expected}, {data.name} has {data.input_shape}: give other --data"
        )
    rows = in_turn(data)[first : first + count]
    if not len(rows):
        raise InputError(f"--first: expected less than the {len(data)} images of {data.name}, got {first}")
    x, y = data[rows]
    return Scene(
        classifier=classifier, data=data, rows=rows, x=x.to(classifier.normalize.mean), y=y, seed=seed
    )  # fmt: skip


def last_maps(seen: Scene) -> str:
    """Return the name of the last convolution that a pass uses.

    Raises:
        InputError: the network has no convolution.
    """
    names = activations(seen.classifier, seen.x[:1], convolutions(seen.classifier))  # in the order of the pass
    found = [name for name, output in names.items() if output.ndim == 4]
    if not found:
        raise InputError("expected a network with convolutions, got one without: give --layer")
    return found[-1]


def last_hidden(model: nn.Module) -> str:
    """Return the name of the last layer before the logits."""
    names = leaves(model)
    return names[-2] if len(names) > 1 else names[0]
