"""Universal perturbations: one for all images, found on some and applied to others."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from advkit.attacks import FGSM, Noise, Universal, UniversalPerturbation, find_universal
from advkit.attacks.universal.universal import moved
from advkit.core.errors import InputError
from advkit.core.oracle import Oracle
from advkit.testing import AffineClassifier, check_attack
from advkit.testing._toys import SHAPE, toy_case
from advkit.testing.nets import Spy


def one_class(samples: int = 12) -> tuple[AffineClassifier, torch.Tensor, torch.Tensor]:
    """Images of one class of two, away from the bounds: one direction suits all of them."""
    model = AffineClassifier.random(SHAPE, 2, seed=4, centred=True)
    x = 0.35 + 0.3 * torch.rand(40, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    y = model(x).argmax(1).detach()
    return model, x[y == 0][:samples], y[y == 0][:samples]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_one_class_of_a_linear_classifier_it_is_the_optimum_of_all(norm: str) -> None:
    """There the best perturbation is the same for every image, and FGSM finds it."""
    model, x, y = one_class()
    eps = float(model.nearest(x, y, norm)[0].median())
    found = Universal(eps=eps, norm=norm, steps=40)(model, x, y, stop="never")
    best = FGSM(eps=eps, norm=norm)(model, x, y, stop="never")
    still = ~found.success  # a step is made for these only, and once all are fooled v stands still
    assert still.any()
    assert torch.equal(found.success, best.success)
    torch.testing.assert_close(found.x_adv[still], best.x_adv[still], atol=1e-6, rtol=0)


def test_only_images_that_are_not_fooled_yet_have_a_say() -> None:
    model, x, y = one_class(3)
    steps: list[torch.Tensor] = []

    class Probe(Universal):
        def init(self, oracle: Oracle):  # type: ignore[no-untyped-def]
            g = torch.ones_like(oracle.x) * torch.tensor([1.0, -1, -1]).view(3, 1, 1, 1)
            for counts in ([True, False, False], [True, True, True]):
                steps.append(moved(oracle, 0 * oracle.x, g, torch.tensor(counts), torch.tensor(0.01)).delta)
            return super().init(oracle)

    Probe(eps=0.1, steps=1)(model, x, y, stop="never")
    assert (steps[0] > 0).all()
    assert (steps[1] < 0).all()


def test_images_that_are_fooled_stand_still_in_the_batch_and_count_in_the_search_over_data() -> None:
    """In the batch v stops as soon as it fools all; found for others it goes on to the best point of the ball."""
    model, x, y = one_class()
    far = 4 * float(model.nearest(x, y, "l2")[0].max())
    own = Universal(eps=far, norm="l2", steps=10, step_size=far / 3)(model, x, y, bounds=(-99, 99), stop="never")
    assert own.success.all()
    assert own.distance.max() < 0.7 * far
    found = find_universal(model, (x, y), eps=far, norm="l2", step_size=far / 3, bounds=(-99, 99))
    best = FGSM(eps=far, norm="l2")(model, x, y, bounds=(-99, 99), stop="never").x_adv - x
    torch.testing.assert_close(found.delta, best[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_search_costs_a_pass_there_and_back_for_each_image_and_epoch(loaded: bool) -> None:
    model, x, y = one_class(11)
    spy = Spy(model)
    data = DataLoader(TensorDataset(x, y), batch_size=4) if loaded else (x, y)
    find_universal(spy, data, eps=0.1, epochs=3, batch_size=4)
    assert (spy.forwards, spy.backwards) == (33, 33)


def test_the_steps_fall_evenly_from_the_radius() -> None:
    """The images want opposite things, so that v wanders; its steps are 1, .75, .5 and .25 of the radius."""
    model, x, y = one_class(2)
    lengths: list[float] = []

    class Probe(Universal):
        def step(self, oracle, state, i):  # type: ignore[no-untyped-def]
            after = super().step(oracle, state, i)
            lengths.append(float((after.delta - state.delta)[0].norm()))
            return after

    wide = 1e-6  # so small that v fools nobody
    Probe(eps=wide, norm="l2", steps=4)(Flips(model), x, y, stop="never")
    assert lengths == pytest.approx([wide, 0.75 * wide, 0.5 * wide, 0.25 * wide], rel=1e-3)


class Flips(torch.nn.Module):
    """The gradient changes its sign from one pass to the next; the answers stay."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net, self.sign = net, 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sign = -self.sign if x.requires_grad else self.sign
        turned = self.sign * (x - x.detach())
        return self.net(x.detach() + turned)  # type: ignore[no-any-return]


def test_all_images_get_the_same_perturbation() -> None:
    model, x, y = one_class()
    found = Universal(eps=0.1, steps=5)(model, x, y, stop="fooled")
    delta = found.x_adv - x
    moved = delta.flatten(1).abs().amax(1) > 0
    assert moved.any()
    torch.testing.assert_close(delta[moved], delta[moved][:1].expand_as(delta[moved]))


def test_what_is_found_on_some_images_fools_others_more_than_noise_does() -> None:
    model, x, y = one_class(20)
    attack = find_universal(model, (x[:10], y[:10]), eps=0.15, epochs=4, batch_size=4)
    assert isinstance(attack, UniversalPerturbation)
    assert attack.delta.shape == SHAPE
    assert float(attack.delta.abs().max()) <= 0.15
    fell = attack(model, x[10:], y[10:]).success.double().mean()
    assert fell > Noise(eps=0.15)(model, x[10:], y[10:]).success.double().mean() + 0.2


def test_a_loader_gives_what_tensors_give() -> None:
    model, x, y = one_class()
    tensors = find_universal(model, (x, y), eps=0.1, epochs=2, batch_size=5)
    loader = find_universal(model, DataLoader(TensorDataset(x, y), batch_size=5), eps=0.1, epochs=2)
    assert torch.equal(tensors.delta, loader.delta)


def test_applying_it_costs_two_queries_and_stays_in_a_smaller_ball() -> None:
    model, x, y = one_class()
    attack = find_universal(model, (x, y), eps=0.1, epochs=2)
    spy = Spy(model)
    attack(spy, x[:1], y[:1], stop="never")
    assert spy.forwards <= 3
    assert spy.backwards == 0
    assert attack(model, x, y, eps=0.03, stop="never").distance.max() <= 0.03


def test_the_perturbation_as_an_attack_keeps_the_promises() -> None:
    delta = 0.2 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    other = ["works_on_other_shapes", "works_for_any_number_of_classes"]  # delta has a shape
    check_attack(UniversalPerturbation(delta=delta), skip=other)


def test_a_perturbation_of_another_shape_is_refused() -> None:
    case = toy_case(wrong=())
    with pytest.raises(InputError, match=r"shape \(1, 4, 4\), the images are of shape \(2, 4, 4\)"):
        UniversalPerturbation(delta=torch.zeros(1, 4, 4), eps=0.1)(case.model, case.x, case.y)
    with pytest.raises(InputError, match="expected delta as a floating-point tensor"):
        UniversalPerturbation(delta=3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected epochs as an integer >= 1"):
        find_universal(case.model, (case.x, case.y), eps=0.1, epochs=0)
    with pytest.raises(InputError, match="expected target as one class for one perturbation, got 'all'"):
        find_universal(case.model, (case.x, case.y), eps=0.1, target="all")
    with pytest.raises(InputError, match="expected step_size as a number > 0, got 0"):
        find_universal(case.model, (case.x, case.y), eps=0.1, step_size=0)
    with pytest.raises(InputError, match="expected eps as a number >= 0, got 'eight'"):
        find_universal(case.model, (case.x, case.y), eps="eight")  # type: ignore[arg-type]


def test_no_room_leaves_no_perturbation() -> None:
    case = toy_case(wrong=())
    assert not find_universal(case.model, (case.x, case.y), eps=0.0, epochs=1).delta.any()
