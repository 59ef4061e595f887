"""Charts: errors with their intervals, error against eps for several models, two runs."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from advkit.certification.certificate import Certificate
from advkit.core.door import check_count
from advkit.core.errors import InputError, check_given
from advkit.core.result import Result
from advkit.core.shown import PICTURES
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.report import Report
from advkit.evaluation.measure.staircase import Curve, curve_of
from advkit.evaluation.runs.paired import Comparison
from advkit.evaluation.runs.run_folder import Run
from advkit.figures._examples import MUTED, _canvas, _said, _short, _written, examples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#1b7c83", "#57606a")
"""One a curve, in turn."""

CLEAN, NOISE, ATTACKED, WORST = "#1a7f37", "#9a6700", "#0969da", "#cf222e"
"""Colours of the errors without an attack, under noise, under an attack, and in the worst case."""

Path_ = str | os.PathLike[str]
Drawable = Curve | AttackReport | Report | Run
"""What has a curve, or several."""

Bar = tuple[str, float, tuple[float, float], str]
"""Name, error, interval, colour."""


def error_bars(report: Report | AttackReport | Run, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw every error of a report as a bar, with its 95 % interval.

    Args:
        report: a report, the run that holds one, or the report of one attack.
        title: a line above the picture; by default the model and the data.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: a path that cannot be written as a picture.
    """
    _expect(report, Report, Run, AttackReport)
    report = report.report if isinstance(report, Run) else report
    bars = _bars(report) if isinstance(report, Report) else _bars_of_attack(report)
    figure = _canvas(7.0, 1.3 + 0.42 * len(bars), title or _title(report))
    axes = figure.subplots()
    _draw_bars(axes, bars)
    return _written(figure, path)


def _expect(given: object, *kinds: type) -> None:
    """Raise InputError where something else was given than what is drawn."""
    if not isinstance(given, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(f"expected an object of {names} to draw, got {type(given).__name__}")


def _title(report: Report | AttackReport) -> str:
    if isinstance(report, AttackReport):
        return f"{report.counts.images:,} images"
    model = f"{report.setting.model.partition(',')[0]}, " if report.setting else ""
    return f"{model}{report.data or 'the given data'}, {report.count:,} images"


def _bars(report: Report) -> list[Bar]:
    bars = [("clean", report.clean_error, report.clean_error_interval, CLEAN)]
    if report.control is not None:
        bars.append(("random noise", *_error(report.control), NOISE))
    bars += [(row.attack, *_error(row), ATTACKED) for row in report.attacks]
    if len(report.attacks) > 1:
        bars.append(("worst case", report.adversarial_error, report.adversarial_error_interval, WORST))
    return bars


def _bars_of_attack(row: AttackReport) -> list[Bar]:
    return [(row.attack, *_error(row), ATTACKED)]


def _error(row: AttackReport) -> tuple[float, tuple[float, float]]:
    return row.adversarial_error, row.adversarial_error_interval


def _draw_bars(axes: "Axes", bars: Sequence[Bar]) -> None:
    names, errors, _, colours = zip(*bars, strict=True)
    places = range(len(bars))
    share = [100 * error for error in errors]
    axes.barh(places, share, color=list(colours), alpha=0.85, height=0.6)  # two in a tuple are a colour and its alpha
    for place, (_, error, (low, high), _) in zip(places, bars, strict=True):
        axes.plot([100 * low, 100 * high], [place, place], color="#1f2328", linewidth=1.4, marker="|", markersize=7)
        text = f"{100 * error:.1f} %"
        if high < 0.85:
            axes.text(100 * high + 1.5, place, text, va="center", fontsize=9)
        else:
            axes.text(max(100 * low - 1.5, 8), place, text, va="center", ha="right", fontsize=9, color="white")
    axes.set_yticks(places, [_short(name, 40) for name in names])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="error in %, with its 95 % interval; under attack a lower bound")
    axes.grid(axis="x", color="#d0d7de", linewidth=0.6)
    axes.set_axisbelow(True)
    _plain(axes)


PICTURES.register("Report")(error_bars)
PICTURES.register("Run")(error_bars)


@PICTURES.register("AttackReport")
def attack_picture(row: AttackReport, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw the error of one attack: against the distance if it is minimal, else as a bar.

    Args:
        row: the report of the attack.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.
    """
    check_given("row", row, AttackReport, "the report of an attack, such as report.attacks[0]")
    if row.kind != "minimal":
        return error_bars(row, title=title, path=path)
    return error_curves([row], title=title, path=path)


@PICTURES.register("Curve")
def error_curves(
    curves: Sequence[Drawable] | Drawable,
    *,
    norm: str = "",
    title: str = "",
    path: Path_ | None = None,
) -> "Figure":
    """Draw errors against eps as staircases, each with its median distance in the legend.

    Args:
        curves: curve of `error_curve`, report of an attack, report or run with all of its attacks, or a list of these.
        norm: norm of the distances, for the axis; by default the curves' own.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: there are no curves, other objects are given, or the path cannot be written as a picture.
    """
    stairs = [stair for given in _listed(curves) for stair in _stairs(given)]
    if not stairs:
        raise InputError("expected at least one curve to draw, got none: an evaluation without attacks has no curve")
    figure = _canvas(7.0, 4.4, title)
    axes = figure.subplots()
    most = max((eps for curve in stairs for eps in curve.eps), default=1.0)
    for i, curve in enumerate(stairs):
        name = _said(curve.name)
        label = name if curve.median is None else f"{name} (median {curve.median:.3g})"
        errors = [curve.clean, *curve.error]
        x, y = [0.0, *curve.eps, min(most, curve.most)], [*errors, errors[-1]]
        axes.plot(x, [100 * e for e in y], drawstyle="steps-post", color=COLOURS[i % len(COLOURS)], label=label)
    norm = norm or ", ".join(sorted({curve.norm for curve in stairs if curve.norm}))
    axes.set(
        xlim=(0, most), ylim=(0, 102), xlabel=f"eps ({norm})" if norm else "eps", ylabel="error in %, a lower bound"
    )
    axes.grid(color="#d0d7de", linewidth=0.6)
    lowest = min([curve.clean, *curve.error][bisect_right(curve.eps, most / 2)] for curve in stairs)
    free = lowest > 0.04 + 0.06 * len(stairs)  # the height of the legend
    where: dict[str, Any] = {"loc": "lower right"} if free else {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    axes.legend(frameon=False, fontsize=9, **where)
    _plain(axes)
    return _written(figure, path)


def _listed(curves: Sequence[Drawable] | Drawable) -> list[Drawable]:
    """The curves one by one, whether one or several were given."""
    if isinstance(curves, Curve | AttackReport | Report | Run):
        return [curves]
    if isinstance(curves, str) or not isinstance(curves, Iterable):
        raise InputError(f"expected curves of error_curve or reports to draw, got {type(curves).__name__}")
    return list(curves)


def _stairs(given: Drawable) -> list[Curve]:
    """The staircases of what is to be drawn: one of a curve or an attack, one an attack of a report or a run."""
    _expect(given, Curve, AttackReport, Report, Run)
    report = given.report if isinstance(given, Run) else given
    if isinstance(report, Curve):
        return [report]
    return [_curve(row) for row in ([report] if isinstance(report, AttackReport) else report.attacks)]


def _curve(row: AttackReport) -> Curve:
    """The staircase of a minimal attack's report; of a budget attack it is flat from its eps on."""
    distance = row.distance if row.eps is None else row.distance.new_full(row.distance.shape, row.eps)
    curve = curve_of(row.attack, row.wrong, distance.where(row.right, 0.0))
    return Curve(**{**vars(curve), "norm": row.norm, "attack": row.attack})


@PICTURES.register("Comparison")
def compared_bars(found: Comparison, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw the errors of two runs side by side, with their 95 % intervals.

    Args:
        found: result of `compare_runs`.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: a path that cannot be written as a picture.
    """
    _expect(found, Comparison)
    bars: list[Bar] = []
    for row in found:
        bars.append((f"{row.name}, first", row.first, row.first_interval, ATTACKED))
        bars.append((f"{row.name}, second", row.second, row.second_interval, "#8250df"))
    figure = _canvas(7.0, 1.3 + 0.42 * len(bars), title or f"first {found.first}, second {found.second}")
    _draw_bars(figure.subplots(), bars)
    return _written(figure, path)


@PICTURES.register("Result")
def result_picture(
    result: Result,
    x: Tensor | None = None,
    y: Tensor | None = None,
    *,
    count: int = 6,
    classes: Sequence[str] | None = None,
    bounds: tuple[float, float] = (0, 1),
    title: str = "",
    path: Path_ | None = None,
) -> "Figure":
    """Draw the first images that an attack fooled: clean image, perturbation, adversarial image.

    Args:
        result: result of the attack.
        x: clean images (N, C, H, W) that the attack was given; they are needed.
        y: labels (N,) of the images; they are needed.
        count: maximum number of images.
        classes: name of each class; default: its number.
        bounds: the range of the pixels.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: shapes that do not fit, or a path that cannot be written as a picture.
    """
    _expect(result, Result)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or x.shape != result.x_adv.shape or len(y) != len(x):
        got = ", ".join(str(tuple(v.shape)) if isinstance(v, Tensor) else type(v).__name__ for v in (x, y))
        needed = f"{tuple(result.x_adv.shape)} and ({len(result)},)"
        raise InputError(f"expected plot(x, y) with the images and labels that were attacked, {needed}, got {got}")
    count = check_count("count", count)
    order = result.success.int().argsort(descending=True, stable=True)[:count].sort().values
    rows = order.to(x.device)
    given = {"classes": classes, "bounds": bounds, "title": title, "path": path}
    return examples(x[rows], result.x_adv[order], y[rows], logits_adv=result.logits[order], **given)  # type: ignore[arg-type]


@PICTURES.register("Certificate")
def certified_curve(found: Certificate, *, title: str = "", path: Path_ | None = None) -> "Figure":
    """Draw the fraction of certified images against the radius if it was computed, otherwise against the margin.

    Args:
        found: result of `certify`.
        title: a line above the picture.
        path: file to write, PNG, PDF or SVG by its ending; by default none.

    Raises:
        InputError: a path that cannot be written as a picture.
    """
    _expect(found, Certificate)
    if not len(found.certified):
        raise InputError("expected a certificate of at least one image to draw, got one of none")
    values, name = (found.least_margin, "least margin") if found.radius is None else (found.radius, "radius")
    figure = _canvas(7.0, 4.0, title or f"{found.method}, {found.norm}, {len(values):,} images")
    axes = figure.subplots()
    ordered = values.sort().values.tolist()
    shares = [100 * (1 - i / len(ordered)) for i in range(len(ordered))]
    axes.plot([*ordered[:1], *ordered], [*shares[:1], *shares], drawstyle="steps-pre", color=ATTACKED)
    if found.radius is None:
        axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set(ylim=(0, 102), xlabel=f"{name} of at least", ylabel="images in %")
    axes.grid(color="#d0d7de", linewidth=0.6)
    _plain(axes)
    return _written(figure, path)


def _plain(axes: "Axes") -> None:
    """No frame but the axes themselves."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
