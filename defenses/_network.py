"""A training loss's view of the network: the outputs used in training, and attacks that leave no trace."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from advkit.attacks import Attack
from advkit.core import door, model_checks
from advkit.core.classify import looking
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.layout import Passes
from advkit.core.losses import surprise
from advkit.core.outputs import answer_of
from advkit.defenses._carry import gradients

Term = Callable[..., Tensor]
"""Logits of one batch or more, each (N, K) -> a scalar."""


class Network:
    """A model, the batch's memory layout, and the classes that occur in it.

    A model defines its training loss by `training_logits(x)`: a list of (weight, logits). Without that method its only
    output is `model(x)`. Every loss is the sum over the outputs of weight times the loss of that output. Of an answer
    that is a dict or an object with `logits`, these are the output.

    Args:
        model: callable that returns logits (N, K); a wrapper such as DistributedDataParallel is fine.
        x: the images of the batch.
        classes: the smallest and the largest label of the batch.
    """

    def __init__(self, model: Any, x: Tensor, classes: tuple[int, int] = (0, 0)) -> None:
        self.model, self._classes = model, classes
        self.bare = model.module if isinstance(model, DistributedDataParallel | DataParallel) else model
        self._format = torch.channels_last if Passes(model, x).probe(x) else torch.preserve_format

    def outputs(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """Make one pass in the caller's mode; return (weight, logits) of every output used in training.

        The images are copied: some models write on their input.
        """
        x = x.clone(memory_format=self._format)
        own = getattr(self.model, "training_logits", None)
        with model_checks.explained(self.model, x):
            answers = [(1.0, self.model(x))] if own is None else own(x)
        return [(weight, self._logits(answer, x)) for weight, answer in answers]

    def _logits(self, answer: Any, x: Tensor) -> Tensor:
        """The logits (N, K) in an answer to x, with a column for every label of the batch."""
        logits = answer_of(answer)
        model_checks.check_logits(logits, x)
        model_checks.check_labels(self._classes, logits.shape[1])
        return logits

    def mean(self, term: Term, *batches: Tensor) -> Tensor:
        """One pass over all batches together: the sum over the outputs of weight * term(logits of each batch)."""
        outputs = self.outputs(torch.cat(batches) if len(batches) > 1 else batches[0])
        terms = [weight * term(*logits.chunk(len(batches))) for weight, logits in outputs]
        return torch.stack(terms).sum()

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are not frozen; none for a function."""
        return [p for p in self.model.parameters() if p.requires_grad] if isinstance(self.model, nn.Module) else []

    @property
    def is_hooked(self) -> bool:
        """Whether parameters have hooks, which would see stored gradients twice."""
        if not isinstance(self.model, nn.Module):
            return True
        return any(p._backward_hooks for p in self.model.parameters())

    def attacked(self, attack: Attack, x: Tensor, y: Tensor, bounds: tuple[float, float], goal: Any = None) -> Tensor:
        """Return the attack's examples, made on the model in eval mode; the model is left as it was.

        An attack with random numbers takes a new seed from torch's global generator.
        """
        seed = 0 if attack.deterministic else int(torch.randint(2**62, ()))
        with warnings.catch_warnings():  # in training, images that are learnt so well are no sign of a mistake
            warnings.filterwarnings("ignore", "the gradient was exactly zero", AdvkitWarning)
            return attack.examples(self.bare, x, y, goal=goal, seed=seed, bounds=bounds)

    def ascent(self, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of the cross-entropy with respect to the images, by one pass in eval mode without trace."""
        with looking(self.bare, x.device, gradients=True):
            leaf = x.clone().requires_grad_()
            with model_checks.explained(self.bare, x):
                answer = self.bare(leaf.clone(memory_format=self._format))
            logits = self._logits(answer, x)
            (gradient,) = gradients(surprise(logits, y).sum(), [leaf])
        return torch.zeros_like(x) if gradient is None else gradient


def enter(model: Any, x: Any, y: Any, bounds: tuple[float, float]) -> tuple[Network, Tensor, Tensor]:
    """Check the input of a loss, once.

    Raises:
        InputError: wrong input; the message says what was expected.
    """
    model_checks.check_model(model)
    door.check_images(x, bounds)
    y = door.check_classes("labels", y, x)
    if not len(x):
        raise InputError("expected a batch of at least one image, got none")
    with torch.inference_mode(False):  # tensors made in inference mode cannot be part of a graph, their copies can
        x, y = (t.clone() if t.is_inference() else t.detach() for t in (x, y))
    least, most = torch.stack(torch.aminmax(y)).tolist()  # note: a wait for the device
    return Network(model, x, (least, most)), x, y
