"""`advkit curve`: staircases that never fall, against the distances they come from."""

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from advkit import load_data, load_model
from advkit.attacks import FGSM, PGD, smallest
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.evaluation import error_curve, nice_radii

BASE = ("curve", "--models", "mlp", "--threads", "1", "--count", "20")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_curve_is_the_distribution_of_the_smallest_distances():
    model, data = load_model("mlp"), load_data("mnist5k")
    curve = error_curve(model, data, smallest(FGSM()), count=60)
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:60].sort().values
    x, y = data[ids]
    result = smallest(FGSM())(model, x, y, sample_ids=ids)
    for eps in (0, 0.01, 0.05, 0.1, 0.3, 1.0):
        assert curve.at(eps) == pytest.approx((result.distance <= eps).double().mean().item(), abs=0.02)
    right = result.distance > 0
    assert curve.median == pytest.approx(result.distance[right].median().item(), rel=0.1)
    assert list(curve.error) == sorted(curve.error)
    assert list(curve.eps) == sorted(curve.eps)
    low, high = curve.interval(0.1)
    assert low < curve.at(0.1) < high


def test_at_an_eps_the_curve_is_no_lower_than_the_attack_alone():
    model, data = load_model("mlp"), load_data("mnist5k")
    curve = error_curve(model, data, smallest(PGD(steps=5, random_start=False)), count=60)
    ids = torch.randperm(1000, generator=torch.Generator().manual_seed(0))[:60].sort().values
    x, y = data[ids]
    for eps in (0.03, 0.1):
        alone = PGD(eps=eps, steps=5, random_start=False)(model, x, y).success
        assert curve.at(eps) >= alone.double().mean().item() - 0.035  # the search may miss a lucky eps or two


def test_a_budget_attack_is_refused_by_the_library_with_what_to_do():
    with pytest.raises(InputError, match=r"smallest\(...\)"):
        error_curve(load_model("mlp"), load_data("mnist5k"), FGSM(eps=0.1))


def test_the_command_prints_draws_and_says_lower_bound(somewhere):
    result = call("curve", "--models", "mlp", "maxout", "--threads", "1", "--count", "30")
    assert result.exit_code == 0, result.stderr
    for words in ("mlp", "maxout", "median", "lower bound", "30 images", "95 %", "advkit-curve.png"):
        assert words in result.stdout
    with Image.open(somewhere / "advkit-curve.png") as picture:
        assert picture.size[0] > 800


def test_json_is_one_object_with_the_whole_staircase(somewhere):
    result = call(*BASE, "--attack", "lbfgs", "--count", "3", "--json", "--output", "c.png")
    found = json.loads(result.stdout)
    (curve,) = found["curves"]
    assert found["attack"] == "lbfgs"
    assert found["norm"] == "l2"
    assert len(curve["eps"]) == len(curve["error"]) <= 3
    for row in curve["at"]:
        assert row["interval"][0] <= row["error"] <= row["interval"][1]
    assert (somewhere / "c.png").exists()


def test_wrong_input_is_one_line(somewhere):
    for words, said in (
        (("curve",), "give --models NAME"),
        ((*BASE, "--attack", "pgdd"), "did you mean 'pgd'"),
        (("curve", "--models", "mlp", "mlp"), "every model once"),
        ((*BASE, "--output", "nowhere/c.png"), "there is no folder 'nowhere'"),
        ((*BASE, "--output", "c.txt"), "ends in .png"),
    ):
        result = call(*words)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_the_radii_of_the_table_are_round_and_few():
    model, data = load_model("mlp"), load_data("mnist5k")
    radii = nice_radii([error_curve(model, data, smallest(FGSM()), count=30)])
    assert 3 <= len(radii) <= 8
    assert all(f"{eps:.0e}"[0] in "125" for eps in radii)
    assert nice_radii([]) == []
