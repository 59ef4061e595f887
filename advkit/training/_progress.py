"""The progress of a run: its position, speed and remaining time."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a run, passed to the callback after every step and, with the figures, after every epoch.

    Attributes:
        step, steps: steps done and steps in all.
        epoch, epochs: epochs begun and epochs in all.
        loss: mean loss of the last complete epoch; None in the first.
        clean_error: error on the test split after that epoch; None if there is no test split or no epoch yet.
        validation_error: error on the images held out, after that epoch; None if none are held out.
        probe: errors of the probe after that epoch by name; empty if there is none.
        remark: description of a failure of the training, with advice; empty if there is none.
        images_per_second: speed of training over the epoch so far, on all processes together.
        seconds_left: time left at the pace of this run so far, measuring and saving included.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float | None = None
    clean_error: float | None = None
    validation_error: float | None = None
    probe: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""
    images_per_second: float | None = None
    seconds_left: float | None = None


class Clock:
    """Measures the time of a run since it was begun or resumed."""

    def __init__(self, step: int) -> None:
        self.begun, self.first = time.perf_counter(), step
        self.start_epoch()

    def start_epoch(self, seconds: float = 0.0, images: int = 0) -> None:
        """Start an epoch, or continue it after `seconds` and `images`; the run has just been saved."""
        self.saved = time.perf_counter()
        self.epoch_begun, self.images = self.saved - seconds, images

    def count(self, images: int) -> None:
        """Count a finished step."""
        self.images += images

    @property
    def epoch_seconds(self) -> float:
        """Return the seconds since the epoch began."""
        return time.perf_counter() - self.epoch_begun

    @property
    def images_per_second(self) -> float:
        """Return the speed over the epoch so far."""
        return self.images / max(self.epoch_seconds, 1e-9)

    def seconds_left(self, step: int, steps: int) -> float | None:
        """Return the time for the remaining steps; None before the first."""
        done = step - self.first
        return (time.perf_counter() - self.begun) / done * (steps - step) if done > 0 else None

    def is_time_to_save(self, every: float) -> bool:
        """Return whether `every` seconds have passed since the epoch began or this last returned True."""
        now = time.perf_counter()
        if now - self.saved < every:
            return False
        self.saved = now
        return True
