"""The error on published corrupted images, and mCE: Hendrycks and Dietterich 2019, section 4 (arXiv 1903.12261)."""

import os
from collections.abc import Sequence
from typing import Any

from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.progress_bar import Progress, shows_progress
from advkit.data import load_data
from advkit.data._any_data import as_data
from advkit.data._stream import batches, how_many, origin, total
from advkit.data.corrupted import KINDS, MNIST_KINDS
from advkit.evaluation.measure.corruptions import SEVERITIES, CorruptionReport, checked_severities, wrong_on
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.ticker import Ticker

SETS: dict[str, tuple[str, ...]] = {
    "mnist_c": tuple(kind for kind in MNIST_KINDS if kind != "identity"),
    "cifar10_c": KINDS,
    "cifar100_c": KINDS,
    "imagenet_c": KINDS,
}
"""Data set -> its kinds. MNIST-C has one severity, the others five."""

_PUBLISHED = (
    *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816),
    *(0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
)
ALEXNET = dict(zip(KINDS, _PUBLISHED, strict=True))
"""AlexNet's mean error over the severities of ImageNet-C, as its authors publish them to divide by."""

ALEXNET_CLEAN = 0.435
"""Its error on the clean images, to the paper's three digits."""


@shows_progress("corruptions")
def published_corruption_errors(
    model: Model,
    name: str,
    clean: Any,
    *,
    kinds: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    root: str | os.PathLike[str] | None = None,
    batch_size: int = 250,
    count: int | None = None,
    progress: Progress | bool | None = None,
) -> CorruptionReport:
    """Measure a classifier's error on a published set of corrupted images.

    Args:
        model: an nn.Module, or any function, from images (N, C, H, W) in [0, 1] to logits (N, K).
        name: name of the set: "mnist_c", "cifar10_c", "cifar100_c" or "imagenet_c", with options as `load_data` takes
            them.
        clean: the same images without a corruption: a Dataset, a DataLoader or a pair of tensors (x, y), see
            `evaluate`.
        kinds: corruptions to try; default: all of those over which mCE is a mean.
        severities: severities to try, from 1 to 5; MNIST-C has only one and ignores them.
        root: folder of the data sets, see `load_data`.
        batch_size: number of images in a batch.
        count: number of images of each kind, a fixed random choice; default: all.
        progress: called with (done, all) in images times passes; True shows a bar.

    Raises:
        InputError: the set, a kind or a severity is unknown, data are missing, or outputs do not fit.
    """
    base = name.partition("(")[0].strip()
    if base not in SETS:
        raise unknown("published set of corruptions", name, SETS)
    kinds = SETS[base] if kinds is None else tuple(kinds)
    severities = (1,) if base == "mnist_c" else checked_severities(severities)
    if not kinds or not severities or any(kind not in SETS[base] for kind in kinds):
        raise InputError(f"expected kinds of {base}: {', '.join(SETS[base])}")
    batch_size, count = how_many(batch_size, count)
    clean = as_data(clean, batch_size=batch_size, count=count)
    length = total(clean, count)
    tick = Ticker(progress, None if length is None else length * (1 + len(kinds) * len(severities)))
    right, seen = _counted(model, clean, batch_size, count, tick)
    wrong = {}
    for kind in kinds:
        row = []
        for severity in severities:
            options: dict[str, Any] = {} if base == "mnist_c" else {"severity": severity}
            data = load_data(name, root=root, variant=kind, **options)
            found, images = _counted(model, data, batch_size, count, tick)
            if images != seen:
                raise InputError(
                    f"{name} has {images:,} images of {kind}, and the clean data {seen:,}: expected as many"
                )
            row.append(found)
        wrong[kind] = tuple(row)
    return CorruptionReport(
        data=f"{base}, clean {origin(clean)}", count=seen, clean_wrong=right, wrong=wrong, severities=severities
    )


def _counted(model: Model, data: Any, batch_size: int, count: int | None, tick: Ticker) -> tuple[int, int]:
    """How many images are wrong, and how many there are."""
    wrong = seen = 0
    for batch in batches(data, batch_size=batch_size, count=count):
        batch = fitted(batch, model, (0, 1))
        wrong += wrong_on(model, batch.x, batch.y)
        seen += len(batch.y)
        tick(len(batch.y))
    return wrong, seen


def beside_alexnet(report: CorruptionReport) -> bool:
    """Return whether AlexNet's published errors are comparable: the 15 kinds of ImageNet-C at all five severities."""
    whole = set(report.wrong) == set(ALEXNET) and len(report.severities) == len(SEVERITIES)
    return whole and report.data.startswith("imagenet_c")


def mean_corruption_error(report: CorruptionReport, *, relative: bool = False) -> float:
    """Return the mCE of ImageNet-C: the mean over kinds of the error divided by AlexNet's; 1 means as bad as AlexNet.

    Args:
        report: report of the 15 kinds at all five severities.
        relative: True divides what the corruptions add to the clean error by what they add to AlexNet's.

    Raises:
        InputError: a kind or a severity is missing, or these are not the images of ImageNet-C.
    """
    if not beside_alexnet(report):
        raise InputError("expected the 15 kinds of imagenet_c at all five severities: AlexNet's errors are those there")
    if relative:
        added = {kind: report.error(kind) - report.clean_error for kind in ALEXNET}
        return sum(added[kind] / (error - ALEXNET_CLEAN) for kind, error in ALEXNET.items()) / len(ALEXNET)
    return sum(report.error(kind) / error for kind, error in ALEXNET.items()) / len(ALEXNET)
