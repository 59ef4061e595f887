"""The common part of the contracts of models and data sets: named checks, run one by one, and a report."""

import warnings
from collections.abc import Callable, Iterable, Mapping

import torch

from advkit.core.errors import unknown
from advkit.testing._check import BrokenPromiseError, CheckOutcome, CheckReport, names_of

Promise = Callable[[], None]
"""A check: its name and first line of documentation are those of the promise; it raises where that is broken."""


def expect(condition: object, evidence: str) -> None:
    """Raise AssertionError with the observation unless the condition holds."""
    if not condition:
        raise AssertionError(evidence)


def judged(
    subject: str,
    promises: Mapping[str, Promise | None],
    *,
    only: str | Iterable[str],
    skip: str | Iterable[str],
    raises: bool,
) -> CheckReport:
    """Run the checks, except those that are None or in `skip`.

    Raises:
        BrokenPromiseError: a promise is broken and `raises` is true.
        UnknownNameError: there is no such check.
    """
    only, skip = names_of(only), names_of(skip)
    for name in (*only, *skip):
        if name not in promises:
            raise unknown("check", name, promises)
    chosen = only or list(promises)
    report = CheckReport(subject, tuple(_outcome(name, None if name in skip else promises[name]) for name in chosen))
    if raises and not report.ok:
        raise BrokenPromiseError(report)
    return report


def _outcome(name: str, promise: Promise | None) -> CheckOutcome:
    if promise is None:
        return CheckOutcome(name, "skipped", "")
    said = (promise.__doc__ or "").strip().splitlines()[0]
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            promise()
    except Exception as error:  # what crashes breaks the promise that was being checked
        evidence = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return CheckOutcome(name, "broken", said, evidence)
    return CheckOutcome(name, "kept", said)


def promises_of(owner: object, applies: Callable[[str], bool] = lambda name: True) -> dict[str, Promise | None]:
    """Return the public methods of an object as checks, in order of definition; None for one that does not apply."""
    names = [name for name, value in vars(type(owner)).items() if callable(value) and not name.startswith("_")]
    return {name: getattr(owner, name) if applies(name) else None for name in names}
