"""Defects of many attacks of other toolkits, each as the promise that it breaks, on one attack of every form.

Beside each test stands where the defect was seen: FB Foolbox, TA torchattacks, ART, CH cleverhans, AT advertorch, AL
adv-lib, AA auto-attack, SW torchattack, ML MadryLab robustness, ST secml-torch, RB RobustBench. What `check_attack`
asserts of every attack in tests/attacks/test_contract.py is asserted here once more where a defect had a form of its
own.
"""

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.core.attack import Attack
from advkit.core.threat import Threat
from advkit.testing import assert_in_threat
from advkit.testing._checks_traces import snapshot
from advkit.testing._subject import RADII, reached
from advkit.testing._toys import toy_case
from advkit.testing.nets import MARK, Wrapped, nan_gradient

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT = {
    "cw": {"searches": 2, "steps": 10},
    "hopskipjump": {"queries": 30},
    "lbfgs": {"searches": 2, "first_steps": 6, "later_steps": 4, "leaps": 0},
    "spatial": {"rotations": 3, "shifts": 3},
    "square": {"queries": 20},
    "universal": {"steps": 4},
}


def short(name: str, **options: object) -> Attack:
    """An attack of the registry, few steps."""
    fields = create_attack(name).__dataclass_fields__
    few = SHORT.get(name, {"steps": 8} if "steps" in fields else {})
    return create_attack(name, **{**few, **options})


def radius(attack: Attack) -> dict[str, float]:
    return {} if attack.kind == "minimal" else {"eps": RADII[attack.norm]}


FORMS = ("fgsm", "pgd", "apgd", "square", "universal", "spatial", "deepfool", "cw", "lbfgs", "hopskipjump")
"""One attack of every form; tests/attacks/test_contract.py has them all."""

EVERY = pytest.mark.parametrize("name", FORMS)
BUDGET = ("fgsm", "pgd", "apgd", "square")
MINIMAL = ("deepfool", "cw", "lbfgs", "hopskipjump")


@EVERY
def test_gradients_on_parameters_stay_what_they_were(name: str) -> None:
    """FB, CH, AT, SW and ST leave gradients on the parameters; ART overwrites those that are there."""
    case, attack = toy_case(), short(name)
    first, *others = case.model.parameters()
    first.grad = torch.full_like(first, 7.0)
    attack(case.model, case.x, case.y, **radius(attack))
    assert (first.grad == 7).all()
    assert all(p.grad is None and p.requires_grad for p in others)


@EVERY
def test_a_model_in_train_mode_keeps_its_statistics_and_its_modes(name: str) -> None:
    """Seven of nine attack in train mode and change the statistics; TA puts a frozen batch norm into train mode."""
    case, attack = toy_case(batch_norm=True), short(name)
    model = nn.Sequential(nn.BatchNorm2d(2, dtype=torch.float64), *case.model).train()
    model[2].eval()  # frozen
    before = snapshot(model)
    attack(model, case.x, case.y, **radius(attack))
    assert snapshot(model) == before


@EVERY
def test_an_eval_model_in_a_fresh_wrapper_keeps_both_modes(name: str) -> None:
    """TA puts it into train mode."""
    case, attack = toy_case(batch_norm=True), short(name)
    wrapper = Wrapped(case.model)
    assert wrapper.training
    attack(wrapper, case.x, case.y, **radius(attack))
    assert wrapper.training
    assert not any(m.training for m in case.model.modules())


@EVERY
def test_an_exception_leaves_the_model_in_train_mode(name: str) -> None:
    """TA leaves it in eval mode."""
    case, attack, calls = toy_case(wrong=()), short(name), []

    def fail(x: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("on purpose")
        return x

    model = Wrapped(case.model, before=fail).train()
    with pytest.raises(RuntimeError, match="on purpose"):
        attack(model, case.x, case.y, stop="never", **radius(attack))
    assert all(m.training for m in model.modules())


@EVERY
def test_the_global_random_numbers_are_neither_set_nor_used(name: str) -> None:
    """CH, AA and ST reseed or consume them."""
    case, attack = toy_case(), short(name)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    attack(case.model, case.x, case.y, seed=1, **radius(attack))
    assert torch.equal(torch.rand(4), expected)


@EVERY
def test_no_grad_around_changes_nothing(name: str) -> None:
    """Eight of nine fail."""
    case, attack = toy_case(), short(name)
    plain = attack(case.model, case.x, case.y, **radius(attack))
    with torch.no_grad():
        found = attack(case.model, case.x, case.y, **radius(attack))
    assert torch.equal(found.x_adv, plain.x_adv)
    assert not found.x_adv.requires_grad  # CH, SW and AA return results that require gradients


@pytest.mark.parametrize("name", BUDGET)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_no_type_exceeds_eps(name: str, dtype: torch.dtype) -> None:
    """In bfloat16 three exceed it (.0332 > .0314), in float32 seven by about 2e-9; most crash on 16 bits."""
    case, attack = toy_case(3, dtype=dtype), short(name)
    found = attack(case.model, case.x, case.y, eps=8 / 255, stop="never")
    assert_in_threat(case.x, found.x_adv, Threat("linf", 8 / 255))


@pytest.mark.parametrize("name", BUDGET)
def test_eps_zero_is_clean(name: str) -> None:
    """TA #124."""
    case, attack = toy_case(1), short(name)
    found = attack(case.model, case.x, case.y, eps=0.0)
    assert torch.equal(found.x_adv, case.x)
    assert torch.equal(found.success, case.model(case.x).argmax(1) != case.y)


@EVERY
def test_the_last_class_falls_like_the_others(name: str) -> None:
    """TA #153: DeepFool is wrong where the label is the last class."""
    case, attack = toy_case(3, wrong=()), short(name)
    last = case.y == 3
    order = torch.tensor([3, 0, 1, 2])  # the same net, its last class first
    renamed = Wrapped(case.model, after=lambda logits: logits[:, order]).eval()
    found = attack(case.model, case.x, case.y, **radius(attack))
    other = attack(renamed, case.x, order.argsort()[case.y], **radius(attack))
    assert last.any()
    assert torch.equal(found.success[last], other.success[last])


@EVERY
def test_a_batch_that_is_wrong_throughout_is_no_error(name: str) -> None:
    """AA #81: Square fails. AL's targeted APGD and ART's DeepFool turn such images back into the right class."""
    case, attack = toy_case(wrong=tuple(range(9))), short(name)
    found = attack(case.model, case.x, case.y, **radius(attack))
    assert found.success.all()
    assert torch.equal(found.x_adv, case.x)


@EVERY
def test_what_comes_back_has_been_classified(name: str) -> None:
    """FB #619, #559, #474, #674: the tensor that is returned is never classified again."""
    for dtype in (torch.float32, torch.bfloat16):
        case, attack = toy_case(11, dtype=dtype), short(name)
        found = attack(case.model, case.x, case.y, **radius(attack))
        assert torch.equal(found.success, reached(found.logits, case.y, None))
        torch.testing.assert_close(found.logits, case.model(found.x_adv).detach())


@pytest.mark.parametrize("name", ["pgd", "apgd", "deepfool", "cw", "lbfgs"])
def test_one_nan_gradient_poisons_no_other_sample(name: str) -> None:
    """ART #824."""
    attack = short(name)
    case = toy_case(10, samples=5)
    x = case.x.clone()
    x[3].view(-1)[0] = MARK
    sound = attack(case.model, x, case.y, **radius(attack))
    found = attack(nan_gradient(case.model).eval(), x, case.y, **radius(attack))
    assert found.x_adv.isfinite().all()
    others = torch.tensor([0, 1, 2, 4])
    torch.testing.assert_close(found.x_adv[others], sound.x_adv[others], atol=1e-7, rtol=0)


@EVERY
def test_results_share_memory_with_nothing(name: str) -> None:
    """AL's APGD returns a tensor that is written later; SW sets requires_grad on the caller's images."""
    case, attack = toy_case(2), short(name)
    before = case.x.clone()
    found = attack(case.model, case.x, case.y, **radius(attack))
    kept = found.x_adv.clone()
    again = attack(case.model, case.x, case.y, **radius(attack))
    again.x_adv.zero_()
    assert torch.equal(found.x_adv, kept)
    assert torch.equal(case.x, before)
    assert not case.x.requires_grad


@pytest.mark.parametrize("name", MINIMAL)
def test_a_minimal_attack_that_fails_returns_the_image_and_says_so(name: str) -> None:
    """FB's C&W returns a black image and calls it adversarial."""
    never = Wrapped(nn.Flatten(), after=lambda z: torch.stack([z.sum(1) + 50, z.sum(1), z[:, 0]], 1))
    x, y = toy_case().x, torch.zeros(9, dtype=torch.int64)
    found = short(name)(never.eval(), x, y)
    assert torch.equal(found.x_adv, x)
    assert not found.success.any()
    assert (found.distance == torch.inf).all()


@EVERY
def test_images_that_are_not_contiguous_or_none_at_all_are_taken(name: str) -> None:
    """Crashes in most."""
    case, attack = toy_case(12), short(name)
    wide = torch.stack([case.x, case.x], -1)
    found = attack(case.model, wide[..., 0], case.y, **radius(attack))
    torch.testing.assert_close(found.x_adv, attack(case.model, case.x, case.y, **radius(attack)).x_adv)
    assert len(attack(case.model, case.x[:0], case.y[:0], **radius(attack))) == 0
