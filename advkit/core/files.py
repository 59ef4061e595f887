"""How a file is written so that nobody ever sees half of it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def atomic_write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it to `path`.

    A crash, a full disk or a second writer leaves either the old file or the whole new one.

    Args:
        path: the file to write.
        write: function that fills the open binary file that it is given.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with open(temporary, "wb") as file:  # its name is a path, for writers that open it themselves
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The permissions that new files lack (mkstemp's are for the owner only); reading them means setting them twice."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
