import pytest
import torch
from hypothesis import given, settings
from model import sign_step, train

from advkit import load_data
from advkit.testing import Threat, assert_in_threat, assert_robust, check_attack
from advkit.testing.strategies import classifiers, images


@pytest.fixture(scope="session")
def classifier():
    return train(*load_data("mnist5k", split="train")[:1500])


@pytest.mark.robustness(attack="fgsm", eps=0.02, max_error=0.5, data="mnist5k", count=200)
def test_it_withstands_one_small_step(classifier):
    return classifier


def test_it_withstands_pgd_on_the_first_digits(classifier, digits):
    assert_robust(classifier, *digits, attack="pgd(steps=5)", eps=0.01, max_error=0.5)


@given(model=classifiers((1, 4, 4), dtype=torch.float32), x=images((1, 4, 4)))
@settings(max_examples=20, deadline=None, database=None)
def test_my_attack_stays_in_its_ball(model, x):
    y = model(x).argmax(1)
    assert_in_threat(x, sign_step(model, x, y, eps=0.125), Threat("linf", 0.125 * (1 + 1e-6)))


def test_my_attack_attacks():
    report = check_attack(sign_step, only=["moves", "attacks_every_label"], radius_per_sample=False)
    assert report.ok


def test_what_my_attack_still_gets_wrong():
    promises = ["leaves_no_trace_on_the_model", "works_without_gradients_around"]
    assert check_attack(sign_step, only=promises, raises=False).broken == promises
