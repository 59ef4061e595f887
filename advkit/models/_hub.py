"""Files of a network on the Hugging Face hub: from the hub's cache, from a folder, or downloaded if asked for.

`hf:ORG/NAME@REVISION` is looked up in huggingface_hub's cache, `models--ORG--NAME/snapshots/COMMIT/`. The card names
the commit of the revision. Only JSON and safetensors are read.
"""

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advkit.core.errors import InputError
from advkit.core.files import user_path
from advkit.core.imported import needed
from advkit.core.words import harmless

CONFIG, PREPROCESSOR, WEIGHTS, INDEX = (
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHARD = re.compile(r"[\w-][\w.-]*\.safetensors")
_LARGEST = 16 * 2**20  # bytes of a JSON file; a config of 21,000 class names has 2 MB


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The files of one repository at one commit.

    Attributes:
        name: the reference that identifies exactly these files.
        source: the place, for messages.
        find: function from the name of a file to its path; None if the repository has no such file here.
    """

    name: str
    source: str
    find: Callable[[str], Path | None]

    def json(self, name: str) -> dict[str, Any] | None:
        """Read the object in a JSON file; None if there is no such file.

        Raises:
            InputError: the file is no JSON object, or is too large for a config.
        """
        path = self.find(name)
        return None if path is None else _read_json(path)

    def weights(self) -> list[Path]:
        """Return the safetensors files that together hold the weights.

        Raises:
            InputError: there are none, or their index names anything but files in the same folder.
        """
        whole = self.find(WEIGHTS)
        if whole is not None:
            return [whole]
        index = self.json(INDEX)
        if index is None:
            raise InputError(
                f"{self.name} has no {WEIGHTS} here: advkit reads safetensors only, and never unpickles "
                "pytorch_model.bin; weights='hub' downloads the file if the repository has it"
            )
        listed = index.get("weight_map")
        names = sorted({str(name) for name in listed.values()}) if isinstance(listed, Mapping) else []
        if not names or not all(map(_SHARD.fullmatch, names)):
            raise InputError(f"{INDEX} of {self.name} is not an index of safetensors files beside it")
        paths = [self.find(name) for name in names]
        if None in paths:
            raise InputError(f"{self.name} lacks {names[paths.index(None)]}, which {INDEX} names")
        return [path for path in paths if path is not None]


def snapshot(entry: str, *, download: bool = False) -> Snapshot:
    """Find the files of a network on the hub.

    Args:
        entry: "ORG/NAME", "ORG/NAME@REVISION" with a branch, a tag or a commit, or a folder as `save_pretrained` writes
            it, given as "./FOLDER", "~/FOLDER" or an absolute path.
        download: whether to download files that the cache lacks.

    Raises:
        InputError: the repository, revision or folder is not found, or the package huggingface_hub is missing.
    """
    if entry.startswith(("/", "./", "../", "~")):
        return _folder(user_path(entry))
    repository, _, revision = entry.partition("@")
    hub = needed("huggingface_hub", "hf:ORG/NAME", "hub")
    commit = _commit(hub, repository, revision or "main", download=download)

    def find(name: str) -> Path | None:
        return _file(hub, repository, commit, name, download=download)

    return Snapshot(name=f"hf:{repository}@{commit}", source=f"hub {repository} at {commit}", find=find)


def _folder(folder: Path) -> Snapshot:
    if not (folder / CONFIG).is_file():
        raise InputError(f"no {CONFIG} in {folder}: expected a folder as save_pretrained writes it")
    return Snapshot(
        name=f"hf:{folder.resolve()}",
        source=str(folder),
        find=lambda name: folder / name if (folder / name).is_file() else None,
    )


def _commit(hub: Any, repository: str, revision: str, *, download: bool) -> str:
    """The 40 hexadecimal digits that a revision stands for."""
    path = _file(hub, repository, revision, CONFIG, download=download)
    if path is None:
        raise InputError(
            f"{repository} at {revision} is not in the hub's cache (or has no {CONFIG}): weights='hub' downloads it, "
            f"as does `hf download {repository}`; nothing is downloaded unless asked"
        )
    if not _COMMIT.fullmatch(path.parent.name):
        raise InputError(f"the cache of {repository} is damaged: {harmless(path.parent.name)!r} is no commit")
    return path.parent.name


def _file(hub: Any, repository: str, revision: str, name: str, *, download: bool) -> Path | None:
    """A file of a repository at a revision; None if it is not in the cache, or not in the repository."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        found = hub.hf_hub_download(repository, name, revision=revision, local_files_only=not download)
    except errors.HFValidationError as error:
        raise InputError(f"expected hf:ORG/NAME or hf:ORG/NAME@REVISION, got hf:{repository}@{revision}") from error
    except errors.LocalEntryNotFoundError as error:
        if download:
            raise InputError(f"cannot download {name} of {repository} ({_line(error)})") from error
        return None
    except errors.EntryNotFoundError:
        return None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(f"the hub has no {repository} at {revision}, or not for you ({_line(error)})") from error
    except (OSError, ValueError) as error:  # a refused connection; a cache that was tampered with
        raise InputError(f"cannot read {name} of {repository} at {revision} ({_line(error)})") from error
    return Path(found)


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is larger than a config can be: {path.stat().st_size:,} bytes")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {_line(error)}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds no JSON object")
    return found


def _line(error: BaseException) -> str:
    return harmless((str(error).strip().splitlines() or [type(error).__name__])[0])
