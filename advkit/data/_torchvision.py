"""Files of published data sets and their download by torchvision; errors say what to do.

What lies on the disk is read without torchvision, whose import takes longer than most of these files.
"""

import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from advkit.core.errors import InputError
from advkit.data._folders import Root
from advkit.data._images import some

Read = TypeVar("Read")


class MissingDataError(InputError):
    """The data set is not on the disk; the message gives the command that downloads it."""


@dataclass(frozen=True)
class PublishedFile:
    """One file of a published data set.

    Attributes:
        path: where the file lies.
        md5: its digest, if it is published.
        check: reads the file and raises if it is broken; for files without a digest.
    """

    path: Path
    md5: str | None = None
    check: Callable[[Path], Any] | None = None

    def fault(self) -> str | None:
        """Return what is wrong with the file, or None."""
        if not self.path.is_file():
            return "missing"
        if self.md5 is not None and digest(self.path) != self.md5:
            return "not the published file"
        try:
            if self.check is not None:
                self.check(self.path)
        except Exception as error:  # a broken file raises nearly anything
            return line(error)
        return None


def digest(path: Path) -> str:
    """Return the MD5 of a file, by which authors tell that a file is whole; it protects from no attacker."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def command(name: str, root: Root) -> str:
    """Return the command that downloads a data set."""
    return f"advkit data {name} --download" + ("" if root is None else f" --data-root {shlex.quote(os.fspath(root))}")


def missing(name: str, root: Root, home: Path) -> MissingDataError:
    """Return the error for a set that is not under `home`."""
    return MissingDataError(f"{name} is not under {home}; this downloads it: {command(name, root)}")


def open_files(
    name: str,
    root: Root,
    home: Path,
    files: Sequence[PublishedFile],
    read: Callable[[], Read],
    download: Callable[[], object] | None = None,
) -> Read:
    """Read a data set from its files, after their download if one was asked for.

    Args:
        name, root: name and root as the user gave them.
        home: the folder in which the set lies.
        files: files that belong to the set; empty if not known, and the caller has found the set.
        read: reads the files.
        download: downloads the set, by torchvision, which verifies it; None reads what is there. A broken file without
            a digest is removed before, because torchvision only looks whether it exists.

    Raises:
        MissingDataError: none of the files exists, and no download was asked for.
        InputError: files are missing or broken (named and counted), a package is missing, or the download failed.
    """
    if download is not None:
        _download(name, home, files, download)
    if files and not any(file.path.exists() for file in files):
        raise _packed(name, files) or missing(name, root, home)
    if not all(file.path.is_file() for file in files):
        raise broken(name, root, home, files, "")
    try:
        return read()
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name} cannot be read without the package {error.name}: run pip install {error.name}"
        ) from error
    except (MemoryError, InputError):
        raise
    except Exception as error:  # a broken archive or pickle raises nearly anything
        raise broken(name, root, home, files, line(error)) from error


def _download(name: str, home: Path, files: Sequence[PublishedFile], download: Callable[[], object]) -> None:
    """Download with torchvision's progress bar and its verification."""
    _remove_broken(files)
    try:
        with redirect_stdout(sys.stderr):  # older versions of torchvision print
            download()
    except ModuleNotFoundError:  # of a package that reads the files; `read` says so
        return
    except Exception as error:  # urllib, tarfile and gzip raise nearly anything
        raise InputError(f"cannot download {name} to {home}: {line(error)}") from error


def _packed(name: str, files: Sequence[PublishedFile]) -> MissingDataError | None:
    """The error for a set that lies there as it was packed by someone else (torchvision unpacks only its own)."""
    if not all(file.path.with_name(f"{file.path.name}.gz").is_file() for file in files):
        return None
    packed = shlex.quote(str(files[0].path.parent))
    return MissingDataError(f"{name} is there, but packed; this unpacks it: gunzip -k {packed}/*.gz")


def broken(name: str, root: Root, home: Path, files: Sequence[PublishedFile], reason: str) -> InputError:
    """Return the error for a set that cannot be read; it names and counts missing and broken files."""
    faults = [f"{file.path.name} ({fault})" for file in files if (fault := file.fault()) is not None]
    found = f"{len(faults)} of {len(files)} files: {some(faults)}" if faults else reason
    return InputError(f"{name} under {home} is broken: {found}; this gets it anew: {command(name, root)}")


def line(error: Exception) -> str:
    """Return the message of an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _remove_broken(files: Sequence[PublishedFile]) -> None:
    """Remove broken files that torchvision would take for whole ones, because it only looks whether they exist."""
    for file in files:
        if file.md5 is None and file.check is not None and file.path.is_file() and file.fault() is not None:
            file.path.unlink()
