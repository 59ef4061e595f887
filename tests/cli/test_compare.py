"""`advkit compare`: two runs image by image, against scipy's exact test."""

import json

import pytest
import torch
from click.testing import CliRunner
from scipy.stats import binomtest

from advkit import load_data, load_model
from advkit.attacks import FGSM, Noise
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.evaluation import Keep, compare_runs, evaluate


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two networks on overlapping images, and a run on other data."""
    home, data = tmp_path_factory.mktemp("runs"), load_data("mnist5k")
    attacks = [FGSM(eps=0.05), FGSM(eps=0.1)]
    options = {"control": Noise(), "checks": False, "keep": Keep(images=False)}
    evaluate(load_model("mlp"), data, attacks, output=home / "mlp", count=300, **options)
    evaluate(load_model("maxout"), data, attacks[1:], output=home / "maxout", count=200, **options)
    evaluate(load_model("mlp"), data[:30], attacks, output=home / "plain", **options)
    x, y = data[:30]
    evaluate(load_model("mlp"), (x, (y + 1) % 10), attacks, output=home / "other", **options)
    return home


def call(*words):
    return CliRunner().invoke(main, ["compare", *map(str, words)])


def test_the_test_is_scipys_on_the_images_in_common(runs):
    rows = compare_runs(runs / "mlp", runs / "maxout")
    assert [row.name for row in rows] == ["clean", "worst case", "fgsm(eps=0.1)", "noise"]
    data = load_data("mnist5k")
    first, second = (evaluate(load_model(name), data, FGSM(eps=0.1), count=200) for name in ("mlp", "maxout"))
    a, b = first.attacks[0].wrong, second.attacks[0].wrong
    assert (rows[0].first, rows[0].second) == (first.clean_error, second.clean_error)
    assert (rows[1].second, rows[3].name) == (second.adversarial_error, "noise")
    row = rows[2]
    assert row.count == 200
    assert (row.first, row.second) == (a.double().mean().item(), b.double().mean().item())
    assert (row.first_only, row.second_only) == (int((a & ~b).sum()), int((b & ~a).sum()))
    assert row.p == pytest.approx(binomtest(row.first_only, row.first_only + row.second_only).pvalue)
    assert row.first_interval[0] < row.first < row.first_interval[1]


def test_the_order_turns_the_rows_round(runs):
    one, other = compare_runs(runs / "mlp", runs / "maxout"), compare_runs(runs / "maxout", runs / "mlp")
    for a, b in zip(one, other, strict=True):
        assert (a.first, a.second, a.first_only, a.second_only) == (b.second, b.first, b.second_only, b.first_only)
        assert a.p == b.p


def test_a_run_does_not_differ_from_itself(runs):
    for row in compare_runs(runs / "mlp", runs / "mlp"):
        assert (row.first_only, row.second_only, row.p) == (0, 0, 1.0)


def test_the_command_prints_the_table_with_what_it_does_not_prove(runs):
    result = call(runs / "mlp", runs / "maxout")
    assert result.exit_code == 0, result.stderr
    for word in ("200 images in both", "clean", "worst case", "fgsm(eps=0.1)", "first only", "lower bound", "McNemar"):
        assert word in result.stdout
    assert "no clear difference" in result.stdout


def test_json_is_one_object(runs):
    found = json.loads(call(runs / "mlp", runs / "maxout", "--json").stdout)
    assert found["rows"] == json.loads(json.dumps([r.to_dict() for r in compare_runs(runs / "mlp", runs / "maxout")]))


def test_what_cannot_be_compared_is_refused_in_one_line(runs):
    for first, second, why in (
        ("mlp", "nowhere", "there is no run in"),
        ("mlp", "plain", "same data"),
        ("plain", "other", "labels differ"),
    ):
        result = call(runs / first, runs / second)
        assert result.exit_code == 2
        assert why in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert torch.get_num_threads() >= 1


def test_runs_without_a_common_image_are_refused(runs, tmp_path):
    class Late(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return load_data("mnist5k")[i]

    evaluate(load_model("mlp"), Late(), [], output=tmp_path / "late", checks=False, count=3)
    evaluate(load_model("mlp"), load_data("mnist5k")[:500], [], output=tmp_path / "early", checks=False, count=1)
    ids = evaluate(load_model("mlp"), load_data("mnist5k")[:500], [], count=1).sample_ids
    assert ids.item() > 2
    with pytest.raises(InputError, match="no image in common"):
        compare_runs(tmp_path / "late", tmp_path / "early")
