"""Whatever takes a device refuses one that is not there in one line, whoever names it."""

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import advkit
from advkit.attacks import fooling_images
from advkit.cli import main
from advkit.core.devices import find_device
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.evaluation import evaluate
from advkit.models import load_model
from advkit.reproduction import reproduce
from advkit.training import build, find_recipe, train

RECIPE = find_recipe("mlp-mnist5k")
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "load_model": lambda device, home: load_model("mlp", device=device),
    "evaluate": lambda device, home: evaluate(
        load_model("mlp"), load_data("mnist5k"), ["fgsm"], count=1, device=device
    ),
    "train": lambda device, home: train(
        build(RECIPE), load_data("mnist5k", split="train"), recipe=RECIPE, device=device, output=home
    ),
    "reproduce": lambda device, home: reproduce("lin_nin", device=device, output=home),
    "fooling_images": lambda device, home: fooling_images(load_model("mlp"), [1], shape=(1, 32, 32), device=device),
}


def takers() -> Iterator[str]:
    """The public functions with an argument `device`, by their shortest name."""
    for line in (Path(__file__).parents[1] / "public_names.txt").read_text().split():
        module, _, name = line.rpartition(".")
        found = getattr(import_module(module), name, None) if module else None
        if inspect.isfunction(found) and "device" in inspect.signature(found).parameters:
            yield found.__name__


def test_every_function_with_a_device_takes_part() -> None:
    assert set(takers()) == set(CALLS)


@pytest.mark.parametrize("device", ["nowhere", "", "meta", "cuda:99", 3.5, True, torch.device("meta")], ids=repr)
@pytest.mark.parametrize("name", CALLS)
def test_a_device_that_is_not_there_is_one_line(name: str, device: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no device .* here: expected 'auto', 'cpu' or a GPU") as caught:
        CALLS[name](device, tmp_path / "home")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, "float32", None], ids=repr)
def test_noise_of_another_type_is_one_line(dtype: Any) -> None:
    with pytest.raises(InputError, match="expected dtype as a floating-point type"):
        fooling_images(load_model("mlp"), [1], shape=(1, 32, 32), dtype=dtype)


@pytest.mark.parametrize("device", ["auto", "cpu", torch.device("cpu")], ids=repr)
def test_devices_that_are_there_are_found(device: Any) -> None:
    expected = "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"
    assert find_device(device).type == expected
    assert next(advkit.load_model("mlp", device=device).parameters()).device.type == expected


@pytest.mark.parametrize(
    ("cuda", "mps", "expected", "with_float64"),
    [(False, False, "cpu", "cpu"), (False, True, "mps", "cpu"), (True, True, "cuda", "cuda")],
)
def test_auto_takes_the_gpu_that_there_is(cuda, mps, expected, with_float64, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto") == torch.device(expected)
    assert find_device("auto", float64=True) == torch.device(with_float64)


@pytest.mark.parametrize(
    ("arguments", "to"),
    [
        (["attack"], "mps"),
        (["evaluate"], "mps"),
        (["evaluate", "--certify", "ibp"], "cpu"),
        (["certify", "--eps", "0.1"], "cpu"),
        (["visualize", "maps"], "cpu"),
        (["universal", "--eps", "0.1"], "cpu"),
    ],
    ids=lambda part: part if isinstance(part, str) else " ".join(part),
)
def test_commands_that_need_float64_pass_over_a_gpu_without_it(arguments, to, monkeypatch, tmp_path):
    """The network is not moved: the test ends where its device is known."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    asked = []

    def move(module: torch.nn.Module, device: object) -> None:
        asked.append(str(device))
        raise InputError("far enough")

    monkeypatch.setattr(torch.nn.Module, "to", move)
    output = ["--output", str(tmp_path / "out.png")] if arguments[0] in ("visualize", "universal") else []
    result = CliRunner().invoke(main, [*arguments, "--model", "mlp", "--count", "2", *output])
    assert "far enough" in result.output, result.output
    assert asked == [to]
