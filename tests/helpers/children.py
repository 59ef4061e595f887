"""A process that does some work and is killed at any moment."""

import os
import random
import resource
import signal
import time
from collections.abc import Callable
from typing import Any

from advkit.core.errors import InputError


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
