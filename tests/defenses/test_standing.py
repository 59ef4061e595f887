"""How many digits stand: those with a certificate count without an attack, the others face each attack."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from advkit.data import MemoryDataset

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(ROOT / "benchmarks"))

import mnist_certified as bench  # noqa: E402


def held() -> tuple[nn.Module, MemoryDataset]:
    """A small network, 30 images with its own answers as labels and 6 with another class."""
    torch.manual_seed(0)
    model, x = bench.network(0.1, 2).eval(), torch.rand(36, 1, 28, 28)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[30:] = (y[30:] + 1) % 10
    return model, MemoryDataset("random", "test", [str(i) for i in range(10)], x, y)


def test_a_digit_without_a_certificate_faces_each_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = held()
    asked: list[tuple[str, Tensor]] = []

    def every_other(spec: str, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        asked.append((spec, x))
        return torch.arange(len(x)) % 2 == 0

    monkeypatch.setattr(bench, "fooled_by", every_other)
    for eps, least, most in ((1e-5, 30, 30), (1e-3, 1, 30), (0.5, 0, 0)):
        asked.clear()
        report = bench.stands(model, data, eps, 36, False)
        open_ = 36 - report["certified"]
        assert least <= report["certified"] <= most
        assert [(spec, len(x)) for spec, x in asked] == [(f"{n}(eps={eps})", open_) for n in ("cascade", "autoattack")]
        for spec in (f"cascade(eps={eps})", f"autoattack(eps={eps})"):
            assert report[spec]["standing"] == report["certified"] + open_ // 2


def test_a_wrong_digit_never_stands() -> None:
    model, data = held()
    fooled = bench.fooled_by("fgsm(eps=0)", model, *data[:])
    assert fooled.tolist() == [False] * 30 + [True] * 6
