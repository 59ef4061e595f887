"""One step of training: forward and backward passes of the parts of a batch, then the optimizer."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from advkit.core.layout import Passes
from advkit.models import Classifier
from advkit.models.layers import FilterClip, MaxNorm
from advkit.training._penalties import Penalties
from advkit.training._processes import Share, World, as_one, mean_over_processes
from advkit.training._recipe import Recipe

Loss = Callable[[Any, Tensor, Tensor], Tensor]
Part = tuple[Tensor, Tensor, int]
"""Images (n, C, H, W) and labels (n,) of this process, and how many images all processes have."""

_HALF = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Stepper:
    """The network with its optimizer, loss and penalties.

    Args:
        classifier: the network; it is trained in place.
        recipe: recipe that gives optimizer, penalties, precision and layout.
        loss: training loss `loss(model, x, y)`, a scalar; the recipe's penalties are added.
        world: the processes that share every batch.
        device: device of the network.
        shape: shape (C, H, W) of the images.
    """

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe,
        loss: Loss,
        world: World,
        device: torch.device,
        shape: tuple[int, int, int],
    ) -> None:
        self.classifier, self.recipe, self.world, self.device = classifier, recipe, world, device
        wanted = recipe.channels_last
        last = _takes_channels_last(classifier, torch.zeros(1, *shape, device=device)) if wanted is None else wanted
        self.format = torch.channels_last if last else torch.contiguous_format
        if last:
            classifier.to(memory_format=torch.channels_last)
        self.optimizer = recipe.make_optimizer(classifier)
        if recipe.max_norm is not None:
            self.optimizer.register_step_post_hook(MaxNorm(classifier, recipe.max_norm))
        if recipe.filter_rms is not None:
            self.optimizer.register_step_post_hook(FilterClip(classifier, recipe.filter_rms))
        self.half = _HALF[recipe.precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half == torch.float16)
        self.share, self.penalties = Share(), Penalties(classifier, recipe)
        self._objective = _Objective(classifier, loss, self.penalties, world)
        self.model: nn.Module = self._objective

    def set_loss(self, loss: Loss) -> None:
        """Set the loss for the following steps."""
        self._objective.loss = (loss,)

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Context manager inside which `step` can be called; on leaving, all hooks and patches are removed."""
        with ExitStack() as stack:
            stack.enter_context(as_one(self.classifier, self.world, self.share))
            stack.enter_context(self.penalties.watching())
            stack.enter_context(_compiled(self.classifier, self.recipe.compile))
            if self.world.size > 1:
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", "Grad strides do not match")  # of kernels of one pixel or channel
                self.model = _parallel(self._objective, self.device)
            yield
            self.model = self._objective

    def step(self, parts: Iterable[Part], count: int, rate: float) -> Tensor:
        """One step on `count` images of all processes; returns the summed loss of this process's images, a scalar."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        done = 0
        for x, y, whole in parts:
            done += whole
            with self._reduced(done == count):
                total += self._accumulate(x, y, whole, count)
        self._update()
        return total

    def _accumulate(self, x: Tensor, y: Tensor, whole: int, count: int) -> Tensor:
        """Add the gradient of one part; its loss, times its images."""
        self.share.take(self.world, whole)
        x = x.contiguous(memory_format=self.format)
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            value: Tensor = self.model(x, y, len(y) * self.world.size / whole)
        # the processes' gradients are averaged, so that a process counts by its images
        weight = len(y) * self.world.size / count
        torch.autograd.backward(self.scaler.scale(value * weight))
        return value.detach() * len(y)

    def _reduced(self, last: bool) -> AbstractContextManager[None]:
        """Gradients travel between processes with the last part only."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def _update(self) -> None:
        if self.recipe.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.classifier.parameters(), self.recipe.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()


class _Objective(nn.Module):
    """Loss and penalties as one forward pass, which is what DistributedDataParallel has to see."""

    def __init__(self, classifier: Classifier, loss: Loss, penalties: Penalties, world: World) -> None:
        super().__init__()
        self.classifier = classifier
        self.penalties, self.world = penalties, world
        self.loss = (loss,)  # in a tuple: a loss that is a module is none of ours

    def forward(self, x: Tensor, y: Tensor, weight: float) -> Tensor:
        """Return the objective of a part, a scalar; `weight` is this process's share of it, 1 on average."""
        value = self.loss[0](self.classifier, x, y)
        if not self.penalties:
            return value
        return value + self.penalties(lambda means: mean_over_processes(means, self.world, weight))


def _parallel(objective: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Every process's gradients are averaged; buffers are equal by themselves and are not sent.

    Parameters that a loss leaves alone, such as auxiliary heads, are allowed, as on one process. Which ones may change
    from step to step. Where every parameter is used, torch would warn of a needless search, past Python's filters of
    warnings; so there is one parameter that no loss uses.
    """
    objective.register_parameter("unused", nn.Parameter(torch.zeros((), device=device)))
    options: dict[str, Any] = {"device_ids": [device.index] if device.type == "cuda" else None}
    options["find_unused_parameters"] = True
    known = signature(DistributedDataParallel.__init__).parameters
    options["forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"] = False  # torch < 2.15
    return DistributedDataParallel(objective, **options)


def _takes_channels_last(model: nn.Module, x: Tensor) -> bool:
    """Whether it convolves on a CPU, where channels-last is faster (see core.layout), and accepts that layout."""
    return Passes(model, x).probe(x)


@contextmanager
def _compiled(classifier: Classifier, wanted: bool) -> Iterator[None]:
    """Inside, torch.compile makes the passes of the network."""
    if not wanted:
        yield
        return
    net = classifier.net
    auxiliary = getattr(net, "training_logits", None)
    classifier.compile()
    if auxiliary is not None:
        object.__setattr__(net, "training_logits", torch.compile(auxiliary))
    try:
        yield
    finally:
        classifier._compiled_call_impl = None
        if auxiliary is not None:
            object.__delattr__(net, "training_logits")
