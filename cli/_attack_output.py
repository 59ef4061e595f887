"""What `advkit attack` prints: a table with intervals, what it does not prove, what to try; or one JSON object."""

import json
from typing import Any, NamedTuple

import click

from advkit._version import __version__
from advkit.cli._console import percent, say, show, table
from advkit.data import Dataset
from advkit.evaluation import AttackReport, Report
from advkit.evaluation.measure.report import finite
from advkit.models import Classifier

SIGNIFICANT = 0.05
"""Above this p-value two errors on the same images are called equal."""


class Half(NamedTuple):
    """The eps at which half of the initially right images fall along FGSM's direction, and on how many images."""

    eps: float | None
    images: int


CAVEAT = (
    "An adversarial error is a lower bound: a stronger attack may find more. "
    "The intervals cover the sampling of the images, nothing else."
)


def print_json(report: Report, model: str, classifier: Classifier, *, device: str) -> None:
    """The figures of the first attack as one JSON object on stdout; what is infinite or undefined is null."""
    row, control = report.attacks[0], report.control
    figures = {
        "model": model,
        "data": report.data,
        "weights": classifier.card.source,
        "count": report.count,
        "attack": row.attack,
        "norm": row.norm,
        "eps": finite(row.eps),
        "clean_error": report.clean_error,
        "clean_error_interval": report.clean_error_interval,
        "noise_error": control.adversarial_error if control else None,
        "noise_error_interval": control.adversarial_error_interval if control else None,
        "adversarial_error": row.adversarial_error,
        "adversarial_error_interval": row.adversarial_error_interval,
        "success_rate": finite(row.success_rate),
        "mean_confidence": finite(row.mean_confidence),
        "median_distance": finite(row.median_distance),
        "queries_per_sample": row.queries_per_sample,
        "gradients_per_sample": row.gradients_per_sample,
        "seconds": row.seconds,
        "device": device,
        "seed": report.seed,
        "version": __version__,
    }
    click.echo(json.dumps(figures, allow_nan=False))


def print_report(report: Report, classifier: Classifier, data: Dataset, *, half: Half, device: str) -> None:
    """The figures as a table on stdout, with the weights first and the caveats last."""
    row = report.attacks[0]
    say(f"{classifier.card.describe()}; weights: {classifier.card.source}")
    part = "" if report.count == len(data) else f" of {len(data):,}, a fixed random choice"
    say(f"{data.name} {data.split}, {report.count:,} images{part}; {device}, seed {report.seed}, stop {row.stop!r}")
    say(f"{row.attack}: {radius(row.eps, row.norm, classifier)}")
    show(_errors(report))
    show(_details(report, half))
    say(CAVEAT)
    for remark in remarks(report, half.eps):
        say(remark)


def radius(eps: float | None, norm: str, classifier: Any) -> str:
    """A radius in its three units: pixels in [0, 1], 255ths, and the network's normalised input."""
    if eps is None:
        return f"the nearest adversarial image, in {norm}"
    text = f"{norm}, eps {eps:.6g} in [0, 1] = {eps * 255:.4g}/255"
    std = getattr(getattr(classifier, "normalize", None), "std", None)
    if std is None or bool((std == 1).all()):  # nothing is normalised here; a network may do so inside, unseen
        return text
    inside = [f"{eps / s:.4g}" for s in std.flatten().tolist()]
    channels = inside[0] if len(set(inside)) == 1 else f"({', '.join(inside)}) by channel"
    return f"{text} = {channels} in the model's normalised input"


def _errors(report: Report) -> Any:
    errors = table("error", "", "95 % interval", "images", right=("", "95 % interval", "images"))
    row, control = report.attacks[0], report.control
    rows = [("clean", report.clean_error, report.clean_error_interval)]
    if control is not None:
        size = "same budget" if row.kind == "budget" else "same distances"
        rows.append((f"noise, {size}", control.adversarial_error, control.adversarial_error_interval))
    rows.append((row.name, row.adversarial_error, row.adversarial_error_interval))
    for name, error, (low, high) in rows:
        wrong = round(error * report.count)
        errors.add_row(name, percent(error), f"{percent(low)} to {percent(high)}", f"{wrong:,} of {report.count:,}")
    return errors


def _details(report: Report, half: Half) -> Any:
    row = report.attacks[0]
    details = table("under attack", "")
    details.add_row("success rate", f"{percent(row.success_rate)} of the {row.counts.aimed:,} images that were right")
    details.add_row("confidence on mistakes", percent(row.mean_confidence))
    details.add_row("median distance", f"{_short(row.median_distance)} ({row.norm})")
    where = f"linf, along FGSM's direction, {half.images:,} images"
    details.add_row("eps at which half fall", f"{_short(half.eps)} ({where})")
    details.add_row(
        "passes an image", f"{row.queries_per_sample:.1f} queries, {row.gradients_per_sample:.1f} gradients"
    )
    details.add_row("seconds", f"{row.seconds:.1f}")
    return details


def _short(value: float | None) -> str:
    return "-" if finite(value) is None else f"{value:.4g}"


def remarks(report: Report, half: float | None) -> list[str]:
    """Differences that the interval or the noise swallows, called that, with what to try (`half`: see `advice`)."""
    row, control = report.attacks[0], report.control
    if not row.counts.right:
        return ["Every image is wrong without an attack: do weights, classes and image range belong together?"]
    said = [_against_clean(report)]
    if control is not None and not _beats(row, control):
        error, p = percent(control.adversarial_error), row.p_against_noise
        said.append(f"No clear difference to random noise of the same size ({error}; McNemar p = {p:.2g}).")
    blind = row.counts.zero_gradient
    if blind:
        said.append(f"The gradient was exactly zero for {blind:,} images: there the attack saw nothing to follow.")
    said = [remark for remark in said if remark]
    if row.eps is not None and row.norm == "linf" and row.eps >= 1:
        said.append(f"eps {row.eps:g} covers the whole range of the pixels, 0 to 1.")
    return [*said, f"Try {advice(report, half)}."] if said else []


def _against_clean(report: Report) -> str:
    """What is to be said of the difference to the clean error; nothing where it is clear."""
    clean, attacked = report.clean_error_interval, report.attacks[0].adversarial_error_interval
    p = report.attacks[0].p_against_clean
    if attacked[0] > clean[1] and p <= SIGNIFICANT:
        return ""
    ranges = (
        f"{percent(clean[0])} to {percent(clean[1])} clean, {percent(attacked[0])} to {percent(attacked[1])} attacked"
    )
    paired = "not clear either" if p > SIGNIFICANT else "clear"
    return (
        f"The difference to the clean error is within the interval ({ranges}); "
        f"on these same images it is {paired} (McNemar p = {p:.2g})."
    )


def _beats(row: AttackReport, control: AttackReport) -> bool:
    """The attack finds more than the noise, and not by the luck of these images."""
    return row.adversarial_error > control.adversarial_error and row.p_against_noise <= SIGNIFICANT


def advice(report: Report, half: float | None) -> str:
    """What may show more; `half` is the eps at which half of the images fall, if it is known."""
    row, ideas = report.attacks[0], []
    if row.adversarial_error >= 1:
        return "a smaller --eps: every image has fallen" if row.eps is not None else "another model"
    if row.eps is not None and row.norm == "linf" and row.eps >= 1:
        return f"--eps {row.eps:g}/255: eps is in units of the pixels, and {row.eps:g} covers their whole range"
    if row.eps is not None and row.norm == "linf" and half is not None and half > row.eps:
        ideas.append(f"a larger --eps (half of the images fall at {half:.2g})")
    elif row.eps is not None:
        ideas.append("a larger --eps")
    ideas += [f"--attack {name}" for name in ("pgd", "lbfgs") if name != row.name]
    return f"{', '.join(ideas[:-1])} or {ideas[-1]}" if len(ideas) > 1 else ideas[0]
