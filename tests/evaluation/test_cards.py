"""Cards: every figure is made from the run, and a change of any of them is found."""

import copy
import json
import re
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from advkit import evaluate, load_data, load_model
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.core.sheet import as_latex, as_text
from advkit.data.hendrycks import KINDS
from advkit.evaluation import load_run, wilson_interval
from advkit.evaluation.cards import (
    SCHEMA,
    board,
    board_page,
    check_beside_run,
    check_card,
    make_card,
    read_card,
    to_markdown,
    to_robustbench,
)
from advkit.evaluation.cards.repeating import check_again, compared
from advkit.evaluation.cards.run_card import sealed
from advkit.evaluation.measure.corruptions import CorruptionReport
from advkit.evaluation.runs.keep import Keep


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs") / "x"
    attacks = ["fgsm(eps=0.1)", "autoattack(mode=rand, eps=8/255, steps=4)"]
    options = {"count": 30, "batch_size": 12, "checks": False, "certify": "ibp(eps=0.001)"}
    evaluate(load_model("mlp"), load_data("mnist5k"), attacks, output=home, **options)
    return home


@pytest.fixture
def card(home):
    return make_card(home)


def test_a_card_holds_what_the_run_found(home, card):
    report = load_run(home).report
    assert card["errors"]["clean"]["error"] == report.clean_error
    assert card["errors"]["found"]["error"] == report.adversarial_error
    both = card["errors"]["certified"]
    assert (both["method"], both["norm"], both["eps"]) == ("ibp", "linf", 0.001)
    assert both["error"] == report.certified_error
    assert both["found"]["error"] == report.certification.found_error
    assert both["error"] < card["errors"]["found"]["error"]  # of a larger ball: no contradiction
    assert [row["adversarial_error"] for row in card["attacks"]] == [row.adversarial_error for row in report.attacks]
    assert [batch["images"] for batch in card["batches"]] == [12, 12, 6]
    assert check_card(card) == []
    assert check_beside_run(card, load_run(home)) == []
    assert card == make_card(load_run(home))


def test_a_card_has_the_form_of_its_schema(card):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads(json.dumps(card)), SCHEMA)
    del card["errors"]["clean"]["interval"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(card, SCHEMA)


def leaves(value, path=()):
    """Every number and word of a card, with the way to it."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    elif value is not None:
        yield path, value


def test_one_changed_entry_is_found_wherever_it_is(card):
    ways = list(leaves(card))
    assert len(ways) > 60
    for path, value in ways:
        changed = copy.deepcopy(card)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = f"{value}x" if isinstance(value, str) else not value if isinstance(value, bool) else value + 1
        assert check_card(changed), path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("errors", "clean", "error"), "the clean error is not that of the batches"),
        (("errors", "found", "error"), "the error under all attacks is not that"),
        (("attacks", 0, "adversarial_error"), r"the error under fgsm\(eps=0.1\) is not that"),
        (("attacks", 1, "adversarial_error_interval", 0), "the interval of the error under autoattack"),
        (("control", "adversarial_error"), "the error under noise"),
        (("data", "evaluated"), "the batches hold 30 images"),
    ],
)
def test_who_seals_a_changed_card_anew_is_found_by_its_sums_and_beside_the_run(path, message, home, card):
    place = card
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] += 0.01 if isinstance(place[path[-1]], float) else 1
    forged = sealed({key: value for key, value in card.items() if key != "digest"})
    assert any(re.search(message, sentence) for sentence in check_card(forged))
    assert check_beside_run(forged, load_run(home)) == [f"{path[0]} is not what the run gives"]


def test_an_error_that_no_attack_can_reach_is_not_below_the_one_found_in_its_ball(card):
    certified = card["errors"]["certified"]
    for batch in card["batches"]:
        batch["broken"], batch["open"] = batch["open"] + 1, 0
    broken = sum(batch["broken"] for batch in card["batches"])
    certified["found"] = {"error": broken / 30, "interval": list(wilson_interval(broken, 30))}
    certified |= {"error": 0.0, "interval": list(wilson_interval(0, 30))}
    forged = sealed({key: value for key, value in card.items() if key != "digest"})
    assert check_card(forged) == [
        "the certified error lies below the error found in the same ball: one of the two is wrong"
    ]


def test_a_batch_attacked_again_says_the_same_and_another_model_does_not(home, card, tmp_path):
    def again(model, place):
        return evaluate(
            model,
            load_data("mnist5k"),
            [row["attack"] for row in card["attacks"]],
            control=card["control"]["attack"],
            output=tmp_path / place,
            count=30,
            batch_size=12,
            checks=False,
            keep=Keep(shard="2/3"),
        )

    model = load_model("mlp")
    assert compared(card, again(model, "same"), 1) == []
    other = load_model("mlp")
    with torch.no_grad():
        list(other.parameters())[-2].neg_()
    assert compared(card, again(other, "other"), 1)
    assert "6 images" in compared(card, again(model, "size"), 2)[0]


def test_batches_are_attacked_again_from_what_the_card_names(card):
    assert check_again(card, 2) == []
    assert "not the card's" in check_again(card, model="lenet5")[0]
    card["batches"][0]["clean"] += 3
    assert "wrong on the card" in check_again(card)[0]


def test_markdown_says_every_figure_and_cannot_be_broken_out_of(card):
    card["model"]["description"] = "a|b <script>\n# heading"
    card["checks"] = {"verdict": "doubtful", "samples": 9, "findings": {"fit": "ok", "masking": "suspect"}}
    text = to_markdown(card)
    assert "Suspect: masking." in text
    assert "| no attack exceeds within linf 0.001 (ibp) |" in text
    assert "| found by the attacks |" in text
    assert "<script>" not in text
    assert text.splitlines()[0] == r"# a\|b &lt;script&gt; # heading"
    assert all(limit[:30] in text for limit in card["limits"])


PUBLISHED = {
    "link": str,
    "name": str,
    "authors": str,
    "additional_data": bool,
    "number_forward_passes": int,
    "dataset": str,
    "venue": str,
    "architecture": str,
    "eps": str,
    "clean_acc": str,
    "reported": str,
    "autoattack_acc": str,
    "unreliable": bool,
    "footnote": str,
    "corruptions_acc": str,
}
"""Fields and types in the 236 files of model_info in RobustBench's repository (31 March 2025), without those of 3D
corruptions and of outside evaluations; null there: eps, reported, footnote."""


def test_the_fields_are_those_of_robustbenchs_published_files(card):
    kinds = dict.fromkeys(KINDS, (3,) * 5)
    damage = CorruptionReport(
        data="cifar10_c, clean x", count=10, clean_wrong=1, wrong=kinds, severities=(1, 2, 3, 4, 5)
    )
    found = to_robustbench(card, damage)
    assert found.keys() == PUBLISHED.keys()
    for name, value in found.items():
        assert value is None or type(value) is PUBLISHED[name], name
    assert found["corruptions_acc"] == "70.00"
    for other in (None, replace(damage, data="mnist5k:test"), replace(damage, wrong={"fog": (1,) * 5})):
        assert "corruptions_acc" not in to_robustbench(card, other)


def test_robustbenchs_form(card):
    found = to_robustbench(card)
    assert found["autoattack_acc"] == f"{100 * (1 - card['attacks'][1]['adversarial_error']):.2f}"
    assert found["dataset"] == "mnist5k"
    card["attacks"] = card["attacks"][1:]
    assert to_robustbench(card)["eps"] == "8/255"
    card["attacks"] = []
    assert to_robustbench(card)["autoattack_acc"] is None


def test_a_board_puts_the_least_error_first(card):
    other = copy.deepcopy(card)
    other["errors"]["found"]["error"] = 0.0
    other["errors"]["certified"] |= {"error": 0.2}
    table = board({"first": card, "<b>": other})
    assert [row[0] for row in table.rows] == ["<b>", "first"]
    assert "20.0 % in linf 0.001" in as_text([table])
    page = board_page(table)
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
    assert "script-src 'sha256-" in page
    for i, heading in enumerate(table.headings, 1):  # on a phone each cell says what it is
        assert f'td:nth-child({i})::before {{ content: "{heading}: "; }}' in page
    assert r"\toprule" in as_latex([table])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "advkit-card-2"}', '{"format": "advkit-card-1"}', "[" * 100_000]
)
def test_what_is_no_card_is_one_line(text, tmp_path):
    (tmp_path / "card.json").write_text(text)
    try:
        wrong = check_card(read_card(tmp_path / "card.json"))
    except InputError as error:
        wrong = [str(error)]
    assert len(wrong) == 1
    assert "\n" not in wrong[0]


def test_the_commands(home, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(main, [str(a) for a in arguments])

    printed = call("card", home)
    assert printed.exit_code == 0
    place = tmp_path / "card.json"
    place.write_text(printed.output)
    assert json.loads(printed.output) == make_card(home)
    for more in ([], ["--beside", home], ["--again", 1]):
        done = call("verify", place, *more)
        assert done.exit_code == 0, done.output
        assert "the card is true" in done.output
    place.write_text(printed.output.replace('"evaluated": 30', '"evaluated": 31'))
    done = call("verify", place)
    assert done.exit_code == 2
    assert "the card was changed" in done.output
    assert call("verify", home, "--again", 1).exit_code == 2
    assert call("board", home, place).exit_code == 2
    assert call("board", home, "--output", tmp_path / "b.html").exit_code == 0
    assert call("board", home, home, "--output", tmp_path / "b.tex").exit_code == 0
    latex = (tmp_path / "b.tex").read_text()
    assert latex.startswith(r"\begin{tabular}")
    assert latex.rstrip().endswith(r"\end{tabular}")
    assert all(line.count("&") == 8 for line in latex.splitlines() if line.endswith(r"\\"))
    assert call("board", home, "--output", tmp_path / "b.pdf").exit_code == 2
    assert call("card", home, "--format", "md").output.startswith("# mlp")
    assert call("card", tmp_path / "none").exit_code == 2
