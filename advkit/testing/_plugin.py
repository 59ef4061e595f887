"""The pytest plugin: fixtures, the marker `robustness`, and a table of errors at the end of the run.

pytest loads it at every start if advkit is installed, so torch and the rest of advkit are imported only by tests that
use them. PYTEST_DONT_REWRITE: there are no assertions here.
"""

import functools
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import pytest

from advkit.testing._record import Figures, collecting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from advkit.testing.affine import AffineClassifier

KEY = "advkit.robustness"
MOST = 8
"""Rows of the table that one test may take: a property-based test measures again and again."""

SHAPE = (3, 8, 8)
MARKER = (
    "robustness(*, max_error, eps=None, attack='pgd', data=None, count=None, seed=0, inconclusive='fail'): the test "
    "returns a classifier, or (classifier, data), and passes if the classifier's error under the attack is at most "
    "max_error; needs advkit"
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def toy_classifier() -> "nn.Module":
    """A small smooth net with random weights, float32, eval mode: images (N, 3, 8, 8) in [0, 1] to 4 logits."""
    import torch

    from advkit.testing.nets import toy_classifier

    return toy_classifier(SHAPE, 4, dtype=torch.float32)


@pytest.fixture
def affine_classifier() -> "AffineClassifier":
    """logits = W x + b, images (N, 3, 8, 8) to 4 logits; `nearest(x, y, norm)` is the nearest adversarial point."""
    from advkit.testing.affine import AffineClassifier

    return AffineClassifier.random(SHAPE, 4)


@pytest.fixture(scope="session")
def _digits() -> "tuple[Tensor, Tensor]":
    from advkit.data import load_data

    return load_data("mnist5k")[:100]


@pytest.fixture
def digits(_digits: "tuple[Tensor, Tensor]") -> "tuple[Tensor, Tensor]":
    """x (100, 1, 32, 32) in [0, 1] and y (100,): the first hundred test digits of mnist5k, a copy for each test."""
    x, y = _digits
    return x.clone(), y.clone()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Store what `assert_robust` measures during the test as a property of the test's report."""
    __tracebackhide__ = True
    with collecting() as figures:
        try:
            return (yield)
        finally:
            item.user_properties.extend((KEY, row) for row in figures[-MOST:])


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Call a test with the marker, and check the classifier that it returns."""
    __tracebackhide__ = True
    marker = pyfuncitem.get_closest_marker("robustness")
    if marker is None:
        return (yield)
    original = pyfuncitem.obj
    pyfuncitem.obj = _tested(original, marker)
    try:
        return (yield)
    finally:
        pyfuncitem.obj = original


def _tested(function: Callable[..., Any], marker: pytest.Mark) -> Callable[..., None]:
    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        from advkit.testing._marker import check_answer

        check_answer(function(*args, **kwargs), marker.args, marker.kwargs)

    return test


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Print one line a measurement: clean error, adversarial error with its interval, limit and verdict."""
    rows = sorted(_rows(terminalreporter), key=lambda row: row[0])
    if not rows:
        return
    terminalreporter.section("errors, clean and adversarial")
    width = max(len(name) for name, _ in rows)
    for name, figures in rows:
        terminalreporter.write_line(f"{name:<{width}}  {_line(figures)}")
    terminalreporter.write_line("adversarial errors are lower bounds: another attack may find more")


def _rows(reporter: "pytest.TerminalReporter") -> list[tuple[str, Figures]]:
    reports = [report for reports in reporter.stats.values() for report in reports]
    return [
        (report.nodeid, value)
        for report in reports
        if getattr(report, "when", "") == "call"
        for key, value in report.user_properties
        if key == KEY
    ]


def _line(row: Figures) -> str:
    eps = "" if row["eps"] is None else f" {row['norm']} {row['eps']:.4g}"
    return (
        f"clean {row['clean_error']:6.1%}  adversarial {row['adversarial_error']:6.1%} "
        f"({row['low']:.1%} to {row['high']:.1%})  limit {row['max_error']:.1%}  {row['verdict']}"
        f"  [{row['attack']},{eps}, {row['count']} images]"
    )
