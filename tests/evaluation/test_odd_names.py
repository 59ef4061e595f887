"""Classes and files with names in bytes, in other scripts or with control characters: all goes through."""

import os
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from advkit import evaluate, load_data
from advkit.cli import main
from advkit.evaluation import Keep, load_run, verify_run
from advkit.evaluation.audit import audit_markdown, make_audit
from advkit.evaluation.cards import board, board_page, check_card, make_card, to_markdown

NAMES = (b"caf\xe9", "网络".encode(), b"a\x1b[2J", b"two\nlines", b"<script>alert(1)</script>"[:8])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        folder = os.path.join(os.fsencode(tmp_path), b"images", name)
        os.makedirs(folder)
        Image.new("RGB", (8, 8), (40 * number, 90, 9)).save(
            os.fsdecode(os.path.join(folder, b"x" + name[:4] + b".png"))
        )
    return tmp_path / "images"


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_a_run_over_odd_names_is_written_shown_and_resumed(home: Path, tmp_path: Path) -> None:
    data = load_data(f"folder:{home}", size=8)
    assert len(data) == len(NAMES)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, len(NAMES)))
    options = {"output": tmp_path / "run", "checks": False, "keep": Keep(png=True), "batch_size": 2}
    report = evaluate(model, data, ["fgsm(eps=0.1)"], **options)
    run = evaluate(model, data, ["fgsm(eps=0.1)"], **options, resume=True)
    assert run.counts == report.counts
    assert verify_run(tmp_path / "run") == []
    for file in ("report.html", "samples.csv", "run.json"):
        text = (tmp_path / "run" / file).read_bytes().decode("utf-8")
        assert "\x1b" not in text
        assert "<script>a" not in text
    card = make_card(load_run(tmp_path / "run"))
    assert check_card(card) == []
    for told in (str(report), to_markdown(card), audit_markdown(make_audit(tmp_path / "run", "atlas"))):
        assert told.encode("utf-8")
        assert "\x1b" not in told
    assert board_page(board({"caf\udce9": card, "\x1b[2J": card})).encode("utf-8", "strict")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems take UTF-8 only")
def test_the_commands_say_odd_names_without_moving_the_cursor(home: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["data", f"folder:{home}"])
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    words = ["evaluate", "--model", "squeezenet", "--data", f"folder:{home}"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "\x1b" not in done.output
