"""Several processes that train as one, by torch.distributed: ranks, and layers that see the whole batch.

`torchrun --nproc-per-node 4 -m advkit train ...` starts them; every process holds the network and takes its share of
each batch. Batch norm computes its statistics over all shares, and dropout draws the masks of the whole batch, so the
result is that of one process up to float noise.
"""

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.core.goals import wide

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets


def is_writer() -> bool:
    """Return whether this process writes files and prints: the only one, or the first of those of torchrun."""
    return dist.get_rank() == 0 if _joined() else int(os.environ.get("RANK", "0")) == 0


def place(device: str | torch.device) -> torch.device:
    """Return the device for "auto"; of several GPUs, the one of this process. Whether torch can use it is not asked.

    Raises:
        InputError: it is no name of a device.
    """
    if str(device) == "auto":
        device = find_device("auto", float64=True)
    if str(device) == "cuda" and _is_launched():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        return find_device(device)  # which says so


@dataclass(frozen=True)
class World:
    """The processes of a run: the number of this one, and the count."""

    rank: int = 0
    size: int = 1

    def share(self, rows: Tensor) -> Tensor:
        """Return this process's part of a batch's row numbers (N,); sizes differ by one row at most."""
        return rows.tensor_split(self.size)[self.rank]

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the processes, the same in each."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def agree(self, call: Callable[[], Any]) -> Any:
        """Return the result of `call` in the first process to all; an InputError there is raised in all."""
        if self.size == 1:
            return call()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = call()
            except InputError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise InputError(outcome[1])
        return outcome[0]


def join(device: torch.device) -> World:
    """Join the processes of torchrun or of an existing process group; otherwise, this process alone.

    A group created here lasts as long as the process, since torchrun's store allows only one.
    """
    if not _joined():
        if not _is_launched():
            return World()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(_leave)
    return World(dist.get_rank(), dist.get_world_size())


def _leave() -> None:
    """Leave the group while Python still runs: a network that holds it in a circle would end it too late, and abort."""
    gc.collect()
    dist.destroy_process_group()


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _is_launched() -> bool:
    return all(name in os.environ for name in _LAUNCHED) and int(os.environ["WORLD_SIZE"]) > 1


class Share:
    """The rows start .. stop of a batch of `whole` images that this process currently has."""

    def __init__(self) -> None:
        self.start, self.stop, self.whole = 0, 0, 0

    def take(self, world: World, whole: int) -> None:
        """Record this process's share of the next batch."""
        own = world.share(torch.arange(whole))
        self.start, self.stop, self.whole = int(own[0]), int(own[-1]) + 1, whole

    def of(self, values: Tensor) -> Tensor:
        """Return this process's rows of a tensor over the whole batch, (k * whole, ...) -> (k * own, ...)."""
        groups = values.view(-1, self.whole, *values.shape[1:])
        return groups[:, self.start : self.stop].flatten(0, 1)

    def whole_of(self, own: int) -> int:
        """Return k * whole for k * own rows."""
        return own // (self.stop - self.start) * self.whole


@contextmanager
def as_one(model: nn.Module, world: World, share: Share) -> Iterator[None]:
    """Context manager: batch norm and dropout of a model in train mode act on the whole batch as in one process.

    The layers keep their classes and states; functions such as `F.dropout` are not reached.
    """
    if world.size == 1:
        yield
        return
    changed = []
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm):
            layer.forward = partial(_normalized, layer, world)  # type: ignore[method-assign]
        elif type(layer) in _DROPOUTS:
            layer.forward = partial(_dropped, layer, share)
        else:
            continue
        changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward  # the class's own is there again


def _dropped(layer: nn.Module, share: Share, x: Tensor) -> Tensor:
    """Dropout with this process's rows of the mask that one process would draw: x (k * own, ...)."""
    if not layer.training:
        return x
    form = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
    ones = torch.ones(share.whole_of(len(x)), *x.shape[1:], dtype=x.dtype, device=x.device)
    mask: Tensor = type(layer).forward(layer, ones.contiguous(memory_format=form))
    return x * share.of(mask)


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _normalized(layer: _BatchNorm, world: World, x: Tensor) -> Tensor:
    """Batch norm by mean and variance over the rows of all processes: x (N, C, ...)."""
    if not layer.training and layer.running_mean is not None:
        return type(layer).forward(layer, x)
    precise = wide(x)
    mean, var, count = _moments(precise, world)
    _update(layer, mean.detach(), var.detach(), count)
    shape = (1, -1, *[1] * (x.ndim - 2))
    scale = torch.rsqrt(var + layer.eps)
    if layer.affine:
        scale = scale * layer.weight
    y = (precise - mean.view(shape)) * scale.view(shape)
    return (y + layer.bias.view(shape) if layer.affine else y).to(x.dtype)


def _moments(x: Tensor, world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C,), biased variance (C,) and number () of the values of each map, over all processes."""
    dims = [d for d in range(x.ndim) if d != 1]
    own_mean = x.mean(dims)
    square = (x - own_mean.view(1, -1, *[1] * (x.ndim - 2))).square().sum(dims)  # about the own mean: no cancellation
    number = torch.full_like(own_mean[:1], x.numel() / x.shape[1])
    row = torch.cat([own_mean, square, number])  # (2 C + 1,)
    rows = _Sum.apply(torch.stack([row if r == world.rank else torch.zeros_like(row) for r in range(world.size)]))
    maps = x.shape[1]
    means, squares, counts = rows[:, :maps], rows[:, maps:-1], rows[:, -1:]  # one row a process
    count = counts.sum()
    mean = (means * counts).sum(0) / count
    var = (squares + counts * (means - mean).square()).sum(0) / count
    return mean, var, count.detach()


def _update(layer: _BatchNorm, mean: Tensor, var: Tensor, count: Tensor) -> None:
    """The running averages, as torch's batch norm keeps them."""
    if layer.running_mean is None or layer.running_var is None:
        return
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    rate = 1 / layer.num_batches_tracked.to(mean.dtype) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean.to(layer.running_mean.dtype), rate)
    layer.running_var.lerp_((var * count / (count - 1)).to(layer.running_var.dtype), rate)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; backward sums the gradients of all of their losses."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad


def mean_over_processes(values: Tensor, world: World, weight: float) -> Tensor:
    """Return the mean of a tensor over the processes with gradients; this process has `weight` (1 on average)."""
    if world.size == 1:
        return values
    mean: Tensor = _Sum.apply(values * weight) / world.size
    return mean
