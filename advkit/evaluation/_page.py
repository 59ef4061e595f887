"""report.html: the run as one page without network, for a screen, a phone or a printer."""

import base64
import io
import math
from collections import defaultdict
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from advkit.evaluation._curves import Curve, curve_of, envelope
from advkit.evaluation.report import AttackReport, Report, finite
from advkit.evaluation.run import Run

MOST_EXAMPLES = 24
"""Examples of one attack on the page, at the most; fewer where the images are large."""

BYTES = 4_000_000
"""About so many bytes of pixels the page holds for one attack."""

MOST_CLASSES = 20
"""With more classes the confusion is a list of its largest entries."""


def page(run: Run, report: Report) -> str:
    """The page as HTML; `run.record` has the figures already."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda value: "-" if value is None else f"{100 * value:.1f} %"
    environment.filters["short"] = lambda value: "-" if finite(value) is None else f"{value:.4g}"
    template = environment.from_string(files("advkit.evaluation").joinpath("page.html").read_text("utf-8"))
    names = run.record.get("classes") or [str(k) for k in range(int(report.prediction.max()) + 1)]
    shown = [*report.attacks, *([report.control] if report.control else [])]
    return template.render(
        run=run.record,
        report=report,
        bars=_bars(report),
        attacks=report.attacks,
        examples=_gallery(run, report, names),
        confusions=[_confusion(report, row, names) for row in shown],
        plot=_plot(report),
        checks=report.checks,
    )


def _bars(report: Report) -> list[dict[str, Any]]:
    """Name, error and interval of every line of the figure."""
    rows = [("clean", report.clean_error, report.clean_error_interval, "clean")]
    if report.control is not None:
        control = report.control
        rows.append(("random noise", control.adversarial_error, control.adversarial_error_interval, "noise"))
    rows += [(row.attack, row.adversarial_error, row.adversarial_error_interval, "attack") for row in report.attacks]
    if len(report.attacks) > 1:
        rows.append(("worst case", report.adversarial_error, report.adversarial_error_interval, "worst"))
    return [
        {"name": name, "error": error, "low": low, "high": high, "kind": kind, "wrong": round(error * report.count)}
        for name, error, (low, high), kind in rows
    ]


def _gallery(run: Run, report: Report, names: list[str]) -> list[dict[str, Any]]:
    """Examples of every attack, nearest first: images as data URIs, with what they are."""
    if not run.record["config"]["images"] or not report.attacks:
        return []
    size = run.images(run.numbers()[0], None).shape
    if len(size) != 4 or size[1] not in (1, 3):
        return []
    most = max(6, min(MOST_EXAMPLES, BYTES // (3 * math.prod(size[1:]))))
    wanted = [set(_nearest(report, row, most)) for row in report.attacks]
    made, start = [], 0
    for number in run.numbers():
        length = len(run.columns(number)[0]["y"])
        for i, row in enumerate(report.attacks):
            mine = sorted(j for j in wanted[i] if start <= j < start + length)
            if mine:
                rows = torch.tensor(mine) - start
                x, x_adv = run.images(number, None)[rows], run.images(number, i)[rows]
                for j, before, after in zip(mine, x, x_adv, strict=True):
                    pictures = _pictures(before, after, run.record["config"]["bounds"])
                    made.append({"attack": i, **_caption(report, row, j, names), **pictures})
        start += length
    return sorted(made, key=lambda example: (example["attack"], example["distance"]))


def _nearest(report: Report, row: AttackReport, most: int) -> list[int]:
    """Row numbers of fooled images, class by class in turn, nearest first."""
    turns: dict[int, int] = defaultdict(int)
    keys = []
    fooled = (row.right & row.reached).nonzero().squeeze(1)
    for j in fooled[row.distance[fooled].argsort(stable=True)].tolist():
        label = int(report.y[j])
        keys.append((turns[label], j))
        turns[label] += 1
    return [j for _, j in sorted(keys)[:most]]


def _caption(report: Report, row: AttackReport, j: int, names: list[str]) -> dict[str, Any]:
    """What stands below the images of one example."""
    return {
        "id": int(report.sample_ids[j]),
        "label": _name(names, int(report.y[j])),
        "prediction": _name(names, int(row.prediction[j])),
        "clean_confidence": report.clean_confidence[j].item(),
        "confidence": row.confidence[j].item(),
        "distance": row.distance[j].item(),
        "norm": row.norm,
    }


def _pictures(x: Tensor, x_adv: Tensor, bounds: list[float]) -> dict[str, Any]:
    """Clean image, enlarged perturbation, adversarial image."""
    low, high = bounds
    before, after = ((image.double() - low) / (high - low) for image in (x, x_adv))
    peak = (after - before).abs().max().item()
    scale = 0.5 / peak if peak else 0.0
    return {"scale": scale, "x": _uri(before), "delta": _uri((after - before) * scale + 0.5), "x_adv": _uri(after)}


def _uri(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1] as a PNG in a data URI."""
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _name(names: list[str], k: int) -> str:
    return names[k] if k < len(names) else str(k)


def _confusion(report: Report, row: AttackReport, names: list[str]) -> dict[str, Any]:
    """How often each class became which: a table for few classes, the largest entries for many."""
    classes = max(len(names), int(row.prediction.max()) + 1, int(report.y.max()) + 1)
    pairs: dict[tuple[int, int], int] = defaultdict(int)
    for label, prediction in zip(report.y.tolist(), row.prediction.tolist(), strict=True):
        pairs[label, prediction] += 1
    if classes <= MOST_CLASSES:
        most = max((n for (a, b), n in pairs.items() if a != b), default=1)
        table = [[(pairs[a, b], pairs[a, b] / most if a != b else 0.0) for b in range(classes)] for a in range(classes)]
        return {"attack": row.attack, "names": [_name(names, k) for k in range(classes)], "table": table, "list": []}
    wrong = sorted(((n, a, b) for (a, b), n in pairs.items() if a != b), reverse=True)[:30]
    listed = [(n, _name(names, a), _name(names, b)) for n, a, b in wrong]
    return {"attack": row.attack, "names": [], "table": [], "list": listed}


WIDE, TALL, LEFT, FOOT = 640, 260, 46, 34
"""The plot in units of its own, with room for the numbers at the left and below."""


def _plot(report: Report) -> list[dict[str, Any]]:
    """One plot a norm: error against distance, for minimal attacks and for budget attacks at several radii."""
    groups: dict[tuple[str, str], list[AttackReport]] = defaultdict(list)
    for row in report.attacks:
        groups[row.name if row.kind == "budget" else row.attack, row.norm].append(row)
    by_norm: dict[str, list[Curve]] = defaultdict(list)
    for (name, norm), rows in groups.items():
        if rows[0].kind == "minimal":
            by_norm[norm].append(curve_of(rows[0].attack, rows[0].wrong, rows[0].distance))
        elif len({row.eps for row in rows}) > 1:
            by_norm[norm].append(envelope(name, report.clean_wrong, [(row.eps or 0.0, row.wrong) for row in rows]))
    return [_drawn(norm, curves) for norm, curves in by_norm.items()]


def _drawn(norm: str, curves: list[Curve]) -> dict[str, Any]:
    most = max(
        eps for curve in curves for eps in (*curve.eps, *([curve.most] if math.isfinite(curve.most) else []), 1e-9)
    )
    width, height = WIDE - LEFT - 10, TALL - FOOT - 10

    def at(eps: float, error: float) -> tuple[float, float]:
        return round(LEFT + width * eps / most, 1), round(10 + height * (1 - error), 1)

    lines = []
    for curve in curves:
        points, level = [], curve.clean
        for eps, error in zip(curve.eps, curve.error, strict=True):
            points += [at(eps, level), at(eps, error)]
            level = error
        text = " ".join(f"{x},{y}" for x, y in [at(0.0, curve.clean), *points, at(min(most, curve.most), level)])
        lines.append({"name": curve.name, "points": text, "median": curve.median})
    ticks = [(at(most * i / 4, 0)[0], f"{most * i / 4:.3g}") for i in range(5)]
    levels = [(at(0, i / 4)[1], f"{25 * i} %") for i in range(5)]
    frame = {"wide": WIDE, "tall": TALL, "left": LEFT, "right": WIDE - 10, "foot": TALL - FOOT}
    return {"norm": norm, "lines": lines, "ticks": ticks, "levels": levels, **frame}
