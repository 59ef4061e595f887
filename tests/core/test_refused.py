"""A model that fails on the images tells its own error, and advkit adds what it had asked."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import FGSM, PGD
from advkit.cli import main
from advkit.core.errors import InputError

NET = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)).eval()
X, Y = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])


def notes(work: Callable[[], object]) -> str:
    with pytest.raises((RuntimeError, TypeError, ValueError, KeyError)) as caught:
        work()
    return " ".join(getattr(caught.value, "__notes__", []))


def attack(model: object, x: Tensor, y: Tensor) -> object:
    return PGD(eps=0.1, steps=1)(model, x, y)  # type: ignore[arg-type]


def judge(model: object, x: Tensor, y: Tensor) -> object:
    return evaluate(model, (x, y), [FGSM(eps=0.1)], control=None, checks=False, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("ask", [attack, judge])
@pytest.mark.parametrize(
    ("x", "says"),
    [
        (X.permute(0, 2, 3, 1), "(2, 16, 16, 3), torch.float32; their channels seem to come last: give x.permute(0, 3"),
        (X[:, :1], "about images of shape (2, 1, 16, 16), torch.float32"),
        (X[..., :8], "about images of shape (2, 3, 16, 8), torch.float32"),
    ],
)
def test_the_error_is_the_models_with_a_note(ask: Callable[..., object], x: Tensor, says: str) -> None:
    said = notes(lambda: ask(NET, x, Y))
    assert says in said
    assert said.count("advkit asked") == 1


def test_the_advice_of_the_note_helps() -> None:
    x = X.permute(0, 2, 3, 1)
    assert torch.equal(x.permute(0, 3, 1, 2), X)
    attack(NET, x.permute(0, 3, 1, 2), Y)


def test_a_function_that_makes_models_is_told_from_one() -> None:
    def make(classes: Tensor) -> nn.Module:
        return nn.Linear(3, int(classes))

    assert "call it, and give what it returns" in notes(lambda: attack(make, X, Y))


def test_any_error_of_a_model_has_the_note() -> None:
    def model(x: Tensor) -> Tensor:
        return {}["head"]

    for ask in (attack, judge):
        assert "about images of shape (2, 3, 16, 16)" in notes(lambda ask=ask: ask(model, X, Y))  # type: ignore[misc]


def test_a_class_is_no_model() -> None:
    for ask in (attack, judge):
        with pytest.raises(InputError, match=r"the class Flatten itself: make one, Flatten\(...\)"):
            ask(nn.Flatten, X, Y)


@pytest.mark.parametrize("y", [torch.tensor(1), torch.tensor([1])])
def test_a_single_image_is_told_of_the_axis_that_it_lacks(y: Tensor) -> None:
    with pytest.raises(InputError, match=r"shape \(3,\), one a sample.*a single image needs .* x\[None\]"):
        attack(NET, X[0], y)
    attack(NET, X[0][None], torch.tensor([1]))


MODULE = """
from torch import nn

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

def meta():
    return nn.Linear(3, 10, device="meta")

def colour():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
"""


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("lazy", 2, "lazy layers whose parameters have no shape yet"),
        ("meta", 2, "no values, on the device meta"),
        ("colour", 1, "but got 1 channels instead; advkit asked the model about images of shape (3, 1, 32, 32)"),
    ],
)
def test_the_command_says_it_in_one_line(
    name: str, code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"strange_{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    words = ["attack", "--model", f"strange_{name}:{name}", "--data", "mnist5k", "--eps", "0.1", "--count", "3"]
    found = CliRunner().invoke(main, [*words, "--no-picture"])
    assert found.exit_code == code, found.output
    assert says in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("given", [(X * 255).byte(), (X * 255).byte().numpy()])
def test_the_advice_for_8_bit_images_helps_tensors_and_arrays(given: object) -> None:
    with pytest.raises(InputError, match=r"or torch.as_tensor\(x\).float\(\) / 255 of an array"):
        judge(NET, given, Y if isinstance(given, Tensor) else Y.numpy())  # type: ignore[arg-type]
    judge(NET, torch.as_tensor(given).float() / 255, Y)
