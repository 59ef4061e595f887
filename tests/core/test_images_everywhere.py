"""Whoever takes images refuses what is no batch of them, in one line that says what to give instead."""

import re
from collections.abc import Callable
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate, insight, load_model
from advkit.attacks import FGSM, PGD, DeepFool, ensemble, find_patch, find_universal
from advkit.attacks.around.average import Averaged
from advkit.certification import certify, lipschitz
from advkit.core.errors import AdvkitWarning, InputError
from advkit.defenses import Smoothed, Transformed, create_defense
from advkit.evaluation import check_evaluation, corrupt, corruption_errors, error_curve, transfer_matrix
from advkit.figures import examples
from advkit.insight import Colocaliser
from advkit.models import BlackBox, Classifier, Normalize, create_model
from advkit.testing import assert_not_masked, assert_robust
from advkit.training.augment import CropAverage

X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0])
torch.manual_seed(0)
NET = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(-3), nn.Linear(72, 3)).eval()
"""It takes a single image, too, as torch's convolutions do: its answer then has no axis of the batch."""

STRICT = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).eval()
"""On a single image it fails, with an error of torch."""

Call = Callable[[nn.Module, Any, Tensor], Any]


def trained(spec: str) -> Call:
    return lambda net, x, y: create_defense(spec)(net, x, y)


ASKING: dict[str, Call] = {
    "attack": lambda net, x, y: FGSM(eps=0.1)(net, x, y),
    "minimal attack": lambda net, x, y: DeepFool()(net, x, y),
    "examples": lambda net, x, y: PGD(eps=0.1, steps=1).examples(net, x, y),
    "certify": lambda net, x, y: certify(net, x, y, eps=0.01),
    "lipschitz": lambda net, x, y: lipschitz(net, x),
    "Smoothed.predict": lambda net, x, y: Smoothed(net, 0.25).predict(x, n=11),
    "Smoothed.certify": lambda net, x, y: Smoothed(net, 0.25).certify(x, n0=5, n=10),
    "Smoothed.counts": lambda net, x, y: Smoothed(net, 0.25).counts(x, 5),
    "activations": lambda net, x, y: insight.activations(net, x, ["0"]),
    "maps": lambda net, x, y: insight.maps(net, x, layer="0"),
    "deconv": lambda net, x, y: insight.deconv(net, x, layer="0"),
    "occlusion": lambda net, x, y: insight.occlusion(net, x, y, size=4, stride=4),
    "movement": lambda net, x, y: insight.movement(net, x, x),
    "correspondence": lambda net, x, y: insight.correspondence(net, x, {"eye": [(0, 0, 2, 2)] * 4}, layer="0"),
    "assert_robust": lambda net, x, y: assert_robust(net, x, y, FGSM(eps=0.1), max_error=1.0),
    **{
        spec: trained(f"{spec}(eps=0.1)") for spec in ("trades", "mart", "fast", "nfgsm", "noise", "ibp", "adversarial")
    },
}
"""What takes images as tensors, and asks a network about them."""

SHOWING: dict[str, Call] = {
    "Smoothed": lambda net, x, y: Smoothed(net, 0.25, samples=2)(x),
    "Transformed": lambda net, x, y: Transformed(net, "bit_depth(3)")(x),
    "Transformed at random": lambda net, x, y: Transformed(net, "resize_pad(2)")(x),
    "corrupt": lambda net, x, y: corrupt(x, "blur", 1),
    "examples of a figure": lambda net, x, y: examples(x, x, y, logits_adv=torch.zeros(4, 3)),
}
"""What takes images as tensors and is a module itself, or asks no network."""

READING: dict[str, Call] = {
    "evaluate": lambda net, x, y: evaluate(net, (x, y), FGSM(eps=0.1)),
    "find_universal": lambda net, x, y: find_universal(net, (x, y), eps=0.1, epochs=1),
    "find_patch": lambda net, x, y: find_patch(net, (x, y), epochs=1),
    "error_curve": lambda net, x, y: error_curve(net, (x, y), DeepFool()),
    "check_evaluation": lambda net, x, y: check_evaluation(net, (x, y), eps=0.1),
    "corruption_errors": lambda net, x, y: corruption_errors(net, (x, y), names=["blur"], severities=[1]),
    "transfer_matrix": lambda net, x, y: transfer_matrix({"a": net}, (x, y), FGSM(eps=0.1)),
    "assert_not_masked": lambda net, x, y: assert_not_masked(net, x, y, eps=0.1),
}
"""What takes data of any form."""

WRONG: dict[str, tuple[Any, str]] = {
    "8-bit images": ((X * 255).byte(), r"floating-point.*x\.float\(\) / 255"),
    "whole numbers": ((X * 255).long(), r"floating-point.*x\.float\(\) / 255"),
    "an array": (X.numpy(), r"torch tensor .*got ndarray; torch\.as_tensor\(x\)"),
    "a list of tensors": (list(X), r"got list; torch\.stack\(x\) joins"),
    "nothing": (None, "got NoneType"),
    "a number": (3, "got int"),
}


def one_line(error: pytest.ExceptionInfo[InputError]) -> bool:
    return "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", [*ASKING, *SHOWING])
def test_what_is_no_tensor_of_pixels_is_refused(name: str, wrong: str) -> None:
    x, message = WRONG[wrong]
    with pytest.raises(InputError, match=message) as caught:
        (ASKING | SHOWING)[name](NET, x, Y)
    assert one_line(caught)


@pytest.mark.parametrize("name", [*ASKING, *READING])
def test_a_single_image_is_told_of_the_axis_of_the_batch(name: str) -> None:
    """The maps, deconvolutions and sums of a single image were those of its channels, or an IndexError."""
    call = (ASKING | READING)[name]
    with pytest.raises(InputError, match=r"needs the axis.*x\[None\]|needs the axes|\(N, C, H, W\)") as caught:
        call(NET, X[0], Y[:1])
    assert one_line(caught)
    with pytest.raises((InputError, RuntimeError)) as failed:
        call(STRICT, X[0], Y[:1])
    said = [str(failed.value), *getattr(failed.value, "__notes__", ())]
    assert any("x[None]" in text or "(N, C, H, W)" in text for text in said), said
    assert len(said) <= 2  # the advice is given once


@pytest.mark.parametrize("name", [*ASKING, *READING])
def test_a_batch_without_images_has_a_result_without_rows_or_is_refused(name: str) -> None:
    """An occlusion of none ended in an error of torch."""
    said = "got none"
    try:
        (ASKING | READING)[name](NET, X[:0], Y[:0])
    except InputError as error:
        said = str(error)
    assert re.search("at least one|got none|got 0", said), said


@pytest.mark.parametrize("name", sorted(ASKING.keys() - {"assert_robust"}))
def test_images_of_another_type_than_the_network_are_told_which(name: str) -> None:
    if name == "correspondence":
        pytest.skip("a layer of its own may have another type")
    if name == "lipschitz":
        pytest.skip("it asks about zeros")
    with pytest.raises(InputError, match=r"torch\.float64.*parameters are torch\.float32.*give x\.to\(") as caught:
        ASKING[name](NET, X.double(), Y)
    assert one_line(caught)


MODULES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "Classifier": Classifier,
    "CropAverage": lambda net: CropAverage(net, size=8, crops=1),
    "Normalize": lambda net: Normalize(0.5, 0.5),
    "BlackBox": lambda net: BlackBox(lambda x: x.reshape(len(x), -1)[:, :3]),
    "Smoothed": lambda net: Smoothed(net, 0.25, samples=2),
    "Transformed": lambda net: Transformed(net, "bit_depth(3)"),
    "Transformed at random": lambda net: Transformed(net, "resize_pad(2)"),
    "ensemble": lambda net: Averaged([net, net]),
    "ensemble of probabilities": lambda net: Averaged([net, net], probabilities=True),
    "Colocaliser": lambda net: Colocaliser(side=8),
}
"""The modules that take images, around a network."""
THROUGH = {"Output", "Spy", "AffineClassifier", "QuadraticClassifier"}
"""What passes on the images and the errors of the model inside as they are, and networks of tests."""


def test_every_public_module_takes_part() -> None:
    names = (Path(__file__).parents[1] / "public_names.txt").read_text().split()
    found = {name.rpartition(".")[2] for name in names if name.startswith("advkit.") and is_module(name)}
    assert found == {name for name in MODULES if name[0].isupper() and " " not in name} | THROUGH


def is_module(name: str) -> bool:
    place, _, last = name.rpartition(".")
    found = getattr(import_module(place), last)
    return isinstance(found, type) and issubclass(found, nn.Module)


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", [name for name in MODULES if "ensemble" not in name])
def test_a_module_refuses_what_is_no_tensor_of_pixels(name: str, wrong: str) -> None:
    x, message = WRONG[wrong]
    with pytest.raises(InputError, match=message) as caught:
        MODULES[name](NET)(x)
    assert one_line(caught)


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("name", sorted(MODULES.keys() - {"Normalize"}))
def test_a_module_says_that_the_axis_of_the_batch_is_missing(name: str, shape: tuple[int, ...]) -> None:
    """It was an IndexError of the first layer, and a black box took each number for an image."""
    rows = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    with pytest.raises(InputError, match=r"add the batch dimension$|expected images \(N, ") as caught:
        MODULES[name](rows)(torch.zeros(shape))
    assert one_line(caught)


def test_a_network_says_which_images_it_was_asked_about() -> None:
    with pytest.raises(RuntimeError) as caught:
        Classifier(STRICT)(X[0])
    assert [note for note in caught.value.__notes__ if "x[None]" in note] == caught.value.__notes__
    for name in ("attack", "examples", "trades", "movement", "Smoothed.predict"):  # the note is not made twice
        with pytest.raises(RuntimeError) as caught:
            ASKING[name](Classifier(STRICT), X[..., :7], Y)
        assert len(set(caught.value.__notes__)) == len(caught.value.__notes__)
    with pytest.raises(InputError, match=r"^mlp was built for images \(N, 1, 28, 28\), got \(0, 3\)"):
        create_model("mlp")(torch.zeros(0, 3))


OTHERS = {"float64": X.double(), "float16": X.half(), "no values": X.to("meta"), "sparse": X.to_sparse()}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", MODULES)
def test_a_module_takes_images_of_another_type_or_place_or_says_what_to_do(name: str, other: str) -> None:
    """A tensor without values stands for one on another device."""
    module, said = MODULES[name](NET), "x.to() x.to_dense()"
    try:
        assert len(module(OTHERS[other])) == len(X)
    except InputError as error:
        said = str(error)
    assert re.search(r"x\.to\(|x\.to_dense\(\)|hold all their values", said)
    assert "\n" not in said


@pytest.mark.parametrize(
    "name", ["Classifier", "CropAverage", "Smoothed", "Transformed", "Transformed at random", "ensemble"]
)
def test_a_module_names_both_types(name: str) -> None:
    with pytest.raises(InputError, match=r"no images of torch\.float64.*parameters are torch\.float32.*give x\.to\("):
        MODULES[name](NET)(X.double())
    assert MODULES[name](deepcopy(NET).double())(X.double()).dtype == torch.float64


def test_a_member_of_an_ensemble_of_another_type_is_told_of() -> None:
    pair = [NET, deepcopy(NET).double()]
    with pytest.raises(InputError, match=r"parameters are torch\.float64.*move the model"):
        ensemble(FGSM(eps=0.1), pair)(NET, X, Y)


def test_a_network_of_ours_takes_no_whole_numbers_for_pixels() -> None:
    """It answered 8-bit images as if 255 were a pixel in [0, 1]."""
    net, x = load_model("lenet5", device="cpu"), torch.zeros(1, 1, 32, 32)
    for wrong in (x.byte(), x.long(), x.bool()):
        with pytest.raises(InputError, match=r"floating-point images in \[0, 1\], got"):
            net(wrong)
    torch.fx.symbolic_trace(net)  # with another class than Tensor


@pytest.mark.parametrize("name", ["occlusion", "correspondence"])
def test_grey_is_remarked_on_where_it_is_none(name: str) -> None:
    with pytest.warns(AdvkitWarning, match=r"0\.5 is grey .* lie in \[0, 255\]: give value="):
        ASKING[name](NET, 255 * (X - X.min()) / (X.max() - X.min()), Y)
    for value in (0.5, 0):
        insight.occlusion(NET, X if value else 255 * X, Y, size=4, stride=4, value=value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y.tolist(), r"torch\.as_tensor\(y\)"),
        (Y.float(), r"use \.long\(\)"),
        (Y[:2], r"shape \(4,\).*got \(2,\)"),
        (Y + 5, "labels out of range: saw 5 to 7"),
        (2, r"torch\.full\(\(4,\), y\)"),
    ],
)
def test_the_classes_of_an_occlusion_are_checked(y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        insight.occlusion(NET, X, y, size=4, stride=4)
    assert one_line(caught)


def test_a_movement_beyond_the_range_is_refused() -> None:
    for x, x_adv in ((X * 255, X), (X, X * 255)):
        with pytest.raises(InputError, match="out of bounds"):
            insight.movement(NET, x, x_adv)
    insight.movement(NET, X * 255, X * 255, bounds=(0, 255))
