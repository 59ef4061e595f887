"""Audits: each statement is made of figures of the run, and each figure says where it stands."""

import copy
import json
import re

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advkit import evaluate, load_data, load_model
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.words import percent, span
from advkit.evaluation.audit import PROFILES, audit_markdown, check_audit, make_audit
from advkit.evaluation.audit.auditing import NO_CERTIFICATE
from advkit.evaluation.audit.evidence import RULES, at
from advkit.evaluation.cards import make_card


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs") / "x"
    attacks = ["fgsm(eps=0.1)", "square(eps=0.1, queries=10)", "hopskipjump(queries=40)", "ddn(steps=3)"]
    options = {"count": 12, "certify": "ibp(eps=0.001)", "corruptions": "fog,contrast"}
    evaluate(load_model("mlp"), load_data("mnist5k"), attacks, output=home, **options)
    return home


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs") / "bare"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    x, y = torch.rand(8, 3, 4, 4), torch.randint(3, (8,))
    evaluate(model, (x, y), ["square(eps=0.1, queries=5)"], output=home, checks=False)
    return home


def statements(audit):
    yield from (s for term in audit["terms"] for s in term["statements"])
    yield from audit["not_shown"]


@pytest.mark.parametrize("name", PROFILES)
def test_every_figure_stands_in_the_run_where_the_statement_says(home, name):
    audit = make_audit(home, name)
    parts = {"card": make_card(home), "corruptions": json.loads((home / "corruptions.json").read_text())}
    for statement in statements(audit):
        for place, value in statement["figures"].items():
            assert json.loads(json.dumps(at(parts, place))) == json.loads(json.dumps(value)), place
    assert check_audit(audit, home) == []


@pytest.mark.parametrize("name", PROFILES)
def test_every_percentage_in_a_sentence_is_one_of_its_figures(home, name):
    for statement in statements(make_audit(home, name)):
        if next(iter(statement["figures"]), "").startswith("card/limits"):
            continue
        values = statement["figures"].values()
        known = {percent(v) for v in values if isinstance(v, float | int)}
        known |= {part for v in values if isinstance(v, list | tuple) for part in re.findall(r"[\d.]+ %", span(v))}
        said = re.findall(r"[\d.]+ %", statement["text"].replace("95 % interval", ""))
        assert set(said) <= known, statement
        assert bool(said) <= bool(statement["figures"])


@pytest.mark.parametrize("name", PROFILES)
def test_what_was_tried_has_figures_and_what_was_not_has_none(home, name):
    audit = make_audit(home, name)
    assert [t["id"] for t in audit["terms"]] == [t.id for t in PROFILES[name].terms]
    for term in audit["terms"]:
        assert term["statements"]
        assert all(bool(s["figures"]) == term["tried"] for s in term["statements"])
        assert all(s["text"].endswith(".") for s in term["statements"])
    assert {t.evidence for p in PROFILES.values() for t in p.terms} - {None} <= set(RULES)


def tried(home, name):
    return {term["id"] for term in make_audit(home, name)["terms"] if term["tried"]}


def test_attacks_are_told_apart_by_what_they_see(home, bare):
    nist = "nist-ai-100-2"
    assert tried(home, nist) == {
        "NISTAML.022",
        "NISTAML.022, white-box",
        "NISTAML.025",
        "NISTAML.025, score-based",
        "NISTAML.025, decision-based",
        "mitigations",
    }
    assert tried(bare, nist) == {"NISTAML.022", "NISTAML.025", "NISTAML.025, score-based"}
    assert "may find more" in make_audit(bare, nist)["not_shown"][-1]["text"]
    assert tried(home, "ai-act-15") == {
        "15(3)",
        "15(4), first subparagraph",
        "15(5), adversarial examples",
        "15(5), model flaws",
        "15(5), control",
    }
    assert tried(bare, "atlas") == {"AML.T0043.001", "AML.T0015", "AML.T0040"}


def test_a_changed_figure_is_found(home):
    audit = make_audit(home, "atlas")
    for change in ("figures", "text", "tried"):
        edited = copy.deepcopy(audit)
        term = next(t for t in edited["terms"] if t["tried"])
        if change == "tried":
            term["tried"] = False
        elif change == "text":
            term["statements"][0]["text"] += " All is well."
        else:
            place = next(iter(term["statements"][0]["figures"]))
            term["statements"][0]["figures"][place] = 0.123
        assert check_audit(edited, home)
    with pytest.raises(InputError, match="expected an audit"):
        check_audit({}, home)


@pytest.mark.parametrize("name", PROFILES)
def test_the_page_says_document_version_date_and_that_it_is_no_certificate(home, name):
    page = audit_markdown(make_audit(home, name))
    table = PROFILES[name]
    for text in (table.document, table.version, table.date, NO_CERTIFICATE, "no certificate of conformity"):
        assert text in page
    last = max(int(n) for n in re.findall(r"^(\d+)\. `", page, re.M))
    marks = {int(n) for mark in re.findall(r"\[([\d, ]+)\]", page) for n in mark.split(",")}
    assert marks == set(range(1, last + 1))


def test_names_cannot_forge_the_page(bare):
    audit = make_audit(bare, "atlas")
    audit["data"] = {**audit["data"], "name": "x|<script>\n# Certified"}
    page = audit_markdown(audit)
    assert "<script>" not in page
    assert "\n# Certified" not in page


def test_the_command(home, tmp_path):
    done = CliRunner().invoke(main, ["report", str(home), "--profile", "atlas"])
    assert done.exit_code == 0, done.output
    assert "no certificate of conformity" in done.output
    done = CliRunner().invoke(main, ["report", str(home), "--profile", "atlas", "--format", "json"])
    assert check_audit(json.loads(done.output), home) == []
    for place, profile, message in ((tmp_path, "atlas", "run"), (home, "iso", "nist-ai-100-2")):
        done = CliRunner().invoke(main, ["report", str(place), "--profile", profile])
        assert done.exit_code == 2
        assert message in done.output


@pytest.mark.parametrize(
    ("verdict", "says"), [("suspect", "fooled the model more often"), ("ok", "did not fool"), ("skipped", None)]
)
def test_the_audit_says_what_the_check_by_transfer_found(verdict, says):
    findings = {"transfer_beats_white_box": verdict}
    found = {"card": {"attacks": [], "checks": {"samples": 128, "findings": findings}}, "corruptions": None}
    told = list(RULES["transfer"](found))
    assert len(told) == (says is not None)
    for statement in told:
        assert re.search(rf"another model {says}.* on 128 images\.$", statement.text)
        assert statement.figures["card/checks/findings/transfer_beats_white_box"] == verdict
    assert list(RULES["transfer"]({"card": {"attacks": [], "checks": None}, "corruptions": None})) == []
