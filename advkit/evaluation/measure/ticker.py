"""The progress of an evaluation."""

from advkit.core.progress_bar import Progress


class Ticker:
    """Adds up the finished passes and calls the caller's function."""

    def __init__(self, progress: Progress | bool | None, whole: int | None) -> None:
        self.progress = progress if callable(progress) else None
        self.whole, self.done = whole, 0

    def __call__(self, more: int) -> None:
        self.done += more
        self._tell(self.done)

    def within(self, more: int) -> Progress:
        """Return the progress function for an attack or a certificate of `more` passes."""
        return lambda step, steps: None if steps is None else self._tell(self.done + more * step // (steps + 1))

    def part(self) -> Progress:
        """Return the progress function for a part of the work that counts from 0."""
        begun = self.done

        def tell(done: int, whole: int | None) -> None:
            self.done = begun + done
            self._tell(self.done)

        return tell

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.whole)
