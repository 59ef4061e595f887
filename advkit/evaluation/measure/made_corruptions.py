"""The error under the 15 published corruptions, made from the clean images in the same run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.progress_bar import Progress, shows_progress
from advkit.core.registry import parse_spec
from advkit.data._any_data import as_data
from advkit.data._stream import batches, how_many, origin
from advkit.data.hendrycks import KINDS, STRENGTHS, corrupt_as_published, table_for
from advkit.evaluation.measure.corruptions import SEVERITIES, CorruptionReport, checked_severities, errors_by_kind

NAME = "hendrycks"
"""The word that asks for them, alone or with options in brackets."""

_OPTIONS = ("kinds", "severities", "table", "frost")


@dataclass(frozen=True, kw_only=True)
class Made:
    """The corruptions to make.

    Attributes:
        kinds: names of the corruptions.
        severities: severities of each, from 1 to 5.
        table: table of the strengths; None for the one that fits the size of the images.
        frost: folder of the authors' photographs of frost; None for drawn ice.
    """

    kinds: tuple[str, ...] = KINDS
    severities: tuple[int, ...] = SEVERITIES
    table: str | None = None
    frost: str | None = None

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown("corruption", kind, KINDS)
        if not self.kinds or not self.severities or not set(self.severities) <= set(SEVERITIES):
            raise InputError("expected at least one corruption, and severities from 1 to 5")
        if self.table is not None and self.table not in STRENGTHS:
            raise unknown("table of strengths", self.table, STRENGTHS)
        if self.frost is not None and not Path(self.frost).is_dir():
            raise InputError(f"no folder of frost photographs at {self.frost}")


def asked_for(text: str) -> Made | None:
    """Parse `"hendrycks(severities=3)"`, `"fog:3"` or `"fog,snow"`; None if the text names something else.

    Args:
        text: the text.

    Raises:
        InputError: an option, kind or severity is unknown.
    """
    if text.partition("(")[0].strip() == NAME:
        return _from_spec(text)
    parts = [part.strip().partition(":") for part in text.split(",")]
    if not any(kind.strip() in KINDS for kind, _, _ in parts):
        return None
    said = {severity.strip() for _, colon, severity in parts if colon}
    if len(said) > 1 or (said and not all(colon for _, colon, _ in parts)):
        raise InputError(f"expected one severity for all kinds, as in fog:3,snow:3, got {text!r}")
    return Made(
        kinds=tuple(kind.strip() for kind, _, _ in parts), severities=_whole(said.pop()) if said else SEVERITIES
    )


def _from_spec(text: str) -> Made:
    options = dict(parse_spec(text, example=f"{NAME}(severities=3)", parameters=lambda name: _OPTIONS).options)
    for option in options:
        if option not in _OPTIONS:
            raise unknown(f"option of {NAME}", option, _OPTIONS)
    plain = {key: getattr(value, "name", value) for key, value in options.items()}
    if "kinds" in plain:
        plain["kinds"] = tuple(kind.strip() for kind in str(plain["kinds"]).split(","))
    if "severities" in plain:
        plain["severities"] = _whole(str(plain["severities"]).strip("()[] "))
    return Made(**plain)


def _whole(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(f"expected severities such as 3 or '1,5', got {text!r}") from error


def check_images(data: Any) -> tuple[int, int]:
    """Return height and width of the images, after checking that they can be corrupted.

    Raises:
        InputError: the images are not (N, 1 or 3, H, W) with at least 8 pixels a side.
    """
    first = next(batches(data, batch_size=1, count=1)).x
    corrupt_as_published(first, "contrast", 1)
    return first.shape[2], first.shape[3]


@shows_progress("corruptions")
def made_corruption_errors(
    model: Model,
    data: Any,
    *,
    kinds: Sequence[str] = KINDS,
    severities: Sequence[int] = SEVERITIES,
    table: str | None = None,
    frost: str | None = None,
    batch_size: int = 250,
    count: int | None = None,
    seed: int = 0,
    progress: Progress | bool | None = None,
) -> CorruptionReport:
    """Measure a classifier's error under the 15 corruptions of ImageNet-C, made from the clean images.

    Args:
        model: an nn.Module or a function that takes images (N, C, H, W) in [0, 1] and returns logits (N, K).
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`; one or three channels.
        kinds: names of the corruptions, see `advkit.data.hendrycks`.
        severities: severities to try, from 1 to 5.
        table: table of the strengths, "imagenet" or "cifar"; default: by the size of the images.
        frost: folder of the authors' photographs of frost; without it ice is drawn, which is not the published
            corruption.
        batch_size, count: number of images in a batch and in all, see `evaluate`.
        seed: seed of the corruptions' random numbers.
        progress: called with (done, all) in images times passes; True shows a bar.

    Raises:
        InputError: a name or severity is unknown, or data and outputs do not fit.
    """
    made = Made(kinds=tuple(kinds), severities=checked_severities(severities), table=table, frost=frost)
    batch_size, count = how_many(batch_size, count)
    data = as_data(data, batch_size=batch_size, count=count)
    height, width = check_images(data)
    ice = ", ice drawn" if "frost" in made.kinds and frost is None else ""

    def apply(x: Tensor, kind: str, severity: int, sample_ids: Tensor) -> Tensor:
        return corrupt_as_published(x, kind, severity, table=table, sample_ids=sample_ids, seed=seed, frost=frost)

    return errors_by_kind(
        model,
        data,
        made.kinds,
        made.severities,
        apply,
        name=f"{origin(data)}, {NAME}({table or table_for(height, width)}{ice})",
        batch_size=batch_size,
        count=count,
        progress=progress,
    )
