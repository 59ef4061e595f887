"""`advkit visualize`: each command draws its picture, says what it found, and answers wrong input in one line."""

import subprocess
import sys

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from advkit.cli import main
from advkit.cli.commands.visualize import METHODS, command
from advkit.cli.visualize._scene import Part
from advkit.cli.visualize.robustness import blurred, tilted
from advkit.data import load_data
from advkit.data._class_names import imagenet_names
from advkit.insight._backward import METHODS as KNOWN


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advkit(*words):
    return CliRunner().invoke(main, ["visualize", *words])


FGSM = ("--attack", "fgsm(eps=0.1)")
GOOD = {
    "filters": ((), "silent on mnist5k test (1,000 images): none"),
    "filters --each --layer features.c3": ((), "16 filters"),
    "maps": ((*FGSM, "--count", "2", "--unit", "3"), "6 maps of 2 images"),
    "deconv": (("--images", "100", "--top", "3"), "6 units, 3 images each"),
    "deconv --layer classifier.relu6": (("--images", "50", "--top", "2", "--unit", "7"), "1 units, 2 images each"),
    "deconv --top 0": (("--count", "2"), "2 images"),
    "occlusion": ((*FGSM, "--count", "2", "--size", "12", "--stride", "10"), "4 images, 9 places"),
    "occlusion --layout slide": ((*FGSM, "--count", "1", "--size", "16", "--stride", "16"), "2 images, 4 places"),
    "deconv --layout slide": ((*FGSM, "--count", "1"), "1 images"),
    "examples": ((*FGSM, "--count", "2"), "2 images"),
    "robustness": (("--count", "3"), "original: 3 of 3 right"),
    "colocalise": (("--count", "2"), "at an overlap of half or more"),
    "stn": (("--count", "2", "--data", "distorted_mnist", *FGSM), "2 images"),
    "directions": (("--random", "1", "--count", "3", "--images", "200"), "images of one class"),
    "lipschitz": ((), "AlexNet in the paper"),
    "layers": (("--count", "10", "--layer", "features.c3"), "features.c3"),
}


@pytest.mark.parametrize("words", GOOD)
def test_each_command_draws_its_picture_and_says_what_it_shows(words, somewhere):
    more, said = GOOD[words]
    device = () if words == "colocalise" else ("--device", "cpu")
    result = advkit(*words.split(), *more, *device)
    assert result.exit_code == 0, result.output
    assert said in result.stdout
    name = f"advkit-{words.split()[0]}.png"
    assert f"Picture: {name}" in result.stdout
    with Image.open(somewhere / name) as picture:
        assert min(picture.size) > 100


def test_every_command_is_tried_here():
    assert {words.split()[0] for words in GOOD} | {"augment", "correspondence"} >= set(command.commands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("maps --layer features.c4", "unknown layer 'features.c4'; did you mean 'features.s4' or 'features.c3'"),
        ("maps --layer c3", "did you mean 'features.c3'"),
        ("maps --unit 6", "expected units as maps in 0 .. 5 of layer 'features.c1', got [6]"),
        ("filters --layer classifier.f5", "expected a convolution, got 'classifier.f5', a Linear"),
        ("filters --model mlp", "expected a network with a convolution"),
        ("deconv --unit 99", "expected units in 0 .. 15"),
        ("deconv --model mlp", "expected a network with convolutions, got one without: give --layer"),
        ("occlusion --size 40", "expected size as an integer from 1 to 32, got 40"),
        ("occlusion --attack nothing", "unknown attack 'nothing'"),
        ("examples --first 5000", "--first: expected less than the 1000 images"),
        (
            "examples --output a.xyz",
            "that exists or a name that ends in .png, .pdf, .svg, .jpg or .jpeg, got",
        ),
        ("examples --image-size 8", "--image-size and --resize are for folder:PATH"),
        ("lipschitz --model alexnet", "no Lipschitz constant is known"),
        ("layers --layer f7", "unknown layer 'f7'"),
    ],
)
def test_wrong_words_are_one_line(words, message, somewhere):
    result = advkit(*words.split())
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(somewhere.iterdir()) == []


def test_the_help_of_every_command_imports_no_torch():
    code = (
        "import sys; from click.testing import CliRunner; from advkit.cli import main\n"
        f"for name in {sorted(command.commands)!r}:\n"
        "    assert CliRunner().invoke(main, ['visualize', name, '--help']).exit_code == 0, name\n"
        "print([name for name in ('torch', 'numpy', 'matplotlib', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=3600)
    assert done.stdout.strip() == "[]"


def test_the_methods_on_the_command_line_are_those_of_the_library():
    assert METHODS == KNOWN


def photographs(folder):
    for name in ("0007", "0022", "0281"):
        (folder / name).mkdir(parents=True)
        Image.effect_noise((80, 70), 90).convert("RGB").save(folder / name / "1.png")
    return folder


def test_folders_with_imagenets_numbers_get_its_names(somewhere):
    folder = photographs(somewhere / "photographs")
    words = (
        "--model",
        "torchvision:squeezenet1_1",
        "--weights",
        "random",
        "--data",
        f"folder:{folder}",
        "--image-size",
        "64",
    )
    said = {}
    for name in ("examples", "robustness", "maps", "filters", "occlusion"):
        result = advkit(name, *words)
        assert result.exit_code == 0, result.output
        said[name] = result.stdout
    assert imagenet_names()[281][0] == "tabby"
    assert "cast: " in said["robustness"]


class Branched(nn.Module):
    """A network of torchvision's kind, whose auxiliary branch is registered last and is used in training alone."""

    def __init__(self):
        super().__init__()
        self.stem, self.late = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3)
        self.head, self.aux = nn.Linear(3, 10), nn.Conv2d(2, 10, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        y = self.head(self.late(x).relu().mean((2, 3)))
        return (y, self.aux(x).mean((2, 3))) if self.training else y


def branched():
    return Branched()


def test_the_last_maps_are_those_of_the_pass_and_an_unused_layer_is_one_short_line(somewhere):
    model = f"{__name__}:branched"
    for name in ("deconv", "occlusion", "correspondence"):
        more = ("--part", "a=1,1,9,9", "--random", "1") if name == "correspondence" else ()
        result = advkit(name, "--model", model, "--count", "2", "--device", "cpu", *more)
        assert result.exit_code == 0, result.output
    assert "late, a: distance" in result.stdout
    result = advkit("maps", "--model", model, "--layer", "aux", "--device", "cpu")
    assert result.exit_code == 2
    assert "layer 'aux' takes no part in the pass; did you mean" in result.stderr
    assert len(result.stderr) < 200


def test_a_part_of_a_data_set_holds_the_rows_that_it_was_given():
    whole = load_data("mnist5k")
    part = Part(whole, torch.tensor([7, 3, 500]))
    x, y = part[[2, 0]]
    assert torch.equal(x, whole[[500, 7]][0])
    assert torch.equal(y, whole.labels[[500, 7]])
    assert len(part) == 3


@pytest.mark.parametrize("shape", [(2, 1, 28, 28), (1, 3, 20, 33)])
def test_distortions_keep_the_size_and_what_is_even(shape):
    flat = torch.full(shape, 0.25)
    for changed in (tilted(flat, 20), blurred(flat, 1.0)):
        torch.testing.assert_close(changed, flat)
    x = torch.rand(shape)
    torch.testing.assert_close(tilted(x, 0), x)
    assert blurred(x, 2.0).std() < 0.6 * x.std()
