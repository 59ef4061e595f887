"""`advkit certify`: the error from both sides."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from advkit.cli import certify as command_module
from advkit.cli import main
from advkit.data import load_data
from advkit.models import load_model


def call(*words: str):
    return CliRunner().invoke(main, ["certify", "--model", "mlp", "--count", "10", *words])


def test_the_two_sides_stand_in_order_and_add_up() -> None:
    found = json.loads(call("--eps", "0.01", "--json").stdout)
    assert 0 <= found["adversarial_error"] <= found["certified_error"] <= 1
    assert found["exact"] == (found["adversarial_error"] == found["certified_error"])
    assert found["certified_error_interval"][0] <= found["certified_error"] <= found["certified_error_interval"][1]


def test_a_larger_ball_certifies_no_more_by_intervals() -> None:
    errors = [json.loads(call("--eps", e, "--method", "ibp", "--json").stdout)["certified_error"] for e in ("0", "0.1")]
    assert errors[0] < errors[1]


def test_the_table_names_attack_and_certificate() -> None:
    said = call("--eps", "2/255").stdout
    assert "At least (PGD)" in said
    assert "At most (certificate)" in said


@pytest.mark.parametrize(
    "words",
    [
        ("--eps", "-1"),
        ("--eps", "0.1", "--norm", "l7"),
        ("--eps", "x"),
        (),
        ("--eps", "0.1", "--method", "smoothing"),
        ("--eps", "0.1", "--method", "smoothing", "--sigma", "0"),
        ("--eps", "0.1", "--method", "smoothing", "--sigma", "0.25", "--norm", "linf"),
        ("--eps", "0.1", "--sigma", "0.25"),
        ("--eps", "0.1", "--draws", "100"),
        ("--eps", "0.1", "--alpha", "0.01"),
        ("--eps", "0.1", "--time-limit", "3", "--method", "crown_ibp"),
        ("--eps", "0.1", "--time-limit", "0"),
        ("--eps", "0.1", "--method", "exact", "--nodes", "0"),
    ],
)
def test_wrong_input_is_one_line(words: tuple[str, ...]) -> None:
    answer = call(*words)
    assert answer.exit_code == 2
    assert len(answer.stderr.strip().splitlines()) == 1


def test_an_exact_figure_is_called_exact_and_what_is_undecided_is_counted() -> None:
    said = call("--eps", "0.003", "--method", "exact", "--count", "4")
    assert said.exit_code == 0
    assert "Exactly" in said.stdout
    found = json.loads(call("--eps", "0.1", "--method", "exact", "--count", "4", "--nodes", "1", "--json").stdout)
    assert found["exact"] == (found["undecided"] == 0)
    assert found["adversarial_error"] + found["undecided"] / 4 == pytest.approx(found["certified_error"])


SMOOTHING = ("--method", "smoothing", "--sigma", "0.25", "--draws", "200", "--eps", "0.2")


def test_smoothing_prints_both_sides_and_a_falling_curve() -> None:
    found = json.loads(call(*SMOOTHING, "--json").stdout)
    assert found["norm"] == "l2"
    assert found["radii"][0] == 0
    assert found["certified_accuracy"] == sorted(found["certified_accuracy"], reverse=True)
    assert 0 <= found["adversarial_error"] <= found["certified_error"] <= 1
    assert found["certified_error"] < 1
    assert json.loads(call(*SMOOTHING, "--json").stdout) == found
    said = " ".join(call(*SMOOTHING).stdout.split())
    assert "certified accuracy" in said
    assert "of the smoothed classifier" in said


@pytest.mark.parametrize(
    ("draws", "eps", "said"),
    [
        (9, "0.1", "No image can be certified from 9 draws, even if all agree: give --draws 10 or more."),
        (10, "0.1", "No image can be certified at eps 0.1: 10 draws that all agree certify a radius of 0.000744."),
        (200, "0.2", ""),
    ],
)
def test_smoothing_says_where_no_image_can_be_certified(draws: int, eps: str, said: str) -> None:
    words = ("--method", "smoothing", "--sigma", "0.25", "--count", "3", "--draws", str(draws), "--eps", eps)
    answer = " ".join(call(*words).stdout.split())
    assert said in answer
    assert ("No image can be certified" in answer) == bool(said)
    figures = json.loads(call(*words, "--json").stdout)
    assert (figures["furthest"] > float(eps)) == (not said)
    assert figures["abstained"] == 1 or draws >= figures["fewest"] == 10


def test_a_certificate_that_may_be_wrong_is_not_exact_where_both_sides_meet() -> None:
    least = (*SMOOTHING[:-1], "0")
    found = json.loads(call(*least, "--json").stdout)
    assert found["adversarial_error"] == found["certified_error"]  # both sides meet
    assert found["exact"] is False
    said = call(*least).stdout
    assert "Exactly" not in said
    assert "nothing is known" not in said


def test_lipschitz_certifies_the_least_balls() -> None:
    errors = [
        json.loads(call("--eps", e, "--norm", "l2", "--method", "lipschitz", "--json").stdout)["certified_error"]
        for e in ("0.001", "1")
    ]
    assert errors[0] < errors[1] == 1


def test_a_certified_image_that_is_fooled_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    true = command_module.certify

    def careless(*args, **options):
        found = true(*args, **options)
        object.__setattr__(found, "margin", torch.full_like(found.margin, 1.0))
        object.__setattr__(found, "certified", torch.ones_like(found.certified))
        return found

    monkeypatch.setattr(command_module, "certify", careless)
    answer = call("--eps", "0.3")
    assert answer.exit_code == 1
    assert "certified and yet fooled" in answer.stderr


def test_an_eps_beyond_the_range_is_remarked_on():
    from click.testing import CliRunner

    from advkit.cli import main

    result = CliRunner().invoke(main, ["certify", "--model", "lenet5", "--eps", "8", "--count", "2", "--method", "ibp"])
    assert result.exit_code == 0
    assert "Did you mean 8/255?" in " ".join(result.stdout.split())


@pytest.fixture
def named(tmp_path) -> list[str]:
    """Two folders of digits called by names that stand in the opposite order in the file of classes."""
    x, y = load_data("mnist5k")[:40]
    for number, name in ((7, "seven"), (1, "a_one")):
        for place in (y == number).nonzero().flatten()[:3].tolist():
            pixels = (x[place, 0] * 255).round().to(torch.uint8).numpy()
            for split in ("train", "test"):
                (tmp_path / "digits" / split / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "digits" / split / name / f"{place}.png")
    words = ["zero", "a one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    (tmp_path / "classes.txt").write_text("\n".join(words))
    return ["--data", f"folder:{tmp_path / 'digits'}", "--classes", str(tmp_path / "classes.txt")]


def test_classes_of_a_file_number_the_folders(named) -> None:
    found = json.loads(call("--eps", "0.001", "--json", *named).stdout)
    assert found["certified_error"] == 0
    other = json.loads(call("--eps", "0.001", "--json", *named[:2]).stdout)
    assert other["adversarial_error"] == 1  # a one is 0, seven is 1


def test_a_network_is_trained_on_the_classes_of_a_file(named, tmp_path) -> None:
    words = ["train", "--model", "mlp", "--epochs", "1", "--output", str(tmp_path / "run"), *named]
    ended = CliRunner().invoke(main, words)
    assert ended.exit_code == 0, ended.output
    assert load_model("mlp", weights=tmp_path / "run").card.num_classes == 10
    short = tmp_path / "short.txt"
    short.write_text("nobody\n")
    ended = CliRunner().invoke(main, [*words[:-1], str(short)])
    assert ended.exit_code == 2
    assert "is named in" in ended.stderr


@pytest.mark.parametrize("command", ["attack", "certify", "evaluate"])
def test_a_size_that_the_network_refuses_is_one_line_before_anything_runs(command, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("small.npz", x=np.zeros((3, 1, 28, 28), "f"), y=np.arange(3))
    more = {"attack": [], "certify": ["--eps", "0.1"], "evaluate": ["--attacks", "fgsm", "--output", "run"]}
    ended = CliRunner().invoke(main, [command, "--model", "lenet5", "--data", "small.npz", *more[command]])
    assert ended.exit_code == 2
    assert ended.stderr.startswith("Error: lenet5 was built for images (N, 1, 32, 32), got (1, 1, 28, 28)")
    assert [path.name for path in tmp_path.iterdir()] == ["small.npz"]
