"""`check_attack(goal=...)`: an attack keeps its promises whatever it is asked to reach."""

import pytest

from advkit.attacks import ATTACKS, FMN, PGD, DeepFool, create_attack, list_attacks
from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.testing import BrokenPromiseError, check_attack

GOALS = [
    "top_k(k=1)",
    "segmentation(share=0.4)",
    "multi_label",
    "regression(tolerance=8)",
    "one_logit",
    "confident(lead=0.5)",
    "confident(probability=0.6)",
]
SHORT = {
    "queries": 20,
    "steps": 4,
    "searches": 2,
    "tries": 4,
    "first": 6,
    "turns": 1,
    "leaps": 0,
    "samples": 4,
}
SHORT |= {"population": 6, "generations": 3}
SHORT |= {"rotations": 3, "shifts": 3}
FORM = [
    "returns_images_of_the_same_form",
    "tells_the_truth",
    "takes_what_is_wrong_already",
    "counts_every_pass",
    "leaves_its_input_alone",
]


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("attack", [PGD(steps=3), FMN(steps=12)], ids=lambda attack: attack.name)
def test_an_attack_keeps_its_promises_under_any_goal(attack: Attack, goal: str) -> None:
    check_attack(attack, goal=goal)


def short(name: str) -> Attack:
    fields = create_attack(name).__dataclass_fields__
    return create_attack(name, **{option: value for option, value in SHORT.items() if option in fields})


OTHERS = [
    name
    for name in list_attacks()
    if not ATTACKS.factory(name).needs_classes and ATTACKS.factory(name).stepwise and name not in ("universal", "pgd")
]


@pytest.mark.parametrize(("name", "goal"), [(name, GOALS[i % 5]) for i, name in enumerate(OTHERS)])
def test_every_attack_that_takes_goals_says_the_truth_under_one(name: str, goal: str) -> None:
    check_attack(short(name), goal=goal, only=FORM)


def test_a_goal_that_is_not_pursued_is_found_out() -> None:
    def deaf(model, x, y, *, goal=None, eps=0.1, **options):
        return PGD(steps=3)(model, x, y.flatten(1)[:, 0] if y.ndim > 1 else y, eps=eps)

    with pytest.raises(BrokenPromiseError):
        check_attack(deaf, goal="segmentation(share=0.4)", only=["tells_the_truth", "takes_what_is_wrong_already"])
    with pytest.raises(BrokenPromiseError, match="goal"):
        check_attack(DeepFool(), goal="segmentation(share=0.4)", only=["tells_the_truth"])
    with pytest.raises(InputError, match="expected a goal"):
        check_attack(PGD(), goal=lambda outputs: outputs.sum(1))
