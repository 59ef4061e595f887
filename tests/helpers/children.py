"""A process that does some work and is killed at any moment."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

import torch

from advkit.core.errors import InputError


def forked(work: Callable[[], Any]) -> int:
    """Fork a process that does the work; its number."""
    number = os.fork()
    if not number:
        torch.set_num_threads(1)  # OpenMP's other threads stay in the parent: the child would wait for them for ever
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return number


def exit_of(number: int) -> int:
    """How a child ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def ended(work: Callable[[], Any], seconds: float | None = None) -> int:
    """Do the work in a forked process, with SIGKILL after some seconds; how it ended."""
    number = forked(work)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(number, signal.SIGKILL)
    return exit_of(number)


def moments(work: Callable[[], Any], count: int, seed: int = 0) -> list[float]:
    """Moments within the time that the work takes in a process of its own, evenly drawn."""
    start = time.monotonic()
    assert ended(work) == 0
    whole, dice = time.monotonic() - start, random.Random(seed)
    return [dice.random() * whole for _ in range(count)]


def ended_short_of_room(work: Callable[[], Any], size: int) -> int:
    """`ended` where the system refuses to write more than `size` bytes a file; one printable line is a good end."""

    def short() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            work()
        except (OSError, InputError) as error:
            if not str(error).isprintable():
                raise

    return ended(short)
