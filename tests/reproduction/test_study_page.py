"""What a reproduction says: object, page, and command follow from its figures."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.browser import CHROMIUM, looked, seen_whole

from advkit.cli import main
from advkit.reproduction import Reproduction, list_reproductions, reproduce
from advkit.reproduction.study import declared
from advkit.reproduction.study_page import page
from advkit.reproduction.wording import figure_text, interval_text

NAME = "goodfellow_logistic"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    return reproduce(NAME, budget="tiny", seeds=2, output=tmp_path_factory.mktemp("page") / "run", device="cpu")


def test_the_page_needs_no_network_and_has_every_figure(found: Reproduction) -> None:
    text = (found.output / "report.html").read_text()
    assert text == page(found)
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "<script" not in text
    units = {(t.where, column): unit for t in found.study.tables for column, unit in t.columns.items()}
    for cell, figure in found.figures.items():
        unit = units[cell.table, cell.column]
        assert figure_text(figure.value, unit) in text
        assert interval_text(figure, unit) in text
    for difference in found.study.differences:
        assert difference.replace("'", "&#39;") in text


def test_each_claim_on_the_page_follows_from_the_figures(found: Reproduction) -> None:
    text = (found.output / "report.html").read_text()
    said = re.findall(r'<span class="verdict (\w+)">(\w+)</span>', text)
    assert [outcome for outcome, _ in said] == [verdict.outcome for verdict in found.verdicts]
    for verdict in found.verdicts:
        smaller, larger = (found.figures[cell].value for cell in (verdict.claim.smaller, verdict.claim.larger))
        assert (verdict.smaller, verdict.larger) == (pytest.approx(smaller), pytest.approx(larger))
        if verdict.outcome == "confirmed":
            assert smaller < larger
            assert verdict.p < 0.05
        if verdict.outcome == "contradicted":
            assert smaller > larger
            assert verdict.p < 0.05
    count = sum(verdict.outcome == "confirmed" for verdict in found.verdicts)
    assert f"{count} confirmed" in text


def test_the_object_prints_the_same(found: Reproduction) -> None:
    text = str(found)
    assert all(verdict.claim.sentence in text for verdict in found.verdicts)
    assert "99.00 %" in text
    assert "<table>" in found._repr_html_()
    assert len(found.records()) == 16
    assert "tabular" in found.to_latex()


def test_the_command_prints_it_and_its_json(found: Reproduction) -> None:
    words = ["reproduce", NAME, "--budget", "tiny", "--seeds", "2", "--output", str(found.output), "--device", "cpu"]
    printed = CliRunner().invoke(main, [*words, "--workers", "1"])
    assert printed.exit_code == 0, printed.output
    assert str(found).strip().splitlines()[0] in printed.output
    record = json.loads(CliRunner().invoke(main, [*words, "--workers", "1", "--json"]).stdout)
    assert record["figures"] == json.loads((Path(found.output) / "reproduction.json").read_text())["figures"]


def test_the_command_lists(found: Reproduction) -> None:
    listed = CliRunner().invoke(main, ["reproduce"])
    assert listed.exit_code == 0
    assert NAME in listed.output


@pytest.mark.parametrize(
    ("words", "part"),
    [(["goodfellow_logistik"], "goodfellow_logistic"), ([NAME, "--budget", "huge"], "small"), (["--json"], "name")],
)
def test_wrong_words_are_one_line(words: list[str], part: str, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(
        main, ["reproduce", *words, *([] if "--json" in words else ["--output", str(tmp_path)])]
    )
    assert outcome.exit_code == 2
    assert part in outcome.output
    assert len(outcome.output.strip().splitlines()) == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_nothing_is_cut_or_pale_at_any_width(found: Reproduction, tmp_path: Path) -> None:
    seen_whole(looked(page(found), tmp_path))


def test_a_table_that_the_paper_does_not_print_has_our_figures_alone(found: Reproduction) -> None:
    (table,) = found.study.tables
    bare = replace(table, printed={row: {} for row in table.printed})
    text = page(replace(found, study=replace(found.study, tables=(bare,))))
    assert "paper</th>" in page(found)
    assert "paper</th>" not in text
    assert text.count('<span class="ours">') == page(found).count('<span class="ours">')
    assert all(f"<th>{column}</th>" in text for column in table.columns)


def test_the_summary_of_the_docs_counts_every_claim() -> None:
    """Each study has a row, whose verdicts are as many as its claims; one network makes no ensemble."""
    text = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `advkit reproduce (\w+)[^`]*` \| ([\d |]+) \| [\d.]+ min \|$", text, re.MULTILINE))
    counted = {name: sum(map(int, cells.split("|"))) for name, cells in rows.items()}
    given = {"imagenet_crops": {"data": "folder:photographs", "model": "torchvision:vgg16"}}
    for name in list_reproductions():
        if name in counted or name not in given:
            assert counted[name] == len(declared(name, "small", **given.get(name, {})).claims), name
