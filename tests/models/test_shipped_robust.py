"""Every robust checkpoint that ships: a complete card, a small file, and the figures on the card measured again."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import advkit.models
from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.core.classify import classify
from advkit.data import load_data
from advkit.defenses import create_defense
from advkit.models import SHIPPED, Classifier, load_model, read_card, robust

FILES = sorted((Path(advkit.models.__file__).parent / "weights" / "robust").glob("*.safetensors"))
NAMES = [path.stem for path in FILES]
NOISE = 0.003 + 1e-9
"""What float noise may move of 1,000 digits: 3, from one machine or number of threads to another."""
SOME = 100
"""Digits under attack where not all are asked for."""


def network(name: str) -> Classifier:
    """The network of a checkpoint MODEL-mnist5k-DEFENCE."""
    model, _, defense = name.split("-")
    return load_model(model, weights=defense, device="cpu")


def sampling(error: float, count: int) -> float:
    """Four standard deviations of the error of `count` digits out of 1,000 around that of all."""
    return 4 * float((error * (1 - error) / count * (1 - count / 1000)) ** 0.5)


def uncertified(model: Classifier, ball: str, count: int) -> float:
    """The share that neither intervals nor CROWN prove right; ball: as on the card, "linf, eps=0.1"."""
    norm, eps = ball.split(", eps=")
    x, y = load_data("mnist5k", split="test")[:count]
    safe = certify(model, x, y, eps=float(eps), norm=norm, method="ibp").certified
    left = (~safe).nonzero().squeeze(1)
    for rows in left.split(50):
        safe[rows] = certify(model, x[rows], y[rows], eps=float(eps), norm=norm, method="crown").certified
    return 1 - float(safe.double().mean())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_robust_checkpoint_is_small_and_its_card_complete(path: Path) -> None:
    card = replace(read_card(path), source=SHIPPED)
    model, data, defense = path.stem.split("-")
    assert path.stat().st_size <= 2_000_000
    assert (card.name, card.data, card.trained_on) == (model, data, f"{data}:train")
    assert robust(model)[defense] == card
    spec = re.search(r"defense='([^']+)'", str(card.recipe))
    assert spec is not None
    create_defense(spec[1])
    assert 0 < float(card.clean_error or 0) < 0.1
    attacks = {attack.partition("(")[0] for attack in card.attack_errors}
    assert attacks == {"pgd", "cascade"}
    assert all("steps=40" in attack for attack in card.attack_errors if attack.startswith("pgd"))
    assert bool(card.certified_errors) == (defense == "ibp")
    highest = max(card.attack_errors.values())
    assert all(error >= highest for error in card.certified_errors.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_clean_error_on_a_robust_card_is_measured_again(name: str) -> None:
    model = network(name)
    x, y = load_data("mnist5k", split="test")[:]
    error = float((classify(model, x).argmax(1) != y).double().mean())
    assert error == pytest.approx(model.card.clean_error, abs=NOISE)


@pytest.mark.parametrize("name", NAMES)
def test_the_robust_figures_on_a_card_are_measured_again(name: str, request: pytest.FixtureRequest) -> None:
    """PGD and certificates on some digits; with --slow everything on all of them."""
    model, slow = network(name), bool(request.config.getoption("--slow"))
    count = 1000 if slow else SOME
    x, y = load_data("mnist5k", split="test")[:count]
    for spec, error in model.card.attack_errors.items():
        if slow or spec.startswith("pgd"):
            again = float(create_attack(spec)(model, x, y).success.double().mean())
            assert again == pytest.approx(error, abs=NOISE + sampling(error, count)), spec
    for ball, error in model.card.certified_errors.items():
        assert uncertified(model, ball, count) == pytest.approx(error, abs=NOISE + sampling(error, count)), ball


def test_a_robust_checkpoint_withstands_what_the_plain_one_does_not() -> None:
    x, y = load_data("mnist5k", split="test")[:SOME]
    attack = create_attack("pgd(eps=0.1, steps=20)")
    plain = float(attack(load_model("lenet5", device="cpu"), x, y).success.double().mean())
    for name in NAMES:
        assert float(attack(network(name), x, y).success.double().mean()) < plain / 2, name
