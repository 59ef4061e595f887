"""The text of curves, transfer matrices and comparisons."""

from collections.abc import Sequence

from advkit.core.sheet import Sheet, Table
from advkit.core.shown import sheet_of
from advkit.core.words import CAVEAT, bracket, number, percent, short
from advkit.evaluation.measure.pose_table import PoseTable
from advkit.evaluation.measure.staircase import Curve, nice_radii
from advkit.evaluation.measure.transfer_matrix import OTHERS, TransferMatrix
from advkit.evaluation.runs.paired import ComparedError, Comparison
from advkit.evaluation.show.remarks import SIGNIFICANT


@sheet_of.register
def _(curve: Curve) -> Sheet:
    return curves_sheet([curve])


def curves_sheet(curves: Sequence[Curve]) -> Sheet:
    """Compare curves of one attack on one set of images."""
    first, names = curves[0], [curve.name for curve in curves]
    rows = [
        (number(eps), *(f"{percent(curve.at(eps))} {bracket(curve.interval(eps))}" for curve in curves))
        for eps in [0.0, *nice_radii(list(curves))]
    ]
    rows.append(("median", *(short(curve.median) for curve in curves)))
    data = " ".join(first.data.rsplit(":", 1)) if first.data else "the given data"
    unit = f"; eps in {first.norm}" if first.norm else ""
    said = "In brackets 95 % intervals; the median distance is over the images that are right without an attack."
    head = f"{first.attack or first.name} on {data}, {first.count:,} images{unit}"
    return [head, Table(("eps", *names), rows, right=("eps", *names)), said, CAVEAT]


@sheet_of.register
def _(matrix: TransferMatrix) -> Sheet:
    places = range(len(matrix.names))
    clean = [percent(wrong / matrix.count) for wrong in matrix.clean_wrong]
    rows = [
        (name, clean[s] if s < len(clean) else "", *(_shown_to(matrix, s, t) for t in places))
        for s, name in enumerate(matrix.sources)
    ]
    made = Table(("made on", "clean error", *matrix.names), rows, right=("clean error", *matrix.names))
    aim = f" toward {matrix.target}" if matrix.target else ""
    data = matrix.data or "the given data"
    head = f"{matrix.attack}{aim} on {data}, {matrix.count:,} images, each at its strongest point"
    counted = f"Taken for {matrix.target}" if matrix.target else "Wrong"
    said = (
        f"Columns: shown to. {counted} of the images that both get right without an attack; in brackets 95 % intervals."
    )
    all_right = f"{OTHERS}: made on all but the one in the column together; of the images that all get right."
    closed = f"Not attacked, since {'they show' if len(matrix.closed) > 1 else 'it shows'} less than the attack needs: "
    more = [closed + ", ".join(matrix.closed)] if matrix.closed else []
    return [head, made, said, *more, *([all_right] if OTHERS in matrix.sources else []), CAVEAT]


@sheet_of.register
def _(table: PoseTable) -> Sheet:
    sizes = [f"{percent(size)} of the area" for size in table.sizes]
    rows = [(place, *(_at_pose(table, p, s) for s in range(len(sizes)))) for p, place in enumerate(table.places)]
    aim = f" toward {table.target}" if table.target else ""
    head = f"{table.attack}{aim} on {table.data or 'the given data'}, {table.count:,} images"
    counted = f"Taken for {table.target}" if table.target else "Wrong"
    other = f" and are not {table.target}" if table.target else ""
    said = f"{counted}, of the {table.aimed:,} images that are right without the patch{other}; "
    return [head, Table(("place", *sizes), rows, right=sizes), said + "in brackets 95 % intervals.", CAVEAT]


def _at_pose(table: PoseTable, place: int, size: int) -> str:
    interval = table.interval(place, size)
    return "-" if interval is None else f"{percent(table.rates[place][size])} {bracket(interval)}"


def _shown_to(matrix: TransferMatrix, s: int, t: int) -> str:
    interval = matrix.interval(s, t)
    if interval is None:
        return "-"
    return f"{percent(matrix.rate(s, t))} of {matrix.both[s][t]:,} {bracket(interval)}"


@sheet_of.register
def _(found: Comparison) -> Sheet:
    right = ("first", "second", "difference", "first only", "second only", "p")
    head = f"{found.first} against {found.second}: {found.count:,} images in both"
    said = f"p is McNemar's, of images that are wrong in one run only; above {SIGNIFICANT:g} no difference is clear."
    return [head, Table(("error", *right, ""), [_compared(row) for row in found], right=right), said, CAVEAT]


def _compared(row: ComparedError) -> tuple[str, ...]:
    worse = "first is worse" if row.first > row.second else "second is worse"
    return (
        row.name,
        percent(row.first),
        percent(row.second),
        f"{100 * (row.second - row.first):+.1f} %",
        f"{row.first_only:,}",
        f"{row.second_only:,}",
        f"{row.p:.2g}",
        worse if row.p <= SIGNIFICANT else "no clear difference",
    )
