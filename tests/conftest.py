"""One random state and one thread for every test, hypothesis' profiles, and `--slow`."""

import gc
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
torch.ones((), requires_grad=True).backward()  # no passes work in forks where the first came after torch.compile
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # dozens of processes would compile the package, each for itself
sys.dont_write_bytecode = False  # and pytest would rewrite every file at every start, which is half of the collection
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: both workers have a core each
os.environ["OMP_WAIT_POLICY"] = "passive"  # in the workers and below: a command's threads spin for a core in use
os.environ.pop("COLUMNS", None)  # xdist sets it in its workers; tables are as wide as in a pipe

collect_ignore = ["outsider"]  # a project of its own: testing/test_outsider.py runs it

SLOW_START = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(  # the same examples in every run; new ones are looked for by "thorough"
    "dev", max_examples=12, deadline=None, suppress_health_check=SLOW_START, database=None, derandomize=True
)
settings.register_profile("ci", settings.get_profile("dev"), max_examples=50)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=1000, derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def seed() -> None:
    """Put every generator that a test may draw from into one state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # the generator of code that is not ours
    if torch.accelerator.is_available():
        torch.manual_seed(0)
    else:
        torch.default_generator.manual_seed(0)  # torch.manual_seed writes down the stack for devices to come: 1 ms


@contextmanager
def apart() -> Iterator[None]:
    """Draw from one state, and leave the generators as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    seed()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """What the files of tests make stays to the end: nobody looks through it for garbage while it is made.

    It is not frozen: whether a full collection comes depends on how much it would look through, and a test of memory
    counts what waits for one.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A file's own draws do not depend on the files that were imported before it."""
    with apart():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
    """What several tests share is made from one state, and the test that happens to make it draws as the others do."""
    if fixturedef.scope == "function":
        return (yield)
    with apart():
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test and the fixtures made for it begin with one random state and one thread, whatever ran before."""
    seed()
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: --slow runs it"))
