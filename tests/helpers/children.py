"""A process that does some work and is killed at any moment; moments are processor time, which no other load moves."""

import ctypes
import logging
import os
import random
import resource
import signal
import struct
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import run

from advkit.cli import main
from advkit.core.errors import InputError

KILLED = -signal.SIGPROF
"""How a child ends whose time is up: no handler runs, as with SIGKILL."""


def forked(work: Callable[[], Any], seconds: float | None = None) -> int:
    """Fork a process that does the work, and is killed after some seconds of its processor time; its number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of pytest-xdist wait for nothing of ours
        number = os.fork()
    if not number:
        if seconds is not None:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-6))
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
    """Do the work in a forked process, killed after some seconds of its processor time; how it ended."""
    return exit_of(forked(work, seconds))


def moments(work: Callable[[], Any], count: int, seed: int = 0) -> list[float]:
    """Moments within the processor time that the work takes in a process of its own, evenly drawn."""
    _, status, used = os.wait4(forked(work), 0)
    assert os.waitstatus_to_exitcode(status) == 0
    whole, dice = used.ru_utime + used.ru_stime, random.Random(seed)
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


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """Inside, the modes of files bind this thread, even one of root."""
    if os.geteuid():
        yield
        return
    system, header = ctypes.CDLL(None), struct.pack("Ii", 0x20080522, 0)  # the version of the calls, and this thread
    before = ctypes.create_string_buffer(24)  # effective, permitted and inheritable capabilities, twice
    assert system.capget(header, before) == 0
    words = list(struct.unpack("6I", before.raw))
    words[0] &= ~0b110  # neither CAP_DAC_OVERRIDE nor CAP_DAC_READ_SEARCH
    assert system.capset(header, struct.pack("6I", *words)) == 0
    try:
        yield
    finally:
        assert system.capset(header, before.raw) == 0


def ranks(work: Callable[[int], object], home: Path, count: int = 2) -> list[int]:
    """Do the work, which takes its rank, in forked processes of one group of torch.distributed; how each ended.

    They have imported torch already, which takes two seconds of processor time in a new process.
    """

    def one(rank: int) -> None:
        warnings.simplefilter("ignore")
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        try:
            distributed.init_process_group("gloo", init_method=f"file://{home}/store", rank=rank, world_size=count)
            work(rank)
            distributed.destroy_process_group()
        except BaseException:
            traceback.print_exc()
            raise

    return [exit_of(process) for process in [forked(partial(one, rank)) for rank in range(count)]]


STOPPING = """
import os, signal
from pathlib import Path
from advkit import load_model

def make(signal_number, at, **_):
    net, calls = load_model("mlp"), []
    def stop(*_):
        calls.append(1)
        if len(calls) == at and not Path("stopped").exists():
            Path("stopped").touch()
            os.kill(os.getpid(), signal_number)
    net.register_forward_hook(stop)
    return net
"""
"""A module whose network sends its own process a signal at one of its passes, the first time that it is run: a run is
stopped at the same place however fast or busy the machine is."""


def stopped(home: Path, words: list[str], number: int, *, at: int) -> tuple[int, str]:
    """Run the command in a folder until its network's pass number `at` sends the signal; exit code and stderr.

    Args:
        home: the folder to run in; the module `stopping` is left there, for the same command to go on.
        words: the command, with `MODEL` in the place of the network.
        number: the signal.
        at: number of the pass.
    """
    (home / "stopping.py").write_text(STOPPING)
    ending = exit_of(forked(lambda: command(home, words_of(words, number, at))))
    return ending, (home / "stderr").read_text()


def command(home: Path, words: list[str]) -> None:
    """Run a command in a folder as the shell does, and end this process as it ends; stderr goes to a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have these ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir(home)
    sys.path.insert(0, str(home))
    spoken(words, home / "stdout", home / "stderr")


def spoken(words: list[str], stdout: Path, stderr: Path, **variables: str) -> None:
    """Run a command whose streams lead to files or terminals, and end this process as it ends."""
    warnings.simplefilter("ignore")
    os.environ.update(variables)
    speak_to(stdout, stderr)
    code: object = 1
    try:
        main(words)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def words_of(words: list[str], number: int, at: int) -> list[str]:
    """The words of `stopped`, with its network."""
    return [f"stopping:make(signal_number={int(number)}, at={at})" if word == "MODEL" else word for word in words]


def speak_to(stdout: Path, stderr: Path) -> None:
    """Lead the streams of this process to files or terminals."""
    for descriptor, name, path in ((1, "stdout", stdout), (2, "stderr", stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", closefd=False))


def torchrun(words: list[str], home: Path, said: Path, **variables: str) -> tuple[int, str, str]:
    """Run `torchrun` in a forked process, which has imported torch already; its exit code, stdout and stderr.

    Args:
        words: the words behind `torchrun`.
        home: the folder to run in.
        said: the folder in which what was said is left.
        variables: further variables of the environment.
    """
    return heard(lambda: run.main(words), home, said, **variables)


def pytest_of(words: list[str], home: Path, said: Path) -> tuple[int, str, str]:
    """Run `pytest` in a forked process, which has imported torch already; its exit code, stdout and stderr.

    Args:
        words: the words behind `pytest`.
        home: the folder to run in.
        said: the folder in which what was said is left.
    """

    def work() -> None:
        logging.getLogger().handlers.clear()  # those of the pytest around it
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
            del os.environ[name]
        if code := int(pytest.main(words)):
            raise SystemExit(code)

    return heard(work, home, said)


def heard(work: Callable[[], object], home: Path, said: Path, **variables: str) -> tuple[int, str, str]:
    """Do the work in a forked process in a folder; its exit code, 0 or 1, stdout and stderr."""

    def aloud() -> None:
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        os.environ.update(variables)
        os.chdir(home)
        speak_to(said / "stdout", said / "stderr")
        try:
            work()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    code = ended(aloud)
    return code, (said / "stdout").read_text(), (said / "stderr").read_text()
