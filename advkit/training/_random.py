"""Random numbers of a run: seeds for every epoch, and states of the global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def own_random_state(device: torch.device) -> Iterator[None]:
    """Context manager: torch's global generators are restored afterwards; cuDNN is deterministic inside."""
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.deterministic
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        cudnn.deterministic = True
        try:
            yield
        finally:
            cudnn.deterministic = before


def epoch_draws(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """Return the generator of an epoch's order and augmentation; the global ones, on CPU and device, are seeded too.

    Dropout and the attacks of a defence draw from the global ones. Each epoch's numbers are independent of the last's.
    """
    torch.default_generator.manual_seed(_number(seed, epoch, 1))
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(_number(seed, epoch, 1))
    return torch.Generator().manual_seed(_number(seed, epoch, 0))


def _number(seed: int, epoch: int, stream: int) -> int:
    return (2 * seed + stream) * 1_000_003 + epoch


def states(draws: torch.Generator, device: torch.device) -> dict[str, Tensor | None]:
    """Return the states of the generators: the epoch's own, and the global ones."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return {"draws": draws.get_state(), "random": torch.get_rng_state(), "cuda": cuda}


def restore(saved: dict[str, Tensor], draws: torch.Generator, device: torch.device) -> None:
    """Restore the states of `states`."""
    draws.set_state(saved["draws"])
    torch.set_rng_state(saved["random"])
    if device.type == "cuda" and saved["cuda"] is not None:
        torch.cuda.set_rng_state(saved["cuda"], device)
