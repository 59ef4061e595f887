"""The right column of docs/howto/other_libraries.md: what it says of advkit is code that runs."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from advkit import evaluate, load_data, load_model
from advkit.attacks import ATTACKS, CW, PGD, DeepFool
from advkit.models import BlackBox, Normalize

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "other_libraries.md"
ROW = re.compile(r"^\| .* \| (.*) \|$", re.MULTILINE)
ELSEWHERE = ("robustbench:", "...", "advkit ", "advkit.")
"""Marks of code that needs another package or many images, and of commands."""

NAMES = {"DeepFool": DeepFool, "CW": CW, "PGD": PGD, "BlackBox": BlackBox, "Normalize": Normalize, "nn": nn}
NAMES |= {"torch": torch, "evaluate": evaluate, "ATTACKS": ATTACKS}


def spans() -> list[str]:
    cells = ROW.findall(PAGE.read_text())
    found = [span for cell in cells for span in re.findall(r"`([^`]+)`", cell)]
    return [span for span in dict.fromkeys(found) if not any(mark in span for mark in ELSEWHERE)]


def is_expression(span: str) -> bool:
    try:
        return not isinstance(ast.parse(span, mode="eval").body, ast.Name | ast.Constant)
    except SyntaxError:
        return False


def test_most_of_the_column_is_looked_at() -> None:
    assert len([span for span in spans() if is_expression(span) or span.startswith('"')]) >= 20


def call_around(span: str) -> str:
    """The whole call of which the span is an option."""
    option = span.partition("=")[0]
    if option in ("ti", "ni", "si", "vmi"):
        return f"ATTACKS.create('mifgsm(eps=0.1, {span})')"
    if option == "mode":
        return f"ATTACKS.create('autoattack(eps=0.1, {span})')"
    return f"attack(model, x, y, {span})" if option in ("target", "stop") else f"PGD(eps=0.1, {span})"


@pytest.mark.parametrize("span", [span for span in spans() if is_expression(span) or "=" in span])
def test_it_runs(span: str) -> None:
    model, (x, right), attack = load_model("lenet5"), load_data("mnist5k")[:4], PGD(eps=0.1, steps=2)
    y = (right + 1) % 10  # wrong on the clean images: every attack ends at once
    known = {**NAMES, "model": model, "y": y, "t": right, "mean": 0.1, "std": 0.3, "eps": 0.1, "attack": attack}
    known |= {"x": x.numpy() if "as_tensor" in span else x, "data": (x, y), "result": attack(model, x, y)}
    known |= {"a": "fgsm(eps=0.1)", "b": attack, "predict": lambda images: model(torch.as_tensor(images)).detach()}
    if span.startswith("result = "):
        exec(span, known)
        return
    made = eval(span if is_expression(span) or span.startswith('"') else call_around(span), known)
    if isinstance(made, str):
        ATTACKS.create(made)
    if isinstance(made, nn.Module):
        assert made(x).shape == (4, 10)
