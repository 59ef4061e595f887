"""What a run keeps, and which share of it this process does."""

from dataclasses import dataclass
from typing import Any

from advkit.evaluation.runs.ranks import parse_shard


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What the folder of a run keeps beside its rows.

    Attributes:
        images: whether to keep the clean and the adversarial images, as tensors.
        png: whether to keep each adversarial image as a PNG file too, rounded toward the clean one.
        shard: the share of the batches that this process does, such as "3/16": the third of sixteen jobs, each with a
            folder of its own; `merge_runs` puts them together. None is the whole.

    Raises:
        InputError: a shard that is none.
    """

    images: bool = True
    png: bool = False
    shard: str | None = None

    def __post_init__(self) -> None:
        parse_shard(self.shard)

    @property
    def config(self) -> dict[str, Any]:
        """The part of the configuration of a run that these decide."""
        whole = self.shard is None or parse_shard(self.shard).jobs == 1
        return {"images": self.images, "png": self.png, "shard": None if whole else str(parse_shard(self.shard))}
