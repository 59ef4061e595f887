"""report.html: one file without network, looked at by a browser where there is one."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest
import torch
from torch import nn

from advkit import load_data, load_model
from advkit.attacks import FGSM, Noise, smallest
from advkit.data import MemoryDataset
from advkit.evaluation import evaluate
from advkit.evaluation._curves import curve_of, envelope

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    attacks = [FGSM(eps=0.05), FGSM(eps=0.1), smallest(FGSM())]
    evaluate(load_model("mlp"), load_data("mnist5k"), attacks, control=Noise(), output=home, count=120)
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
    assert text.count("data:image/png") == 3 * len(examples)


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
    evaluate(model, data, [FGSM(eps=0.1)], output=tmp_path / "a", count=20, checks=False, images=False)
    evaluate(model, data, [], output=tmp_path / "b", count=20, checks=False)
    assert 'class="example"' not in (tmp_path / "a" / "report.html").read_text()
    assert "clean" in (tmp_path / "b" / "report.html").read_text()


def test_many_classes_are_listed_by_their_largest_confusions(tmp_path):
    x = torch.rand(40, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(32, 32))
    evaluate(net, (x, net(x).argmax(1)), [FGSM(eps=0.5)], output=tmp_path, checks=False)
    page = (tmp_path / "report.html").read_text()
    assert "<ol>" in page
    assert '<table class="confusion">' not in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_renders_it_without_errors_and_its_filters_work(home, text, tmp_path, width):
    probe = """<script>
      const pick = (id, value) => { const s = document.getElementById(id); s.value = value; s.dispatchEvent(new Event("change")); };
      const visible = () => [...document.querySelectorAll(".example")].filter((e) => e.offsetParent !== null);
      const said = { all: visible().length, wide: document.documentElement.scrollWidth, room: window.innerWidth };
      pick("by-attack", "2"); said.attack = visible().map((e) => e.dataset.attack);
      pick("by-class", "7"); said.both = visible().map((e) => e.dataset.attack + e.dataset.class);
      pick("by-attack", ""); pick("by-class", ""); pick("order", "-1");
      said.order = visible().map((e) => Number(e.dataset.distance)); said.shown = document.getElementById("shown").textContent;
      said.images = [...document.images].every((i) => i.complete && i.naturalWidth > 0);
      document.title = "SAID" + JSON.stringify(said);
    </script></body>"""  # noqa: E501
    copy = tmp_path / "copy.html"
    copy.write_text(text.replace("</body>", probe))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--window-size={width},900"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    seen = subprocess.run(
        [CHROMIUM, *flags, profile, "--virtual-time-budget=3000", "--dump-dom", f"file://{copy}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert "CONSOLE" not in seen.stderr
    said = json.loads(html.unescape(re.search(r"<title>SAID(.*?)</title>", seen.stdout)[1]))
    assert said["all"] == text.count('class="example"') == int(said["shown"])
    assert set(said["attack"]) == {"2"}
    assert set(said["both"]) == {"27"}
    assert said["order"] == sorted(said["order"], reverse=True)
    assert said["images"]
    assert said["wide"] <= said["room"]  # nothing sticks out of a phone's screen


def test_a_curve_is_the_staircase_of_the_distances():
    wrong = torch.tensor([True, True, True, True, False])
    distance = torch.tensor([0.0, 0.2, 0.1, 0.2, torch.inf], dtype=torch.float64)
    curve = curve_of("a", wrong, distance)
    assert (curve.clean, curve.eps, curve.error) == (0.2, (0.1, 0.2), (0.4, 0.8))
    assert [curve.at(eps) for eps in (0, 0.09, 0.1, 0.15, 0.2, 9)] == [0.2, 0.2, 0.4, 0.4, 0.8, 0.8]
    assert curve.median == 0.2
    assert curve_of("b", ~wrong, torch.full((5,), torch.inf)).median is None
    assert curve.to_dict()["most"] is None


def test_the_best_over_smaller_eps_never_falls():
    clean = torch.tensor([True, False, False])
    tried = [(0.2, torch.tensor([True, False, True])), (0.1, torch.tensor([True, True, False]))]
    curve = envelope("a", clean, tried)
    assert (curve.clean, curve.eps, curve.most) == (pytest.approx(1 / 3), (0.1, 0.2), 0.2)
    assert curve.error == pytest.approx((2 / 3, 1.0))
