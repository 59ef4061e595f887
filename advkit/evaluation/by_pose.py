"""How often a patch succeeds, by where it lies and by how large it is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.option_numbers import shown
from advkit.core.plain import numbers_in, plain
from advkit.data._any_data import as_data
from advkit.data._stream import how_many, origin
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.aims import Target, aim_at
from advkit.evaluation.measure.pose_table import PoseTable

PLACES = ("random", "centre", "top_left", "top_right", "bottom_left", "bottom_right")


def success_by_pose(
    model: Model,
    data: Any,
    patch: Attack,
    *,
    places: Sequence[str] = PLACES,
    sizes: Sequence[float] | None = None,
    target: Target = None,
    **options: Any,
) -> PoseTable:
    """Lay a patch on every image, at each of some places and in each of some sizes.

    Rotation and light are those of the patch. A random place is another one on each image.

    Args:
        model: an nn.Module or a function that takes images and returns logits, see `evaluate`.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        patch: what `find_patch` returned, or an `AdversarialPatch` of your own.
        places: names of places, see `Patch`.
        sizes: shares of the image's area. Default: half of the patch's own, its own, and twice that.
        target: the class to reach, by its number or name; default: the patch's own.
        **options: options of `evaluate`: batch_size, count, seed, bounds, device, progress.

    Raises:
        InputError: the attack has no place and size, a place is unknown, or a size is none.
    """
    if not all(hasattr(patch, name) for name in ("place", "size", "patch")):
        raise InputError(f"expected a patch such as find_patch returns, got {getattr(patch, 'spec', patch)!r}")
    own: Any = patch
    chosen = _sizes(sizes) or (own.size / 2, own.size, min(2 * own.size, 1.0))
    options["batch_size"], options["count"] = how_many(options.get("batch_size", 250), options.get("count"))
    data = as_data(data, batch_size=options["batch_size"], count=options["count"])
    aim = aim_at(own.target if target is None else target, data)
    attacks = [replace(own, place=place, size=size) for place in places for size in chosen]
    asked = None if isinstance(aim, str) and aim == "untargeted" else aim
    report = evaluate(model, data, attacks, target=asked, control=None, **options)
    counts = [row.counts.reached for row in report.attacks]
    rows = (counts[start : start + len(chosen)] for start in range(0, len(counts), len(chosen)))
    return PoseTable(
        data=origin(data),
        attack=own.spec,
        count=report.count,
        places=tuple(places),
        sizes=chosen,
        aimed=report.attacks[0].counts.aimed,
        reached=tuple(map(tuple, rows)),
        target="" if asked is None else str(plain(own.target if target is None else target)),
    )


def _sizes(sizes: Any) -> tuple[float, ...]:
    """The sizes as numbers, none for the default; the patch refuses one that is no share."""
    left_out = sizes is None or (isinstance(sizes, list | tuple) and not sizes)
    found = () if left_out else numbers_in(sizes)
    if found is None:
        raise InputError(f"expected sizes as shares of the image's area, got {shown(sizes)}")
    return found
