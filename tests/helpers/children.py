"""A process that does some work and is killed at any moment."""

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any


def ended(work: Callable[[], Any], seconds: float | None = None) -> int:
    """Fork a process that does the work, with SIGKILL after some seconds; its exit code, or minus the signal."""
    number = os.fork()
    if not number:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def moments(work: Callable[[], Any], count: int, seed: int = 0) -> list[float]:
    """Moments within the time that the work takes in a process of its own, evenly drawn."""
    start = time.monotonic()
    assert ended(work) == 0
    whole, dice = time.monotonic() - start, random.Random(seed)
    return [dice.random() * whole for _ in range(count)]
