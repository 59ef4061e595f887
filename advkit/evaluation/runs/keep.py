"""The contents of a run's folder, and the share of the run for this process."""

from dataclasses import dataclass
from typing import Any

from advkit.evaluation.runs.ranks import parse_shard


@dataclass(frozen=True, kw_only=True)
class Keep:
    """The contents of a run's folder beside its rows.

    Attributes:
        images: whether to keep the clean and the adversarial images, as tensors.
        png: whether to keep each adversarial image as a PNG file too, rounded toward the clean one.
        shard: the share of the batches for this process, such as "3/16": the third of sixteen jobs, each with a folder
            of its own; `merge_runs` joins them. None means all batches.

    Raises:
        InputError: `shard` is no such text.
    """

    images: bool = True
    png: bool = False
    shard: str | None = None

    def __post_init__(self) -> None:
        parse_shard(self.shard)

    @property
    def config(self) -> dict[str, Any]:
        """Return the part of a run's configuration that these options determine."""
        whole = self.shard is None or parse_shard(self.shard).jobs == 1
        return {"images": self.images, "png": self.png, "shard": None if whole else str(parse_shard(self.shard))}
