"""What `advkit evaluate` prints: one table over all attacks, the checks, what it does not prove; or one JSON object."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from advkit._version import __version__
from advkit.cli._attack_output import CAVEAT, radius, remarks
from advkit.cli._console import percent, say, show, table
from advkit.data import Dataset
from advkit.evaluation import AttackReport, Checks, CorruptionReport, Report
from advkit.evaluation.measure.report import finite
from advkit.models import Classifier


def print_json(report: Report, model: str, classifier: Classifier, output: Path | None) -> None:
    """Every figure as one JSON object on stdout; what is infinite or undefined is null."""
    about = {
        "model": model,
        "weights": classifier.card.source,
        "device": str(classifier.normalize.mean.device),
        "output": None if output is None else str(output),
        "version": __version__,
    }
    click.echo(json.dumps({**about, **report.to_dict(), "lower_bound": True}, allow_nan=False))


def _corruptions(damage: CorruptionReport) -> Any:
    """Errors by corruption and severity, and the mean over all."""
    levels = [str(severity) for severity in damage.severities]
    made = table("corruption, severity", *levels, "mean", right=(*levels, "mean"))
    for name, wrong in damage.wrong.items():
        made.add_row(name, *(percent(w / damage.count) for w in wrong), percent(damage.error(name)))
    made.add_row("mean error", *("" for _ in levels), percent(damage.mean_error))
    return made


def print_report(report: Report, classifier: Classifier, data: Dataset, output: Path | None) -> None:
    """The figures as a table on stdout, with the weights first and the caveats last."""
    device = str(classifier.normalize.mean.device)
    say(f"{classifier.card.describe()}; weights: {classifier.card.source}")
    part = "" if report.count == len(data) else f" of {len(data):,}, a fixed random choice"
    stop = f", stop {report.attacks[0].stop!r}" if report.attacks else ""
    say(f"{data.name} {data.split}, {report.count:,} images{part}; {device}, seed {report.seed}{stop}")
    for row in report.attacks:
        say(f"{row.attack}: {radius(row.eps, row.norm, classifier)}")
    show(_errors(report))
    if report.attacks:
        show(_details(report))
        say(CAVEAT)
    for remark in _remarks(report):
        say(remark)
    if report.checks is not None:
        _print_checks(report.checks)
    if report.corruptions is not None:
        show(_corruptions(report.corruptions))
    if output is not None:
        say(f"Run: {output} (report.html, samples.csv, run.json)")


def _errors(report: Report) -> Any:
    right = ("", "95 % interval", "images", "top-5")
    errors = table("error", "", "95 % interval", "images", "top-5", right=right)
    rows: list[tuple[str, float, tuple[float, float], float | None]] = [
        ("clean", report.clean_error, report.clean_error_interval, report.clean_top5_error)
    ]
    if report.control is not None:
        size = "same budget" if report.attacks and report.attacks[0].kind == "budget" else "same distances"
        rows.append((f"noise, {size}", *_error(report.control)))
    rows += [(row.attack, *_error(row)) for row in report.attacks]
    if len(report.attacks) > 1:
        rows.append(("worst case", report.adversarial_error, report.adversarial_error_interval, None))
    for name, error, (low, high), top5 in rows:
        wrong = f"{round(error * report.count):,} of {report.count:,}"
        errors.add_row(name, percent(error), f"{percent(low)} to {percent(high)}", wrong, percent(top5))
    return errors


def _error(row: AttackReport) -> tuple[float, tuple[float, float], float]:
    return row.adversarial_error, row.adversarial_error_interval, row.top5_error


def _details(report: Report) -> Any:
    names = ("success", "confidence", "median distance", "8-bit", "queries", "gradients", "seconds")
    details = table("attack", *names, right=names)
    for row in report.attacks:
        median = finite(row.median_distance)
        details.add_row(
            row.attack,
            percent(row.success_rate),
            percent(row.mean_confidence),
            "-" if median is None else f"{median:.4g} ({row.norm})",
            percent(row.survival_rate),
            f"{row.queries_per_sample:.1f}",
            f"{row.gradients_per_sample:.1f}",
            f"{row.seconds:.1f}",
        )
    return details


def _remarks(report: Report) -> list[str]:
    """What the interval or the noise swallows, attack by attack; the noise has the first attack's budget."""
    said = []
    for i, row in enumerate(report.attacks):
        found = remarks(replace(report, attacks=(row,), control=report.control if i == 0 else None), None)
        said += [f"{row.attack}: {' '.join(found)}"] if found else []
    return said


def _print_checks(checks: Checks) -> None:
    where = f"{checks.samples} images, {checks.seconds:.1f} s"
    judged = f"{len(checks.judged)} of {len(checks.findings)} checks could judge"
    if checks.verdict == "trustworthy":
        say(f"Checks: trustworthy. No sign of hidden gradients; {judged} ({where}).")
        return
    if checks.verdict == "undecided":
        reasons = sorted({f.evidence for f in checks.findings if f.verdict == "skipped"})
        say(f"Checks: UNDECIDED. {judged} ({where}): {'; '.join(reasons)}. Nothing speaks for or against these errors.")
        return
    say(f"Checks: SUSPECT ({where}; {judged}). Do not quote these errors before you know why:")
    for finding in checks.suspects:
        say(f"- {finding.name}: {finding.evidence}. What to do: {finding.advice}.")
