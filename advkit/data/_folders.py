"""The folder of the data sets on the disk."""

import os
from pathlib import Path

from advkit.core.files import user_path

Root = str | os.PathLike[str] | None


def data_root(root: Root = None) -> Path:
    """Return the folder of the data sets: `root`, else $ADVKIT_DATA, else advkit in $XDG_CACHE_HOME (default ~/.cache).

    Args:
        root: folder of the data sets; None takes the default.
    """
    chosen = root or os.environ.get("ADVKIT_DATA")
    if chosen:
        return user_path(chosen)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "advkit"
