"""How long linear bounds take: an estimate before they begin, their progress, and a limit."""

import math
import time
from functools import cache

import torch

from advkit.core.errors import warn
from advkit.core.progress_bar import Progress

LONG = 60.0
"""Seconds from which on a warning says beforehand how long bounds may take."""

SURE = 2e10
"""Multiplications that no computer needs that long for."""

SHARE = 0.3
"""Part of the speed of a large matrix product that bounds reach."""

UNIT = 1e6
"""Multiplications that count as one in the progress."""


class Pace:
    """The work of one call over all its images.

    Args:
        method: name of the method.
        images: number of images, counted once for each time that they are bounded.
        limit: seconds for each image; None for no limit.
        tell: called with (done, all), in millions of multiplications; `all` is an estimate.
        device: device on which the bounds are computed.
    """

    def __init__(
        self, method: str, images: int, limit: float | None, tell: Progress | None, device: torch.device
    ) -> None:
        self.method, self.left, self.limit, self.tell, self.device = method, images, limit, tell, device
        self.deadline, self.reached = math.inf, False
        self.seen = 0  # images
        self.planned = self.done = 0.0  # in the batches that have begun
        self.first = True

    @property
    def late(self) -> bool:
        """Whether the images that are bounded now have used up their time."""
        late = time.perf_counter() > self.deadline
        self.reached |= late
        return late

    def begin(self, work: float, images: int, bounded: int) -> None:
        """Start the bounds of a batch.

        Args:
            work: multiplications that they take at most.
            images: number of images.
            bounded: number of those that are not certified by intervals.
        """
        self.planned, self.seen, self.left = self.planned + work, self.seen + images, self.left - images
        if self.limit is not None:
            self.deadline = time.perf_counter() + self.limit * bounded
        elif self.first:
            self._warn()
        self.first = False
        self.passed(0)

    def passed(self, work: float) -> None:
        """Count multiplications."""
        self.done = min(self.done + work, self.planned)
        if self.tell is not None and self.planned:
            self.tell(int(self.done / UNIT), max(1, math.ceil(self._whole / UNIT)))

    @property
    def _whole(self) -> float:
        """All work, if the images to come are like those that were seen."""
        return self.planned * (1 + self.left / max(1, self.seen))

    def _warn(self) -> None:
        if self._whole < SURE or (seconds := self._whole / (SHARE * speed(self.device))) < LONG:
            return
        cheaper = "ibp" if self.method == "crown_ibp" else "crown_ibp"
        limit = "" if self.method == "crown_ibp" else "time_limit= gives each image that many seconds, and "
        warn(
            f"{self.method!r} may take {_about(seconds)} for these images (an estimate; progress=True shows how far it "
            f"is): {limit}method={cheaper!r} is far cheaper"
        )

    def end(self) -> None:
        """Warn if images reached the limit."""
        if self.reached:
            warn(
                f"{self.method!r} reached its time_limit of {self.limit:g} s for an image: the margins are bounds, but "
                "looser than with more time"
            )


def _about(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours")):
        if seconds > 2 * size:
            return f"about {seconds / size:,.0f} {name}"
    minutes = math.ceil(seconds / 60)
    return "about a minute" if minutes <= 1 else f"about {minutes} minutes"


@cache
def speed(device: torch.device) -> float:
    """Return multiplications a second in a product of large matrices in float64, measured once."""
    a = torch.ones(768, 768, dtype=torch.float64, device=device)
    took = []
    for _ in range(3):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # note: a wait for the device
        took.append(time.perf_counter() - start)
    return len(a) ** 3 / max(min(took), 1e-9)
