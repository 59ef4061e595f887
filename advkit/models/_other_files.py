"""Files that people take for weights and that are something else: each is told what it is."""

import zipfile
from pathlib import Path

from advkit.core.errors import InputError

_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS: `git lfs pull` in its folder gets the file that it stands for",
    b"\x1f\x8b": "packed by gzip: unpack it first",
    b"<": "a web page: the download of the weights gave a message in their place",
    b"\x89HDF": "a file of HDF5, as Keras writes it: its arrays have to become the tensors of this network first",
    b"\x93NUMPY": "an array of NumPy: weights have names, as torch.save(model.state_dict(), ...) writes them",
    b"GGUF": "a file of GGUF: it holds no weights of torch",
    b"{": "a text in JSON: the weights lie in another file",
}
_EXPORTED = "a program of torch.export: save the weights alone, with torch.save(model.state_dict(), ...)"

_MEMBERS = {
    "constants.pkl": "a program of TorchScript: save the weights alone, with torch.save(model.state_dict(), ...)",
    "serialized_exported_program.json": _EXPORTED,
    "archive_format": _EXPORTED,
    ".npy": "an archive of NumPy arrays: save its arrays as tensors, with torch.save({name: tensor, ...}, ...)",
}


def is_pickle(path: Path) -> bool:
    """Return whether a file begins as a zip archive or a pickle, as torch.save writes them."""
    with path.open("rb") as file:
        return file.read(2).startswith((b"PK", b"\x80"))


def refuse_other_kinds(path: Path) -> None:
    """Refuse a file that is known to be something else than weights, by its first bytes or by what an archive holds.

    Args:
        path: path of a file.

    Raises:
        InputError: the file is a pointer, a packed file, a web page, a program, or an archive of arrays.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start[8:9] == b"{":  # safetensors: eight bytes of length, then JSON
        return
    told = [what for begin, what in _STARTS.items() if start.lstrip().startswith(begin)]
    told += [what for end, what in _MEMBERS.items() if any(name.endswith(end) for name in _members(path))]
    if told:
        raise InputError(f"{path} is {told[0]}")


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # no archive, or a broken one: whoever reads it says so
        return []
