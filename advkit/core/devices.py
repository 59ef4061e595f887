"""The one place that reads a device."""

from typing import Any

import torch

from advkit.core.errors import InputError
from advkit.core.float64 import WITHOUT_FLOAT64
from advkit.core.plain import is_integer


def find_device(device: Any, *, float64: bool = False) -> torch.device:
    """Return the device of this name; for "auto" a GPU if torch sees one, CUDA's or Apple's "mps", else the CPU.

    Args:
        device: a name, such as "cpu" or "cuda:1", the number of a GPU, or a torch.device.
        float64: True to pass over GPUs without float64 for "auto", such as "mps".

    Raises:
        InputError: it is no device, torch cannot use it here, or it holds no values ("meta").
    """
    if isinstance(device, str) and device == "auto":
        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        wanted = (name for name in there if there[name] and not (float64 and name in WITHOUT_FLOAT64))
        return torch.device(next(wanted, "cpu"))
    try:
        found = torch.device(device) if isinstance(device, str | torch.device) or is_integer(device) else None
        if found is not None and not torch.empty(0, device=found).is_meta:
            return found
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise _refused(device) from error
    raise _refused(device)


def _refused(device: Any) -> InputError:
    return InputError(
        f"no device {str(device)!r} here: expected 'auto', 'cpu' or a GPU that torch sees, such as 'cuda:1' or 'mps'"
    )
