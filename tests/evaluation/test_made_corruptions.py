"""The published corruptions in an evaluation, made from its own images."""

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advkit import evaluate
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.data.hendrycks import KINDS, corrupt_as_published
from advkit.evaluation import load_run, made_corruption_errors, mean_corruption_error
from advkit.evaluation.measure.made_corruptions import Made, asked_for


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(0)
    x, y = (torch.rand(12, 3, 16, 16) * 255).round() / 255, torch.randint(3, (12,))
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 3)), x, y


def test_the_errors_are_those_counted_by_hand(setting):
    model, x, y = setting
    report = made_corruption_errors(model, (x, y), kinds=["fog", "frost"], severities=[2, 5], batch_size=5, seed=3)
    for kind in ("fog", "frost"):
        for n, severity in enumerate((2, 5)):
            damaged = corrupt_as_published(x, kind, severity, sample_ids=torch.arange(12), seed=3)
            assert report.wrong[kind][n] == int((model(damaged).argmax(1) != y).sum())
    assert report.clean_wrong == int((model(x).argmax(1) != y).sum())
    assert report.data.endswith("hendrycks(cifar, ice drawn)")


def test_clean_corrupted_and_adversarial_in_one_run(setting, tmp_path):
    model, x, y = setting
    report = evaluate(model, (x, y), ["fgsm(eps=0.1)"], corruptions="snow:1", output=tmp_path / "run")
    assert report.corruptions.severities == (1,)
    assert set(report.corruptions.wrong) == {"snow"}
    again = load_run(tmp_path / "run").report
    assert again.corruptions == report.corruptions
    assert "snow" in str(again)
    whole = evaluate(model, (x, y), corruptions="hendrycks(severities=2)", count=4)
    assert tuple(whole.corruptions.wrong) == KINDS
    with pytest.raises(InputError, match="imagenet_c"):
        mean_corruption_error(whole.corruptions)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("hendrycks", Made()),
        ("hendrycks(severities=3)", Made(severities=(3,))),
        (
            "hendrycks(severities='1,5', kinds='fog, snow', table=cifar)",
            Made(kinds=("fog", "snow"), severities=(1, 5), table="cifar"),
        ),
        ("fog:3", Made(kinds=("fog",), severities=(3,))),
        ("fog, snow", Made(kinds=("fog", "snow"))),
        ("fog:3,snow:3", Made(kinds=("fog", "snow"), severities=(3,))),
        ("cifar10_c", None),
        ("cifar10_c(variant=fog)", None),
    ],
)
def test_a_text_says_what_is_made(text, wanted):
    assert asked_for(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hendrycks(size=3)", "unknown option of hendrycks 'size'"),
        ("hendrycks(kinds=fogg)", "did you mean 'fog'"),
        ("hendrycks(severities=6)", "from 1 to 5"),
        ("hendrycks(table=mnist)", "unknown table"),
        ("hendrycks(frost=nowhere)", "no folder"),
        ("fog:x", "expected severities"),
        ("fog:3,snow", "one severity for all"),
        ("fog:3,snow:4", "one severity for all"),
        ("fog,snou", "did you mean 'snow'"),
        ("hendricks", "did you mean 'hendrycks'"),
    ],
)
def test_wrong_wishes_are_one_line_before_anything_runs(setting, text, message):
    model, x, y = setting
    ran = []
    watched = nn.Sequential(model)
    watched.register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(InputError, match=message) as caught:
        evaluate(watched, (x, y), ["fgsm(eps=0.1)"], corruptions=text)
    assert "\n" not in str(caught.value)
    assert not ran


def test_images_that_cannot_be_corrupted_are_one_line(setting):
    with pytest.raises(InputError, match="1 or 3"):
        evaluate(nn.Flatten(), (torch.rand(2, 2, 1, 2), torch.tensor([0, 1])), corruptions="fog:1")


def test_the_command_takes_them():
    options = ["--model", "mlp", "--count", "20", "--attacks", "none", "--corrupted", "contrast:5", "--no-checks"]
    done = CliRunner().invoke(main, ["evaluate", *options])
    assert done.exit_code == 0, done.output
    assert "contrast" in done.output
