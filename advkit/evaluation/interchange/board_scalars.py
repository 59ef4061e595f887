"""The errors of an evaluation as scalars of TensorBoard."""

import os
from typing import Any

from advkit.core.errors import InputError
from advkit.evaluation.interchange.validation_loops import scalars
from advkit.evaluation.measure.report import Report
from advkit.evaluation.runs.run_folder import Run


def to_tensorboard(found: Report | Run, board: Any, *, step: int = 0, prefix: str = "advkit/") -> dict[str, float]:
    """Write the errors as scalars.

    Args:
        found: the report, or a run.
        board: folder of the logs, for which the package tensorboard is needed; or an object with
            `add_scalar(name, value, step)`, such as a SummaryWriter, which stays open.
        step: step of the scalars, such as the epoch.
        prefix: text before every name.

    Returns:
        The values written, by name.

    Raises:
        InputError: the package tensorboard is missing, or `board` is neither.
    """
    report = found.report if isinstance(found, Run) else found
    values = {prefix + name: value for name, value in scalars(report).items()}
    folder = isinstance(board, str | os.PathLike)
    writer = _writer(board) if folder else board
    if not callable(getattr(writer, "add_scalar", None)):
        raise InputError(f"expected a folder or an object with add_scalar(name, value, step), got {board!r}")
    for name, value in values.items():
        writer.add_scalar(name, value, step)
    if folder:
        writer.close()
    return values


def _writer(folder: str | os.PathLike[str]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError("scalars for TensorBoard need the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(log_dir=os.fspath(folder))
