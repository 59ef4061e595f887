"""Remarks on differences that are within the interval or the noise, and what to try."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from advkit.core.attack import ATTACKS
from advkit.core.norms import get_norm
from advkit.core.words import beyond_the_range, percent, short, span
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.report import Report

STRONGER = {
    "gradients": ("pgd", "lbfgs", "cascade"),
    "scores": ("square", "nes", "simba"),
    "labels": ("hopskipjump", "geoda", "rays"),
}
"""Attacks that may find more, by what the model shows."""

SIGNIFICANT = 0.05
"""Above this p-value two errors on the same images are called equal."""


def own_measures(attacks: Sequence[AttackReport]) -> list[str]:
    """Return the median of each attack's own measure, where half of the images have fallen, and what it measures."""
    said = []
    for row in attacks:
        if (size := row.median_size) is not None:
            median = short(size) if math.isfinite(size) else "none, for half of the images withstood"
            said.append(f"{row.attack}: the median of its own measure is {median} ({_measure(row)}).")
    return said


def _measure(row: AttackReport) -> str:
    """What the attack measures, in words, where it is registered here."""
    found = [words for made in made_by(row) if (words := getattr(made, "measures", ""))]
    return found[0] if found else "the attack says of what"


def made_by(row: AttackReport) -> list[object]:
    """Return what makes the registered attacks that the row's spec names, wrappers first."""
    return [ATTACKS.factory(name) for name in re.findall(r"\w+", row.attack) if name in ATTACKS.names()]


def remarks_by_attack(report: Report) -> list[str]:
    """Return the remarks on each attack; the control has the first attack's budget and is compared with that only."""
    said = []
    for i, row in enumerate(report.attacks):
        alone = replace(report, attacks=(row,), control=report.control if i == 0 else None)
        found = remarks(alone, None, tried=_names(report))
        said += [f"{row.attack}: {' '.join(found)}"] if found else []
    return said


def remarks(report: Report, half: float | None, tried: frozenset[str] = frozenset()) -> list[str]:
    """Return remarks on differences within the interval or the noise, with what to try (see `advice`)."""
    row, control = report.attacks[0], report.control
    if not row.counts.right:
        return ["Every image is wrong without an attack: do weights, classes and image range belong together?"]
    said = [_against_clean(report)]
    if control is not None and not _beats(row, control):
        said.append(_against_noise(row, control))
    blind = row.counts.zero_gradient
    if blind:
        said.append(f"The gradient was exactly zero for {blind:,} images: there the attack saw nothing to follow.")
    said = [remark for remark in said if remark]
    if row.eps is not None and (beyond := beyond_the_range(row.eps, _boxed(row))):
        return [*said, beyond]
    return [*said, f"Try {advice(report, half, tried)}."] if said else []


def _boxed(row: AttackReport) -> bool:
    """Whether eps bounds each pixel alone, so that it can be held against the range of the pixels."""
    return get_norm(row.norm).boxed


def _against_clean(report: Report) -> str:
    """What is to be said of the difference to the clean error; nothing where it is clear."""
    clean, attacked = report.clean_error_interval, report.attacks[0].adversarial_error_interval
    p = report.attacks[0].p_against_clean
    if attacked[0] > clean[1] and p <= SIGNIFICANT:
        return ""
    paired = "not clear either" if p > SIGNIFICANT else "clear"
    return (
        f"The difference to the clean error is within the interval ({span(clean)} clean, {span(attacked)} attacked); "
        f"on these same images it is {paired} (McNemar p = {p:.2g})."
    )


def _against_noise(row: AttackReport, control: AttackReport) -> str:
    """What is to be said where the attack finds no more than noise does: as much, or less."""
    error, p = percent(control.adversarial_error), row.p_against_noise
    if control.adversarial_error > row.adversarial_error and p <= SIGNIFICANT:
        return f"Random noise of the same size does more than the attack ({error}; McNemar p = {p:.2g})."
    return f"No clear difference to random noise of the same size ({error}; McNemar p = {p:.2g})."


def _beats(row: AttackReport, control: AttackReport) -> bool:
    """The attack finds more than the noise, and not by the luck of these images."""
    return row.adversarial_error > control.adversarial_error and row.p_against_noise <= SIGNIFICANT


def _names(report: Report) -> frozenset[str]:
    """The names in the specs of all rows, of wrapped attacks too."""
    return frozenset(name for row in report.attacks for name in re.findall(r"\w+", row.attack))


OF_DATA = ("universal_perturbation", "adversarial_patch")
"""Names of what is found on a data set, which no registry has."""


def _has_rivals(row: AttackReport) -> bool:
    """Whether an attack of `STRONGER` seeks the same: for each image a change of its own, small in a norm."""
    made = made_by(row)
    free = row.eps is None and any(getattr(one, "kind", "") == "budget" for one in made)  # turns, patches, colours
    together = any(not getattr(one, "per_sample", True) and getattr(one, "stepwise", True) for one in made)
    return not free and not together


def advice(report: Report, half: float | None, tried: frozenset[str] = frozenset()) -> str:
    """Return advice on what may show more.

    Args:
        report: Its first attack is advised on.
        half: The eps at which half of the images are fooled, if it is known.
        tried: The advice names no attack of this set, nor one that the report has.
    """
    row, ideas = report.attacks[0], []
    if row.adversarial_error >= 1:
        return "a smaller eps: every image has fallen" if row.eps is not None else "another model"
    if _boxed(row) and row.eps is not None and half is not None and half > row.eps:
        ideas.append(f"a larger eps (half of the images fall at {half:.2g})")
    elif row.eps is not None:
        ideas.append("a larger eps")
    known, shown = tried | _names(report), "gradients" if report.setting is None else report.setting.knowledge
    if row.attack.startswith(OF_DATA):
        ideas += ["more images to find it on", "more epochs"]
    elif _has_rivals(row):
        ideas += [f"the attack {name}" for name in STRONGER.get(shown, ()) if name not in known][:2]
    else:
        ideas.append("more of its steps")
    if not ideas:
        return "more steps"
    return f"{', '.join(ideas[:-1])} or {ideas[-1]}" if len(ideas) > 1 else ideas[0]
