"""The pytest plugin: fixtures, the marker, the summary, and that it costs nothing where it is not used."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

INSIDE = ("-p", "advkit.testing", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly")

MODELS = """
import pytest, torch
from advkit.testing import AffineClassifier, assert_robust

MODEL = AffineClassifier.random((1, 4, 4), 2)
X = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = MODEL(X).argmax(1).detach()
"""


def run(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(MODELS + body)
    return pytester.runpytest_inprocess(*INSIDE, *options)


def test_the_marker_has_three_outcomes_and_each_is_a_line_of_the_summary(pytester: pytest.Pytester) -> None:
    body = """
def marked(**options):
    return pytest.mark.robustness(attack="fgsm", **options)

@marked(eps=0.0, max_error=0.1)
def test_passes():
    return MODEL, X, Y

@marked(eps=1.0, max_error=0.1)
def test_fails():
    return MODEL, (X, Y)

@marked(eps=0.0, max_error=0.01, count=50)
def test_too_few_images():
    return MODEL, (X, Y)

@marked(eps=0.0, max_error=0.01, count=50, inconclusive="skip")
def test_too_few_images_may_be_skipped():
    return MODEL, (X, Y)
"""
    result = run(pytester, body)
    result.assert_outcomes(passed=1, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*NotRobustError: adversarial error 100.0%*under fgsm, linf eps 1 on 200 images*limit 10.0%",
            "*InconclusiveError: *inconclusive, about * images would decide at this rate*",
            "*errors, clean and adversarial*",
            "*::test_fails * clean * 0.0% *adversarial 100.0% (98.1% to 100.0%)*limit 10.0%*fails*linf 1, 200 images]",
            "*::test_passes * 0.0% (0.0% to 1.9%)*passes*",
            "*::test_too_few_images * inconclusive*50 images]",
            "*::test_too_few_images_may_be_skipped * inconclusive*",
            "*lower bounds*",
        ]
    )
    assert "robust.py:" not in result.stdout.str()  # the traceback ends in the test


def test_the_marker_works_with_fixtures_parameters_and_classes(pytester: pytest.Pytester) -> None:
    body = """
@pytest.fixture
def model():
    return MODEL

@pytest.mark.parametrize("eps", [0.0, 0.001])
@pytest.mark.robustness(eps=0.0, max_error=0.1, data=(X, Y))
def test_parameters(model, eps):
    return model

class TestClass:
    @pytest.mark.robustness(eps=1.0, max_error=0.1, data=(X, Y), attack="fgsm")
    @pytest.mark.xfail(strict=True, raises=AssertionError)
    def test_method(self, model):
        return model
"""
    run(pytester, body).assert_outcomes(passed=2, xfailed=1)


def test_the_marker_says_what_is_wrong(pytester: pytest.Pytester) -> None:
    body = """
@pytest.mark.robustness(eps=0.1, max_error=0.1)
def test_no_data():
    return MODEL

@pytest.mark.robustness(eps=0.1, max_error=0.1)
def test_no_model():
    pass

@pytest.mark.robustness(0.1)
def test_positional():
    return MODEL, X, Y

@pytest.mark.robustness(eps=0.1, max_eror=0.1)
def test_no_limit():
    return MODEL, X, Y

@pytest.mark.robustness(eps=0.1, max_error=0.1, step=3)
def test_unknown_option():
    return MODEL, X, Y
"""
    result = run(pytester, body)
    result.assert_outcomes(failed=5)
    result.stdout.fnmatch_lines(
        [
            "*InputError: expected images to attack the classifier on: give the marker data=*",
            "*InputError: expected the test to return a classifier*got NoneType",
            "*InputError: expected the marker as robustness(max_error=..., ...)*",
            "*InputError: expected the marker as robustness(max_error=..., ...)*",
            "*UnknownNameError: unknown option of the marker robustness 'step'*",
        ]
    )


def test_a_shipped_classifier_brings_its_data(pytester: pytest.Pytester) -> None:
    body = """
from advkit import load_model

@pytest.mark.robustness(eps=0.0, max_error=0.2, attack="fgsm")
def test_mlp():
    return load_model("mlp", device="cpu")
"""
    result = run(pytester, body)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_mlp*[[]fgsm, linf 0, 100 images]"])


def test_the_fixtures_are_there_and_digits_are_a_copy_for_each_test(pytester: pytest.Pytester) -> None:
    body = """
@pytest.mark.parametrize("turn", [1, 2])
def test_digits(digits, turn):
    x, y = digits
    assert x.shape == (100, 1, 32, 32) and y.shape == (100,) and float(x.max()) == 1.0
    x.fill_(5)

def test_toy(toy_classifier):
    assert toy_classifier(torch.rand(5, 3, 8, 8)).shape == (5, 4)
    assert not toy_classifier.training

def test_affine(affine_classifier):
    x = torch.rand(5, 3, 8, 8)
    y = affine_classifier(x).argmax(1)
    assert bool((affine_classifier.nearest(x, y, "linf")[0] > 0).all())
"""
    run(pytester, body).assert_outcomes(passed=4)


def test_only_the_last_measurements_of_a_test_are_listed(pytester: pytest.Pytester) -> None:
    body = """
def test_many():
    for i in range(30):
        assert_robust(MODEL, X[: i + 1], Y[: i + 1], attack="fgsm", eps=0.0, max_error=1.0)
"""
    result = run(pytester, body)
    lines = [line for line in result.stdout.lines if "::test_many" in line]
    assert len(lines) == 8
    assert "30 images" in lines[-1]


FIGURES = """
from advkit.testing._record import note

def test_figures():
    note(dict(attack="fgsm", norm="linf", eps=0.1, count=7, clean_error=0.0, adversarial_error=0.5, max_error=0.6,
              low=0.4, high=0.55, verdict="passes"))
"""


def test_the_figures_of_other_processes_reach_the_summary(tmp_path: Path) -> None:
    done = plain(tmp_path, FIGURES, "-p", "advkit.testing", "-n", "1")
    assert "1 passed" in done
    assert "[fgsm, linf 0.1, 7 images]" in done


def plain(folder: Path, body: str, *options: str) -> str:
    """The output of plain pytest on one test file, in a process of its own; it must pass."""
    (folder / "test_it.py").write_text(body)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options, "test_it.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LIGHT = """
import sys

def test_nothing_heavy_was_imported():
    assert not {"torch", "numpy", "hypothesis", "matplotlib", "torchvision"} & sys.modules.keys()
    assert "advkit.testing._plugin" in sys.modules
"""


@pytest.mark.parametrize("options", [(), ("-p", "advkit.testing")], ids=["entry point", "-p"])
def test_a_project_that_does_not_use_it_pays_nothing(tmp_path: Path, options: tuple[str, ...]) -> None:
    out = plain(tmp_path, LIGHT, "-p", "no:hypothesispytest", *options)
    assert "1 passed" in out
    assert "adversarial" not in out


def test_the_marker_and_the_fixtures_are_announced(pytester: pytest.Pytester) -> None:
    pytester.runpytest_inprocess(*INSIDE, "--markers").stdout.fnmatch_lines(["@pytest.mark.robustness(?, max_error*"])
    listed = pytester.runpytest_inprocess(*INSIDE, "--fixtures").stdout.str()
    assert all(f"\n{name}" in listed for name in ("toy_classifier", "digits", "affine_classifier"))
