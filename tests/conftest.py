"""One thread a test process, hypothesis' profiles, and `--slow`."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # xdist sets it in its workers; tables are as wide as in a pipe

collect_ignore = ["outsider"]  # a project of its own: testing/test_outsider.py runs it

SLOW_START = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=12, deadline=None, suppress_health_check=SLOW_START, database=None)
settings.register_profile("ci", settings.get_profile("dev"), max_examples=50, derandomize=True)
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Every test and the fixtures made for it begin with one random state and one thread, whatever ran before."""
    torch.manual_seed(0)
    torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes minutes: --slow runs it"))
