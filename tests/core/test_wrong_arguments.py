"""The main argument of every public function: what is something else is one line that says what is wanted."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from advkit import evaluate, load_data, load_model
from advkit.attacks import (
    FGSM,
    create_attack,
    eot,
    find_patch,
    find_universal,
    list_attacks,
    masked,
    restarts,
    smallest,
)
from advkit.certification import certify
from advkit.core.errors import InputError
from advkit.data import list_datasets
from advkit.defenses import (
    AdversarialLoss,
    Smoothed,
    Transformed,
    create_defense,
    create_transform,
    interval_init,
    probe_for,
)
from advkit.evaluation import (
    check_evaluation,
    compare_runs,
    corrupt,
    corruption_errors,
    error_curve,
    load_run,
    success_by_pose,
    transfer_matrix,
    verify_run,
)
from advkit.figures import (
    attack_picture,
    certified_curve,
    error_bars,
    error_curves,
    filters_sheet,
    lipschitz_chart,
    movement_chart,
    result_picture,
    transfer_table,
)
from advkit.insight import activations, convolutions, deconv, filters, find_layer, layer_names, maps
from advkit.models import Classifier, create_model, list_models, load_checkpoint, save_checkpoint
from advkit.reproduction import reproduce
from advkit.testing import assert_robust, check_attack, check_dataset, check_defense, check_model
from advkit.training import build, find_recipe, recipe_for

NET = nn.Sequential(nn.Flatten(), nn.Linear(16, 4)).eval()
X = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = NET(X).argmax(1)
DATA, ATTACK = (X, Y), FGSM(eps=0.1)
WRONG = {
    "nothing": None,
    "a list": [1],
    "a tuple": (1, 2),
    "a dict": {"a": 1},
    "a word": "nonsense",
    "an array": np.zeros(3),
    "a number": 3,
    "an object": object(),
    "a tensor": torch.zeros(3),
}
ASKED: dict[str, Callable[[Any], object]] = {
    "evaluate: model": lambda v: evaluate(v, DATA, [ATTACK]),
    "evaluate: data": lambda v: evaluate(NET, v, [ATTACK]),
    "evaluate: attacks": lambda v: evaluate(NET, DATA, v),
    "certify: model": lambda v: certify(v, X, Y, eps=0.1),
    "certify: x": lambda v: certify(NET, v, Y, eps=0.1),
    "certify: y": lambda v: certify(NET, X, v, eps=0.1),
    "transfer_matrix: models": lambda v: transfer_matrix(v, DATA, ATTACK),
    "transfer_matrix: a model": lambda v: transfer_matrix({"one": v}, DATA, ATTACK),
    "transfer_matrix: data": lambda v: transfer_matrix({"one": NET}, v, ATTACK),
    "transfer_matrix: attack": lambda v: transfer_matrix({"one": NET}, DATA, v),
    "check_evaluation: model": lambda v: check_evaluation(v, DATA),
    "check_evaluation: data": lambda v: check_evaluation(NET, v),
    "error_curve: model": lambda v: error_curve(v, DATA, ATTACK),
    "error_curve: data": lambda v: error_curve(NET, v, ATTACK),
    "corruption_errors: model": lambda v: corruption_errors(v, (torch.rand(2, 3, 32, 32), Y[:2])),
    "success_by_pose: model": lambda v: success_by_pose(v, DATA, ATTACK),
    "error_curve: attack": lambda v: error_curve(NET, DATA, v),
    "corrupt: name": lambda v: corrupt(torch.rand(2, 3, 32, 32), v, 1),
    "reproduce": reproduce,
    "build": build,
    "recipe_for: data": lambda v: recipe_for("mlp", v),
    "probe_for": probe_for,
    "training_loss: x": lambda v: Classifier(NET).training_loss(v, Y),
    "training_loss: y": lambda v: Classifier(NET).training_loss(X, v),
    "load_run": load_run,
    "verify_run": verify_run,
    "compare_runs: first": lambda v: compare_runs(v, "nonsense"),
    "load_model": load_model,
    "create_model": create_model,
    "load_checkpoint": load_checkpoint,
    "save_checkpoint: classifier": lambda v: save_checkpoint("net.safetensors", v),
    "load_data": load_data,
    "find_recipe": find_recipe,
    "create_attack": create_attack,
    "create_defense": create_defense,
    "create_transform": create_transform,
    "Transformed: model": lambda v: Transformed(v, "jpeg"),
    "Transformed: transform": lambda v: Transformed(NET, v),
    "Smoothed: model": lambda v: Smoothed(v, 0.5),
    "AdversarialLoss: attack": lambda v: AdversarialLoss(attack=v),
    "a loss: model": lambda v: AdversarialLoss(attack=ATTACK)(v, X, Y),
    "a loss: x": lambda v: AdversarialLoss(attack=ATTACK)(NET, v, Y),
    "a loss: y": lambda v: AdversarialLoss(attack=ATTACK)(NET, X, v),
    "interval_init": interval_init,
    "an attack: model": lambda v: ATTACK(v, X, Y),
    "an attack: x": lambda v: ATTACK(NET, v, Y),
    "an attack: y": lambda v: ATTACK(NET, X, v),
    "masked: attack": lambda v: masked(v, torch.ones(4, 4)),
    "restarts: attack": lambda v: restarts(v, 2),
    "eot: attack": lambda v: eot(v, 2),
    "smallest: attack": smallest,
    "find_patch: model": lambda v: find_patch(v, DATA),
    "find_universal: model": lambda v: find_universal(v, DATA, eps=0.1),
    "check_attack": check_attack,
    "check_defense": check_defense,
    "check_dataset": check_dataset,
    "assert_robust: model": lambda v: assert_robust(v, X, Y, ATTACK, max_error=1.0),
    "assert_robust: attack": lambda v: assert_robust(NET, X, Y, v, max_error=1.0),
    "layer_names": layer_names,
    "find_layer: model": lambda v: find_layer(v, "1"),
    "convolutions": convolutions,
    "filters": filters,
    "maps: model": lambda v: maps(v, X, layer="1"),
    "deconv: model": lambda v: deconv(v, X, layer="1"),
    "activations: model": lambda v: activations(v, X, ["1"]),
    "attack_picture": attack_picture,
    "certified_curve": certified_curve,
    "error_bars": error_bars,
    "error_curves": error_curves,
    "filters_sheet": filters_sheet,
    "lipschitz_chart": lipschitz_chart,
    "movement_chart": movement_chart,
    "result_picture": result_picture,
    "transfer_table": transfer_table,
}


@pytest.mark.parametrize("what", ASKED)
def test_what_is_something_else_is_one_line(what: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in WRONG.values():
        with pytest.raises(InputError) as caught:
            ASKED[what](value)
        assert "\n" not in str(caught.value), str(caught.value)
        assert len(str(caught.value)) < 700
    assert not list(tmp_path.iterdir())  # and nothing was written


@pytest.mark.parametrize("value", [value for value in WRONG.values() if not isinstance(value, str)])
@pytest.mark.parametrize("listed", [list_attacks, list_models, list_datasets])
def test_a_pattern_is_text(listed: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InputError, match="expected pattern as text such as"):
        listed(value)


def test_a_list_of_models_is_told_to_have_names() -> None:
    says = "expected models as a mapping of names to models, such as {'lenet5': model}, got list"
    with pytest.raises(InputError, match=says):
        transfer_matrix([NET, NET], DATA, ATTACK)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected an attack such as FGSM"):
        transfer_matrix({"one": NET}, DATA, [ATTACK])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected the names of models as text, got 1"):
        transfer_matrix({1: NET}, DATA, ATTACK)  # type: ignore[dict-item]


def test_a_check_of_no_model_is_refused() -> None:
    for value in (None, [1], {"a": 1}, 3, torch.zeros(3)):
        with pytest.raises(InputError):
            check_model(value)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_network_without_a_card_is_not_trained(compiled: bool) -> None:
    from advkit.training import Recipe, train

    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    recipe = Recipe(model="mlp", data="mnist5k", epochs=1)
    with pytest.raises(InputError, match=r"expected classifier as a Classifier, .*got Sequential"):
        train(torch.compile(net) if compiled else net, (torch.rand(4, 1, 2, 2), [0, 1, 0, 1]), recipe=recipe)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value", [value for value in WRONG.values() if value is not None and not isinstance(value, str)]
)
def test_names_beside_the_main_argument_are_text(value: object) -> None:
    with pytest.raises(InputError, match="expected data as the name of a data set"):
        load_model("lenet5", data=value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected model as the name of a network"):
        recipe_for(value, load_data("mnist5k"))  # type: ignore[arg-type]


@pytest.mark.parametrize("attacks", [[], [ATTACK, ATTACK]])
def test_a_curve_is_of_one_attack(attacks: Any) -> None:
    with pytest.raises(InputError, match="expected one attack such as"):
        error_curve(NET, DATA, attacks)


def test_labels_of_a_training_loss_are_classes_of_the_network() -> None:
    loss = Classifier(NET).training_loss
    assert loss(X, Y).ndim == 0
    for y, said in ((Y + 7, "labels out of range"), (Y.float(), r"use \.long\(\)"), (Y[:2], r"shape \(4,\)")):
        with pytest.raises(InputError, match=said):
            loss(X, y)
