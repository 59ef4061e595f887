"""Every number that a caller gives to a method of a public class, and every shape or list of numbers."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from advkit import attacks, data, defenses, evaluation, insight, models, testing
from advkit.attacks import FGSM, PGD, Fooling
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.core.option_numbers import kinds_of
from advkit.evaluation import Curve, PoseTable
from advkit.testing import AffineClassifier, QuadraticClassifier
from advkit.training import Recipe, augment

NET = testing.toy_classifier((1, 4, 4), 3, dtype=torch.float32)
X = torch.linspace(0, 1, 64).reshape(4, 1, 4, 4)
Y = NET(X).argmax(1)
MAPS = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 2 * 2, 3)).eval()
CURVE = Curve(name="a", count=4, clean=0.25, eps=(0.1, 0.2), error=(0.5, 0.75), median=0.2)
POSES = PoseTable(
    data="a", attack="b", count=4, places=("centre", "random"), sizes=(0.1, 0.2), aimed=4, reached=((1, 2), (3, 4))
)
MATRIX = evaluation.transfer_matrix({"a": NET, "b": NET}, (X, Y), FGSM(eps=0.5))
RECIPE = Recipe(model="mlp", data="toy")
SMOOTHED = defenses.Smoothed(NET, 0.1)
CLASSIFIER = models.Classifier(NET)
SD = torch.rand(2, 3, 4, 4)


class Case(NamedTuple):
    """A method, good values of its numbers, and values among `NONSENSE` that are no nonsense here."""

    call: Callable[..., Any]
    numbers: dict[str, Any]
    allowed: tuple[Any, ...] = ()


def at(spec: str) -> Case:
    loss = defenses.create_defense(spec)
    return Case(lambda share: repr(loss.at(share)), {"share": 0.5})


def given(method: Callable[..., Any], *positional: Any, **fixed: Any) -> Callable[..., Any]:
    return lambda **numbers: method(*positional, **{**fixed, **numbers})


METHODS: dict[str, Case] = {
    "Attack.__call__": Case(given(FGSM(eps=0.1), NET, X, Y), {"eps": 0.2, "seed": 3, "target": 1}, (math.inf,)),
    "Attack.examples": Case(given(PGD(eps=0.1, steps=1).examples, NET, X, Y), {"seed": 3}),
    "FGSM.from_gradient": Case(given(FGSM(eps=0.1).from_gradient, X, X - 0.5), {"eps": 0.2}, (math.inf,)),
    "Dataset.batches": Case(lambda **n: list(data.as_dataset((X, Y), "test").batches(**n)), {"batch_size": 3}),
    "TrainingLoss.at": at("trades(eps=0.1)"),
    "CROWNIBP.at": at("crown_ibp(eps=0.1)"),
    "IBP.at": at("ibp(eps=0.1)"),
    "Free.at": at("free(eps=0.1)"),
    "Smoothed.certify": Case(given(SMOOTHED.certify, X, n0=5, n=20), {"n0": 5, "n": 20, "alpha": 0.05, "seed": 3}),
    "Smoothed.counts": Case(given(SMOOTHED.counts, X, n=5), {"n": 5, "first": 1, "series": 2, "seed": 3}),
    "Smoothed.predict": Case(given(SMOOTHED.predict, X, n=20), {"n": 20, "alpha": 0.05, "seed": 3}),
    "Curve.at": Case(CURVE.at, {"eps": 0.1}, (math.inf,)),
    "Curve.interval": Case(CURVE.interval, {"eps": 0.1}, (math.inf,)),
    "PoseTable.interval": Case(given(POSES.interval, place=0, size=1), {"place": 1, "size": 0}),
    "TransferMatrix.interval": Case(given(MATRIX.interval, source=0, target=1), {"source": 1, "target": 0}),
    "TransferMatrix.rate": Case(given(MATRIX.rate, source=0, target=1), {"source": 1, "target": 0}),
    "Classifier.training_loss": Case(given(CLASSIFIER.training_loss, X, Y), {"label_smoothing": 0.1}),
    "AffineClassifier.random": Case(lambda **n: AffineClassifier.random(**n).weight, {"classes": 3, "seed": 3}),
    "QuadraticClassifier.random": Case(lambda **n: QuadraticClassifier.random(**n).centre, {"seed": 3}),
    "Recipe.learning_rate": Case(given(RECIPE.learning_rate, step=1, steps=9), {"step": 2, "steps": 8}),
    "Augmentation.output_size": Case(given(augment.Mirror().output_size, height=9, width=9), {"height": 8, "width": 8}),
    "Compose.output_size": Case(
        given(augment.Compose(parts=(augment.Mirror(),)).output_size, height=9, width=9), {"height": 8, "width": 8}
    ),
    "RandomPatch.output_size": Case(
        given(augment.RandomPatch(size=4).output_size, height=9, width=9), {"height": 8, "width": 8}
    ),
    "ScaleJitter.output_size": Case(
        given(augment.ScaleJitter(low=8, high=9, size=4).output_size, height=9, width=9), {"height": 8, "width": 8}
    ),
    "Augmentation.__call__": Case(given(augment.Mirror(), X, Draws(0, torch.arange(4))), {"step": 2}),
    "PCAColour.fit": Case(given(augment.PCAColour.fit, SD), {"sd": 0.2}),
}
INTERFACES = {
    "Comparison.__getitem__": "an index, as of any sequence of Python",
    "Dataset.__getitem__": "an index, as of any sequence of Python",
    "Augment.__call__": "as Augmentation.__call__",
    **dict.fromkeys(
        ("Goal.clears", "Goal.duels", "Threat.part", "Penalties.at", "Patch.pose"), "asked by advkit alone"
    ),
    **dict.fromkeys((f"Numbers.{name}" for name in ("chance", "integer", "uniform")), "in an augmentation"),
    **dict.fromkeys(
        (f"Run.{name}" for name in ("columns", "commit", "damage", "digests", "has", "images")), "batches of a folder"
    ),
}
"""Method -> why what it is given need not be checked."""
LAST = {"step", "check_aim", "direction"}
"""Methods of an attack that the driver alone calls."""

NONSENSE: list[Any] = [math.nan, -math.inf, math.inf, -5, "abc", "", True, np.bool_(True), [1], (1, 2), 1j, {}, b"1"]
NONSENSE += [np.zeros(3), torch.zeros(2, 2), np.float32("nan"), torch.tensor(-7.5), 2.5, 10**5000, object()]


def public_methods() -> Iterator[tuple[str, Any]]:
    """The methods with a parameter that an int or a float is annotated for, by the class that defines them."""
    for line in (Path(__file__).parents[1] / "public_names.txt").read_text().splitlines():
        place, _, name = line.rpartition(".")
        found = getattr(import_module(place), name) if place and ":" not in line else None
        if not inspect.isclass(found):
            continue
        for attribute in dir(found):
            method = inspect.getattr_static(found, attribute)
            method = method.__func__ if isinstance(method, classmethod | staticmethod) else method
            if not inspect.isfunction(method) or not method.__module__.startswith("advkit"):
                continue
            if attribute.startswith("_") and attribute not in ("__call__", "__getitem__"):
                continue
            if any(kinds_of(p.annotation) & {int, float} for p in inspect.signature(method).parameters.values()):
                yield method.__qualname__, method


def test_every_method_that_takes_a_number_stands_in_the_table() -> None:
    found = {name for name, _ in public_methods() if name.partition(".")[2] not in LAST}
    assert found == METHODS.keys() | INTERFACES.keys()


def is_sense(case: Case, number: str, value: Any) -> bool:
    if any(type(value) is type(one) and value == one for one in case.allowed):
        return True
    if number in ("eps", "sd"):
        return type(value) is float and value == 2.5
    return number == "seed" and type(value) is int


def refusal(call: Callable[..., Any], number: str, value: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(**{number: value})
        except InputError as error:
            return str(error)
    pytest.fail(f"{number}={value!r:.60} was taken")


@pytest.mark.parametrize("name", METHODS)
def test_what_is_no_number_here_is_one_line_that_names_it(name: str) -> None:
    case = METHODS[name]
    for number in case.numbers:
        for bad in NONSENSE:
            if not is_sense(case, number, bad):
                said = refusal(case.call, number, bad)
                assert "\n" not in said
                assert len(said) < 300
                assert number in said, said


@pytest.mark.parametrize("name", METHODS)
def test_a_number_of_numpy_and_of_torch_is_that_number(name: str) -> None:
    case = METHODS[name]
    for number, good in case.numbers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = repr(case.call(**{number: good}))
            for form in (np.array(good), np.array([good])[0], torch.tensor(good, dtype=torch.as_tensor(good).dtype)):
                if isinstance(good, float) and form.dtype == torch.float32:
                    form = form.double()
                    form.fill_(good)
                assert repr(case.call(**{number: form})) == wanted


def test_a_radius_of_a_curve_may_be_a_fraction_of_255() -> None:
    assert CURVE.at("51/255") == CURVE.at(0.2) == 0.75  # type: ignore[arg-type]
    assert CURVE.at(0) == 0.25
    assert CURVE.at(math.inf) == 0.75


SHAPES: dict[str, Callable[[Any], Any]] = {
    "receptive_fields input_shape": lambda v: insight.receptive_fields(MAPS, v, layer="0", positions=[(0, 0)]),
    "summary input_shape": lambda v: models.summary(MAPS, v),
    "fooling_images shape": lambda v: attacks.fooling_images(NET, [1], shape=v, attack=Fooling(steps=1)).images,
    "make_images shape": lambda v: testing.make_images(["uniform"], v),
    "awkward_images shape": lambda v: testing.awkward_images(2, v),
    "toy_classifier input_shape": lambda v: testing.toy_classifier(v, 3).code,
    "check_model input_shape": lambda v: testing.check_model(
        CLASSIFIER, input_shape=v, num_classes=3, only="answers_logits"
    ),
    "AffineClassifier.random input_shape": lambda v: AffineClassifier.random(v).weight,
    "QuadraticClassifier.random input_shape": lambda v: QuadraticClassifier.random(v).centre,
    "create_model input_shape": lambda v: models.create_model("mlp", input_shape=v, width=1 / 64).card,
    "Recipe input_shape": lambda v: Recipe(model="mlp", data="toy", input_shape=v),
}
NO_SHAPE: list[Any] = ["abc", 3, math.nan, (), {}, np.zeros(3), [[1, 4, 4]], np.ones((1, 3), int), object()]
NO_SHAPE += [(bad, 4, 4) for bad in (-1, 0, 1.5, True, math.nan, "a", None, 10**30, 10**5000)]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_of_any_form_is_that_shape_and_what_is_none_is_one_line(name: str) -> None:
    call, number = SHAPES[name], name.partition(" ")[2]
    wanted = repr(call((1, 4, 4)))
    for form in ([1, 4, 4], np.array([1, 4, 4]), torch.tensor([1, 4, 4]), torch.Size([1, 4, 4]), (np.int64(1), 4, 4)):
        assert repr(call(form)) == wanted
    for bad in NO_SHAPE:
        with pytest.raises(InputError, match=f"expected .*{number}") as caught:
            call(bad)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


BOXES = [(0, 0, 2, 2), (1, 1, 3, 3), (0, 0, 2, 2), (0, 0, 2, 2)]
LISTS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "positions": (lambda v: insight.receptive_fields(MAPS, (1, 4, 4), layer="0", positions=v), [(0, 1), (1, 1)]),
    "position": (lambda v: insight.deconv(MAPS, X, layer="0", position=v), (0, 1)),
    "box": (lambda v: insight.correspondence(MAPS, X, {"eye": v}, layer="0", random=2).distances, BOXES),
    "wrong": (lambda v: testing.toy_case(wrong=v).y, (0, 2)),
    "scale": (lambda v: augment.multi_scale(NET, scales=v, size=4, crops=1).scales, [4, 5]),
    "radii": (
        lambda v: defenses.certified_accuracy(defenses.SmoothedRadii(Y, torch.ones(4).double()), Y, v),
        [0.5, 1.5],
    ),
}
WITHIN = [-1, "a", math.nan, None, 10**30]
"""What no list of these numbers has in it."""


def with_one(good: Any, bad: Any) -> Any:
    """The list with one number, in its first row, replaced."""
    first, *rest = good
    return [(bad, *first[1:]) if isinstance(first, tuple) else bad, *rest]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_numbers_of_any_form_is_that_list_and_what_is_none_is_one_line(name: str) -> None:
    call, good = LISTS[name]
    wanted = repr(call(good))
    for form in (list(good), tuple(good), np.array(good), torch.tensor(good)):
        assert repr(call(form)) == wanted
    wrong = [3, math.nan, object(), "abc", [[[1]]], *(with_one(good, bad) for bad in WITHIN)]
    wrong += [with_one(good, 1.5), with_one(good, True)] if name != "radii" else [[True, False]]
    for bad in wrong if name != "radii" else [bad for bad in wrong if bad != with_one(good, 10**30)]:
        with pytest.raises(InputError, match=name) as caught:
            call(bad)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_a_position_outside_the_maps_is_refused_though_python_would_count_from_the_end() -> None:
    for outside in ((-1, 0), (0, 2), (2, 0)):
        with pytest.raises(InputError, match="expected positions within maps of 2x2"):
            insight.receptive_fields(MAPS, (1, 4, 4), layer="0", positions=[(0, 0), outside])


def test_no_image_is_certified_beyond_a_negative_radius() -> None:
    """It counted images of radius 0, on which the smoothed classifier abstains."""
    found = defenses.SmoothedRadii(Y, torch.zeros(4).double())
    assert defenses.certified_accuracy(found, Y, [0.0]).tolist() == [0.0]
    with pytest.raises(InputError, match="radii as numbers >= 0"):
        defenses.certified_accuracy(found, Y, [-0.1])
