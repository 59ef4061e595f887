"""What a command prints: no number is cut at any width, foreign text moves no cursor, a batch job hears something."""

import io
import random
import signal
import sys
from contextlib import suppress

import pytest
from click.testing import CliRunner
from helpers.children import stopped

from advkit.attacks import FGSM
from advkit.cli import main
from advkit.cli._console import Lines, harmless, show, table
from advkit.core import progress_bar
from advkit.core.errors import InputError
from advkit.core.registry import parse_spec
from advkit.evaluation import evaluate

CELLS = ["0.00012", "84.0 %", "+12.3 %", "1,234 of 5,000", "26.7 % to 38.2 %"]


@pytest.mark.parametrize("width", [40, 53, 66, 79, 80, 81, 100, 120, 200])
def test_no_number_is_cut_at_any_width(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    made = table("error", *"abcde", right="abcde")
    made.add_row("pgd(norm=l2, eps=1.0, steps=40, restarts=5)", *CELLS)
    show(made)
    text = capsys.readouterr().out
    assert all(cell in text for cell in CELLS)
    assert "pgd(norm=l2, eps=1.0, steps=40, restarts=5)" in " ".join(text.split())


def test_control_characters_are_escaped():
    assert harmless("a\x1b[2J\nclean 0.0 %\r\u202e") == "a\\x1b[2J\\nclean 0.0 %\\r\\u202e"
    assert harmless("café, 网络") == "café, 网络"


def test_a_batch_job_hears_a_line_now_and_then(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])
    lines = Lines("2 attacks")
    for second in range(1000):
        clock[0] = second
        lines(second, 1000)
    said = capsys.readouterr().err.splitlines()
    assert 3 <= len(said) <= 8
    assert said[0] == "2 attacks: 3 % of 1,000 passes after 0:00:30, about 0:16:10 left"


@pytest.mark.parametrize(
    ("whole", "left"),
    [(10**8, "38 days, 13:55:"), (10**12, "1,056 years left"), (10**30, "1,056,269,593,")],
)
def test_work_without_end_is_told_in_days_and_years(monkeypatch, capsys, whole, left):
    clock = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: clock[0])
    lines = Lines("pgd")
    clock[0] = 30
    lines(900, whole)
    said = capsys.readouterr().err
    assert said.startswith(f"pgd: 0 % of {whole:,} passes after 0:00:30, about {left}")
    assert said.count("\n") == 1


@pytest.mark.parametrize("columns", ["0", "00", "-5", "abc", "1e2", "", "9" * 30])
def test_a_width_that_is_none_leaves_the_tables_whole(columns, monkeypatch, capsys):
    """Schedulers and containers without a terminal say 0; rich would raise."""
    monkeypatch.setenv("COLUMNS", columns)
    made = table("error", *"abcde", right="abcde")
    made.add_row("pgd", *CELLS)
    show(made)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "pgd" in line)
    assert all(cell in line for cell in CELLS)


def test_a_terminal_of_no_width_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "0")
    monkeypatch.setattr("sys.stderr", Terminal())
    with progress_bar.progress_bar("pgd") as bar:
        bar(1, 2)
    assert "pgd" in sys.stderr.getvalue()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_batch_system_and_a_closed_terminal_keep_the_run_and_say_how_to_resume(tmp_path, number):
    words = "evaluate --model MODEL --data mnist5k --attacks pgd(eps=.05,steps=9) --batch-size 20 --no-checks"
    words = [*words.split(" "), "--threads", "1", "--count", "200", "--output", "run"]
    code, said = stopped(tmp_path, words, number, at=60)
    assert code == 130, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "batches" / "000001.safetensors").exists()


def test_the_library_takes_what_the_command_takes(tmp_path):
    from advkit import load_data, load_model

    model, data = load_model("mlp"), load_data("mnist5k")
    named, made = (evaluate(model, data, [a], count=20) for a in ("fgsm(eps=8/255)", FGSM(eps=8 / 255)))
    assert named.to_dict()["attacks"][0]["attack"] == made.to_dict()["attacks"][0]["attack"]
    assert evaluate(model, data, "fgsm", count=5).attacks[0].eps == 0.1
    words = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--count", "20", "--output", str(tmp_path / "run")]
    assert CliRunner().invoke(main, words).exit_code == 0
    evaluate(model, data, ["fgsm"], count=20, output=tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="expected attacks as objects"):
        evaluate(model, data, [3])


@pytest.mark.parametrize("part", range(5))
def test_the_spec_parser_ends_in_a_spec_or_one_line(part):
    dice = random.Random(part)
    pieces = ["pgd", "(", ")", "eps", "=", ",", "8/255", ".1", "-", "'", '"', "[", "]", "{", "1e999", "None", "\0", "é"]
    for text in [
        "-" * 5000,
        "(" * 300 + ")" * 300,
        "pgd(eps=" + "-" * 5000 + "1)",
        "pgd(eps=" + "9" * 5000 + ")",
        "a:" * 5000,
    ]:
        with pytest.raises(InputError, match="cannot read the spec"):
            parse_spec(text)
    for _ in range(400):
        text = "".join(dice.choices(pieces, k=dice.randrange(12)))
        with suppress(InputError):
            parse_spec(text)
