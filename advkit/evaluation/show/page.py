"""report.html: the run as one page that needs no network, for a screen, a phone or a printer."""

import base64
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from markupsafe import Markup
from torch import Tensor

from advkit.core.intervals import wilson_interval
from advkit.core.saved import finite
from advkit.core.words import harmless, number, percent, short, span
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.staircase import STEPS, Curve, drawn
from advkit.evaluation.runs.run_folder import Run
from advkit.evaluation.show.gallery import Nearest, examples, image_shape, most_examples, name_of, undrawn
from advkit.evaluation.show.in_words import mce_in_words, sides_of, summary
from advkit.evaluation.show.remarks import own_measures
from advkit.evaluation.show.report_text import median_text

if TYPE_CHECKING:
    from jinja2 import Template

MOST_CLASSES = 12
"""With more classes the confusion is a list of its largest entries."""


class Seen(NamedTuple):
    """The data of the page from one pass over the batches."""

    nearest: list[Nearest]  # of each attack
    pairs: list[Counter[tuple[int, int]]]  # of each attack and the control: (label, prediction)
    farthest: list[float]  # of each attack: the largest finite distance
    classes: int


def page(run: Run, report: Report) -> str:
    """Write the page as HTML; `run.record` must have the figures."""
    shown = [*report.attacks, *([report.control] if report.control else [])]
    shape = image_shape(run)
    seen = _look(run, report, len(shown), shape)
    names = [harmless(name) for name in run.record.get("classes") or map(str, range(seen.classes))]
    norms, damage = [row.norm for row in report.attacks], report.corruptions
    top = _top(damage) if damage else 1.0
    return _template().render(
        run=run.record,
        report=report,
        summary=summary(report),
        sides=sides_of(report),
        bars=_bars(report),
        details=_details(report),
        measures=own_measures(report.attacks),
        attacks=report.attacks,
        shape=shape[1:] if shape else (1, 1),
        examples=examples(run, seen.nearest, norms, names),
        undrawn=undrawn(run),
        confusions=[_confusion(row, pairs, names) for row, pairs in zip(shown, seen.pairs, strict=True)]
        if report.labelled
        else [],
        plot=_plot(report, seen.farthest),
        damage=damage,
        mce=mce_in_words(damage) if damage else [],
        top=top,
        panels=_panels(damage, top) if damage else [],
        checks=report.checks,
        style=style(),
        script=Markup(_script()),
        script_hash=_hash(_script()),
        both=report.certification,
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(percent=percent, short=short, number=number, span=span)
    return environment.from_string(files("advkit.evaluation.show").joinpath("page.html").read_text("utf-8"))


def style() -> Markup:
    """Return the style of every page."""
    return Markup(files("advkit.evaluation.show").joinpath("page.css").read_text("utf-8"))


def _script() -> str:
    """The filters of the gallery."""
    return files("advkit.evaluation.show").joinpath("page.js").read_text("utf-8")


def _hash(script: str) -> str:
    """How the page's security policy names the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _details(report: Report) -> dict[str, Any]:
    """The figures of each attack beside its error."""
    headings = ["success", "top-5 error", "confidence on mistakes", "median distance", "left as 8-bit files"]
    headings += ["queries", "gradients", "seconds"]
    rows = []
    for row in report.attacks:
        shares = [percent(share) for share in (row.success_rate, row.top5_error, row.mean_confidence)]
        cells = [*shares, median_text(row), percent(row.survival_rate)]
        costs = (row.queries_per_sample, row.gradients_per_sample, row.seconds)
        rows.append([row.attack, *cells, *(f"{cost:.1f}" for cost in costs)])
    return {"headings": headings, "rows": rows}


def _look(run: Run, report: Report, rows: int, shape: tuple[int, ...] | None) -> Seen:
    """Go through the batches once."""
    nearest = [Nearest(most_examples(shape)) for _ in report.attacks] if shape else []
    pairs: list[Counter[tuple[int, int]]] = [Counter() for _ in range(rows)]
    farthest, classes = [0.0] * len(report.attacks), 0
    for batch, (clean, *found) in zip(run.numbers(), report.samples, strict=True):
        labels = clean["y"].tolist()
        classes = max(classes, *labels, *clean["prediction"].tolist())
        for counter, row in zip(pairs, found, strict=True):
            counter.update(zip(labels, row["prediction"].tolist(), strict=True))
        for attack, row in zip(nearest, found, strict=False):
            attack.add(batch, clean, row)
        for i, row in enumerate(found[: len(farthest)]):
            distance = row["distance"]
            farthest[i] = max(farthest[i], distance.where(distance.isfinite(), 0.0).max().item())
    classes = max([classes, *(k for counter in pairs for pair in counter for k in pair)])
    return Seen(nearest, pairs, farthest, 1 + classes)


def _bars(report: Report) -> list[dict[str, Any]]:
    """Name, error and interval of every line of the figure."""
    rows = [("clean", report.clean_error, report.clean_error_interval, "clean")]
    if report.control is not None:
        control = report.control
        rows.append(("random noise", control.adversarial_error, control.adversarial_error_interval, "noise"))
    rows += [(row.attack, row.adversarial_error, row.adversarial_error_interval, "attack") for row in report.attacks]
    if len(report.attacks) > 1:
        rows.append(("worst case", report.adversarial_error, report.adversarial_error_interval, "worst"))
    if (both := report.certification) is not None:
        rows.append((f"not certified, {both.method}", both.certified_error, both.certified_error_interval, "open"))
    return [
        {"name": name, "error": error, "low": low, "high": high, "kind": kind, "wrong": round(error * report.count)}
        for name, error, (low, high), kind in rows
    ]


def _confusion(row: AttackReport, pairs: Counter[tuple[int, int]], names: list[str]) -> dict[str, Any]:
    """How often each class became which: a table for few classes, the largest entries for many."""
    classes = max([len(names), *(1 + k for pair in pairs for k in pair)])
    if classes <= MOST_CLASSES:
        most = max((n for (a, b), n in pairs.items() if a != b), default=1)
        table = [[(pairs[a, b], pairs[a, b] / most if a != b else 0.0) for b in range(classes)] for a in range(classes)]
        return {"attack": row.attack, "names": [name_of(names, k) for k in range(classes)], "table": table, "list": []}
    wrong = sorted(((n, a, b) for (a, b), n in pairs.items() if a != b), reverse=True)[:30]
    listed = [(n, name_of(names, a), name_of(names, b)) for n, a, b in wrong]
    return {"attack": row.attack, "names": [], "table": [], "list": listed}


WIDE, TALL, LEFT, FOOT = 420, 240, 46, 36
"""The plot in units of its own, with room for the numbers at the left and below."""


def _plot(report: Report, farthest: Sequence[float]) -> list[dict[str, Any]]:
    """One plot a norm: error against distance, for minimal attacks and for budget attacks at several radii."""
    groups: dict[tuple[str, str], list[tuple[AttackReport, float]]] = defaultdict(list)
    for row, most in zip(report.attacks, farthest, strict=True):
        groups[row.name if row.kind == "budget" else row.attack, row.norm].append((row, most))
    by_norm: dict[str, list[tuple[Curve, float | None]]] = defaultdict(list)
    for (name, norm), rows in groups.items():
        row, most = rows[0]
        if row.kind == "minimal" and most:
            radii = [*(most * i / STEPS for i in range(1, STEPS)), most]
            curve = drawn(name, _fallen(report, [row]), radii, every=True)
            by_norm[norm].append((curve, finite(row.median_distance)))
        elif len(radii := sorted({row.eps for row, _ in rows if row.eps})) > 1:
            curve = drawn(name, _fallen(report, [row for row, _ in rows]), radii, every=False)
            by_norm[norm].append((curve, curve.median))
    return [_drawn(norm, curves) for norm, curves in by_norm.items()]


def _fallen(report: Report, rows: Sequence[AttackReport]) -> Iterator[tuple[Tensor, Tensor]]:
    """Of each batch who is wrong without an attack, and the least distance or eps at which each image is wrong."""
    for parts in report.samples:
        least = torch.full(parts[0]["y"].shape, math.inf, dtype=torch.float64, device="cpu")
        for row in rows:
            mine = parts[row.place]
            distance = mine["distance"] if row.eps is None else torch.full_like(least, row.eps)
            least = torch.where(mine["wrong"], torch.minimum(least, distance), least)
        yield parts[0]["clean_wrong"], least


def _drawn(norm: str, curves: Sequence[tuple[Curve, float | None]]) -> dict[str, Any]:
    most = max(curve.eps[-1] for curve, _ in curves)
    width, height = WIDE - LEFT - 10, TALL - FOOT - 10

    def at(eps: float, error: float) -> tuple[float, float]:
        return round(LEFT + width * eps / most, 1), round(10 + height * (1 - error), 1)

    lines = []
    for curve, median in curves:
        points, level = [], curve.clean
        for eps, error in zip(curve.eps, curve.error, strict=True):
            points += [at(eps, level), at(eps, error)] if error > level else []
            level = error
        text = " ".join(f"{x},{y}" for x, y in [at(0.0, curve.clean), *points, at(min(most, curve.most), level)])
        lines.append({"name": curve.name, "points": text, "median": median})
    ticks = [(at(value, 0)[0], f"{value:.4g}") for value in round_values(most)]
    levels = [(at(0, i / 4)[1], f"{25 * i} %") for i in range(5)]
    frame = {"wide": WIDE, "tall": TALL, "left": LEFT, "right": WIDE - 10, "foot": TALL - FOOT}
    return {"norm": norm, "lines": lines, "ticks": ticks, "levels": levels, **frame}


def round_values(most: float) -> list[float]:
    """Return 0 and the multiples of a round step up to `most` > 0: four to ten of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / 4))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= most / 4)
    return [step * i for i in range(math.floor(most / step * (1 + 1e-9)) + 1)]


def _top(damage: CorruptionReport) -> float:
    """The upper end of the scale for errors and intervals."""
    most = max(k for wrong in damage.wrong.values() for k in wrong)
    high = wilson_interval(max(most, damage.clean_wrong), damage.count)[1]
    return next(top for top in (0.1, 0.2, 0.5, 1.0) if high <= top)


def _panels(damage: CorruptionReport, top: float) -> list[dict[str, Any]]:
    """One small plot a corruption: the error and its interval at each severity, and where they lie in 150 x 100."""
    made = []
    for name, wrong in damage.wrong.items():
        points = []
        for i, (severity, k) in enumerate(zip(damage.severities, wrong, strict=True)):
            error, (low, high) = k / damage.count, wilson_interval(k, damage.count)
            y, y_low, y_high = (round(84 - 76 * share / top, 1) for share in (error, low, high))
            place = {"x": round(28 + 120 * (i + 0.5) / len(wrong), 1), "y": y, "y_low": y_low, "y_high": y_high}
            points.append({"severity": severity, "error": error, "low": low, "high": high, **place})
        made.append({"name": name.replace("_", " "), "mean": damage.error(name), "points": points})
    return made
