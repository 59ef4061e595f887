"""A call of every public function and class that takes a number, with good numbers, and what is none anywhere."""

import importlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from advkit import (
    attacks,
    certification,
    data,
    defenses,
    evaluation,
    figures,
    goals,
    insight,
    models,
    testing,
    training,
)
from advkit.attacks import FGSM, PGD, AdversarialPatch, Attack, Fooling
from advkit.core.draws import Draws
from advkit.core.option_numbers import kinds_of
from advkit.defenses import AdversarialLoss, Smoothed, TrainingLoss
from advkit.reproduction import reproduce
from advkit.testing import AffineClassifier, QuadraticClassifier
from advkit.testing._record import collecting
from advkit.training import Recipe, augment

NAMES = Path(__file__).parents[1].joinpath("public_names.txt").read_text().splitlines()
MODULES = dict.fromkeys(name.rpartition(".")[0] for name in NAMES if name.count(".") > 1)

NET = testing.toy_classifier((1, 4, 4), 3, dtype=torch.float32)
X = torch.linspace(0, 1, 64).reshape(4, 1, 4, 4)
Y = NET(X).argmax(1)
MANY = X.repeat(4, 1, 1, 1), Y.repeat(4)
MAPS = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 2 * 2, 3)).eval()
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
RECIPE = Recipe(model="mlp", data="toy", input_shape=(1, 4, 4), num_classes=3, width=1 / 64, epochs=1, batch_size=4)
SMALL: dict[str, Any] = {"input_shape": (1, 4, 4), "width": 1 / 64}
BOXES = {"part": [(0, 0, 2, 2)] * 4}
BLACK_BOX = {"ask": lambda images: images.reshape(len(images), -1)[:, :3]}
LOCAL: dict[str, Any] = {}


class Case(NamedTuple):
    """A call and the numbers that it takes.

    Attributes:
        call: the call; it is given one of the numbers, and has good ones for the others.
        numbers: a good value of each number.
        allowed: values among `NONSENSE` that are no nonsense here.
        said: the name under which a message speaks of a number, where it is another.
        taken: whether the call is cheap enough to be made with good numbers.
        most: number of forms of good numbers that are tried.
    """

    call: Callable[..., Any]
    numbers: dict[str, Any]
    allowed: tuple[Any, ...] = ()
    said: str = ""
    taken: bool = True
    most: int = 3


class Box:
    """What has no number."""

    def __repr__(self) -> str:
        return "Box()\n" * 200


NONSENSE: list[Any] = [math.nan, -math.inf, math.inf, -5, "abc", "", True, np.bool_(True), [1], (1, 2), 1j, {}, b"1"]
NONSENSE += [np.zeros(3), torch.zeros(2, 2), np.float32("nan"), torch.tensor(-7.5), 2.5, Box(), 10**5000, None]


def given(function: Callable[..., Any], *positional: Any, **fixed: Any) -> Callable[..., Any]:
    return lambda **numbers: function(*positional, **{**fixed, **numbers})


def patched(**numbers: Any) -> Any:
    return attacks.find_patch(NET, (X, Y), **{"epochs": 1, "size": 0.1, **numbers})


def universal(**numbers: Any) -> Any:
    return attacks.find_universal(NET, (X, Y), **{"eps": 0.1, "epochs": 1, **numbers})


def trained(**numbers: Any) -> Any:
    run = training.train(training.build(RECIPE), (X, Y), recipe=RECIPE, test=data.as_dataset((X, Y), "test"), **numbers)
    return run.classifier


def optimizer(**numbers: Any) -> Any:
    return training.LectureSGD(LINEAR.parameters(), **{"lr": 0.1, **numbers}).defaults


def initialised(**numbers: Any) -> Any:
    net = nn.Sequential(nn.Linear(3, 2))
    defenses.interval_init(net, **numbers)
    return net


def robust(**numbers: Any) -> Any:
    with collecting():  # no line in the report of this run
        return testing.assert_robust(NET, X, Y, attack="fgsm", **{"eps": 0.1, "max_error": 1.0, **numbers})


def registered(**numbers: Any) -> None:
    decorate = models.register_model("a network", paper="-", **{"year": 2000, "parameters": None, **numbers})
    assert callable(decorate)


def in_threat(eps: Any) -> None:
    testing.assert_in_threat(X, X, testing.Threat("linf", eps))


def filters(**numbers: Any) -> Any:
    figures.filters_sheet(insight.filters(MAPS, "0"), **numbers)


def maps(**numbers: Any) -> Any:
    figures.maps_sheet(X[:1], torch.rand(1, 3, 2, 2), layer="0", labels=["one"], **numbers)


def image_files(**numbers: Any) -> Any:
    return data.ImageFiles("files", "test", ("a", "b"), [], [], **{"size": 4, **numbers})


def folder(**numbers: Any) -> Any:
    home = Path(LOCAL["folder"])
    return len(data.FolderDataset(path=home, **{"size": 4, **numbers}))


def colocaliser(**numbers: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return insight.Colocaliser(**numbers)


SEED: dict[str, Any] = {"seed": 3}
PASSES: dict[str, Any] = {"batch_size": 3, "count": 4}
CASES: dict[str, Case] = {
    "attacks.admix": Case(given(attacks.admix, PGD(eps=0.1)), {"share": 0.2}, said="admix"),
    "attacks.di": Case(given(attacks.di, PGD(eps=0.1)), {"probability": 0.5}, said="di"),
    "attacks.eot": Case(given(attacks.eot, PGD(eps=0.1)), {"samples": 2}),
    "attacks.find_patch": Case(patched, {"epochs": 1, **PASSES, **SEED, "target": 1}),
    "attacks.find_universal": Case(universal, {"eps": 0.1, "epochs": 1, **PASSES, "step_size": 0.05, "target": 1}),
    "attacks.fooling_images": Case(
        given(attacks.fooling_images, NET, [1], shape=(1, 4, 4), attack=Fooling(steps=1)), SEED
    ),
    "attacks.limited": Case(given(attacks.limited, PGD(eps=0.1)), {"queries": 20}),
    "attacks.ni": Case(given(attacks.ni, PGD(eps=0.1)), {"decay": 1.0}, said="ni"),
    "attacks.restarts": Case(given(attacks.restarts, PGD(eps=0.1)), {"number": 2}, said="restarts"),
    "attacks.si": Case(given(attacks.si, PGD(eps=0.1)), {"copies": 2}, said="si"),
    "attacks.smallest": Case(given(attacks.smallest, PGD(eps=0.1)), {"first": 0.01, "halvings": 3}),
    "attacks.targets": Case(given(attacks.targets, PGD(eps=0.1)), {"number": 2}, said="targets"),
    "attacks.ti": Case(given(attacks.ti, PGD(eps=0.1)), {"size": 3}, said="ti"),
    "attacks.vmi": Case(given(attacks.vmi, PGD(eps=0.1)), {"neighbours": 2}, said="vmi"),
    "attacks.Attack.__call__": Case(
        given(FGSM(eps=0.1), NET, X, Y), {"eps": 0.2, "seed": 3, "target": 1}, allowed=(math.inf,)
    ),
    "certification.certify": Case(given(certification.certify, LINEAR, X, Y), {"eps": 0.01}, allowed=(math.inf,)),
    "certification.certify exact": Case(
        given(certification.certify, LINEAR, X, Y, eps=0.001, method="exact"),
        {"time_limit": 5.0, "nodes": 10, "tolerance": 0.5},
        allowed=(math.inf,),
    ),
    "data.FolderDataset": Case(folder, {"size": 4, "resize": 5}),
    "data.ImageFiles": Case(image_files, {"size": 4, "resize": 5}),
    "data.Dataset.batches": Case(lambda **k: list(data.as_dataset((X, Y), "test").batches(**k)), {"batch_size": 3}),
    "defenses.Smoothed": Case(given(Smoothed, NET, sigma=0.1), {"sigma": 0.1, "samples": 2, "batch_size": 4}),
    "defenses.Smoothed.certify": Case(
        given(Smoothed(NET, 0.1).certify, X, n0=5, n=20), {"n0": 5, "n": 20, "alpha": 0.05, **SEED}
    ),
    "defenses.Smoothed.predict": Case(given(Smoothed(NET, 0.1).predict, X, n=20), {"n": 20, "alpha": 0.05, **SEED}),
    "defenses.Transformed": Case(given(defenses.Transformed, NET, "bit_depth(bits=3)"), {"samples": 2}),
    "defenses.interval_init": Case(initialised, SEED),
    "defenses.probe_for": Case(given(defenses.probe_for, defenses.create_defense("pgd(eps=.1)")), {"count": 4}),
    "evaluation.check_evaluation": Case(
        given(evaluation.check_evaluation, NET, (X, Y), count=2), {"eps": 0.1, "count": 2, **SEED}, most=1
    ),
    "evaluation.corrupt": Case(given(evaluation.corrupt, X, "blur", severity=1), {"severity": 2, **SEED}),
    "evaluation.corruption_errors": Case(
        given(evaluation.corruption_errors, NET, (X, Y), names=["contrast"], severities=[1]), {**PASSES, **SEED}
    ),
    "evaluation.evaluate": Case(
        given(evaluation.evaluate, NET, (X, Y), [FGSM(eps=0.1)]),
        {"eps": 0.1, "target": 1, "verdicts": 2, **PASSES, **SEED},
        allowed=(math.inf,),
    ),
    "evaluation.made_corruption_errors": Case(
        given(
            evaluation.made_corruption_errors,
            lambda x: x.flatten(1)[:, :3],
            (torch.rand(2, 1, 16, 16), torch.zeros(2, dtype=torch.int64)),
            kinds=["contrast"],
            severities=[1],
        ),
        {**PASSES, **SEED},
    ),
    "evaluation.mcnemar": Case(
        given(evaluation.mcnemar, first_only=3, second_only=4), dict.fromkeys(("first_only", "second_only"), 3)
    ),
    "evaluation.nice_radii": Case(given(evaluation.nice_radii, []), {"most": 4}),
    "evaluation.probes": Case(evaluation.probes, {"steps": 3}),
    "evaluation.published_corruption_errors": Case(
        given(evaluation.published_corruption_errors, NET, "mnist_c", (X, Y)), PASSES, taken=False
    ),
    "evaluation.success_by_pose": Case(
        given(
            evaluation.success_by_pose,
            NET,
            (X, Y),
            AdversarialPatch(patch=torch.zeros(1, 2, 2), size=0.1),
            places=["centre"],
            sizes=[0.1],
        ),
        {"target": 1, **PASSES, **SEED},
    ),
    "evaluation.transfer_matrix": Case(
        given(evaluation.transfer_matrix, {"a": NET}, (X, Y), FGSM(eps=0.1)), {"target": 1, **PASSES, **SEED}
    ),
    "evaluation.wilson_interval": Case(
        given(evaluation.wilson_interval, errors=3, count=10), {"errors": 2.0, "count": 10, "confidence": 0.9}
    ),
    "figures.correspondence_sheet": Case(
        lambda **k: (
            figures.correspondence_sheet(
                X,
                BOXES,
                [insight.correspondence(MAPS, X, BOXES, layer="0", random=2)],
                **k,  # type: ignore[arg-type]
            )
            and None
        ),
        {"value": 0.5},
    ),
    "figures.filters_sheet": Case(filters, {"most": 2}),
    "figures.maps_sheet": Case(maps, {"most": 2}),
    "figures.occlusion_sheet": Case(
        lambda **k: figures.occlusion_sheet(X[:1], insight.occlusion(MAPS, X[:1]), labels=["one"], **k) and None,
        {"value": 0.5},
    ),
    "figures.result_picture": Case(
        lambda **k: figures.result_picture(FGSM(eps=0.1)(NET, X, Y), X, Y, **k) and None, {"count": 1}
    ),
    "goals.confident": Case(goals.confident, {"lead": 1.0}),
    "goals.confident probability": Case(goals.confident, {"probability": 0.75}),
    "goals.regression": Case(goals.regression, {"tolerance": 1.0}),
    "goals.segmentation": Case(given(goals.segmentation, share=0.5), {"share": 0.5, "ignore": 255}),
    "goals.target": Case(goals.target, {"classes": 2}, said="target"),
    "goals.top_k": Case(goals.top_k, {"k": 2}),
    "insight.Colocaliser": Case(colocaliser, {"zoom": 1.25, "side": 60}),
    "insight.TripletLoss": Case(insight.TripletLoss, {"alpha": 1.0, "inside": 2.0}),
    "insight.activity": Case(given(insight.activity, MAPS, (X, Y), layer="0"), {"batch_size": 3}),
    "insight.correspondence": Case(
        given(insight.correspondence, MAPS, X, BOXES, layer="0", random=2), {"value": 0.25, "random": 2, **SEED}
    ),
    "insight.deconv": Case(given(insight.deconv, MAPS, X, layer="0"), {"unit": 1}),
    "insight.directions": Case(
        given(insight.directions, MAPS, (X, Y), layer="0", units=[0]), {"random": 2, **PASSES, **SEED}
    ),
    "insight.movement": Case(given(insight.movement, MAPS, X, 1 - X), {"repeats": 2, **SEED}),
    "insight.occlusion": Case(
        given(insight.occlusion, MAPS, X, size=2, stride=2), {"size": 2, "stride": 2, "value": 0.25, "batch_size": 3}
    ),
    "insight.shuffled": Case(given(insight.shuffled, X, Draws(0, torch.arange(4))), {"step": 2}),
    "insight.top_activations": Case(given(insight.top_activations, MAPS, (X, Y), layer="0"), PASSES),
    "models.BlackBox": Case(
        given(models.BlackBox, **BLACK_BOX), {"num_classes": 3, "batch_size": 4, "tries": 2, "pause": 1.5}
    ),
    "models.Classifier": Case(given(models.Classifier, nn.Flatten()), {"mean": 0.25, "std": 0.5}, allowed=([1],)),
    "models.Normalize": Case(models.Normalize, {"mean": 0.25, "std": 0.5}, allowed=([1],)),
    "models.Output": Case(given(models.Output, NET), {"which": 1}, allowed=("abc", "")),
    "models.count": Case(models.count, {"number": 1234}),
    "models.create_model": Case(
        given(models.create_model, "mlp", seed=0, **SMALL),
        {"num_classes": 3, "width": 1 / 64, "mean": 0.25, "std": 0.5, **SEED},
        allowed=([1],),
    ),
    "models.register_model": Case(registered, {"year": 2000, "parameters": 9, "auxiliary": 1, "small_width": 0.5}),
    "reproduction.reproduce": Case(given(reproduce, "szegedy_distortion"), {"seeds": 1, "workers": 1}, taken=False),
    "testing.QuadraticClassifier": Case(given(QuadraticClassifier, torch.zeros(3), torch.ones(3)), {"level": 1.5}),
    "testing.QuadraticClassifier.random": Case(QuadraticClassifier.random, SEED),
    "testing.AffineClassifier.random": Case(AffineClassifier.random, {"classes": 3, **SEED}),
    "testing.affine_case": Case(testing.affine_case, {"samples": 3, **SEED}),
    "testing.assert_in_threat": Case(in_threat, {"eps": 0.1}, allowed=(math.inf,)),
    "testing.assert_not_masked": Case(
        given(testing.assert_not_masked, NET, *MANY, skip=evaluation.CHECKS),
        {"eps": 0.1, "count": 16, **SEED},
        most=1,
    ),
    "testing.assert_robust": Case(
        robust,
        {"max_error": 1.0, "eps": 0.1, "verdicts": 2, "confidence": 0.75, "batch_size": 3, **SEED},
        allowed=(math.inf,),
    ),
    "testing.awkward_images": Case(testing.awkward_images, {"samples": 3, **SEED}),
    "testing.check_model": Case(
        given(testing.check_model, "mlp", only=["answers_logits"], **SMALL), {"num_classes": 3}
    ),
    "testing.make_images": Case(given(testing.make_images, ["uniform"]), SEED),
    "testing.toy_case": Case(testing.toy_case, {"samples": 3, "classes": 3, **SEED}),
    "testing.toy_classifier": Case(testing.toy_classifier, {"classes": 3, **SEED}),
    "training.LectureSGD": Case(optimizer, {"lr": 0.25, "momentum": 0.5, "weight_decay": 0.25}),
    "training.Probe": Case(given(training.Probe, one_step=FGSM(), many_steps=PGD()), {"count": 4}),
    "training.Recipe": Case(
        given(Recipe, model="mlp", data="toy", validation=1),
        {"epochs": 2, "batch_size": 2, "accumulate": 2, "num_classes": 3, "validation": 2, "patience": 2, **SEED}
        | dict.fromkeys(("width", "lr", "momentum", "weight_decay", "label_smoothing", "clip", "l1", "l1_from"), 0.5)
        | dict.fromkeys(("l2", "sparsity", "sparsity_target", "max_norm", "filter_rms", "ema", "ramp"), 0.5)
        | {"layer_decay": 0.5},
    ),
    "training.build": Case(given(training.build, RECIPE), SEED),
    "training.measure": Case(given(training.measure, NET, (X, Y)), {"batch_size": 3}),
    "training.train": Case(trained, {"workers": 0, "save_seconds": 60.0, **SEED}, allowed=(math.inf,)),
    "training.augment.CropAverage": Case(given(augment.CropAverage, NET, size=3), {"size": 3, "crops": 5}),
    "training.augment.deep_image": Case(augment.deep_image, {"strength": 0.5}),
    "training.augment.googlenet_crops": Case(given(augment.googlenet_crops, NET), {"size": 7}),
    "training.augment.googlenet_scales": Case(augment.googlenet_scales, {"size": 7}),
    "training.augment.multi_scale": Case(given(augment.multi_scale, NET, scales=[5], size=3), {"size": 3, "crops": 5}),
    "training.augment.ten_crop": Case(given(augment.ten_crop, NET), {"size": 3}),
    "training.augment.vgg_scales": Case(given(augment.vgg_scales, low=256), {"low": 256, "high": 512}),
}

NEEDED: dict[str, Any] = {
    "attack": PGD(eps=0.1),
    "loss": AdversarialLoss(attack=FGSM(eps=0.1)),
    "surrogate": NET,
    "others": (NET,),
    "mask": torch.ones(4, 4),
    "patch": torch.zeros(1, 2, 2),
    "delta": torch.zeros(1, 4, 4),
    "guide": X,
    "layer": "0",
    "eps": 0.1,
    "share": 0.5,
    "decay": 0.5,
    "probability": 0.5,
}
"""Arguments without a default of attacks, defences and augmentations; the other numbers are 2."""

GOOD: dict[str, Any] = {"TI": {"size": 3}, "Limited": {"queries": 20}, "SparseRS": {"eps": 2.0}, "DDN": {"levels": 4}}

CALLED = {"SI": "si", "TI": "ti", "NI": "ni", "DI": "di", "VMI": "vmi", "Admix": "admix"}
CALLED |= {"Restarts": "restarts", "Targets": "targets"}
"""Attacks around others speak of their number by the name of the option."""

MADE_HERE = "certification.LayerStretch certification.Lipschitz data.SplitFacts evaluation.AttackReport "
MADE_HERE += "evaluation.Certification evaluation.Checks evaluation.ComparedError evaluation.CorruptionReport "
MADE_HERE += "evaluation.Curve evaluation.PoseTable evaluation.Report evaluation.Setting evaluation.TransferMatrix "
MADE_HERE += "insight.Occlusion insight.Top models.Card models.Facts models.Overview models.Row "
MADE_HERE += "reproduction.Figure reproduction.Measured reproduction.Reproduction reproduction.Verdict testing.Goal "
MADE_HERE += "testing.Robustness training.Progress training.Run training.augment.Numbers"
EXCEPTIONS = dict.fromkeys(MADE_HERE.split(), "a result or a record that advkit makes")
EXCEPTIONS["testing.Threat"] = "a record; assert_in_threat checks its eps"
EXCEPTIONS |= dict.fromkeys(("attacks.Attack", "attacks.BudgetAttack", "attacks.MinimalAttack"), "abstract")


def numeric(function: Any) -> list[str]:
    """The parameters that an int or a float is annotated for."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if kinds_of(p.annotation) & {int, float}]


def public() -> Iterator[tuple[str, Any]]:
    """Functions and classes with such parameters, by the name of their package and their own."""
    for module in MODULES:
        package = importlib.import_module(module)
        for name in package.__all__:
            found = getattr(package, name)
            if callable(found) and numeric(found):
                yield f"{module.removeprefix('advkit.')}.{name}", found


def has_no_target(kind: Any) -> bool:
    """Whether it is an attack that refuses every target."""
    return inspect.isclass(kind) and issubclass(kind, Attack) and not kind.targetable


def made(kind: type) -> Case:
    """The case of an attack, a defence or an augmentation: a dataclass of its options."""
    parameters = inspect.signature(kind).parameters.values()
    numbers = {p.name: p.default for p in parameters if p.name in numeric(kind)}
    wanted = {p.name: NEEDED.get(p.name, 2) for p in parameters if p.default is p.empty}
    wanted |= GOOD.get(kind.__name__, {})
    good = {name: wanted.get(name, 0.5 if value is None else value) for name, value in numbers.items()}
    good |= {"target": 1} if "target" in good else {}
    good |= {name: value for name, value in GOOD.get(kind.__name__, {}).items() if name in good}
    if has_no_target(kind):
        del good["target"]
    allowed = (math.inf,) if issubclass(kind, Attack) else ()
    return Case(given(kind, **wanted), good, allowed, CALLED.get(kind.__name__, ""))


def classes_of_options() -> Iterator[tuple[str, type]]:
    for name, found in public():
        is_kind = inspect.isclass(found) and issubclass(found, Attack | TrainingLoss | augment.Augmentation)
        if is_kind and name not in EXCEPTIONS and name not in CASES:
            yield name, found


CASES |= {name: made(kind) for name, kind in classes_of_options()}
