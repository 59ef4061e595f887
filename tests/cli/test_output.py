"""What is said of a difference: only a clear one goes without a remark."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from advkit.attacks import (
    FGSM,
    LBFGS,
    AdversarialPatch,
    Noise,
    UniversalPerturbation,
    create_attack,
    list_attacks,
)
from advkit.core.knowledge import KNOWLEDGE
from advkit.core.norms import get_norm
from advkit.evaluation.measure.plan import Plan
from advkit.evaluation.measure.setting import Setting, setting_of
from advkit.evaluation.show.remarks import remarks
from advkit.evaluation.show.report_text import radius_text as radius
from advkit.models import BlackBox, Normalize

N = 1000


def wrong(count, start=0):
    mask = torch.zeros(N, dtype=torch.bool)
    mask[start : start + count] = True
    return mask


def row(mask, clean, blind=0):
    """The columns of an attack."""
    ones = torch.ones(N, dtype=torch.float64)
    return {
        "prediction": torch.zeros(N, dtype=torch.int64),
        "top5_wrong": clean,
        "wrong": mask | clean,
        "reached": mask | clean,
        "meant": torch.ones(N, dtype=torch.bool),
        "distance": ones / 10,
        "confidence": ones,
        "zero_gradient": wrong(blind),
        "queries": torch.ones(N, dtype=torch.int64),
        "gradients": torch.ones(N, dtype=torch.int64),
        "seconds": torch.ones(1),
    }


def said(attacked, noise, *, clean=20, half=None, attack=FGSM(eps=0.1), blind=0, knowledge=None):  # noqa: B008
    """The remarks on so many wrong images: clean, under noise, under attack."""
    mask, ids = wrong(clean), torch.arange(N)
    heads = {"sample_ids": ids, "y": ids, "prediction": ids, "clean_wrong": mask, "clean_top5_wrong": mask}
    columns = [heads, row(wrong(attacked), mask, blind), row(wrong(noise), mask)]
    plan = Plan([attack], Noise(), None, {"seed": 0, "stop": "fooled", "bounds": (0, 1)})
    report = plan.report("toys:test", [columns])
    if knowledge is not None:
        report = dataclasses.replace(report, setting=Setting(model="mine", knowledge=knowledge))
    return " ".join(remarks(report, half))


def test_a_clear_difference_needs_no_remark():
    assert said(400, 22) == ""


def test_a_difference_within_the_interval_is_called_that_even_where_the_paired_test_sees_it():
    few, more = said(23, 20), said(34, 21)
    assert "within the interval" in few
    assert "not clear either" in few
    assert "within the interval" in more
    assert "it is clear (McNemar p = 0.00012)" in more
    assert "the attack pgd or the attack lbfgs" in few


def test_noise_that_does_as_much_is_named():
    assert "No clear difference to random noise" in said(400, 398)
    assert "No clear difference to random noise" in said(400, 401)
    assert "Random noise of the same size does more than the attack (50.0 %" in said(400, 500)
    assert "random noise" not in said(34, 21)


def test_the_advice_knows_where_half_of_the_images_fall():
    assert "a larger eps (half of the images fall at 0.12)" in said(23, 20, half=0.12)
    assert "half of the images" not in said(23, 20, half=0.05)
    assert "half of the images" not in said(23, 20, half=0.12, attack=FGSM(norm="l2", eps=1.0))
    assert "the attack lbfgs" not in said(23, 20, attack=LBFGS())
    assert "the attack lbfgs or the attack cascade" in said(23, 20, attack=create_attack("pgd(eps=0.1, restarts=2)"))


@pytest.mark.parametrize("name", list_attacks())
def test_an_attack_is_proposed_only_if_it_seeks_the_same(name):
    """One perturbation for all images, a turn and a patch were told to try pgd or lbfgs, which are none of these."""
    needed = {"features": "features(layer=a)"}.get(name, name)
    attack = create_attack(needed)
    if attack.kind == "budget" and attack.eps is None:
        attack = dataclasses.replace(attack, eps=10 if get_norm(attack.norm).grain else 0.1)
    own = name in ("universal", "patch", "lavan", "spatial", "flow", "colour", "fooling")
    assert bool(re.findall(r"the attack (\w+)", said(23, 20, attack=attack))) != own
    if own:
        assert "more of its steps" in said(23, 20, attack=attack)


def test_what_is_found_on_a_data_set_is_told_how_more_is_found():
    found = UniversalPerturbation(delta=torch.zeros(1, 2, 2), eps=0.1)
    assert said(23, 20, attack=found).endswith("Try a larger eps, more images to find it on or more epochs.")
    patch = AdversarialPatch(patch=torch.zeros(1, 2, 2), size=0.05)
    assert said(23, 20, attack=patch).endswith("Try more images to find it on or more epochs.")


@pytest.mark.parametrize("knowledge", ["scores", "labels"])
def test_an_attack_is_proposed_only_if_the_model_shows_enough(knowledge):
    proposed = re.findall(r"the attack (\w+)", said(23, 20, knowledge=knowledge))
    assert len(proposed) == 2
    rank = KNOWLEDGE.index(knowledge)
    assert all(KNOWLEDGE.index(create_attack(name).knowledge) <= rank for name in proposed)


def test_what_a_black_box_shows_is_part_of_the_setting():
    box = BlackBox(lambda x: np.zeros((len(x), 3)), num_classes=3)
    assert setting_of(box, (torch.zeros(1, 1, 2, 2), torch.zeros(1))).knowledge == "scores"


def test_a_model_that_is_always_wrong_is_asked_about_and_not_attacked_harder():
    assert said(N, N, clean=N).startswith("Every image is wrong without an attack")
    assert "Try" not in said(N, N, clean=N)


def test_zero_gradients_are_counted():
    assert "exactly zero for 7 images" in said(400, 22, blind=7)


@pytest.mark.parametrize(
    ("std", "text"),
    [
        ([0.3081], "eps 0.007 in [0, 1] = 1.785/255 = 0.02272 in the model's normalised input"),
        ([0.5, 0.25, 0.25], "eps 0.007 in [0, 1] = 1.785/255 = (0.014, 0.028, 0.028) by channel in the model's"),
    ],
)
def test_eps_is_said_in_three_units(std, text):
    model = torch.nn.Module()
    model.normalize = Normalize([0.0] * len(std), std)
    assert text in radius(0.007, "linf", setting_of(model, (torch.zeros(1), torch.zeros(1))).std)
    assert radius(None, "l2") == "the nearest adversarial image, in l2"
    assert radius(8 / 255, "linf").endswith("= 8/255")
