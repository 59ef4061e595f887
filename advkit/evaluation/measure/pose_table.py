"""The success of a patch by where it lies and by how large it is."""

from dataclasses import dataclass
from typing import Any

from advkit.core.door import check_count
from advkit.core.intervals import wilson_interval
from advkit.core.shown import Shown


@dataclass(frozen=True, kw_only=True, repr=False)
class PoseTable(Shown):
    """The success of a patch at P places and S sizes.

    Attributes:
        data: name of the images, such as "mnist5k:test".
        attack: the attack as a spec string.
        count: the number of images.
        places: names of the places.
        sizes: shares of the image's area.
        aimed: number of images that are right without the patch and, with a target, not of that class.
        reached: `reached[p][s]`, number of these on which the patch does what it is for.
        target: the class to reach; empty without one.
    """

    data: str
    attack: str
    count: int
    places: tuple[str, ...]
    sizes: tuple[float, ...]
    aimed: int
    reached: tuple[tuple[int, ...], ...]
    target: str = ""

    def _brief(self) -> str:
        return f"{self.attack}, {len(self.places)} places, {len(self.sizes)} sizes, {self.count:,} images"

    @property
    def rates(self) -> list[list[float | None]]:
        """The share of `aimed` at each place (rows) and size (columns); None where no image counts."""
        return [[reached / self.aimed if self.aimed else None for reached in row] for row in self.reached]

    def interval(self, place: int, size: int) -> tuple[float, float] | None:
        """Return the 95 % Wilson interval of a rate; None where no image counts.

        Args:
            place: position in `places`.
            size: position in `sizes`.

        Raises:
            InputError: there is no such place or size.
        """
        place = check_count("place", place, least=0, most=len(self.places) - 1)
        size = check_count("size", size, least=0, most=len(self.sizes) - 1)
        return wilson_interval(self.reached[place][size], self.aimed) if self.aimed else None

    def records(self) -> list[dict[str, Any]]:
        """One row a place and size."""
        return [
            {"place": place, "size": size, "reached": self.reached[p][s], "of": self.aimed, "rate": self.rates[p][s]}
            for p, place in enumerate(self.places)
            for s, size in enumerate(self.sizes)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        named = {name: getattr(self, name) for name in ("data", "attack", "count", "aimed")}
        spots = [(p, s) for p in range(len(self.places)) for s in range(len(self.sizes))]
        pairs = zip(self.records(), spots, strict=True)
        poses = [{**record, "interval": self.interval(*spot)} for record, spot in pairs]
        return {**named, "target": self.target or None, "poses": poses}
