"""DI, TI, SI, NI, VMI and Admix beside plainly written loops."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.attacks import MIFGSM, PGD, admix, create_attack, di, ni, si, ti, transfer, vmi
from advkit.attacks.around.di import STREAM, _paste
from advkit.attacks.around.ti import smoothed
from advkit.core import joint_passes
from advkit.core.draws import Draws
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.norms import get_norm
from advkit.testing import check_attack

EPS, STEPS = 0.05, 4
SPECS = ["di=0.5", "ti=3", "si=3", "ni=1.0", "vmi=2", "admix=0.2"]


class Counting(nn.Module):
    """A small convolutional network that counts the images it sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 36, 5)).double()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        answer: Tensor = self.layers(x)
        return answer


@pytest.fixture
def case() -> tuple[Counting, Tensor, Tensor]:
    model, generator = Counting(), torch.Generator().manual_seed(1)
    x = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    return model, x, torch.tensor([0, 1, 2, 0, 1, 2])


def gradient_at(model: nn.Module, x: Tensor, y: Tensor, through: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    leaf = x.detach().requires_grad_()
    F.cross_entropy(model(through(leaf)), y, reduction="sum").backward()
    assert leaf.grad is not None
    return leaf.grad


def momentum(x: Tensor, look: Callable[[Tensor, int], Tensor]) -> Tensor:
    """MI-FGSM with another gradient, as its paper writes it."""
    x_adv, g = x.clone(), torch.zeros_like(x)
    for i in range(STEPS):
        gradient = look(x_adv, i)
        g = g + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        x_adv = (x_adv + 1.25 * EPS / STEPS * g.sign()).clamp(x - EPS, x + EPS).clamp(0, 1)
    return x_adv


def run(case, spec: str) -> Tensor:
    model, x, y = case
    x_adv: Tensor = create_attack(f"mifgsm(eps={EPS}, steps={STEPS}, {spec})")(model, x, y, stop="never", seed=3).x_adv
    return x_adv


def test_si_is_the_mean_over_darker_copies(case):
    model, x, y = case
    slow = momentum(x, lambda at, _: sum(gradient_at(model, at, y, lambda z, k=k: z / 2**k) for k in range(3)) / 3)
    torch.testing.assert_close(run(case, "si=3"), slow)


def test_ti_is_the_gradient_convolved_with_a_gaussian(case):
    model, x, y = case
    side = torch.arange(-2, 3, dtype=torch.float64)
    bell = torch.exp(-(side[:, None] ** 2 + side**2) / (2 * (2 / 3) ** 2))
    bell = bell / bell.sum()

    def blur(g: Tensor) -> Tensor:
        wide, out = F.pad(g, (2, 2, 2, 2)), torch.zeros_like(g)
        for row in range(5):
            for column in range(5):
                out += bell[row, column] * wide[:, :, row : row + 8, column : column + 8]
        return out

    torch.testing.assert_close(smoothed(x, 5), blur(x))
    torch.testing.assert_close(run(case, "ti=5"), momentum(x, lambda at, _: blur(gradient_at(model, at, y))))


def test_ni_looks_where_the_momentum_leads(case):
    model, x, y = case
    velocity, length = torch.zeros_like(x), 1.25 * EPS / STEPS

    def look(at: Tensor, i: int) -> Tensor:
        nonlocal velocity
        gradient = gradient_at(model, at + length * velocity, y)
        velocity = velocity + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
        return gradient

    torch.testing.assert_close(run(case, "ni=1.0"), momentum(x, look))


def test_vmi_adds_the_last_steps_variance(case):
    model, x, y = case
    variance, draws = torch.zeros_like(x), Draws(3, torch.arange(6))

    def look(at: Tensor, i: int) -> Tensor:
        nonlocal variance
        gradient, before = gradient_at(model, at, y), variance
        eps = torch.full((6, 1, 1, 1), 1.5 * EPS, dtype=torch.float64)
        offsets = [get_norm("linf").sample(x, eps, draws.branch(k, 9), i) for k in (1, 2)]
        assert all(0.9 < float(offset.abs().max()) / (1.5 * EPS) <= 1 for offset in offsets)
        variance = sum(gradient_at(model, at + offset, y) for offset in offsets) / 2 - gradient
        return gradient + before

    torch.testing.assert_close(run(case, "vmi=2"), momentum(x, look))


def test_di_shrinks_and_moves_each_image_alone(case):
    model, x, y = case
    draws = Draws(3, torch.arange(6))

    def look(at: Tensor, i: int) -> Tensor:
        numbers = draws.uniform(i, (4,), stream=STREAM)
        pieces = [
            gradient_at(model, at[k : k + 1], y[k : k + 1], lambda z, k=k: _paste(z, numbers[k : k + 1], 0.7))
            for k in range(6)
        ]
        return torch.cat(pieces)

    torch.testing.assert_close(run(case, "di=0.7"), momentum(x, look))


def test_a_pasted_image_lies_whole_in_its_frame():
    """Its mass is that of the smaller image, wherever it lies; at the full size it is the image itself."""
    x = torch.zeros(200, 1, 20, 20, dtype=torch.float64)
    x[:, :, 2:-2, 2:-2] = 1.0  # the sampling smears the edge by a pixel
    numbers = torch.rand(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pasted = _paste(x, numbers, 1.0)
    share = (0.9 + 0.1 * numbers[:, 1]) ** 2
    torch.testing.assert_close(pasted.sum((1, 2, 3)), share * 256, rtol=0.02, atol=0)
    places = pasted.sum((1, 2)).argmax(1) - 10.0
    assert len(set(places.tolist())) > 1
    numbers[:, 1] = 1.0
    torch.testing.assert_close(_paste(x, numbers, 1.0), x)
    assert _paste(x, numbers, 0.0).equal(x)


def test_admix_mixes_with_images_of_other_classes_only(case):
    model, x, y = case
    asked: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            asked.append(z.detach().clone())
            answer: Tensor = model(z)
            return answer

    create_attack("mifgsm(eps=1e-9, steps=1, admix=0.2)")(Watching(), x, y, stop="never")
    mixtures = torch.cat(asked[1:-1]).split(len(x))
    assert len(mixtures) == 15
    for k, seen in enumerate(mixtures):
        other = (seen * 2 ** ((k + 1) % 5) - x) / 0.2
        apart = (other[:, None] - x).abs().amax((2, 3, 4))
        assert bool((apart.min(1).values < 1e-6).all())
        assert bool((y[apart.argmin(1)] != y).all())


def test_admix_of_one_image_alone_is_si(case):
    model, x, y = case
    one = x[:1], y[:1]
    alone = create_attack(f"mifgsm(eps={EPS}, admix=0.2)")(model, *one, stop="never").x_adv
    torch.testing.assert_close(alone, create_attack(f"mifgsm(eps={EPS}, si=5)")(model, *one, stop="never").x_adv)


def test_their_order_is_that_of_the_papers_together(case):
    """Momentum over the smoothed mean over scales of the gradient at a pasted image."""
    model, x, y = case
    draws = Draws(3, torch.arange(6))

    def look(at: Tensor, i: int) -> Tensor:
        total = torch.zeros_like(x)
        for call, k in enumerate((1, 0)):
            numbers = draws.uniform(i, (4,), stream=STREAM + call)
            total += gradient_at(model, at, y, lambda z, k=k, n=numbers: _paste(z / 2**k, n, 0.7))
        return smoothed(total / 2, 3)

    torch.testing.assert_close(run(case, "di=0.7, ti=3, si=2"), momentum(x, look))


@pytest.mark.parametrize("spec", ["di=0, ti=1, si=1, ni=0, vmi=0, admix=0"])
@pytest.mark.parametrize("name", ["mifgsm", "pgd", "bim", "fgsm"])
def test_at_their_neutral_setting_they_are_not_there(name, spec):
    assert create_attack(f"{name}(eps=0.1, {spec})") == create_attack(f"{name}(eps=0.1)")


@pytest.mark.parametrize("spec", [*SPECS, ", ".join(SPECS)])
def test_the_spec_makes_the_attack_again(spec):
    attack = create_attack(f"mifgsm(eps=0.1, {spec})")
    assert create_attack(attack.spec) == attack


@pytest.mark.parametrize(
    ("spec", "passes"), [("di=0.5", 1), ("ti=3", 1), ("si=3", 3), ("ni=1.0", 1), ("vmi=2", 3), ("admix=0.2", 15)]
)
def test_each_costs_what_it_says(spec, passes, case):
    model, x, y = case
    model.seen = 0
    result = create_attack(f"mifgsm(eps={EPS}, steps={STEPS}, {spec})")(model, x, y, stop="never")
    assert result.gradients.eq(passes * STEPS).all()
    assert int(result.queries.sum()) == model.seen
    first = 0 if spec.split("=")[0] in ("ti", "si", "vmi") else 1  # the clean pass serves as the first
    assert result.queries.eq(passes * STEPS + 1 + first).all()


MANY = ["si=5", "vmi=5", "admix=0.2", "si=3, vmi=2", "di=0.7, si=3", "di=0.7, admix=0.2"]


class Picky(Counting):
    """Refuses batches of more images than the first one had, and notes the sizes."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most, self.sizes = most, [0]

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise RuntimeError(f"expected at most {self.most} images")
        self.sizes.append(len(x))
        return super().forward(x)


@pytest.mark.parametrize("stop", ["never", "fooled"])
@pytest.mark.parametrize("spec", MANY)
def test_few_large_passes_give_what_many_small_ones_do(spec, stop, case, monkeypatch):
    model, x, _ = case
    y = model(x).argmax(1)
    attack, free, alone = create_attack(f"mifgsm(eps={EPS}, steps=3, {spec})"), Picky(math.inf), Picky(math.inf)
    together = attack(free, x, y, stop=stop, seed=3)
    monkeypatch.setattr(joint_passes, "JOINT", 0)
    one_by_one = attack(alone, x, y, stop=stop, seed=3)
    assert max(free.sizes) > len(x) == max(alone.sizes)
    assert sum(free.sizes) == sum(alone.sizes)
    torch.testing.assert_close(together.x_adv, one_by_one.x_adv)
    assert together.queries.equal(one_by_one.queries)
    assert together.gradients.equal(one_by_one.gradients)


@pytest.mark.parametrize("spec", MANY)
def test_a_model_that_takes_no_larger_batch_gets_them_one_by_one(spec, case):
    _, x, y = case
    attack, narrow = create_attack(f"mifgsm(eps={EPS}, steps=3, {spec})"), Picky(len(x))
    result = attack(narrow, x, y, stop="never", seed=3)
    torch.testing.assert_close(result.x_adv, attack(Counting(), x, y, stop="never", seed=3).x_adv)
    assert int(result.queries.sum()) == sum(narrow.sizes)


def test_a_gradient_of_zero_in_one_of_the_copies_is_reported(case):
    """A network that sees bright images only: the darker copies have no gradient there."""
    _, x, y = case
    bright = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).double()

    class Bright(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            answer: Tensor = bright(z * (z.detach().amax((1, 2, 3), keepdim=True) > 0.3))
            return answer

    y = bright(0 * x).argmax(1)
    with pytest.warns(AdvkitWarning, match="gradient was exactly zero"):
        result = create_attack("mifgsm(eps=1e-6, steps=2, si=3)")(Bright(), x, y, stop="never")
    assert result.zero_gradient.all()
    plain = create_attack("mifgsm(eps=1e-6, steps=2)")(Bright(), x, y, stop="never")
    assert not plain.zero_gradient.any()


@pytest.mark.parametrize("spec", SPECS)
def test_an_attack_that_asks_for_the_loss_gets_it_with_the_replaced_gradient(spec, case):
    """In the place of `gradient`, as attacks of others may do: the same images."""
    model, x, y = case

    @dataclass(frozen=True, kw_only=True)
    class Asking(MIFGSM):
        def step(self, oracle, state, i):
            class Both:
                region = oracle.region

                def gradient(self, x, loss):
                    values, gradient = oracle.loss_and_gradient(x, loss)
                    assert values.shape == (len(x),)
                    assert bool(values.isfinite().all())
                    return gradient

            return super().step(Both(), state, i)

    option, value = spec.split("=")
    wrap = {"di": di, "ti": ti, "si": si, "ni": ni, "vmi": vmi, "admix": admix}[option]
    number = float(value) if "." in value else int(value)
    found = wrap(Asking(eps=EPS, steps=STEPS), number)(model, x, y, stop="never", seed=3).x_adv
    torch.testing.assert_close(found, run(case, spec))


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "admix" not in spec])
def test_a_sample_alone_is_attacked_as_in_a_batch(spec, case):
    model, x, y = case
    attack = create_attack(f"mifgsm(eps={EPS}, {spec})")
    whole = attack(model, x, y, stop="never").x_adv
    single = attack(model, x[4:5], y[4:5], stop="never", sample_ids=torch.tensor([4])).x_adv
    torch.testing.assert_close(whole[4:5], single)


@pytest.mark.parametrize("spec", SPECS)
def test_they_keep_every_promise_of_an_attack(spec):
    refused = ["works_on_other_shapes"] if spec[:2] in ("di", "ti") else []  # what is no image, in one line
    check_attack(create_attack(f"mifgsm(eps=0.1, steps=4, {spec})"), skip=refused)


@pytest.mark.parametrize("wrap", [lambda a: di(a, 0.5), lambda a: si(a, 3), lambda a: admix(a, 0.2)])
def test_on_a_surrogate_of_several_they_go_through_the_losses(wrap, case):
    from advkit.attacks import ensemble

    model, x, y = case
    other = Counting()
    attack = ensemble(wrap(MIFGSM(eps=EPS, steps=STEPS)), [model, other], average="losses")
    same = transfer(wrap(MIFGSM(eps=EPS, steps=STEPS)), model)  # both members are one network
    torch.testing.assert_close(attack(model, x, y).x_adv, same(model, x, y).x_adv)


@pytest.mark.parametrize("attack", ["apgd", "ddn", "deepfool", "square", "universal", "autoattack"])
@pytest.mark.parametrize("spec", SPECS)
def test_attacks_that_need_their_own_points_answer_are_refused(attack, spec):
    with pytest.raises(InputError):
        create_attack(f"{attack}({spec})")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a: ti(a, 4),
        lambda a: di(a, 1.5),
        lambda a: si(a, 0),
        lambda a: ni(a, -1),
        lambda a: vmi(a, -1),
        lambda a: admix(a, 2),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrap):
    with pytest.raises(InputError):
        wrap(PGD(eps=0.1))


@pytest.mark.parametrize("spec", ["ti=3", "di=0.5"])
def test_rows_that_are_no_images_are_refused(spec):
    with pytest.raises(InputError, match="needs images"):
        create_attack(f"bim(eps=0.1, {spec})")(nn.Linear(4, 3), torch.rand(2, 4), torch.tensor([0, 1]))


def test_they_stand_in_a_run_of_restarts_and_targets(case):
    model, x, y = case
    attack = create_attack(f"mifgsm(eps={EPS}, steps=3, di=0.5, ni=1.0, restarts=2)")
    assert attack(model, x, y).success.shape == (6,)
