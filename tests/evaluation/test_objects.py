"""Results speak: the command's table to the character, the same in a notebook, drawn, saved and loaded again."""

import builtins
import dataclasses
import html
import json
import math
import re
import statistics
import xml.etree.ElementTree as ET

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from advkit import load_data, load_model
from advkit.attacks import FGSM, PGD, AdversarialPatch, create_attack, smallest
from advkit.certification import Certificate, certify
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.result import Result
from advkit.core.sheet import Table, as_html, as_latex, as_text
from advkit.core.words import number
from advkit.data import MemoryDataset
from advkit.evaluation import (
    AttackReport,
    Comparison,
    Curve,
    PoseTable,
    Report,
    Run,
    TransferMatrix,
    compare_runs,
    error_curve,
    evaluate,
    load_run,
    success_by_pose,
    transfer_matrix,
)
from advkit.figures import error_curves

COUNT = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One object of each kind."""
    place = tmp_path_factory.mktemp("objects")
    model, data = load_model("mlp"), load_data("mnist5k")
    x, y = data[:8]
    attacks = [FGSM(eps=8 / 255), smallest(FGSM())]
    for name in ("a", "b"):
        report = evaluate(model, data, attacks, count=COUNT, output=place / name, corruptions=name == "a")
    return {
        "Report": evaluate(model, data, attacks, count=COUNT, batch_size=7, control="noise(eps=8/255)"),
        "AttackReport": report.attacks[1],
        "Run": load_run(place / "a"),
        "Result": FGSM(eps=0.1)(model, x, y),
        "Curve": error_curve(model, data, smallest(FGSM()), count=COUNT),
        "TransferMatrix": transfer_matrix({"mlp": model, "other": load_model("lenet5")}, data, FGSM(eps=0.1), count=20),
        "Comparison": compare_runs(place / "a", place / "b"),
        "Certificate": certify(model, x, y, eps=1 / 255, method="ibp", radius=True),
        "PoseTable": success_by_pose(model, (x, y), AdversarialPatch(patch=torch.ones(1, 8, 8), size=0.1)),
    }


CLASSES = {
    cls.__name__: cls
    for cls in (Report, AttackReport, Run, Result, Curve, TransferMatrix, Comparison, Certificate, PoseTable)
}
kinds = pytest.mark.parametrize("kind", CLASSES)


def plot(shown, path):
    x, y = load_data("mnist5k")[:8]
    return shown.plot(x, y, path=path) if isinstance(shown, Result) else shown.plot(path=path)


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (("--attacks", "fgsm(eps=8/255)", "pgd(eps=.1, steps=3)", "deepfool"), True),
        (("--attacks", "fgsm(eps=0.0001)", "--corruptions", "--no-checks"), True),
        (("--attacks", "none"), True),
        (("--attacks", "fgsm", "--batch-size", "7", "--no-images"), False),
    ],
)
def test_print_of_the_loaded_run_is_what_the_command_printed(tmp_path, words, whole):
    home = str(tmp_path / "run")
    base = ("evaluate", "--model", "mlp", "--threads", "1", "--count", str(COUNT), "--output", home)
    result = CliRunner().invoke(main, [*base, *words])
    assert result.exit_code == 0, result.output
    run = load_run(home)
    assert result.stdout == f"{run}\n"
    assert str(run) == f"{run.report}\nRun: {home} (report.html, samples.csv, run.json)"


def test_the_loaded_report_equals_what_evaluate_returned(tmp_path):
    model, data = load_model("mlp"), load_data("mnist5k")
    attacks = ["fgsm(eps=8/255)", "deepfool"]
    options = {"count": COUNT, "batch_size": 7, "corruptions": True}
    report = evaluate(model, data, attacks, output=tmp_path / "run", **options)
    loaded = load_run(tmp_path / "run").report
    assert loaded == report
    assert hash(loaded) == hash(report)
    assert str(loaded) == str(report)
    assert loaded.attacks[0] == report.attacks[0] != report.attacks[1]
    other = evaluate(model, data, attacks, output=tmp_path / "other", **{**options, "seed": 1})
    assert other != report


@kinds
def test_what_is_saved_is_loaded_the_same(made, kind, tmp_path):
    shown, cls = made[kind], CLASSES[kind]
    path = tmp_path / "saved"
    shown.save(path)
    loaded = cls.load(path)
    assert type(loaded) is cls
    assert loaded.records() == shown.records()
    if kind == "Run":  # its last line names the folder
        assert loaded.report == shown.report
        return
    assert loaded == shown
    assert hash(loaded) == hash(shown)
    assert str(loaded) == str(shown)
    for field in dataclasses.fields(shown):
        ours, theirs = getattr(shown, field.name), getattr(loaded, field.name)
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        elif field.name != "samples" and field.name != "place":
            assert ours == theirs


@kinds
def test_a_file_that_is_something_else_is_refused_in_one_line(made, kind, tmp_path):
    cls = CLASSES[kind]
    if kind == "Run":
        with pytest.raises(InputError, match="there is no run"):
            cls.load(tmp_path / "nothing")
        return
    with pytest.raises(InputError, match="cannot read"):
        cls.load(tmp_path / "nothing")
    spoilt = (b"", b"{", b"{}", b"[]", b"\x80\x04N.", b"\0" * 64, json.dumps({"advkit": kind, "format": 1}).encode())
    wrong = json.dumps({"advkit": kind, "format": 1, "content": {"evil": 1}}).encode()
    other = made["Curve" if kind != "Curve" else "Comparison"]
    other.save(tmp_path / "other")
    for content in (*spoilt, wrong, (tmp_path / "other").read_bytes()):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(InputError, match=f"expected .* {kind}"):
            cls.load(tmp_path / "file")


@kinds
def test_a_notebook_shows_every_cell_of_the_table_and_the_picture(made, kind):
    shown = made[kind]
    page = shown._repr_html_()
    ET.fromstring(page)  # well-formed
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    for word in str(shown).split():
        if not set(word) <= {"─"}:
            assert word in text, word
    assert ("data:image/png;base64," in page) == (kind != "Result")


@kinds
@pytest.mark.parametrize(("ending", "head"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_pictures_are_written_by_their_ending(made, kind, ending, head, tmp_path):
    plot(made[kind], tmp_path / f"picture.{ending}")
    assert (tmp_path / f"picture.{ending}").read_bytes().startswith(head)


@kinds
def test_a_notebook_shows_the_figure_that_plot_returns(made, kind):
    x, y = load_data("mnist5k")[:8]
    figure = made[kind].plot(x, y) if kind == "Result" else made[kind].plot()
    assert figure._repr_png_().startswith(b"\x89PNG")


@kinds
def test_an_unknown_ending_is_one_line(made, kind, tmp_path):
    for name in ("picture.xyz", "picture"):
        with pytest.raises(InputError, match=r"end the name with \.png, \.pdf, \.svg, \.jpg or \.jpeg"):
            plot(made[kind], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@kinds
def test_a_path_that_cannot_be_written_is_one_line(made, kind, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "a.png", tmp_path):
        with pytest.raises(InputError, match=r"cannot write|expected a path"):
            made[kind].save(path)
        with pytest.raises(InputError, match="cannot write"):
            plot(made[kind], path)
    plot(made[kind], tmp_path / "new" / "folder" / "a.svg")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.svg", "file", "folder", "new"]


def test_figures_refuse_what_they_do_not_draw_in_one_line(made):
    from advkit import figures

    wrong = {
        figures.error_bars: made["Curve"],
        figures.error_curves: [made["Certificate"]],
        figures.transfer_table: made["Report"],
        figures.compared_bars: made["Run"],
        figures.certified_curve: made["Result"],
    }
    for figure, shown in wrong.items():
        with pytest.raises(InputError, match=r"expected an object of .* to draw, got [CRr]"):
            figure(shown)
    for shown in ("text", 3, None):
        with pytest.raises(InputError, match="to draw, got"):
            error_curves(shown)
    with pytest.raises(InputError, match="expected at least one curve"):
        error_curves([])
    x, y = load_data("mnist5k")[:8]
    for images in ((), (x,), (x[:3], y[:3]), ("x", "y")):
        with pytest.raises(InputError, match=r"expected plot\(x, y\) with .*got"):
            made["Result"].plot(*images)


def test_a_report_and_a_run_have_a_curve_for_each_attack(made):
    assert len(error_curves(made["Report"]).axes[0].lines) == 2
    assert len(error_curves([made["Run"], made["Curve"]]).axes[0].lines) == 3


def test_no_samples_are_said_and_tabled():
    pytest.importorskip("pandas")
    x, y = load_data("mnist5k")[:0]
    result = FGSM(eps=0.1)(load_model("mlp"), x, y)
    assert str(result) == "No samples."
    assert len(result.to_frame()) == 0
    assert repr(result) == "<Result of 0 samples, 0 fooled>"
    assert result == FGSM(eps=0.1)(load_model("mlp"), x, y) != 3


def test_what_an_attack_measures_of_its_own_is_shown_and_kept(tmp_path):
    model, data = load_model("mlp"), load_data("mnist5k")
    home = tmp_path / "run"
    attacks = ["flow(steps=3)", "fgsm(eps=8/255)"]
    report = evaluate(model, data, attacks, count=12, batch_size=5, output=home, checks=False)
    own, plain = report.attacks
    x, y = data[report.sample_ids.tolist()]
    result = create_attack(attacks[0])(model, x, y, sample_ids=report.sample_ids)
    assert torch.allclose(own.size, result.size, rtol=1e-3)  # batches of 5 and of 12: float noise
    assert plain.size is None
    assert plain.median_size is None
    fallen = own.size.where(own.reached, math.inf)[own.right]
    assert own.median_size == pytest.approx(statistics.median(fallen.tolist()))
    said = "flow(steps=3): the median of its own measure is"
    for text in (str(report), str(own), report._repr_html_(), (home / "report.html").read_text()):
        assert said in text
        assert "flow at neighbouring pixels" in text
    loaded = load_run(home).report
    assert loaded == report
    assert str(loaded) == str(report)
    assert "by the attack's own measure" in str(result)
    assert list(own.to_frame()["size"]) == own.size.tolist() if pytest.importorskip("pandas") else True
    head, *rows = (line.split(",") for line in (home / "samples.csv").read_text().replace(" ", "").splitlines())
    place = head.index("size") - len(head)
    mine, others = ([row[place] for row in rows if (row[1] == own.attack) == flag] for flag in (True, False))
    assert list(map(float, mine)) == own.size.tolist()
    assert set(others) == {""}


@kinds
def test_a_prompt_shows_one_line(made, kind):
    line = repr(made[kind])
    assert line.startswith(f"<{kind} of ")
    assert "\n" not in line
    assert "tensor(" not in line
    assert len(line) < 200


@kinds
def test_frames_have_the_records_and_without_pandas_one_line_says_so(made, kind, monkeypatch):
    pandas = pytest.importorskip("pandas")
    shown = made[kind]
    frame = shown.to_frame()
    records = shown.records()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == len(records) > 0
    assert set(frame.columns) == {key for row in records for key in row}
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install pandas"):
        shown.to_frame()


@kinds
def test_latex_has_the_rows_of_the_first_table(made, kind):
    text = made[kind].to_latex()
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert re.fullmatch(r"\\begin\{tabular\}\{[lr]+\}", body[0])
    assert body[-1] == r"\end{tabular}"
    columns = len(re.sub("[^lr]", "", body[0].removeprefix(r"\begin{tabular}")))
    rows = [line for line in body if line.endswith(r"\\")]
    assert len(rows) >= 2
    assert all(line.count(" & ") == columns - 1 for line in rows)
    assert not re.search(r"(?<!\\)%", "\n".join(body))


def test_robust_accuracy_is_the_error_mirrored_and_so_is_its_interval(made):
    for kind in ("Report", "AttackReport"):
        shown = made[kind]
        assert shown.robust_accuracy == 1 - shown.adversarial_error
        low, high = shown.robust_accuracy_interval
        assert (1 - high, 1 - low) == pytest.approx(shown.adversarial_error_interval)
        assert low <= shown.robust_accuracy <= high
    for kind in ("Run", "Result", "Certificate"):
        low, high = made[kind].robust_accuracy_interval
        assert low <= made[kind].robust_accuracy <= high
    assert made["Result"].robust_accuracy == 1 - made["Result"].success.double().mean()
    assert made["Certificate"].robust_accuracy == made["Certificate"].certified.double().mean()


def test_curves_of_objects_are_one_picture(made, tmp_path):
    curve, row = made["Curve"], made["AttackReport"]
    figure = error_curves([curve, row], path=tmp_path / "c.pdf")
    lines = figure.axes[0].lines
    assert len(lines) == 2
    assert list(lines[0].get_ydata())[:-1] == pytest.approx([100 * e for e in (curve.clean, *curve.error)])
    assert (tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")


def test_the_bars_are_the_errors_with_their_intervals(made):
    report = made["Report"]
    bars = report.plot().axes[0].patches
    errors = [report.clean_error, report.control.adversarial_error]
    errors += [*(row.adversarial_error for row in report.attacks), report.adversarial_error]
    assert [bar.get_width() for bar in bars] == pytest.approx([100 * e for e in errors])
    spans = [line.get_xdata() for line in report.plot().axes[0].lines]
    assert list(spans[0]) == pytest.approx([100 * e for e in report.clean_error_interval])


def test_names_from_outside_are_escaped_in_a_notebook_and_move_no_cursor():
    evil = "<script>alert(1)</script>\x1b[2J"
    x = torch.linspace(0.1, 0.9, 16).view(8, 1, 1, 2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    report = evaluate(net, MemoryDataset(evil, "test", ["a", "b"], x, net(x).argmax(1)), [FGSM(eps=0.5)])
    assert "<script" not in report._repr_html_()
    assert "\x1b" not in f"{report}{report._repr_html_()}{report.to_latex()}"
    assert "\n" not in as_latex([Table(("a",), [("b\nc",)])]).split(r"\midrule")[1].split(r"\\")[0].strip()


cells = st.text(max_size=12)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4), cells)
def test_any_text_in_any_cell_is_harmless_everywhere(rows, words):
    sheet = [words, Table(("first", "second"), rows, right=("second",))]
    assert as_text(sheet).replace("\n", "").isprintable()
    page = as_html(sheet, picture=words)
    ET.fromstring(page)
    assert page.count("<td") == 2 * len(rows)
    assert as_latex(sheet).count(r"\\" + "\n") == 1 + len(rows)


@given(st.integers(1, 255) | st.sampled_from([0.5, 1.5, 2.25]))
def test_an_eps_in_255ths_is_said_so_and_read_again_as_the_same_number(levels):
    text = number(levels / 255)
    top, _, bottom = text.partition("/")
    assert float(top) / float(bottom or 1) == levels / 255
    assert len(text) <= 8
    assert create_attack(PGD(eps=levels / 255).spec) == PGD(eps=levels / 255)


@given(st.floats(allow_nan=False))
def test_a_number_is_said_so_that_the_same_is_read(value):
    top, _, bottom = number(value).partition("/")
    assert float(top) / float(bottom or 1) == value


@pytest.mark.parametrize("value", [0.1, 0.2, 0.007, 0.25, 1.0, 0.3])
def test_a_number_of_few_digits_stays_as_it_was_given(value):
    assert number(value) == repr(value)


def test_progress_true_shows_a_bar_and_changes_nothing(monkeypatch, capsys):
    model, data = load_model("mlp"), load_data("mnist5k")
    monkeypatch.setenv("FORCE_COLOR", "1")
    told = evaluate(model, data, [FGSM(eps=0.1)], count=20, progress=True)
    assert "evaluate" in capsys.readouterr().err
    monkeypatch.delenv("FORCE_COLOR")
    quiet = evaluate(model, data, [FGSM(eps=0.1)], count=20, progress=True)
    printed = capsys.readouterr()
    assert printed.out + printed.err == ""
    assert told.adversarial_error == quiet.adversarial_error


def test_progress_true_shows_a_bar_in_a_notebook_that_leaves_nothing(monkeypatch):
    display = pytest.importorskip("IPython.display")
    from rich.console import Console

    from advkit.core.progress_bar import progress_bar

    seen = []
    shown = type("Shown", (), {"update": lambda self, page: seen.append(page.data)})()
    monkeypatch.setattr(Console, "is_jupyter", property(lambda self: True), raising=False)
    monkeypatch.setattr(Console, "__init__", lambda self, **options: None)
    monkeypatch.setattr(display, "display", lambda page, display_id: seen.append(page.data) or shown)

    def stopped():
        with progress_bar("a <b>") as tell:
            tell(3, 10)
            tell(4, 10)  # at once after the last: not drawn
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    first, second, last = seen
    assert first.startswith("<div>a &lt;b&gt; <progress ></progress>")
    assert 'value="3" max="10"' in second
    assert last == ""
