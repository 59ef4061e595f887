"""No table loses or breaks a number or a word at any width from 40 columns up, by command."""

import re
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from advkit.cli import main
from advkit.core.sheet import Table, as_text

EVALUATE = ["evaluate", "--model", "mlp", "--attacks", "fgsm(eps=1/3)", "pgd(eps=0.1, steps=2)", "ddn(steps=3)",
            "--count", "20", "--no-checks"]  # fmt: skip
SMALL = ["--models", "lenet5", "mlp", "--count", "6", "--no-picture"]
READ = {
    "attacks": ["attacks"],
    "board": ["board", "a", "b"],
    "card": ["card", "a", "--format", "md"],
    "compare": ["compare", "a", "b"],
    "data": ["data"],
    "defenses": ["defenses"],
    "evaluate": [*EVALUATE, "--output", "a", "--resume"],
    "layers": ["models", "googlenet"],
    "models": ["models"],
}
"""Commands that read."""
SMOOTHED = ["--eps", "0.2", "--method", "smoothing", "--sigma", "0.25", "--draws", "100"]
MEASURED = {
    "attack": ["attack", "--model", "mlp", "--count", "6", "--no-picture"],
    "certify": ["certify", "--model", "mlp", "--count", "4", "--eps", "0.01", "--method", "ibp"],
    "curve": ["curve", *SMALL],
    "smoothing": ["certify", "--model", "mlp", "--count", "3", *SMOOTHED],
    "transfer": ["transfer", *SMALL, "--attack", "fgsm"],
}
"""Commands that measure anew each time."""
MARK = "From 125 columns of output on also: "


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("widths")
    for name, seed in (("a", "0"), ("b", "1")):
        words = [*EVALUATE, "--seed", seed, "--output", str(home / name)]
        assert CliRunner().invoke(main, words).exit_code == 0
    return home


def numbers(text: str) -> Counter[str]:
    """Words with a digit in them, without the brackets and stops around them."""
    words = (word.strip("(),.:;|") for word in text.split())
    return Counter(word for word in words if re.search(r"\d", word))


def keeps_numbers(words: list[str], widths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def said(width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        ended = CliRunner().invoke(main, words)
        assert ended.exit_code == 0, ended.output
        return re.sub(r"[\d.,]+ s\b", "", ended.stdout)  # seconds differ

    whole = said(1000)
    for width in widths:
        text = said(width)
        wanted = numbers(whole)
        if MARK in text:  # whole columns are left out, and it says which
            wanted = Counter(w for w in wanted.elements() if not re.fullmatch(r"(19|20)\d\d|[\d.]+", w))
        lost = wanted - numbers(text.replace(MARK, ""))
        assert not lost, (width, lost)
        assert "\u2026" not in text


@pytest.mark.parametrize("name", READ)
def test_no_number_is_lost_or_broken_at_any_width(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    keeps_numbers(READ[name], [40, 66, 80, 99, 120], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_no_number_of_a_measurement_is_lost_or_broken(name: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    keeps_numbers(MEASURED[name], [40, 66, 80, 99, 120], monkeypatch)


@settings(max_examples=20)
@given(
    width=st.integers(40, 160),
    cells=st.lists(st.lists(st.sampled_from(["0.00012", "84.0 %", "1,234 of 5,000", "pgd(eps=8/255, steps=40)",
                                             "Towards evaluating, 2017 (1608.04644)", "网络 12"]),
                            min_size=5, max_size=5), min_size=1, max_size=4),
    text=st.sets(st.sampled_from("abcde"), max_size=3),
)  # fmt: skip
def test_a_table_keeps_every_word_and_its_lines_fit(width: int, cells: list[list[str]], text: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        shown = as_text([Table("abcde", cells, right="ab", text=tuple(text))])
    wanted = Counter(word for row in cells for cell in row for word in cell.split())
    assert not wanted - Counter(shown.split())
    assert all(len(line) <= width for line in shown.splitlines())


CELLS = [["fgsm(eps=8/255)", "84.0 %", "Towards evaluating the robustness of networks", "1,234 of 5,000"],
         ["pgd", "0.00012", "Explaining and harnessing adversarial examples", "12"]]  # fmt: skip


@pytest.mark.parametrize("text", ["", "c", "ac"])
def test_a_table_is_stacked_only_where_its_words_do_not_fit_and_broken_only_where_its_cells_do_not(text: str) -> None:
    """Columns are three apart, with one at each edge; text needs its longest word, other columns their longest cell."""
    columns = [[name, *cells] for name, cells in zip("abcd", zip(*CELLS, strict=True), strict=True)]
    whole = [max(map(len, column)) for column in columns]
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    least = sum(word if column[0] in text else cell for column, cell, word in zip(columns, whole, words, strict=True))
    for width in range(40, 120):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", str(width))
            lines = as_text([Table("abcd", CELLS, right="b", text=tuple(text))]).splitlines()
        shown = [line for line in lines if line.strip()]
        if width < least + 11:
            assert shown[0].split() != list("abcd")
            continue
        assert shown[0].split() == list("abcd")
        assert max(map(len, shown)) <= min(width, sum(whole) + 11)
        assert (len(shown) == 4) == (width >= sum(whole) + 11)  # headings, a line, two rows
