"""Files that are written atomically, and locks that give one process a folder for itself."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from advkit.core.errors import InputError


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return the path with the user's home in place of a leading ~; that of an unknown user stays as it is.

    Raises:
        InputError: no path. An empty text, as an unset variable of a shell leaves it, would mean the current folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected a path as text or a pathlib.Path, got {type(path).__name__}")
    if not os.fspath(path):
        raise InputError("expected a path, got an empty text; . is the current folder")
    return Path(os.path.expanduser(path))


def atomic_write(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to the disk and rename it to `path`.

    After a crash, on a full disk or with a second writer, the file is either the old one or the complete new one.

    Args:
        path: the file to write.
        write: function that fills the open binary file that it is given.

    Raises:
        InputError: the path is that of a folder.
        OSError: the folder cannot be made or written to; its file name is `path`.
    """
    path = user_path(path)
    if path.is_dir():
        raise InputError(f"expected a path for a file, got the folder {path}")
    with _refused(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with _refused(path), open(temporary, "wb") as file:  # its name is a path, for writers that open it themselves
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Inside, a refusal of the system is an OSError of the file that was asked for, and not of the temporary one."""
    try:
        yield
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        raise OSError(refused.errno, refused.strerror, str(path)) from error


def refusal(error: Exception) -> OSError | None:
    """Return the system's refusal behind the error of a library that writes files; None if there is none.

    Args:
        error: what the library raised.
    """
    for found in (error, error.__context__):  # torch raises an error of its own from the system's
        if isinstance(found, OSError):
            return found if found.errno is not None else None
    number = re.search(r"\(os error (\d+)\)", str(error))  # of safetensors
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _umask() -> int:
    """The permissions that new files lack (mkstemp's are for the owner only); reading them means setting them twice."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def check_name(home: Path) -> None:
    """Check that the name of a run's folder is UTF-8, which the libraries that read its files need.

    Raises:
        InputError: it is not.
    """
    try:
        os.fsencode(home).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"expected a folder whose name is UTF-8, got {home}: give another path") from error


def make_folder(home: Path) -> None:
    """Make the folder of a run and its parents.

    Raises:
        InputError: a file is in the way, the folder cannot be made, or its name is not UTF-8.
    """
    check_name(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        found = f"the link {home} to nothing" if home.is_symlink() and not home.exists() else f"the file {home}"
        raise InputError(f"expected a folder for the run, got {found}: give another path") from error
    except OSError as error:
        raise InputError(f"cannot make the folder {home}: {error.strerror}") from error


@contextmanager
def nothing_left(home: Path, begun: Collection[str], is_idle: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Inside, wrong input takes a folder that was made inside away again, unless it holds work.

    Args:
        home: the folder of a run.
        begun: names of what is in it before its first work: files, and folders that are empty still.
        is_idle: function that says that no other process is at work there; one that holds the folder's lock is seen.
    """
    missing = [] if home.exists() else [part for part in (home, *home.parents) if not part.exists()]
    try:
        yield
    except InputError:
        with suppress(OSError):
            if missing and home.is_dir() and not home.is_symlink():
                with locked(home) as mine:
                    if mine and is_idle() and not _holds_more(home, begun):
                        shutil.rmtree(home)
                        for part in missing[1:]:
                            part.rmdir()
        raise


def _holds_more(home: Path, begun: Collection[str]) -> bool:
    return any(part.name not in begun or (part.is_dir() and any(part.iterdir())) for part in home.iterdir())


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Inside, a refusal of the system to write is one line that names the path.

    Raises:
        InputError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Context manager: inside the block no other command can work in the folder. The lock ends with the process.

    Raises:
        InputError: another process is at work there.
    """
    with locked(home) as mine:
        if not mine:
            raise InputError(f"another process is at work in {home}: wait for it, or give another folder")
        yield


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Context manager: yields whether this process holds the lock of a file or folder, which ends with it."""
    try:
        import fcntl
    except ImportError:  # not on every system
        yield True
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # a file system without locks
            pass
        yield True
    finally:
        os.close(handle)


def check_readable(path: Path) -> None:
    """Raise before a reader makes something else of a refusal; what is missing is left to the reader.

    Args:
        path: path of a file.

    Raises:
        InputError: the system does not let this user read the file.
    """
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except OSError:
        return


HARMLESS = 1 << 28
"""Bytes that any archive may unpack to."""

MOST_PACKED = 200
"""Times its own size to which a larger archive may unpack; deflate reaches 1,032 on zeros, images and weights 20."""


def refuse_bomb(path: Path) -> None:
    """Refuse a zip archive that unpacks to far more than it holds, before anything of it is read.

    Args:
        path: path of the archive; what is none is left to whoever reads it.

    Raises:
        InputError: the archive unpacks to more than `MOST_PACKED` times its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            whole = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # no archive, or a broken one
        return
    size = path.stat().st_size
    if whole > max(HARMLESS, MOST_PACKED * size):
        raise InputError(f"{path} has {size:,} bytes and unpacks to {whole:,}: no images or weights are packed so far")
