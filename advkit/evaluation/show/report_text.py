"""The text of a report: what was evaluated, errors with intervals, checks, and what they do not prove."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from advkit.core.sheet import Sheet, Table
from advkit.core.shown import sheet_of
from advkit.core.words import CAVEAT, percent, short, span
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.certificates import Certification
from advkit.evaluation.measure.checks import Checks
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.report import Report
from advkit.evaluation.runs.run_folder import Run
from advkit.evaluation.show.in_words import mce_in_words
from advkit.evaluation.show.remarks import own_measures, remarks, remarks_by_attack


class Half(NamedTuple):
    """The eps at which FGSM's direction fools half of the initially right images, and the number of images."""

    eps: float | None
    images: int


@sheet_of.register
def report_sheet(report: Report) -> Sheet:
    """Return the text that `advkit evaluate` prints for a report."""
    sheet: list[str | Table] = [*_head(report), _errors(report)]
    if report.attacks:
        sheet += [_details(report.attacks), *own_measures(report.attacks)]
    sheet += _meaning(report) + ([CAVEAT] if report.attacks else [])
    if report.certification is not None:
        sheet.append(_both_sides(report.certification))
    sheet += remarks_by_attack(report)
    if report.checks is not None:
        sheet += _checks(report.checks)
    if report.corruptions is not None:
        sheet += [_corruptions(report.corruptions), *mce_in_words(report.corruptions)]
    return sheet


@sheet_of.register
def _(run: Run) -> Sheet:
    return [*report_sheet(run.report), f"Run: {run.home} (report.html, samples.csv, run.json)"]


@sheet_of.register
def _(row: AttackReport) -> Sheet:
    counts = row.counts
    clean = (counts.images - counts.right) / counts.images
    errors = [("clean", clean, counts.images - counts.right), (row.attack, row.adversarial_error, counts.wrong)]
    cells = [(name, percent(error), f"{wrong:,} of {counts.images:,}") for name, error, wrong in errors]
    low_high = f"95 % interval of the adversarial error: {span(row.adversarial_error_interval)}."
    table = Table(("error", "", "images"), cells, right=("", "images"))
    return [
        f"{row.attack}: {radius(row)}; stop {row.stop!r}",
        table,
        low_high,
        _under_attack(row, None),
        *own_measures([row]),
        CAVEAT,
    ]


def attack_sheet(report: Report, half: Half | None, *, beside: Sequence[AttackReport] = ()) -> Sheet:
    """Return the text that `advkit attack` prints for a report with one attack; without gradient, without `half`.

    Args:
        report: the report.
        half: the eps at which half of the images are fooled.
        beside: further attacks on the same images, whose errors the same table shows.
    """
    row = report.attacks[0]
    tables: Sheet = [_errors(replace(report, attacks=(row,)), beside), _under_attack(row, half), *own_measures([row])]
    return [*_head(report), *tables, *_meaning(report), CAVEAT, *remarks(report, half and half.eps)]


def _meaning(report: Report) -> list[str]:
    """What an error is, where that is unusual, and reasons to doubt it."""
    said = [f"An image counts as wrong where the goal is reached: {report.goal}."] if report.goal else []
    if report.verdicts > 1:
        spreads = [f"clean {percent(report.clean_error_spread)}"]
        spreads += [f"{row.attack} {percent(row.adversarial_error_spread)}" for row in report.attacks]
        said.append(
            f"Each error is the mean over {report.verdicts} verdicts on the same images; "
            f"standard deviation from one verdict to the next: {', '.join(spreads)}."
        )
    return [*said, *report.warnings]


def _head(report: Report) -> list[str]:
    """The model and its weights, the images, and each attack with its radius."""
    setting, stop = report.setting, f", stop {report.attacks[0].stop!r}" if report.attacks else ""
    data = " ".join(report.data.rsplit(":", 1)) if report.data else "the given data"
    if setting is None:
        return [f"{data}, {report.count:,} images; seed {report.seed}{stop}"]
    whole = setting.images is None or setting.images == report.count
    part = "" if whole else f" of {setting.images:,}, {setting.chosen}"
    first = f"{setting.model}; weights: {setting.weights}" if setting.weights else setting.model
    second = f"{data}, {report.count:,} images{part}; {setting.device}, seed {report.seed}{stop}"
    stated = [f"its card says: {setting.published}"] if setting.published else []
    return [first, *stated, second, *(f"{row.attack}: {radius(row, setting.std)}" for row in report.attacks)]


def radius(row: AttackReport, std: Sequence[float] = ()) -> str:
    """Return the radius of an attack in pixels, in 255ths, and in units of the network's normalised input."""
    if row.eps is None and row.kind == "budget":
        return f"no radius in {row.norm}, the range of the pixels is the limit"
    return radius_text(row.eps, row.norm, std)


def radius_text(eps: float | None, norm: str, std: Sequence[float] = ()) -> str:
    """Write a radius in its units; see `radius`."""
    if eps is None:
        return f"the nearest adversarial image, in {norm}"
    text = f"{norm}, eps {eps:.6g} in [0, 1] = {eps * 255:.4g}/255"
    if not std:  # nothing is normalised here; a network may do so inside, unseen
        return text
    inside = [f"{eps / s:.4g}" for s in std]
    channels = inside[0] if len(set(inside)) == 1 else f"({', '.join(inside)}) by channel"
    return f"{text} = {channels} in the model's normalised input"


def _errors(report: Report, beside: Sequence[AttackReport] = ()) -> Table:
    right = ("", "95 % interval", "images", "top-5")
    rows: list[tuple[str, float, tuple[float, float], float | None]] = [
        ("clean", report.clean_error, report.clean_error_interval, report.clean_top5_error)
    ]
    if report.control is not None:
        size = "same budget" if report.attacks and report.attacks[0].eps is not None else "same distances"
        rows.append((f"noise, {size}", *_error(report.control)))
    rows += [(row.attack, *_error(row)) for row in (*report.attacks, *beside)]
    if len(report.attacks) > 1:
        rows.append(("worst case", report.adversarial_error, report.adversarial_error_interval, None))
    if (both := report.certification) is not None:
        rows.append((f"not certified, {both.method}", both.certified_error, both.certified_error_interval, None))
    cells = [
        (name, percent(error), span(interval), f"{round(error * report.count):,} of {report.count:,}", percent(top5))
        for name, error, interval, top5 in rows
    ]
    return Table(("error", "", "95 % interval", "images", "top-5"), cells, right=right)


def _both_sides(found: Certification) -> str:
    """What the attacks and the certificate say together."""
    ball = f"Within {radius_text(found.eps, found.norm)}"
    if found.exact:
        return f"{ball}, exactly {percent(found.found_error)} of these images can be made wrong ({found.method})."
    between = f"between {percent(found.found_error)} (found) and {percent(found.certified_error)} (not certified)"
    return f"{ball}, {between} of these images can be made wrong ({found.method})."


def _error(row: AttackReport) -> tuple[float, tuple[float, float], float | None]:
    return row.adversarial_error, row.adversarial_error_interval, row.top5_error


def _details(attacks: Sequence[AttackReport]) -> Table:
    names = ("success", "confidence", "median distance", "8-bit", "queries", "gradients", "seconds")
    rows = [
        (
            row.attack,
            percent(row.success_rate),
            percent(row.mean_confidence),
            median_text(row),
            percent(row.survival_rate),
            f"{row.queries_per_sample:.1f}",
            f"{row.gradients_per_sample:.1f}",
            f"{row.seconds:.1f}",
        )
        for row in attacks
    ]
    return Table(("attack", *names), rows, right=names)


def median_text(row: AttackReport) -> str:
    """The median distance with its norm, "half withstood" where it is infinite, or "-" without an image."""
    if row.median_distance is None:
        return "-"
    found = math.isfinite(row.median_distance)
    return f"{short(row.median_distance)} ({row.norm})" if found else "half withstood"


def _under_attack(row: AttackReport, half: Half | None) -> Table:
    """The figures of one attack, one below the other."""
    passes = f"{row.queries_per_sample:.1f} queries, {row.gradients_per_sample:.1f} gradients"
    rows = [
        ("success rate", f"{percent(row.success_rate)} of the {row.counts.aimed:,} images that were right"),
        ("confidence on mistakes", percent(row.mean_confidence)),
        ("median distance", median_text(row)),
    ]
    if half is not None:
        where = f"linf, along FGSM's direction, {half.images:,} images"
        rows.append(("eps at which half fall", f"{short(half.eps)} ({where})"))
    rows += [("passes an image", passes), ("seconds", f"{row.seconds:.1f}")]
    return Table(("under attack", ""), rows)


def _checks(checks: Checks) -> list[str]:
    where = f"{checks.samples} images, {checks.seconds:.1f} s"
    judged = f"{len(checks.judged)} of {len(checks.findings)} checks could judge"
    if checks.verdict == "trustworthy":
        return [f"Checks: trustworthy. No sign of hidden gradients; {judged} ({where})."]
    if checks.verdict == "undecided":
        reasons = "; ".join(sorted({f.evidence for f in checks.findings if f.verdict == "skipped"}))
        return [f"Checks: UNDECIDED. {judged} ({where}): {reasons}. Nothing speaks for or against these errors."]
    said = [f"- {finding.name}: {finding.evidence}. What to do: {finding.advice}." for finding in checks.suspects]
    return [f"Checks: SUSPECT ({where}; {judged}). Do not quote these errors before you know why:", *said]


def _corruptions(damage: CorruptionReport) -> Table:
    """Errors by corruption and severity, and the mean over all."""
    levels = [str(severity) for severity in damage.severities]
    rows = [
        (name, *(percent(w / damage.count) for w in wrong), percent(damage.error(name)))
        for name, wrong in damage.wrong.items()
    ]
    rows.append(("mean error", *("" for _ in levels), percent(damage.mean_error)))
    return Table(("corruption, severity", *levels, "mean"), rows, right=(*levels, "mean"))
