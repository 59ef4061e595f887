"""Weights that people bring: options beside them, several files, eight bits, files of other programs."""

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from advkit.core.errors import InputError
from advkit.models import load_model

X = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
OPTIONS: dict[str, Any] = {"width": 0.1, "device": "cpu"}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return load_model("lenet5", weights="random", seed=3, **OPTIONS).net.state_dict()


@pytest.fixture(scope="module")
def answer() -> torch.Tensor:
    return load_model("lenet5", weights="random", seed=3, **OPTIONS)(X)


def loaded(path: Path) -> torch.Tensor:
    return load_model("lenet5", weights=path, **OPTIONS)(X)


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, model="lenet5", best=np.float64(0.9)),
        np.float32(0.5),
        np.int64(3),
        {"top1": [np.float64(1.5)]},
    ],
    ids=["options", "float", "integer", "inside"],
)
def test_options_and_numbers_beside_the_weights_are_no_obstacle(
    tmp_path: Path, state: dict[str, torch.Tensor], answer: torch.Tensor, beside: Any
) -> None:
    """torchvision's and timm's training scripts save their options, as an argparse.Namespace, with the weights."""
    before = set(torch.serialization.get_safe_globals())  # torch keeps a set: its order is of no meaning
    torch.save({"model": state, "epoch": 3, "args": beside}, tmp_path / "w.pth")
    assert torch.equal(loaded(tmp_path / "w.pth"), answer)
    assert set(torch.serialization.get_safe_globals()) == before


def test_what_the_caller_calls_safe_stays_so(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"model": state, "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        loaded(tmp_path / "w.pth")
        assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_other_objects_are_named(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    torch.save({"model": state, "args": Path("x")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"pickled Python objects \(pathlib\.\w*Path\)"):
        loaded(tmp_path / "w.pth")


class Evil:
    """Makes a folder when it is unpickled, through the options that are taken."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (self.place,)


def test_options_run_no_code(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    place = tmp_path / "made"
    torch.save({"model": state, "args": argparse.Namespace(a=Evil(str(place)))}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"\(\w+\.mkdir\)"):
        loaded(tmp_path / "w.pth")
    assert not place.exists()


def split(state: dict[str, torch.Tensor], home: Path, stem: str, suffix: str, save: Callable[[Any, Any], Any]) -> Path:
    names = list(state)
    parts = {f"{stem}-0000{i}-of-00002.{suffix}": names[i - 1 :: 2] for i in (1, 2)}
    for file, own in parts.items():
        save({name: state[name] for name in own}, home / file)
    index = {"metadata": {}, "weight_map": {name: file for file, own in parts.items() for name in own}}
    (home / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    return home / f"{stem}.{suffix}.index.json"


@pytest.mark.parametrize(
    ("stem", "suffix", "save"),
    [("model", "safetensors", save_file), ("pytorch_model", "bin", torch.save)],
    ids=["safetensors", "bin"],
)
def test_weights_in_several_files_are_found_by_their_index_or_folder(
    tmp_path: Path, state: dict[str, torch.Tensor], answer: torch.Tensor, stem: str, suffix: str, save: Any
) -> None:
    index = split(state, tmp_path, stem, suffix, save)
    assert torch.equal(loaded(index), answer)
    assert torch.equal(loaded(tmp_path), answer)
    (tmp_path / f"{stem}-00002-of-00002.{suffix}").unlink()
    with pytest.raises(InputError, match=f"names {stem}-00002-of-00002.{suffix}, which is not there"):
        loaded(index)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        '{"weight_map": {}}',
        '{"weight_map": {"a": "../w.bin"}}',
        '{"weight_map": {"a": "a.index.json"}}',
        "[" * 9**5,
    ],
    ids=["list", "cut", "empty", "outside", "itself", "deep"],
)
def test_an_index_that_is_none_or_leads_elsewhere_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.index.json").write_text(content)
    with pytest.raises(InputError, match="is no index of weights"):
        loaded(tmp_path / "a.index.json")


def test_a_folder_with_one_file_of_torch_is_taken(
    tmp_path: Path, state: dict[str, torch.Tensor], answer: torch.Tensor
) -> None:
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert torch.equal(loaded(tmp_path), answer)


def test_floats_of_eight_bits_are_weights(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    eight = {name: value.to(torch.float8_e4m3fn) for name, value in state.items()}
    torch.save(eight, tmp_path / "w.pt")
    save_file(eight, tmp_path / "w.safetensors")
    assert torch.equal(loaded(tmp_path / "w.pt"), loaded(tmp_path / "w.safetensors"))
    eight["classifier.output.bias"].fill_(torch.nan)
    torch.save(eight, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"output\.bias holds NaN"):
        loaded(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"\x93NUMPY\x01\x00" + bytes(99), "NumPy"),
        (b"GGUF" + bytes(99), "GGUF"),
        (b'{"a": 1}', "JSON"),
        (pickle.dumps(np.zeros(3)), "pickled Python objects"),
    ],
    ids=["keras", "npy", "gguf", "json", "array"],
)
def test_files_of_other_programs_are_told_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    for name in ("w.pt", "w.h5", "w"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            loaded(tmp_path / name)


def test_an_exported_program_is_told_what_it_is(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "w.pt2")
    with pytest.raises(InputError, match=r"torch\.export"):
        loaded(tmp_path / "w.pt2")
