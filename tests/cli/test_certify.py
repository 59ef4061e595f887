"""`advkit certify`: the error from both sides."""

import json

import pytest
import torch
from click.testing import CliRunner

from advkit.cli import certify as command_module
from advkit.cli import main


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
    ],
)
def test_wrong_input_is_one_line(words: tuple[str, ...]) -> None:
    answer = call(*words)
    assert answer.exit_code == 2
    assert len(answer.stderr.strip().splitlines()) == 1


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
