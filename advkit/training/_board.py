"""Each epoch's figures for TensorBoard, if it is installed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError
from advkit.training._run import Row

FOLDER = "tensorboard"


class Board:
    """Writes the rows of the log as scalars to RUN/tensorboard; without a writer it does nothing."""

    def __init__(self, writer: Any = None) -> None:
        self._writer = writer

    @classmethod
    def of(cls, home: Path | None, epochs: int) -> "Board":
        """Open the board of a run after `epochs` epochs; later figures of an interrupted run are removed.

        Raises:
            InputError: the package tensorboard is not installed.
        """
        if home is None:
            return cls()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("--log tensorboard needs the package tensorboard: run pip install tensorboard") from error
        return cls(SummaryWriter(log_dir=str(home / FOLDER), purge_step=epochs + 1))

    def add(self, row: Row) -> None:
        """Write one epoch."""
        if self._writer is not None:
            for name, value in asdict(row).items():
                if name != "epoch" and value is not None:
                    self._writer.add_scalar(name, value, row.epoch)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close the writer."""
        if self._writer is not None:
            self._writer.close()
