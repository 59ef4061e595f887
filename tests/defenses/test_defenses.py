"""Adversarial training: the cheap way has the gradients of the plain way, and works in anybody's loop."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from helpers.children import ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from advkit.attacks import FGSM, PGD, Attack, Noise, list_attacks
from advkit.core.errors import AdvkitError, InputError, UnknownNameError
from advkit.data import MemoryDataset
from advkit.defenses import DEFENSES, AdversarialLoss, create_defense, list_defenses
from advkit.defenses._network import Network
from advkit.models import Classifier, create_model
from advkit.training import Recipe, train


def images(n: int = 6, dtype: torch.dtype = torch.float64, size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    x = torch.rand(n, 1, size, size, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.arange(n) % 3


class Shared(nn.Module):
    """One matrix used twice, and one that is used by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.out = nn.Linear(36, 36), nn.Linear(36, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.matrix(torch.tanh(self.matrix(x.flatten(1)))))
        return out


def convolutional(norm: nn.Module | None = None) -> nn.Sequential:
    layers = [nn.Conv2d(1, 4, 3), norm or nn.Identity(), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)]
    return nn.Sequential(*layers)


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)),
    "convolution": convolutional,
    "batch norm": lambda: convolutional(nn.BatchNorm2d(4)),
    "batch norm in eval mode": lambda: convolutional(nn.BatchNorm2d(4)).eval(),
    "group norm": lambda: convolutional(nn.GroupNorm(2, 4)),
    "in place": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 3)),
    "shared": Shared,
    "half frozen": lambda: frozen(convolutional()),
}


def frozen(net: nn.Sequential) -> nn.Sequential:
    net[0].requires_grad_(False)
    return net


def net(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return NETS[name]().to(dtype)


def three_passes(
    model: nn.Module, x: Tensor, y: Tensor, *, attack: FGSM, alpha: float = 0.5, label_smoothing: float = 0.0
) -> Tensor:
    """The plain way, written out from the paper for linf."""
    assert attack.eps is not None
    leaf = x.clone().requires_grad_()
    crafting = F.cross_entropy(model(leaf.clone()), y, label_smoothing=label_smoothing)
    (gradient,) = torch.autograd.grad(crafting, [leaf])
    x_adv = (x + attack.eps * gradient.sign()).clamp(0, 1)
    clean, adversarial = (F.cross_entropy(model(z.clone()), y, label_smoothing=label_smoothing) for z in (x, x_adv))
    return alpha * clean + (1 - alpha) * adversarial


def gradients(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_close(left: dict[str, Tensor], right: dict[str, Tensor], **tolerance: float) -> None:
    assert left.keys() == right.keys()
    for name, gradient in left.items():
        torch.testing.assert_close(gradient, right[name], **tolerance)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_value_and_gradients_are_those_of_three_passes(name: str, alpha: float, smoothing: float) -> None:
    model, (x, y), attack = net(name), images(), FGSM(eps=0.1)
    loss = AdversarialLoss(attack=attack, alpha=alpha, label_smoothing=smoothing)
    plain = three_passes(copy.deepcopy(model), x, y, attack=attack, alpha=alpha, label_smoothing=smoothing)
    torch.testing.assert_close(loss(model, x, y), plain)
    expected = copy.deepcopy(model)
    plain = three_passes(expected, x, y, attack=attack, alpha=alpha, label_smoothing=smoothing)
    ours, theirs = gradients(loss(model, x, y), model), gradients(plain, expected)
    if alpha in (0.0, 1.0):  # autograd gives zeros, or nothing, to a parameter whose part has no weight
        ours, theirs = ({k: g for k, g in gs.items() if g.any()} for gs in (ours, theirs))
    assert_close(ours, theirs)


@given(st.integers(0, 2**16), st.floats(0, 1), st.floats(0, 0.5), st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_random_nets_and_images_have_the_gradients_of_three_passes(
    seed: int, alpha: float, eps: float, n: int, scale: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    x, y = torch.rand(n, 1, 2, 2, dtype=torch.float64), torch.randint(3, (n,))
    attack = FGSM(eps=eps)
    ours = gradients(AdversarialLoss(attack=attack, alpha=alpha)(model, x, y) * scale, model)
    assert_close(ours, gradients(three_passes(model, x, y, attack=attack, alpha=alpha) * scale, model))


def test_lenet5_has_the_gradients_of_three_passes() -> None:
    model = create_model("lenet5", seed=0).double()
    x, y = images(4, size=32)
    ours = gradients(AdversarialLoss(attack=FGSM(eps=0.25))(model, x, y), model)
    assert_close(ours, gradients(three_passes(model, x, y, attack=FGSM(eps=0.25)), model))


def test_the_paper_mixes_by_one_half() -> None:
    assert AdversarialLoss(attack=FGSM(eps=0.25)).alpha == 0.5


def test_gradients_accumulate_over_calls() -> None:
    model, loss = net("convolution"), AdversarialLoss(attack=FGSM(eps=0.1))
    parts = [images(4), images(5)]
    separate = [gradients(loss(model, x, y), model) for x, y in parts]
    together = gradients(torch.stack([loss(model, x, y) for x, y in parts]).sum(), model)
    assert_close(together, {name: separate[0][name] + separate[1][name] for name in together})


def test_making_the_loss_leaves_gradients_images_and_flags_alone() -> None:
    for attack in (FGSM(eps=0.1), PGD(eps=0.1, steps=2)):
        model, (x, y) = net("half frozen"), images()
        before, flags = x.clone(), [p.requires_grad for p in model.parameters()]
        x.requires_grad_()
        loss = AdversarialLoss(attack=attack)(model, x, y)
        assert all(p.grad is None for p in model.parameters())
        assert [p.requires_grad for p in model.parameters()] == flags
        loss.backward()
        assert torch.equal(x.detach(), before)
        assert x.grad is None


def test_batch_norm_counts_two_batches_with_fgsm_and_one_with_other_attacks() -> None:
    x, y = images()
    for attack, count in ((FGSM(eps=0.1), 2), (PGD(eps=0.1, steps=3), 1)):
        model = net("batch norm")
        AdversarialLoss(attack=attack)(model, x, y)
        norm = model[1]  # type: ignore[index]
        assert int(norm.num_batches_tracked) == count
        assert model.training


def test_batch_norms_averages_are_those_of_the_clean_and_then_the_adversarial_batch() -> None:
    model, (x, y), attack = net("batch norm"), images(), FGSM(eps=0.1)
    expected, helper = copy.deepcopy(model), copy.deepcopy(model)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(helper(leaf), y), [leaf])
    expected(x)
    expected(attack.from_gradient(x, gradient))
    AdversarialLoss(attack=attack)(model, x, y)
    for name, buffer in expected.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer)


def test_dropout_draws_one_mask_a_pass() -> None:
    masks: list[Tensor] = []

    class Spy(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            masks.append(out.detach() != 0)
            return out

    model = nn.Sequential(nn.Flatten(), Spy(), nn.Linear(36, 3)).double()
    x, y = images()
    x = x.clamp(0.2, 0.8)
    AdversarialLoss(attack=FGSM(eps=0.1))(model, x, y).backward()
    assert [len(mask) for mask in masks] == [6, 6]
    assert not torch.equal(*masks)


def test_eval_mode_stays_eval_mode() -> None:
    model, (x, y) = net("batch norm in eval mode"), images()
    before = copy.deepcopy(model.state_dict())
    AdversarialLoss(attack=FGSM(eps=0.1))(model, x, y).backward()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("attack", [PGD(eps=0.1, steps=3, random_start=False), FGSM(eps=0.1, loss="margin")])
def test_other_attacks_are_made_by_the_attack_and_mixed(attack: Attack) -> None:
    model, (x, y) = net("convolution"), images()
    x_adv = attack.examples(model, x, y)
    expected = 0.3 * F.cross_entropy(model(x), y) + 0.7 * F.cross_entropy(model(x_adv), y)
    loss = AdversarialLoss(attack=attack, alpha=0.3)
    torch.testing.assert_close(loss(model, x, y), expected)
    assert_close(gradients(loss(model, x, y), model), gradients(expected, model))
    only = AdversarialLoss(attack=attack, alpha=0)
    torch.testing.assert_close(only(model, x, y), F.cross_entropy(model(x_adv), y))


def test_fgsm_by_its_own_gradient_and_by_the_driver_agree() -> None:
    model, (x, y) = net("convolution"), images()
    loss = AdversarialLoss(attack=FGSM(eps=0.1))
    network = Network(model, x)
    torch.testing.assert_close(loss.two_passes(network, x, y), super(AdversarialLoss, loss).batch_loss(network, x, y))


def test_random_attacks_draw_anew_at_each_call_and_again_the_same_from_the_same_state() -> None:
    model, (x, y), loss = net("convolution"), images(), AdversarialLoss(attack=Noise(eps=0.3))
    torch.manual_seed(3)
    first, second = loss(model, x, y), loss(model, x, y)
    torch.manual_seed(3)
    assert first != second
    assert first == loss(model, x, y)


def test_deterministic_attacks_leave_the_global_random_state_alone() -> None:
    model, (x, y) = net("convolution"), images()
    state = torch.get_rng_state()
    for attack in (FGSM(eps=0.1), PGD(eps=0.1, steps=2, random_start=False)):
        AdversarialLoss(attack=attack)(model, x, y)
    assert torch.equal(state, torch.get_rng_state())


def test_images_learnt_too_well_to_have_a_gradient_are_no_warning() -> None:
    model, (x, y) = net("linear", torch.float32), images(dtype=torch.float32)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([1e4, 0.0, 0.0]))  # type: ignore[index]
    AdversarialLoss(attack=PGD(eps=0.1, steps=2))(model, x, torch.zeros_like(y))


def test_hooks_on_parameters_see_every_gradient_once() -> None:
    model, (x, y), attack = net("convolution"), images(), FGSM(eps=0.1)
    for p in model.parameters():
        p.register_hook(lambda gradient: 3 * gradient)
    ours = gradients(AdversarialLoss(attack=attack)(model, x, y), model)
    assert_close(ours, gradients(three_passes(model, x, y, attack=attack), model))


def test_a_loss_cannot_be_differentiated_twice_and_says_so() -> None:
    model, (x, y) = net("convolution"), images()
    loss = AdversarialLoss(attack=FGSM(eps=0.1))(model, x, y)
    with pytest.raises(AdvkitError, match="create_graph"):
        torch.autograd.grad(loss, list(model.parameters()), create_graph=True)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=2)])
def test_without_gradients_the_value_is_the_same(context: Callable[[], torch.no_grad], attack: Attack) -> None:
    model, (x, y), loss = net("convolution"), images(), AdversarialLoss(attack=attack)
    torch.manual_seed(0)
    expected = loss(model, x, y).detach()
    torch.manual_seed(0)
    with context():
        value = loss(model, x.clone(), y.clone())
    assert not value.requires_grad
    torch.testing.assert_close(value.clone(), expected)


def test_a_model_without_trainable_parameters_has_a_value() -> None:
    model, (x, y) = net("linear").requires_grad_(False), images()
    assert not AdversarialLoss(attack=FGSM(eps=0.1))(model, x, y).requires_grad


def test_a_function_is_a_model_too() -> None:
    model, (x, y), attack = net("convolution"), images(), FGSM(eps=0.1)
    loss = AdversarialLoss(attack=attack)(lambda z: model(z), x, y)  # type: ignore[arg-type]
    assert_close(gradients(loss, model), gradients(three_passes(model, x, y, attack=attack), model))


@pytest.mark.parametrize("name", ["convolution", "batch norm"])
def test_under_bfloat16_autocast_gradients_are_those_of_three_passes_to_its_noise(name: str) -> None:
    model, (x, y), attack = net(name, torch.float32), images(dtype=torch.float32), FGSM(eps=0.1)
    expected = copy.deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16):
        loss = AdversarialLoss(attack=attack)(model, x, y)
        plain = three_passes(expected, x, y, attack=attack)
    assert loss.dtype == torch.float32
    assert_close(gradients(loss, model), gradients(plain, expected), rtol=0.05, atol=0.02)


def test_under_float16_with_grad_scaler_a_step_is_that_of_float32() -> None:
    (x, y), attack = images(dtype=torch.float32), FGSM(eps=0.1)
    model = net("convolution", torch.float32)
    expected, plain = gradients(three_passes(model, x, y, attack=attack), model), copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    optimizer.zero_grad()
    scaler = torch.amp.GradScaler("cpu")
    with torch.autocast("cpu", torch.float16):
        loss = AdversarialLoss(attack=attack)(model, x, y)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    step = {name: dict(plain.named_parameters())[name].detach() - p.detach() for name, p in model.named_parameters()}
    assert scaler.get_scale() == 2.0**16
    assert_close(step, expected, rtol=0.02, atol=5e-3)


def test_small_float16_gradients_do_not_vanish() -> None:
    model, (x, y) = net("linear", torch.float32), images(dtype=torch.float32)
    with torch.no_grad():
        model[1].weight.mul_(1e-3)  # type: ignore[index]
        model[1].bias.copy_(torch.tensor([11.0, 0.0, 0.0]))  # type: ignore[index]
    y = torch.zeros_like(y)  # probabilities of the other classes: 2e-5, a sixth of that a sample
    with torch.autocast("cpu", torch.float16):
        loss = AdversarialLoss(attack=FGSM(eps=0.1), alpha=1)(model, x, y)
    ours = gradients(loss * 2.0**16, model)["1.weight"] / 2.0**16
    expected = gradients(F.cross_entropy(model(x), y), model)["1.weight"]
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=1e-8)


BOTH = {"fgsm": FGSM(eps=0.1), "pgd": PGD(eps=0.1, steps=2, random_start=False)}


def half(rank: int, folder: Path) -> None:
    """Keep the gradients of one process of two, which has every other image."""
    for name, attack in BOTH.items():
        model = DistributedDataParallel(net("convolution"))
        x, y = images(8)
        for _ in range(2):  # twice: the buckets are rebuilt after the first
            found = gradients(AdversarialLoss(attack=attack)(model, x[rank::2], y[rank::2]), model)
        torch.save({key.removeprefix("module."): g for key, g in found.items()}, folder / f"{name}{rank}.pt")


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    assert ranks(lambda rank: half(rank, tmp_path), tmp_path) == [0, 0]
    x, y = images(8)
    for name, attack in BOTH.items():
        model = net("convolution")
        expected = gradients(AdversarialLoss(attack=attack)(model, x, y), model)
        for rank in range(2):
            assert_close(torch.load(tmp_path / f"{name}{rank}.pt"), expected)


def test_training_with_the_loss_resists_fgsm_better_than_training_without() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    x = torch.rand(300, 1, 4, 4, generator=generator) * 0.9
    x[torch.arange(300), 0, 0, y] += 0.1  # a small sign of the class in one pixel, which an attack wipes out
    x[torch.arange(300), 0, 2, y] = 1.0  # and a large one in another
    data = MemoryDataset("toy", "train", "abc", x, y)
    recipe = Recipe(model="linear", data="toy", epochs=4, lr=0.1)
    errors = []
    for loss in (None, create_defense("fgsm(eps=0.3)")):
        torch.manual_seed(0)
        linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
        model = train(linear, data, recipe=recipe, loss=loss, test=data, device="cpu").classifier
        errors.append(float(FGSM(eps=0.3)(model.double(), x.double(), y).success.double().mean()))
    assert errors[1] < errors[0]


def test_the_name_of_an_attack_means_training_with_it() -> None:
    assert create_defense("fgsm(eps=0.25)") == AdversarialLoss(attack=FGSM(eps=0.25))
    made = create_defense("pgd(eps=8/255, steps=7, alpha=0, label_smoothing=0.1)")
    assert made == AdversarialLoss(attack=PGD(eps=8 / 255, steps=7), alpha=0, label_smoothing=0.1)
    assert create_defense("adversarial(attack=fgsm(eps=0.1), alpha=0.2)") == create_defense("fgsm(eps=0.1, alpha=0.2)")
    assert create_defense("fgsm", eps=0.1, alpha=0.2) == create_defense("fgsm(eps=0.1, alpha=0.2)")


@pytest.mark.parametrize(
    "text", ["fgsm(eps=0.25)", "pgd(eps=0.1, steps=3, alpha=0.0)", "fgsm(label_smoothing=0.1)", "lbfgs"]
)
def test_a_spec_makes_the_same_defence_again(text: str) -> None:
    if text.partition("(")[0] not in list_attacks():
        pytest.skip("no such attack yet")
    text = text if "eps" in text or text == "lbfgs" else text.replace("(", "(eps=0.1, ")
    assert create_defense(create_defense(text).spec) == create_defense(text)


def test_wrong_specs_are_refused_with_a_suggestion() -> None:
    assert "adversarial" in list_defenses()
    assert DEFENSES.factory("adversarial") is AdversarialLoss
    with pytest.raises(UnknownNameError, match="did you mean 'fgsm'"):
        create_defense("fgms(eps=0.1)")
    with pytest.raises(InputError, match="alhpa"):
        create_defense("fgsm(eps=0.1, alhpa=0.1)")
    with pytest.raises(InputError, match="needs attack="):
        create_defense("adversarial")
    with pytest.raises(InputError, match="cannot read"):
        create_defense("fgsm(eps=")


@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=1)])
def test_wrong_input_is_refused(attack: Attack) -> None:
    model, (x, y), loss = net("linear"), images(), AdversarialLoss(attack=attack)
    for bad_x, bad_y, message in (
        (x * 2, y, "out of bounds"),
        (x * torch.nan, y, "NaN"),
        (x, y[:-1], "one a sample"),
        (x, F.one_hot(y), "one-hot"),
        (x[:0], y[:0], "at least one image"),
    ):
        with pytest.raises(InputError, match=message):
            loss(model, bad_x, bad_y)
