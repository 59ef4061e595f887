"""AutoAttack and the cascade: neither leaves standing what one of its attacks breaks, for any number of classes."""

import pytest
import torch

from advkit.attacks import ALMA, APGD, APGDTargeted, AutoAttack, Cascade, create_attack
from advkit.attacks.around.aimed import Aimed
from advkit.attacks.around.stages import Stages
from advkit.attacks.cascade.order import FEW, Order
from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.goals import untargeted
from advkit.core.guard import Model
from advkit.core.result import Result
from advkit.testing import check_attack
from advkit.testing._toys import SHAPE, Case, awkward_images, predicted, toy_case
from advkit.testing.nets import Wrapped, toy_classifier

SHORT = {"steps": 10, "queries": 20}
DEFAULTS = (None, None, None, 0, (0, 1), "fooled")
"""What a call leaves out: target, eps, names of the samples, seed, range, when a sample leaves."""


def test_what_its_first_attack_breaks_stays_broken() -> None:
    case = toy_case(1, samples=18, wrong=())
    for eps in (0.03, 0.08):
        alone = APGD(steps=10, eps=eps)(case.model, case.x, case.y)
        found = AutoAttack(eps=eps, **SHORT)(case.model, case.x, case.y)
        assert bool((found.success | ~alone.success).all())
        assert torch.equal(found.success, case.model(found.x_adv).argmax(1) != case.y)


@pytest.mark.parametrize("kind", [AutoAttack, Cascade])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.filterwarnings("ignore:dlr needs")
def test_few_classes_are_no_error(kind: type[Attack], classes: int) -> None:
    model = toy_classifier(SHAPE, classes, seed=2)
    x = awkward_images(4, seed=2)
    found = kind(eps=0.5, **SHORT)(model, x, predicted(model, x))
    assert bool(found.success.any())


def test_the_cascade_keeps_the_promises() -> None:
    attack = Cascade(**SHORT)
    checks = ["keeps_the_memory_format", "takes_what_is_wrong_already", "counts_every_pass", "works_on_no_images"]
    check_attack(attack, only=[*checks, "takes_one_eps_a_sample", "leaves_no_trace_on_the_model"])


def test_large_logits_hide_nothing() -> None:
    case = toy_case(3, samples=18, wrong=())
    masked = Wrapped(case.model.float(), after=lambda logits: 1000 * logits).eval()
    x = case.x.float()
    plain = APGDTargeted(steps=20, eps=0.06, classes=3)(case.model, x, case.y)
    found = Cascade(eps=0.06, steps=40, queries=50)(masked, x, case.y)
    assert int(found.success.sum()) >= int(plain.success.sum()) > 0
    assert not bool(found.zero_gradient.any())  # the cross-entropy keeps a gradient where it rounds to 0


@pytest.mark.filterwarnings("ignore:.*gradient")
def test_gradients_of_zero_leave_the_verdict_to_square() -> None:
    case = toy_case(3, samples=18, wrong=())
    blocked = Wrapped(case.model, before=lambda x: (16 * x).round() / 16).eval()
    y = blocked(case.x).argmax(1)
    stages = Stages(blocked, APGD(eps=0.3)._problem(blocked, case.x, y, *DEFAULTS), APGD(steps=3))
    assert bool((stages.blind == ~stages.result.success).all())
    found = Cascade(eps=0.3, steps=5, queries=400)(blocked, case.x, y)
    assert torch.equal(found.success, blocked(found.x_adv).argmax(1) != y)
    assert int(found.success.sum()) >= 16


def test_an_attack_that_sees_a_gradient_is_not_blind() -> None:
    case = toy_case(3, samples=18, wrong=())
    stages = Stages(case.model, APGD(eps=0.03)._problem(case.model, case.x, case.y, *DEFAULTS), APGD(steps=3))
    assert not bool(stages.blind.any())


def test_aimed_runs_count_any_class_but_y_and_keep_each_sample_its_class() -> None:
    case = toy_case(3, samples=18, wrong=())
    attack = APGD(steps=10, loss="dlr", eps=0.1)
    found = Aimed(attack=attack, classes=case.target)(case.model, case.x, case.y)
    assert 0 < int(found.success.sum()) < 18  # rows leave, the others have to find their class again
    assert torch.equal(found.success, case.model(found.x_adv).argmax(1) != case.y)
    for i in (0, 7, 17):
        row = slice(i, i + 1)
        alone = Aimed(attack=attack, classes=case.target[row])
        single = alone(case.model, case.x[row], case.y[row], sample_ids=torch.tensor([i]))
        assert torch.equal(single.x_adv, found.x_adv[row])


def stages_of(case: Case, count: int, eps: float = 0.05, *, stop: str = "fooled") -> Stages:
    """The first `count` samples of a toy after three steps of APGD."""
    x, y = case.x[:count], case.y[:count]
    return Stages(case.model, APGD(eps=eps)._problem(case.model, x, y, *DEFAULTS[:-1], stop), APGD(steps=3))


@pytest.mark.parametrize("stop", ["fooled", "never"])
def test_pairs_in_one_pass_find_what_classes_in_turn_find(stop: str) -> None:
    case = toy_case(4, samples=18, wrong=())
    together, apart = (stages_of(case, count, eps=0.03, stop=stop) for count in (18, 8))  # two classes at once, and one
    attack = APGD(steps=6, loss="margin")
    fooled = [stages.aim(attack, torch.arange(len(stages.leads)) < 8, 3) for stages in (together, apart)]
    ours, theirs = together.result, apart.result
    assert fooled[0] == fooled[1] > 0
    assert torch.equal(ours.success[:8], theirs.success)
    same = ~theirs.success if stop == "fooled" else torch.ones_like(theirs.success)
    assert torch.equal(ours.x_adv[:8][same], theirs.x_adv[same])
    assert torch.equal(ours.queries[:8][same], theirs.queries[same])
    assert torch.equal(ours.gradients[:8][same], theirs.gradients[same])
    assert torch.equal(together.leads[:8][same], apart.leads[same])
    assert bool((ours.queries[:8] >= theirs.queries).all())  # a sample that falls has other pairs in the pass
    assert bool((ours.gradients[8:] == stages_of(case, 18, eps=0.03, stop=stop).result.gradients[8:]).all())


def test_pairs_aim_at_the_classes_over_which_y_has_led_least() -> None:
    case = toy_case(3, samples=18, wrong=())
    stages = stages_of(case, 18, eps=0.02, stop="never")
    before, first = stages.leads, stages.result
    assert bool(before.gather(1, case.y[:, None]).isinf().all())
    assert torch.equal(stages.safe, -untargeted(case.y).margin(first.logits))
    gradients = stages.result.gradients
    stages.aim(APGD(steps=4, loss="dlr"), torch.ones(18, dtype=torch.bool), 2)
    assert torch.equal(stages.result.gradients - gradients, torch.full((18,), 8))
    for rank in range(2):
        classes = before.argsort(dim=1)[:, rank]
        problem = APGD(eps=0.02)._problem(case.model, case.x, case.y, *DEFAULTS[:-1], "never")
        attack = Aimed(attack=APGD(steps=4, loss="dlr"), classes=classes)
        found = attack._run(case.model, problem._replace(draws=problem.draws.branch(1, family=2)))
        own = case.model(found.x_adv)
        leads = own.gather(1, case.y[:, None]) - own
        wrong = torch.arange(own.shape[1]) != case.y[:, None]
        assert bool((stages.leads <= leads + 1e-12)[wrong].all())
        assert bool((stages.safe <= leads.masked_fill(~wrong, torch.inf).amin(1) + 1e-12).all())
    assert bool((stages.leads <= before).all())
    assert torch.equal(stages.safe, -untargeted(case.y).margin(stages.result.logits))  # of the best point


def test_a_pass_holds_no_more_pairs_than_the_batch_has_samples_and_none_of_a_sample_that_fell() -> None:
    case, sizes = toy_case(4, samples=18, wrong=()), []
    stages = stages_of(case, 18, eps=0.03)
    rows = torch.arange(18) < 8
    standing = int((rows & stages.standing).sum())
    stages._model = lambda x: (sizes.append(len(x)), case.model(x))[1]
    fooled = stages.aim(APGD(steps=6, loss="margin"), rows, 3)
    assert standing > fooled > 0
    assert max(sizes) == 2 * standing <= 18  # two classes at once, then the third for those that stand
    assert 2 * standing > standing - fooled in sizes


def cascade(model: Model, case: Case, eps: float) -> Result:
    """The cascade's; the first attack makes 2 gradients a sample, Square 30 queries."""
    return Cascade(eps=eps, steps=10, queries=30)(model, case.x, case.y)


def test_dear_attacks_go_to_the_24_nearest_where_few_have_come_near() -> None:
    case = toy_case(2, samples=90, wrong=())
    found = cascade(case.model, case, 0.01)
    standing = ~found.success
    assert 0 < int(found.success.sum()) < 15
    assert int((standing & (found.gradients > 2)).sum()) == FEW
    assert 20 < int((standing & (found.queries < 30)).sum()) < 40  # Square gets the 24, and one or two in three others


@pytest.mark.filterwarnings("ignore:.*gradient")
def test_all_are_looked_at_where_nothing_fell_or_a_gradient_was_zero() -> None:
    case = toy_case(2, samples=40, wrong=(1, 5))  # that are wrong already shows nothing
    found = cascade(case.model, case, 0.0001)
    assert int(found.success.sum()) == 2
    assert int(found.gradients[~found.success].min()) > 2
    case = toy_case(2, samples=90, wrong=())
    brightest = case.x.flatten(1).mean(1).max() - 0.02

    def hidden(x: torch.Tensor) -> torch.Tensor:
        logits = case.model(x)
        return torch.where((x.flatten(1).mean(1) > brightest)[:, None], logits.detach(), logits)

    found = cascade(hidden, case, 0.01)
    assert 0 < int(found.success.sum()) < 15
    assert int(found.gradients[~found.success].min()) > 2
    assert int(found.queries[~found.success].min()) >= 30  # and Square


def test_the_lowest_are_of_those_asked_for() -> None:
    case = toy_case(1, samples=12, wrong=())
    stages = stages_of(case, 12, eps=0.01)
    among = stages.safe > stages.safe.median()
    chosen = stages.lowest(3, among)
    assert int(chosen.sum()) == 3
    assert bool(among[chosen].all())
    assert bool((stages.safe[chosen].max() <= stages.safe[among & ~chosen]).all())
    assert torch.equal(stages.lowest(99, among), among)


def test_a_minimal_attack_looks_beyond_the_ball_and_counts_within_it() -> None:
    case, eps = toy_case(3, samples=18, wrong=()), 0.3
    problem = AutoAttack(norm="l2", eps=eps)._problem(case.model, case.x, case.y, *DEFAULTS)
    stages = Stages(case.model, problem, APGD(norm="l2", steps=1))
    before, alone = stages.result.success, ALMA(norm="l2", steps=20)(case.model, case.x, case.y)
    stages.attack(ALMA(norm="l2", steps=20), torch.ones(18, dtype=torch.bool))
    assert torch.equal(stages.result.success, before | (alone.distance <= eps))
    assert int(before.sum()) < int(stages.result.success.sum()) < 18
    assert bool((stages.result.distance <= eps * (1 + 1e-6)).all())


@pytest.mark.filterwarnings("ignore:.*gradient")
def test_blind_are_those_of_the_latest_attack_that_it_fooled_not_and_whose_gradient_was_zero() -> None:
    case = toy_case(3, samples=18, wrong=())
    blocked = Wrapped(case.model, before=lambda x: (16 * x).round() / 16).eval()
    y, rows = blocked(case.x).argmax(1), torch.arange(18) < 6
    problem = APGD(eps=0.3)._problem(blocked, case.x, y, *DEFAULTS)
    stages = Stages(blocked, problem, APGD(steps=1, random_start=False))
    assert bool(stages.blind.all())
    for attack in (stages.attack, lambda *given: stages.aim(*given, 2)):
        attack(APGD(steps=3, loss="margin"), rows)
        assert 0 < int(stages.result.success[:6].sum()) < 6
        assert torch.equal(stages.blind, rows & ~stages.result.success)


@pytest.mark.filterwarnings("ignore:.*gradient")
def test_an_attack_is_blind_if_it_was_towards_one_of_its_classes() -> None:
    """The lead over class 1 is 1 everywhere, that over class 2 has a gradient: the classes have turns, 1 is first."""
    x, y = torch.full((3, 4), 0.5, dtype=torch.float64), torch.zeros(3, dtype=torch.int64)

    def model(x: torch.Tensor) -> torch.Tensor:
        first = x.sum(1)
        return torch.stack([first, first - 1, 2 * x[:, 0] - 1], 1)

    stages = Stages(model, APGD(eps=0.01)._problem(model, x, y, *DEFAULTS), APGD(steps=2, loss="margin"))
    assert torch.equal(stages.leads.argsort(dim=1)[0], torch.tensor([1, 2, 0]))
    stages.aim(APGD(steps=2, loss="margin"), torch.ones(3, dtype=torch.bool), 2)
    assert bool(stages.blind.all())


def test_more_classes_than_there_are_is_each_wrong_one_once() -> None:
    case = toy_case(1, samples=6, wrong=())
    stages = stages_of(case, 6, eps=0.01, stop="never")
    gradients = stages.result.gradients
    stages.aim(APGD(steps=2), torch.ones(6, dtype=torch.bool), 99)
    assert torch.equal(stages.result.gradients - gradients, torch.full((6,), 2 * (stages.leads.shape[1] - 1)))


def test_a_probe_holds_the_nearest_and_some_of_the_others_that_stand() -> None:
    case = toy_case(1, samples=45, wrong=(3, 4))
    cascade = Order(
        case.model, APGD(eps=0.01)._problem(case.model, case.x, case.y, *DEFAULTS), norm="linf", steps=5, queries=10
    )
    stages = cascade._stages
    rows, nearest = cascade._probe(4), stages.lowest(4, stages.standing)
    assert bool((rows[nearest]).all())
    assert not bool((rows & ~stages.standing).any())
    assert 4 <= int((rows & ~nearest).sum()) < 8


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_cascade_leaves_no_more_standing_than_autoattack(norm: str) -> None:
    eps = {"linf": 0.06, "l2": 0.4}[norm]
    fallen = dict.fromkeys((Cascade, AutoAttack), 0)
    for seed in range(3):
        case = toy_case(seed, samples=27, wrong=())
        for kind in fallen:
            fallen[kind] += int(kind(norm=norm, eps=eps, **SHORT)(case.model, case.x, case.y).success.sum())
    assert 81 > fallen[Cascade] >= fallen[AutoAttack] > 0


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_radius_a_sample_holds_in_every_stage(norm: str) -> None:
    case = toy_case(4, wrong=())
    eps = torch.linspace(0, 0.2, 9) * {"linf": 1, "l2": 5, "l1": 20}[norm]
    for kind in (AutoAttack, Cascade):
        found = kind(norm=norm, **SHORT)(case.model, case.x, case.y, eps=eps)
        assert bool((found.distance <= eps.double() * (1 + (norm != "linf") * 1e-6)).all())
        assert bool(found.success.any())


@pytest.mark.filterwarnings("ignore:the model gave the same image two answers")
def test_the_mode_rand_averages_over_the_model_s_draws() -> None:
    case = toy_case(5, wrong=())
    noisy = Wrapped(case.model, after=lambda logits: logits + 0.01 * torch.randn_like(logits)).eval()
    found = AutoAttack(eps=0.1, mode="rand", steps=3)(noisy, case.x, case.y)
    assert bool(found.success.any())
    assert int(found.queries.min()) >= 20


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'standard'"):
        AutoAttack(mode="standart")


def test_the_cascade_is_an_attack_of_its_own_name() -> None:
    with pytest.raises(InputError, match=r"use the attack cascade, as in cascade\("):
        AutoAttack(mode="fast")
    assert isinstance(create_attack("cascade(steps=7)"), Cascade)
