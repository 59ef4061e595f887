"""report.html: one file without network, looked at by a browser where there is one."""

import base64
import csv
import hashlib
import html
import json
import re
import statistics
from collections import Counter

import pytest
import torch
from click.testing import CliRunner
from helpers.browser import CHROMIUM, looked, seen_whole
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from advkit import load_data, load_model
from advkit.attacks import FGSM, PGD, Noise, smallest
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.words import percent
from advkit.data import MemoryDataset
from advkit.evaluation import Keep, corruption_errors, evaluate, load_run, wilson_interval
from advkit.evaluation.cards import board, board_page, make_card
from advkit.evaluation.measure.median import by_bits, medians
from advkit.evaluation.measure.staircase import curve_of, drawn
from advkit.evaluation.show.in_words import sides_of, summary
from advkit.evaluation.show.page import round_values


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    attacks = [FGSM(eps=0.05), FGSM(eps=0.1), smallest(FGSM())]
    options = {"control": Noise(), "corruptions": True, "count": 120}
    evaluate(load_model("mlp"), load_data("mnist5k"), attacks, output=home, **options)
    return home


@pytest.fixture(scope="module")
def text(home):
    return (home / "report.html").read_text()


def test_the_page_is_one_file_without_network(text):
    assert "://" not in text.replace("data:image/png;base64,", "")
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert len(text) < 3_000_000


def test_the_page_says_every_figure_with_its_interval_and_what_it_does_not_prove(home, text):
    figures = json.loads((home / "run.json").read_text())["figures"]
    for row in figures["attacks"]:
        assert row["attack"] in text
        assert f"<strong>{100 * row['adversarial_error']:.1f} %</strong>" in text
        low, high = row["adversarial_error_interval"]
        assert f"{100 * low:.1f} % to {100 * high:.1f} %" in text
    for words in ("lower bound", "worst case", "trustworthy", "prefers-color-scheme: dark", "@media print", "mlp on"):
        assert words in text


def test_the_gallery_holds_images_that_fell_sorted_by_distance(text):
    examples = re.findall(r'data-attack="(\d)" data-class="(\d)" data-distance="([^"]+)"', text)
    assert {attack for attack, _, _ in examples} == {"0", "1", "2"}
    assert len({label for _, label, _ in examples}) == 10
    assert examples == sorted(examples, key=lambda e: (e[0], float(e[2])))
    assert all(float(distance) > 0 for _, _, distance in examples)
    assert text.count("data:image/png") == len(examples)


def test_names_from_outside_are_escaped(tmp_path):
    evil = ["<script>alert(1)</script>", '"><img src=x>']
    x = torch.linspace(0.1, 0.9, 16).view(8, 1, 1, 2)
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    data = MemoryDataset("<b>data</b>", "test", evil, x, net(x).argmax(1))
    evaluate(net, data, [FGSM(eps=0.9)], output=tmp_path, checks=False)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "<b>data" not in page
    assert html.escape(evil[0]) in page


def test_a_run_without_images_or_attacks_has_a_page_too(tmp_path):
    model, data = load_model("mlp"), load_data("mnist5k")
    evaluate(model, data, [FGSM(eps=0.1)], output=tmp_path / "a", count=20, checks=False, keep=Keep(images=False))
    evaluate(model, data, [], output=tmp_path / "b", count=20, checks=False)
    assert 'class="example"' not in (tmp_path / "a" / "report.html").read_text()
    assert "clean" in (tmp_path / "b" / "report.html").read_text()


def test_images_that_cannot_be_drawn_are_named(tmp_path):
    x = torch.rand(6, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    evaluate(net, (x, net(x).argmax(1)), [FGSM(eps=0.9)], output=tmp_path, checks=False)
    page = (tmp_path / "report.html").read_text()
    assert 'class="example"' not in page
    assert "one or three channels. These have the shape (2, 4, 4)" in page


def test_many_classes_are_listed_by_their_largest_confusions(tmp_path):
    x = torch.rand(40, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 32))
    evaluate(net, (x, net(x).argmax(1)), [FGSM(eps=0.5)], output=tmp_path, checks=False)
    page = (tmp_path / "report.html").read_text()
    assert "<ol>" in page
    assert '<table class="confusion">' not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_nothing_is_cut_or_pale_at_any_width_and_the_filters_work(text, tmp_path):
    said = looked(text, tmp_path)
    seen_whole(said)
    use = said["use"]
    assert use["all"] == text.count('class="example"') == int(use["shown"])
    assert set(use["attack"]) == {"2"}
    assert set(use["both"]) == {"27"}
    assert use["order"] == sorted(use["order"], reverse=True)
    assert (use["square"], use["strip"]) == (True, [96, 32])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_nothing_of_a_board_is_cut_or_pale(home, tmp_path):
    card = make_card(load_run(home))
    seen_whole(looked(board_page(board({"runs/first": card, "runs/second": card})), tmp_path))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_page_that_is_cut_is_seen(text, tmp_path):
    broken = text.replace("overflow-wrap: anywhere; }", "white-space: nowrap; }", 1).replace(
        "--soft: #59636e", "--soft: #bbb"
    )
    frame = looked(broken, tmp_path)["light-390"]
    assert frame["cut"]
    assert frame["pale"]


def test_only_the_pages_own_script_may_run(text):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert not re.search(r"\son\w+=", text)


def test_the_page_begins_in_words_and_ends_with_the_gallery(home, text):
    order = re.findall(r'<section id="(\w+)"', text)
    assert order == ["summary", "errors", "curves", "confusion", "corruptions", "checks", "repeat", "examples"]
    report = load_run(home).report
    said = dict(summary(report))
    assert all(html.escape(words) in text or words in html.unescape(text) for words in said.values())
    assert f"at least {percent(report.adversarial_error)}" in said["Found"]
    assert "120 of 1,000 images of mnist5k test" in said["Attacked"]
    assert said["Not tried"].startswith(
        "The norms l2, l1, l0 and l0_pixels; an eps above 0.1 in linf; attacks that see scores only"
    )
    assert "corruptions" not in said["Not tried"]


def test_both_sides_of_the_robust_error_stand_where_there_is_a_certificate(home, tmp_path):
    assert sides_of(load_run(home).report) is None
    assert 'id="sides"' not in (home / "report.html").read_text()
    options = {"count": 20, "certify": "ibp(eps=0.002)", "checks": False}
    report = evaluate(load_model("mlp"), load_data("mnist5k"), [FGSM(eps=0.1)], output=tmp_path, **options)
    both, sides = report.certification, sides_of(report)
    assert sides.found == (both.found_error, both.found_error_interval)
    assert sides.open == (both.certified_error, both.certified_error_interval)
    assert sides.found.error < report.adversarial_error  # FGSM looks outside of the certified ball
    page = (tmp_path / "report.html").read_text()
    assert 'id="sides"' in page
    assert "No certificate was computed" not in page


def test_a_curve_is_the_staircase_of_the_distances():
    wrong = torch.tensor([True, True, True, True, False])
    distance = torch.tensor([0.0, 0.2, 0.1, 0.2, torch.inf], dtype=torch.float64)
    curve = curve_of("a", wrong, distance)
    assert (curve.clean, curve.eps, curve.error) == (0.2, (0.1, 0.2), (0.4, 0.8))
    assert [curve.at(eps) for eps in (0, 0.09, 0.1, 0.15, 0.2, 9)] == [0.2, 0.2, 0.4, 0.4, 0.8, 0.8]
    assert curve.median == 0.2
    assert curve_of("b", ~wrong, torch.full((5,), torch.inf)).median is None
    assert curve.to_dict()["most"] is None


def test_a_staircase_for_a_picture_is_the_curve_at_its_radii_however_the_images_are_batched():
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(200, generator=generator) < 0.1
    distance = torch.rand(200, generator=generator, dtype=torch.float64)
    distance[::9] = torch.inf
    exact = curve_of("a", clean | distance.isfinite(), torch.where(clean, 0.0, distance))
    radii = [0.05, 0.3, 0.7, 1.0]
    for size in (200, 7):
        curve = drawn("a", zip(clean.split(size), distance.split(size), strict=True), radii, every=True)
        assert (curve.count, curve.clean, curve.most) == (200, exact.clean, torch.inf)
        assert curve.error == pytest.approx([exact.at(eps) for eps in radii])
        assert curve.median == 0.7  # the first radius within which half have fallen
        assert curve.at(0.5) <= exact.at(0.5)


@pytest.mark.parametrize(("count", "half"), [(1, 1), (4, 2), (5, 3), (10, 5), (11, 6)])
def test_the_median_of_a_drawn_curve_is_where_half_of_the_right_ones_have_fallen(count, half):
    distance = torch.arange(1, count + 1, dtype=torch.float64)
    wrong = torch.arange(count + 3) >= count  # three are wrong without an attack, and do not count
    parts = [(wrong, torch.cat([distance, torch.zeros(3, dtype=torch.float64)]))]
    assert drawn("a", parts, [float(eps) for eps in range(1, 12)], every=True).median == half


def test_images_that_are_all_wrong_without_an_attack_have_no_median():
    parts = [(torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.float64))]
    curve = drawn("a", parts, [0.1, 0.2], every=True)
    assert (curve.clean, curve.error, curve.median) == (1, (1, 1), None)


def test_a_budget_attack_at_several_radii_is_the_best_over_the_smaller_ones():
    clean = torch.tensor([True, False, False])
    least = torch.tensor([0.1, 0.1, 0.2], dtype=torch.float64)
    curve = drawn("a", [(clean, least)], [0.1, 0.2], every=False)
    assert (curve.clean, curve.eps, curve.most) == (pytest.approx(1 / 3), (0.1, 0.2), 0.2)
    assert curve.error == pytest.approx((2 / 3, 1.0))
    assert drawn("a", [(clean, torch.full_like(least, torch.inf))], [0.1, 0.2], every=False).median is None


number = st.floats(0, 1e300) | st.just(torch.inf)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(number, max_size=9), min_size=1, max_size=4), st.lists(number, min_size=1, max_size=3))
def test_medians_by_bits_are_those_of_the_sorted_values(batches, other):
    first = [torch.tensor(values, dtype=torch.float64) for values in batches]
    second = [torch.tensor(other, dtype=torch.float64)] * len(batches)
    whole = [value for values in batches for value in values]
    for count in (medians, by_bits):
        found = count(lambda: zip(first, second, strict=True), [len(whole), len(other) * len(batches)])
        assert found == [statistics.median(whole) if whole else None, statistics.median(other * len(batches))]


def test_corruptions_are_on_the_page_with_their_intervals_and_in_the_report(tmp_path):
    model, data = load_model("mlp"), load_data("mnist5k")
    options = {"count": 30, "checks": False, "corruptions": True, "output": tmp_path}
    seen = []
    report = evaluate(model, data, [FGSM(eps=0.1)], progress=lambda *at: seen.append(at), **options)
    damage = corruption_errors(model, data, count=30)
    assert report.corruptions == damage == load_run(tmp_path).corruptions
    assert (
        report.to_dict()["corruptions"]
        == damage.to_dict()
        == evaluate(model, data, [], **{**options, "output": None}).to_dict()["corruptions"]
    )
    assert seen == sorted(seen)
    assert seen[-1] == (30 * (1 + 2 + 1 + 1 + 7 * 5),) * 2
    page = (tmp_path / "report.html").read_text()
    assert f"Mean error over corruptions and severities: <strong>{100 * damage.mean_error:.1f} %</strong>" in page
    assert page.count('class="panel"') == 7
    for name, wrong in damage.wrong.items():
        assert name.replace("_", " ") in page
        for k in wrong:
            low, high = wilson_interval(k, 30)
            assert f'{100 * k / 30:.1f} %<br> <span class="soft">{100 * low:.1f} % to {100 * high:.1f} %</span>' in page


def test_corruptions_can_be_asked_for_later(tmp_path):
    model, data = load_model("mlp"), load_data("mnist5k")
    options = {"count": 30, "checks": False, "output": tmp_path}
    plain = evaluate(model, data, [FGSM(eps=0.1)], **options)
    assert plain.corruptions is None
    assert 'id="corruptions"' not in (tmp_path / "report.html").read_text()
    rows = (tmp_path / "samples.csv").stat().st_mtime_ns
    first = evaluate(model, data, [FGSM(eps=0.1)], corruptions=True, resume=True, **options)
    assert first.corruptions is not None
    assert 'id="corruptions"' in (tmp_path / "report.html").read_text()
    written = (tmp_path / "corruptions.json").stat().st_mtime_ns
    second = evaluate(model, data, [FGSM(eps=0.1)], corruptions=True, resume=True, **options)
    assert second.corruptions == first.corruptions  # read, not measured again
    assert (tmp_path / "corruptions.json").stat().st_mtime_ns == written
    assert (tmp_path / "samples.csv").stat().st_mtime_ns == rows
    for spoilt, why in (("{", r"cannot read .*corruptions\.json"), ("{}", "remove it"), ("[]", "remove it")):
        (tmp_path / "corruptions.json").write_text(spoilt)
        with pytest.raises(InputError, match=why):
            evaluate(model, data, [FGSM(eps=0.1)], resume=True, **options)


def test_corruptions_of_what_is_no_image_in_0_to_1_are_refused_before_any_work(tmp_path):
    net = nn.Linear(4, 2)
    x, y = torch.full((3, 4), 0.5), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match=r"expected images \(N, C, H, W\) for corruptions"):
        evaluate(net, (x, y), [], corruptions=True, output=tmp_path / "a")
    with pytest.raises(InputError, match=r"expected images in \[0, 1\] for corruptions"):
        evaluate(net, (x, y), [], corruptions=True, output=tmp_path / "a", bounds=(0, 2))
    assert not (tmp_path / "a").exists()


@given(st.floats(1e-6, 1e6))
def test_the_ticks_of_a_curve_are_round_and_reach_its_end(most):
    values = round_values(most)
    step = values[1]
    assert 5 <= len(values) <= 11
    assert float(f"{step:.0e}") == pytest.approx(step)
    assert f"{step:.0e}"[0] in "125"
    assert values[0] == 0
    assert values[-1] <= most * (1 + 1e-9) < values[-1] + step * (1 + 1e-6)


def test_every_attack_has_the_same_table_of_classes_whoever_reaches_the_last(tmp_path):
    """Neither a label nor a clean prediction is of class 3 or 4; one attack reaches 4."""
    net = nn.Linear(5, 5, bias=False)
    nn.init.eye_(net.weight)
    x = torch.full((6, 5), 0.5)
    x[torch.arange(6), torch.tensor([0, 1, 2] * 2)] = 0.9
    attacks = [FGSM(eps=0.01), PGD(eps=0.5, target=4), FGSM(eps=0.02)]
    evaluate(net, (x, net(x).argmax(1)), attacks, control=None, output=tmp_path / "run", checks=False)
    page = (tmp_path / "run" / "report.html").read_text()
    heads = re.findall(r'<table class="confusion">\s*<thead><tr><th></th>(.*?)</tr>', page)
    assert heads == ["".join(f"<th>{k}</th>" for k in range(5))] * 3


def test_the_tables_of_classes_of_the_command_and_of_python_are_one_and_count_the_samples(tmp_path):
    words = ["--attacks", "fgsm", "pgd(steps=3)", "--eps", "0.1", "--count", "20", "--no-checks", "--output"]
    done = CliRunner().invoke(main, ["evaluate", "--model", "mlp", *words, str(tmp_path / "typed")])
    assert done.exit_code == 0, done.output
    attacks = ["fgsm", "pgd(steps=3)"]
    evaluate(
        load_model("mlp"), load_data("mnist5k"), attacks, eps=0.1, count=20, checks=False, output=tmp_path / "ours"
    )
    typed, ours = (
        re.search(r'<section id="confusion">.*?</section>', (tmp_path / home / "report.html").read_text(), re.DOTALL)[0]
        for home in ("typed", "ours")
    )
    assert typed == ours
    with (tmp_path / "ours" / "samples.csv").open(newline="") as file:
        samples = [*csv.DictReader(file)]
    shown = re.findall(r"<summary>(.*?)</summary>.*?<tbody>(.*?)</tbody>", ours, re.DOTALL)
    for name, body in shown:
        counts = Counter((int(row["label"]), int(row["prediction"])) for row in samples if row["attack"] == name)
        cells = [re.findall(r"<td[^>]*>(\d*)</td>", line) for line in body.split("</tr>")[:-1]]
        assert {(a, b): int(n) for a, line in enumerate(cells) for b, n in enumerate(line) if n} == dict(counts)
    assert {name for name, _ in shown} >= {"fgsm(eps=0.1)", "pgd(eps=0.1, steps=3)"}
