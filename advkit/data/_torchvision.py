"""Opening torchvision's data sets: what they raise for a missing, broken or unreachable one says what to do."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError
from advkit.data._images import some

Root = str | os.PathLike[str] | None


class MissingDataError(InputError):
    """A data set that is not there at all; the message gives the command that gets it."""


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
    check: Callable[[str], Any] | None = None

    def fault(self) -> str | None:
        """What is wrong with the file: None if nothing."""
        from torchvision.datasets.utils import check_integrity

        if not self.path.is_file():
            return "missing"
        if self.md5 is not None and not check_integrity(str(self.path), self.md5):
            return "not the published file"
        try:
            if self.check is not None:
                self.check(str(self.path))
        except Exception as error:  # a broken file raises nearly anything
            return line(error)
        return None


def command(name: str, root: Root) -> str:
    """The command that downloads a data set."""
    return f"advkit data {name} --download" + ("" if root is None else f" --data-root {shlex.quote(os.fspath(root))}")


def missing(name: str, root: Root, home: Path) -> MissingDataError:
    """The error for a set that is not under `home`."""
    return MissingDataError(f"{name} is not under {home}; this downloads it: {command(name, root)}")


def open_reader(
    name: str,
    root: Root,
    home: Path,
    make: Callable[[bool], Any],
    files: Sequence[PublishedFile],
    *,
    download: bool,
) -> Any:
    """torchvision's data set, made by `make(download)`; its progress bar and its verification of what is downloaded.

    Args:
        name, root: name and root as the user gave them.
        home: the folder that torchvision looks in.
        make: builds torchvision's reader; its argument says whether it may download.
        files: files that the reader needs; empty if not known, and the caller has found the set.
        download: whether it may download; a broken file without a digest is then removed and got again.

    Raises:
        MissingDataError: none of the files is there, and no download was asked for.
        InputError: files are missing or broken (named and counted), a package is missing, or the download failed.
    """
    if files and not download and not any(file.path.exists() for file in files):
        raise _packed(name, files) or missing(name, root, home)
    try:
        if not download:
            return make(False)
        _remove_broken(files)
        with redirect_stdout(sys.stderr):  # older versions of torchvision print
            return make(True)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name} cannot be read without the package {error.name}: run pip install {error.name}"
        ) from error
    except (MemoryError, InputError):
        raise
    except Exception as error:  # a broken archive or pickle raises nearly anything
        if download:
            raise InputError(f"cannot download {name} to {home}: {line(error)}") from error
        raise broken(name, root, home, files, line(error)) from error


def _packed(name: str, files: Sequence[PublishedFile]) -> MissingDataError | None:
    """The error for a set that lies there as it was packed by someone else (torchvision unpacks only its own)."""
    if not all(file.path.with_name(f"{file.path.name}.gz").is_file() for file in files):
        return None
    packed = shlex.quote(str(files[0].path.parent))
    return MissingDataError(f"{name} is there, but packed; this unpacks it: gunzip -k {packed}/*.gz")


def broken(name: str, root: Root, home: Path, files: Sequence[PublishedFile], reason: str) -> InputError:
    """The error for a set that cannot be read; names and counts its missing and broken files."""
    faults = [f"{file.path.name} ({fault})" for file in files if (fault := file.fault()) is not None]
    found = f"{len(faults)} of {len(files)} files: {some(faults)}" if faults else reason
    return InputError(f"{name} under {home} is broken: {found}; this gets it anew: {command(name, root)}")


def line(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _remove_broken(files: Sequence[PublishedFile]) -> None:
    """Remove broken files that torchvision would take for whole ones, because it only looks whether they exist."""
    for file in files:
        if file.md5 is None and file.check is not None and file.path.is_file() and file.fault() is not None:
            file.path.unlink()
