"""`advkit attack`: what it prints, what it writes, and one clear line for everything that a user can get wrong."""

import json
import math
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.published_sets import write_mnist
from PIL import Image

from advkit.attacks import LBFGS
from advkit.cli import main
from advkit.cli.attack import untrained

KEYS = """
model data weights count attack norm eps clean_error clean_error_interval noise_error noise_error_interval
adversarial_error adversarial_error_interval success_rate mean_confidence median_distance queries_per_sample
gradients_per_sample seconds device seed version
"""
BASE = ("attack", "--model", "lenet5", "--weights", "random", "--count", "30")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """An empty current folder, and one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVKIT_DEBUG", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def call(*words, **extra):
    return CliRunner().invoke(main, [str(word) for word in words], **extra)


def figures(*words):
    result = call(*BASE, "--json", *words)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def refused(*words):
    """The one line of stderr of a command that exits with 2."""
    result = call(*words)
    assert result.exit_code == 2, (result.exit_code, result.output)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return lines[0]


def test_json_has_exactly_the_promised_keys_and_nothing_else_is_on_stdout(somewhere):
    found = figures("--eps", "8/255", "--seed", "3")
    assert list(found) == KEYS.split()
    assert found["eps"] == pytest.approx(8 / 255)
    assert (found["model"], found["data"], found["count"], found["seed"]) == ("lenet5", "mnist5k:test", 30, 3)
    assert found["attack"].startswith("fgsm")
    assert found["clean_error"] <= found["noise_error"] <= found["adversarial_error"]
    for name in ("clean", "noise", "adversarial"):
        low, high = found[f"{name}_error_interval"]
        assert low <= found[f"{name}_error"] <= high
    assert list(somewhere.iterdir()) == []  # no picture unless it is asked for


def test_the_text_says_weights_first_then_every_figure_then_the_caveat(somewhere):
    result = call(*BASE, "--eps", "0.1")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("lenet5, 60,806 parameters")
    assert "weights: random" in lines[0]
    assert "30 images of 1,000, a fixed random choice" in lines[1]
    assert "eps 0.1 in [0, 1] = 25.5/255 = 0.3246 in the model's normalised input" in lines[2]
    for word in ("clean", "noise, same budget", "fgsm", "95 % interval", "success rate", "confidence on mistakes"):
        assert word in result.stdout
    for word in ("median distance", "queries", "gradients", "seconds", "lower bound", "sampling"):
        assert word in result.stdout
    assert "Picture: advkit-attack.png" in lines[-1]
    assert (somewhere / "advkit-attack.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("spec", ["vgg16(width=1/16)", "alexnet(width=1/16)", "mlp(width=1/16)", "stn_cnn(width=1/4)"])
def test_an_untrained_network_is_built_for_the_images_and_their_classes(spec):
    result = call("attack", "--model", spec, "--weights", "random", "--count", "4", "--no-picture")
    assert result.exit_code == 0, result.stderr
    assert "weights: random" in result.stdout


def test_an_untrained_network_takes_the_classes_of_a_folder_and_the_size_asked_for(somewhere):
    for label in ("cat", "dog", "owl"):
        (somewhere / "pets" / label).mkdir(parents=True)
        Image.new("RGB", (40, 36), (90, 120, 30)).save(somewhere / "pets" / label / "0.png")
    words = ("--weights", "random", "--data", "folder:pets", "--image-size", "32", "--no-picture")
    result = call("attack", "--model", "vgg11(width=1/16)", *words)
    assert result.exit_code == 0, result.stderr
    assert "3 images" in result.stdout
    classifier, images = untrained("vgg11(width=1/16)", "folder:pets", "cpu", 32, None, split="test")
    assert (classifier.card.input_shape, classifier.card.num_classes) == ((3, 32, 32), 3) == (images.input_shape, 3)


def test_what_the_spec_of_an_untrained_network_says_stands():
    classifier, _ = untrained("mlp(width=1/16, num_classes=12)", "mnist5k", "cpu", None, None)
    assert (classifier.card.input_shape, classifier.card.num_classes) == ((1, 32, 32), 12)
    assert "mlp was built for images" in refused("attack", "--model", "mlp(input_shape=(1, 28, 28))", *BASE[3:5])


def test_a_difference_within_the_interval_is_called_that_with_what_to_try():
    text = call(*BASE, "--eps", "0.0001", "--no-picture").stdout
    assert "within the interval" in text
    assert "No clear difference to random noise" in text
    assert "the attack pgd" in text
    assert "the attack lbfgs" in text
    assert "larger eps" in text


def test_every_option_of_an_attack_is_reachable_as_flag_and_as_spec():
    flags = figures("--attack", "pgd", "--steps", "3", "--step-size", "1/50", "--no-random-start", "--eps", ".02")
    spec = figures("--attack", "pgd(steps=3, step_size=1/50, random_start=False, eps=.02)")
    mixed = figures("--attack", "pgd(steps=40, step_size=0.02, eps=.5)", "--steps=3", "--eps=.02", "--no-random-start")
    for found in (flags, spec, mixed):
        found.pop("seconds")
        assert "steps=3" in found["attack"]
    assert flags == spec == mixed


def test_the_eps_at_which_half_fall_is_the_median_of_the_search(monkeypatch):
    asked = []
    monkeypatch.setattr("advkit.cli.attack.smallest", lambda attack: asked.append(attack) or LBFGS())
    text = call(*BASE, "--count", "10", "--no-picture").stdout
    median = figures("--attack", "lbfgs", "--count", "10")["median_distance"]
    assert f"eps at which half fall   {median:.4g} (linf, along FGSM's direction, 10 images)" in text
    assert [attack.name for attack in asked] == ["fgsm"]


def test_the_stop_rule_is_said_and_changes_what_an_attack_costs():
    words = ("--attack", "pgd", "--steps", "4", "--eps", "0.05")
    assert figures(*words)["gradients_per_sample"] < figures(*words, "--stop", "never")["gradients_per_sample"] == 4
    assert "stop 'never'" in call(*BASE, *words, "--stop", "never", "--no-picture").stdout


def test_a_minimal_attack_takes_no_eps_and_fools_all():
    found = figures("--attack", "lbfgs", "--count", "10")
    assert found["eps"] is None
    assert found["norm"] == "l2"
    assert found["adversarial_error"] == 1
    assert 0 < found["median_distance"] < math.inf


def test_l2_has_its_own_default_radius_and_target_takes_names_and_numbers():
    assert figures("--norm", "l2")["eps"] == 1.0
    assert figures("--eps", "0.2", "--target", "3")["success_rate"] == figures("--eps=.2", "--target=3")["success_rate"]
    assert figures("--attack", "pgd", "--steps", "2", "--target", "runner_up")["count"] == 30


def test_the_picture_goes_where_it_is_told(somewhere):
    (somewhere / "there").mkdir()
    assert "Picture: there/advkit-attack.png" in call(*BASE, "--output", "there").stdout
    assert call(*BASE, "--output", "mine.png", "--json").exit_code == 0
    assert {path.name for path in somewhere.rglob("*.png")} == {"advkit-attack.png", "mine.png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--attack", "fsgm"], "did you mean 'fgsm'?"),
        (["--attack", "pgd(stps=3)"], "did you mean 'steps'?"),
        (["--attack", "pgd(steps"], "cannot read the spec"),
        (["--attack", "pgd", "--steps", "many"], "--steps of attack 'pgd': expected a whole number, got 'many'"),
        (["--attack", "pgd", "--steps", "0"], "steps"),
        (["--attack", "pgd(steps='a')"], "steps"),
        (["--attack", "fgsm", "--steps", "3"], "attack 'fgsm' takes no --steps (that is an option of "),
        (["--attack", "lbfgs", "--eps", "0.1"], "takes no --eps"),
        (["--eps", "-0.1"], "got '-0.1'"),
        (["--eps", "nan"], "got 'nan'"),
        (["--eps", "inf"], "got 'inf'"),
        (["--eps", "8/0"], "got '8/0'"),
        (["--eps", "much"], "8/255"),
        (["--norm", "l7"], "l7"),
        (["--target", "10"], "expected a class from 0 to 9, got 10"),
        (["--target", "-1"], "expected a class from 0 to 9, got -1"),
        (["--target", "cat"], "cat"),
        (["--attack", "noise", "--target", "1"], "target"),
        (["--count", "0"], "expected count as an integer >= 1, got 0"),
        (["--count", "-3"], "expected count as an integer >= 1, got -3"),
        (["--batch-size", "0"], "0"),
        (["--seed", "-1"], "-1"),
        (["--data", "mnist5"], "unknown data set 'mnist5'; did you mean 'mnist5k'?"),
        (["--data", "cifar10", "--data-root", "nowhere"], "cifar10"),
        (["--split", "tset"], "tset"),
        (["--device", "toaster"], "toaster"),
        (["--model", "lenet6"], "did you mean 'lenet5'?"),
        (["--weights", "missing.safetensors"], "missing.safetensors"),
        (["--weights", "imagenet"], "imagenet"),
        (["--output", "no/such/folder/a.png"], "no folder"),
        (["--output", "a.txt"], "a name that ends in .png, .pdf, .svg, .jpg or .jpeg, got"),
        (["--stepz", "3"], "--stepz"),
        (["--stop", "later"], "never"),
        (["surplus"], "surplus"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(words, message):
    assert message in refused(*BASE, *words)


def test_an_unknown_data_set_is_named_before_its_weights_are_missed():
    assert "unknown data set 'mnst'; did you mean 'mnist'?" in refused("attack", "--model", "lenet5", "--data", "mnst")


def test_a_missing_model_is_one_line_and_exit_2():
    assert "advkit models lists them" in refused("attack")


def test_weights_that_do_not_fit_or_are_none_are_named(somewhere):
    (somewhere / "text.safetensors").write_text("these are no weights")
    torch.save({"net.weight": torch.zeros(3)}, somewhere / "other.pt")
    for name in ("text.safetensors", "other.pt"):
        assert name in refused("attack", "--model", "lenet5", "--weights", name)


def test_images_from_a_folder_and_a_folder_without_images(somewhere):
    assert "empty" in refused(*BASE, "--data", "folder:empty")
    (somewhere / "empty" / "0").mkdir(parents=True)
    assert "empty" in refused(*BASE, "--data", "folder:empty")
    for label in "01":
        (somewhere / "some" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (50, 40 + i), (80 * i, 90, 100)).save(somewhere / "some" / label / f"{i}.png")
    fitted = figures("--data", "folder:some", "--count", "4")  # colour photographs, a grey network of 32 pixels
    assert (fitted["count"], fitted["data"]) == (4, "folder:some:test")
    assert "shape" in refused("attack", "--model", "lenet5", "--data", "folder:some", "--image-size", "20")
    assert "resize" in refused(*BASE, "--data", "folder:some", "--resize", "20")
    assert "folder:PATH" in refused(*BASE, "--image-size", "20")


MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.linear, self.change = nn.Linear(1024, 10), change
    def forward(self, x):
        return self.change(self.linear(x.flatten(1)))

good = lambda: Net(lambda logits: logits)
flat = lambda: Net(lambda logits: logits[:, 0])
less = lambda: Net(lambda logits: logits[:, :5])
dead = lambda: Net(lambda logits: logits * 0)
nans = lambda: Net(lambda logits: logits * float("nan"))
text = lambda: Net(lambda logits: "cat")
number = 3
"""


@pytest.fixture
def module(somewhere, monkeypatch):
    (somewhere / "some_nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(somewhere)
    return "some_nets"


def test_a_factory_by_reference_is_attacked(module):
    result = call("attack", "--model", f"{module}:good", "--count", "30", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["model"] == f"{module}:good"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("flat", "logits"),
        ("less", "labels"),
        ("nans", "NaN"),
        ("text", "logits"),
        ("missing", "missing"),
        ("number", "number"),
    ],
)
def test_factories_that_give_no_classifier_are_one_line_and_exit_2(module, name, message):
    assert message in refused("attack", "--model", f"{module}:{name}", "--count", "30")


def test_a_module_that_is_not_there_is_one_line_and_exit_2():
    assert "no_such_module_at_all" in refused("attack", "--model", "no_such_module_at_all:net")


def test_warnings_are_one_line_on_stderr_and_said_once(module):
    result = call("attack", "--model", f"{module}:dead", "--count", "30", "--batch-size", "8", "--json")
    warned = [line for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert result.exit_code == 0
    assert len(warned) == len(set(warned)) > 0
    assert not any("AdvkitWarning" in line or ".py" in line for line in result.stderr.splitlines())
    json.loads(result.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ["attack", "--model", "mlp(width=1/16)", "--attack"],
        ["evaluate", "--model", "mlp(width=1/16)", "--no-checks", "--attacks"],
        ["curve", "--models", "mlp(width=1/16)", "lenet5(width=1/4)", "--attack"],
        ["transfer", "--models", "mlp(width=1/16)", "lenet5(width=1/4)", "--attack"],
    ],
    ids=lambda words: words[0],
)
def test_a_spec_names_a_class_as_the_option_does(words, tmp_path):
    write_mnist(tmp_path / "FashionMNIST", np.zeros((6, 28, 28), np.uint8), np.arange(6, dtype=np.uint8))
    rest = ["--weights", "random", "--data", "fashion_mnist", "--data-root", tmp_path, "--count", "6", "--json"]

    def said(target):
        done = call(*words, f"fgsm(target={target})", *rest)
        return done.stderr if done.exit_code else re.sub(r'"seconds": [^,}]*', "", done.stdout)

    assert said("'Ankle boot'") == said("9") != said("runner_up")
    assert "unknown class 'Bagg'; did you mean 'Bag'" in said("Bagg")


def test_an_attack_that_ignores_the_transform_stands_beside_the_adaptive_one():
    words = ("--attack", "pgd(eps=0.1, steps=3)", "--transform", "bit_depth(2)")
    naive, through = figures(*words, "--no-adaptive"), figures(*words)
    assert naive["attack"] == through["attack"] == "pgd(eps=0.1, steps=3)"
    assert (naive["transform"], naive["adaptive"]) == ("bit_depth(2)", False)
    assert (through["transform"], through["adaptive"]) == ("bit_depth(2)", True)
    assert naive["adaptive_error"] == through["adversarial_error"]
    assert "adaptive_error" not in through
    said = call(*BASE, *words, "--no-adaptive", "--no-picture").stdout
    assert "pgd(eps=0.1, steps=3), ignores bit_depth(2)" in said
    assert "pgd(eps=0.1, steps=3), through bit_depth(2)" in said
    assert "surrogate" not in said
    assert not {"transform", "adaptive"} & set(figures("--attack", "fgsm"))


def test_no_adaptive_without_a_transform_is_refused():
    result = call(*BASE, "--no-adaptive")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --no-adaptive needs a transform")


@pytest.mark.parametrize(("loss", "warned"), [("margin", False), ("cross_entropy", True)])
def test_a_warning_is_of_the_attack_that_was_asked_for(somewhere, monkeypatch, loss, warned):
    monkeypatch.syspath_prepend(str(somewhere))
    code = "from torch import nn\n\n\ndef net():\n    flat = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))\n"
    code += "    flat[1].weight.data *= 1e-3\n    flat[1].bias.data *= 1e-3\n    return flat\n"
    (somewhere / "flat_answers.py").write_text(code)
    words = ("--count", 40, "--no-picture", "--attack", f"pgd(eps=0.1, steps=2, loss={loss})")
    result = call("attack", "--model", "flat_answers:net", *words)
    assert result.exit_code == 0, result.output
    assert ("no further apart" in result.stderr) == warned
