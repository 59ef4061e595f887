"""AutoAttack: nothing that one of its attacks breaks is left standing, by any mode, for any number of classes."""

import pytest
import torch

from advkit.attacks import APGD, APGDTargeted, AutoAttack
from advkit.core.errors import AdvkitWarning, InputError
from advkit.testing import check_attack
from advkit.testing._toys import SHAPE, awkward_images, predicted, toy_case
from advkit.testing.nets import Wrapped, toy_classifier

SHORT = {"steps": 10, "queries": 20}


def test_what_its_first_attack_breaks_stays_broken() -> None:
    case = toy_case(1, samples=18, wrong=())
    for eps in (0.03, 0.08):
        alone = APGD(steps=10, eps=eps)(case.model, case.x, case.y)
        found = AutoAttack(eps=eps, **SHORT)(case.model, case.x, case.y)
        assert bool((found.success | ~alone.success).all())
        assert torch.equal(found.success, case.model(found.x_adv).argmax(1) != case.y)


@pytest.mark.parametrize("mode", ["standard", "fast"])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.filterwarnings("ignore:dlr needs")
def test_few_classes_are_no_error(mode: str, classes: int) -> None:
    model = toy_classifier(SHAPE, classes, seed=2)
    x = awkward_images(4, seed=2)
    found = AutoAttack(eps=0.5, mode=mode, **SHORT)(model, x, predicted(model, x))
    assert bool(found.success.any())


def test_the_fast_mode_keeps_the_promises() -> None:
    attack = AutoAttack(mode="fast", **SHORT)
    checks = ["keeps_the_memory_format", "takes_what_is_wrong_already", "counts_every_pass", "works_on_no_images"]
    check_attack(attack, only=[*checks, "takes_one_eps_a_sample", "leaves_no_trace_on_the_model"])


def test_large_logits_hide_nothing() -> None:
    case = toy_case(3, samples=18, wrong=())
    masked = Wrapped(case.model.float(), after=lambda logits: 1000 * logits).eval()
    x = case.x.float()
    plain = APGDTargeted(steps=20, eps=0.06, classes=3)(case.model, x, case.y)
    with pytest.warns(AdvkitWarning, match="gradient"):
        found = AutoAttack(eps=0.06, mode="fast", steps=40, queries=50)(masked, x, case.y)
    assert int(found.success.sum()) >= int(plain.success.sum()) > 0


def test_a_radius_a_sample_holds_in_every_stage() -> None:
    case = toy_case(4, wrong=())
    eps = torch.linspace(0, 0.2, 9)
    for mode in ("standard", "fast"):
        found = AutoAttack(mode=mode, **SHORT)(case.model, case.x, case.y, eps=eps)
        assert bool((found.distance <= eps.double()).all())


def test_the_mode_rand_averages_over_the_model_s_draws() -> None:
    case = toy_case(5, wrong=())
    noisy = Wrapped(case.model, after=lambda logits: logits + 0.01 * torch.randn_like(logits)).eval()
    found = AutoAttack(eps=0.1, mode="rand", steps=3)(noisy, case.x, case.y)
    assert bool(found.success.any())
    assert int(found.queries.min()) >= 20


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'standard'"):
        AutoAttack(mode="standart")
