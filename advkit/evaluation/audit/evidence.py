"""The evidence of a run for a term: statements, with their figures and the places of these in the run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from advkit.core.attack import ATTACKS
from advkit.core.errors import InputError
from advkit.core.registry import parse_spec
from advkit.core.words import number, percent, span

Found = Mapping[str, Any]
"""What a run holds: "card" (as `make_card` gives it) and "corruptions" (the content of corruptions.json, or None)."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A sentence and its sources.

    Attributes:
        text: the sentence.
        figures: JSON pointer into the run's card or its corruptions -> value, for every figure in the text.
    """

    text: str
    figures: dict[str, Any]


def at(found: Found, pointer: str) -> Any:
    """Return the value at a pointer such as "card/attacks/0/eps".

    Args:
        found: the parts of the run.
        pointer: keys and positions, joined by slashes.

    Raises:
        InputError: there is nothing at the pointer.
    """
    value: Any = found
    for key in pointer.split("/"):
        try:
            value = value[int(key)] if isinstance(value, list | tuple) else value[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise InputError(f"the run has no figure {pointer}") from error
    return value


class Teller:
    """Builds a sentence and records the source of each figure in it.

    Args:
        found: the parts of the run.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.figures: dict[str, Any] = {}

    def __call__(self, pointer: str) -> Any:
        """Return the value at a pointer, and record the pointer."""
        self.figures[pointer] = value = at(self.found, pointer)
        return value

    def says(self, text: str) -> Statement:
        """Return the statement with the figures that were requested so far."""
        return Statement(text=text, figures=dict(self.figures))


Rule = Callable[[Found], Iterator[Statement]]


def _error(found: Found, place: str) -> Statement:
    """The error under one attack."""
    tell = Teller(found)
    eps, norm = tell(f"{place}/eps"), tell(f"{place}/norm")
    budget = f"{norm}, any distance" if eps is None else f"{norm} {number(eps)}"
    error = percent(tell(f"{place}/adversarial_error")), span(tell(f"{place}/adversarial_error_interval"))
    cost = tell(f"{place}/queries_per_sample"), tell(f"{place}/gradients_per_sample")
    return tell.says(
        f"{tell(f'{place}/attack')} ({budget}) made {error[0]} of {tell('card/data/evaluated'):,} images wrong "
        f"(95 % interval {error[1]}) with {cost[0]:.1f} queries and {cost[1]:.1f} gradients an image."
    )


def _rows(found: Found, fits: Callable[[Mapping[str, Any]], bool]) -> Iterator[Statement]:
    rows = found["card"]["attacks"]
    yield from (_error(found, f"card/attacks/{n}") for n, row in enumerate(rows) if fits(row))


def attacked(found: Found) -> Iterator[Statement]:
    """All attacks together."""
    if not found["card"]["attacks"]:
        return
    tell = Teller(found)
    error, interval = tell("card/errors/found/error"), tell("card/errors/found/interval")
    clean = tell("card/errors/clean/error")
    names = ", ".join(tell(f"card/attacks/{n}/attack") for n in range(len(found["card"]["attacks"])))
    yield tell.says(
        f"{percent(error)} of {tell('card/data/evaluated'):,} images were wrong under at least one of {names} "
        f"(95 % interval {span(interval)}; without an attack {percent(clean)}). This is a lower bound."
    )


def white_box(found: Found) -> Iterator[Statement]:
    """Attacks that used gradients of the model."""
    return _rows(found, lambda row: row["gradients_per_sample"] > 0 and not _is(row, "transfer"))


def black_box(found: Found) -> Iterator[Statement]:
    """Attacks that used the model's answers only."""
    return _rows(
        found, lambda row: not row["gradients_per_sample"] and knowledge(row["attack"]) in ("scores", "labels", None)
    )


def scores(found: Found) -> Iterator[Statement]:
    """Attacks that see the scores of all classes."""
    return _rows(found, lambda row: not row["gradients_per_sample"] and knowledge(row["attack"]) == "scores")


def labels(found: Found) -> Iterator[Statement]:
    """Attacks that see the predicted class only."""
    return _rows(found, lambda row: not row["gradients_per_sample"] and knowledge(row["attack"]) == "labels")


def universal(found: Found) -> Iterator[Statement]:
    """Attacks that look for one perturbation of all images."""
    return _rows(found, lambda row: _is(row, "universal", "find_patch"))


def transfer(found: Found) -> Iterator[Statement]:
    """Attacks on another model, and the check that uses one."""
    yield from _rows(found, lambda row: _is(row, "transfer"))
    checks = found["card"]["checks"]
    verdict = checks and checks["findings"].get("transfer_beats_white_box")
    if verdict in ("ok", "suspect"):
        tell = Teller(found)
        tell("card/checks/findings/transfer_beats_white_box")
        beats = "fooled the model more often than" if verdict == "suspect" else "did not fool the model more often than"
        yield tell.says(
            f"Adversarial images of another model {beats} those made on the model itself, on "
            f"{tell('card/checks/samples')} images."
        )


def certified(found: Found) -> Iterator[Statement]:
    """The error that no attack within a ball can exceed."""
    if found["card"]["errors"]["certified"] is None:
        return
    tell, place = Teller(found), "card/errors/certified"
    yield tell.says(
        f"No attack within {tell(f'{place}/norm')} {number(tell(f'{place}/eps'))} makes more than "
        f"{percent(tell(f'{place}/error'))} of these images wrong ({tell(f'{place}/method')}; 95 % interval "
        f"{span(tell(f'{place}/interval'))}); {percent(tell(f'{place}/found/error'))} were found wrong there."
    )


def clean(found: Found) -> Iterator[Statement]:
    """The error without an attack."""
    tell = Teller(found)
    error, interval = tell("card/errors/clean/error"), tell("card/errors/clean/interval")
    yield tell.says(
        f"Without an attack {percent(error)} of {tell('card/data/evaluated'):,} images of {tell('card/data/name')} are "
        f"wrong (share of wrong classes, 95 % interval {span(interval)})."
    )


def corrupted(found: Found) -> Iterator[Statement]:
    """The errors under corruptions without an adversary."""
    damage = found["corruptions"]
    if damage is None:
        return
    tell = Teller(found)
    kinds = {kind: tell(f"corruptions/corruptions/{kind}/mean_error") for kind in damage["corruptions"]}
    worst = max(kinds, key=lambda kind: kinds[kind])
    many = f"{len(kinds)} kind{'s' * (len(kinds) != 1)} of damage"
    mean, whole = percent(tell("corruptions/mean_error")), percent(tell("corruptions/clean_error"))
    yield tell.says(
        f"Under {many} of {tell('corruptions/data')} the mean error over kinds and severities is {mean} (without "
        f"damage {whole}); the worst kind is {worst} with {percent(kinds[worst])}, "
        f"on {tell('corruptions/count'):,} images."
    )


def checked(found: Found) -> Iterator[Statement]:
    """The results of the evaluation's checks."""
    checks = found["card"]["checks"]
    if checks is None:
        return
    tell = Teller(found)
    verdicts = {name: tell(f"card/checks/findings/{name}") for name in checks["findings"]}
    raised = [name for name, verdict in verdicts.items() if verdict == "suspect"]
    made = sum(verdict != "skipped" for verdict in verdicts.values())
    yield tell.says(
        f"{made} checks of the model and the evaluation were made on {tell('card/checks/samples')} images, "
        f"{len(raised)} raised suspicion{': ' + ', '.join(raised) if raised else ''}."
    )


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        attacked,
        white_box,
        black_box,
        scores,
        labels,
        universal,
        transfer,
        certified,
        clean,
        corrupted,
        checked,
    )
}
"""Name of a rule -> the statements that a run gives it."""


def knowledge(spec: str) -> str | None:
    """Return what an attack sees of the model, by its class; None for an attack that is not registered.

    Args:
        spec: spec of the attack.
    """
    try:
        return str(getattr(ATTACKS.factory(parse_spec(spec).name), "knowledge", "gradients"))
    except (InputError, ImportError):
        return None


def _is(row: Mapping[str, Any], *names: str) -> bool:
    return str(row["attack"]).partition("(")[0].strip() in names
