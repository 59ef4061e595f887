"""`check_attack`: every promise of an attack as a named check, like scikit-learn's `check_estimator`."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch

from advkit.core.errors import unknown
from advkit.testing._code import reproduction
from advkit.testing._subject import Subject, last_call, subject_of

Body = Callable[[Subject], None]


@dataclass(frozen=True)
class Check:
    """One promise.

    Attributes:
        name: name of the check, with underscores.
        promise: the promise in one sentence.
        body: function that raises AssertionError if the promise is broken.
        applies: function of the traits that says whether an attack makes the promise.
    """

    name: str
    promise: str
    body: Body
    applies: Callable[[Subject], bool]


CHECKS: dict[str, Check] = {}


def check(applies: Callable[[Subject], bool] = lambda subject: True) -> Callable[[Body], Body]:
    """Decorator: the function is a check; its name and docstring are those of the promise."""

    def keep(body: Body) -> Body:
        promise = (body.__doc__ or "").strip().splitlines()[0]
        CHECKS[body.__name__] = Check(body.__name__, promise, body, applies)
        return body

    return keep


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of one check.

    Attributes:
        name: name of the check.
        verdict: "kept", "broken" or "skipped".
        promise: the promise in one sentence.
        evidence: observation, and the input on which it was made.
        code: lines that run the check again and, if possible, the last call before it broke; `attack` is the attack.
    """

    name: str
    verdict: str
    promise: str
    evidence: str = ""
    code: str = ""


@dataclass(frozen=True)
class CheckReport:
    """The outcome of every check, in the order of `list_checks()`.

    Args:
        attack: name of the object that was checked.
        outcomes: outcome of each check.
    """

    attack: str
    outcomes: tuple[CheckOutcome, ...]

    @property
    def broken(self) -> list[str]:
        """The names of the checks that failed."""
        return [outcome.name for outcome in self.outcomes if outcome.verdict == "broken"]

    @property
    def ok(self) -> bool:
        """Whether all checked promises are kept."""
        return not self.broken

    def __str__(self) -> str:
        counts = {v: sum(o.verdict == v for o in self.outcomes) for v in ("kept", "broken", "skipped")}
        lines = [f"{self.attack}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())]
        for outcome in self.outcomes:
            if outcome.verdict == "broken":
                lines += [f"  {outcome.name}: {outcome.promise}", f"    {outcome.evidence}"]
                lines += [f"    >>> {line}" for line in outcome.code.splitlines()]
        return "\n".join(lines)


class BrokenPromiseError(AssertionError):
    """An attack breaks at least one promise; `report` has all of them.

    Args:
        report: the report with all outcomes.
    """

    def __init__(self, report: CheckReport) -> None:
        super().__init__(str(report))
        self.report = report


def list_checks(attack: Any = None, pattern: str = "*", **traits: Any) -> list[str]:
    """List the names of all checks that match a shell pattern, or of those that apply to this attack.

    Args:
        attack: an attack, as for `check_attack`; None lists the checks for any attack.
        pattern: shell pattern of the names.
        **traits: traits of a callable that does not declare them, see `check_attack`.
    """
    names = [name for name in CHECKS if fnmatch(name, pattern)]
    if attack is None:
        return names
    subject = subject_of(attack, traits)
    return [name for name in names if CHECKS[name].applies(subject)]


def names_of(names: str | Iterable[str]) -> list[str]:
    """Return a list of names, from one name or several."""
    return [names] if isinstance(names, str) else list(names)


def check_attack(
    attack: Any,
    *,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    raises: bool = True,
    goal: Any = None,
    **traits: Any,
) -> CheckReport:
    """Run every check that applies to an attack by its traits.

    Args:
        attack: an advkit `Attack`; or any callable `attack(model, x, y, ...)` that takes some of `target eps sample_ids
            seed bounds stop` by name and returns images, a tuple that begins with them, or an object with `x_adv` (and
            `success`, `distance`, `queries`, `gradients`, `logits`, `zero_gradient`, checked if present); or a
            callable without required parameters that makes such an attack.
        only: name or names of the checks to run; the others are left out.
        skip: name or names of checks that are reported as skipped.
        raises: True raises an error for a broken promise, False only reports it.
        goal: a goal that the attack takes as `goal`, or its spec, such as "top_k(k=1)", "segmentation(share=0.4)",
            "multi_label", "regression(tolerance=8)", "one_logit". The toy models answer in its form: an output is
            wrong if the class is. Checks of wrong input and of other numbers of classes are skipped.
        **traits: traits of a callable that does not declare them as attributes: `kind` ("budget" if it takes eps, else
            "minimal"), `norm` ("linf"), `knowledge` ("gradients", "scores", "labels", "nothing"), `targetable`,
            `targeted`, `per_sample`, `deterministic`, `radius_per_sample` (whether eps may be a tensor (N,)).

    Returns:
        A `CheckReport`.

    Raises:
        BrokenPromiseError: an AssertionError that names every broken promise and the input on which it broke.
        InputError: the object is no attack, or a trait is unknown.
        UnknownNameError: there is no such check.
    """
    only, skip = names_of(only), set(names_of(skip))
    for name in (*only, *skip):
        if name not in CHECKS:
            raise unknown("check", name, CHECKS)
    subject = subject_of(attack, traits, goal)
    chosen = [CHECKS[name] for name in only or CHECKS]
    outcomes = tuple(_run(check, subject, skip) for check in chosen)
    report = CheckReport(str(getattr(subject.attack, "spec", getattr(subject.attack, "__name__", attack))), outcomes)
    if raises and not report.ok:
        raise BrokenPromiseError(report)
    return report


def _run(check: Check, subject: Subject, skip: set[str]) -> CheckOutcome:
    if check.name in skip or not check.applies(subject):
        return CheckOutcome(check.name, "skipped", check.promise)
    token = last_call.set(None)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            check.body(subject)
    except Exception as error:  # an attack that crashes breaks the promise that was being checked
        evidence = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return CheckOutcome(check.name, "broken", check.promise, evidence, reproduction(check.name, last_call.get()))
    finally:
        last_call.reset(token)
    return CheckOutcome(check.name, "kept", check.promise)
