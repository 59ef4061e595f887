"""The lecture's ingredients: its SGD rule step by step, its penalties against formulas, noise as control."""

from dataclasses import replace

import pytest
import torch
from helpers.training import numbers
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.defenses import create_defense
from advkit.models import Classifier
from advkit.training import LectureSGD, Penalties, Progress, Recipe, train

RECIPE = Recipe(model="toy", data="toy", input_shape=(1, 4, 4), num_classes=3, epochs=4, batch_size=12, lr=0.1)


def data(n: int = 60) -> MemoryDataset:
    y = torch.arange(n) % 3
    x = torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.5
    x[torch.arange(n), 0, y] += 0.5
    return MemoryDataset("toy", "train", "abc", x, y)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


def net(*hidden: nn.Module, units: int = 5) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Flatten(), Double(), nn.Linear(16, units), *(hidden or (nn.Tanh(),)), nn.Linear(units, 3)]
        return Classifier(nn.Sequential(*layers).double())


class Recorder:
    """The loss, the whole batch's gradient and the parameters before every step."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.gradients: list[Tensor] = []

    def __call__(self, model: Classifier, x: Tensor, y: Tensor) -> Tensor:
        value = model.training_loss(x, y)
        gradients = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
        self.weights.append(numbers(model))
        self.gradients.append(torch.cat([g.flatten() for g in gradients]))
        return value


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "steps"])
def test_twenty_steps_are_the_formulas_while_eta_changes(schedule: str) -> None:
    recipe = replace(RECIPE, optimizer="lecture", schedule=schedule, momentum=0.9, weight_decay=5e-4, lr=0.3)
    model, seen, after = net(), Recorder(), {}

    def keep(progress: Progress) -> None:
        after[progress.step] = numbers(model)

    train(model, data(), recipe=recipe, loss=seen, progress=keep, device="cpu")
    assert len(seen.weights) == 20
    w, dw = seen.weights[0], torch.zeros_like(seen.weights[0])
    etas = [recipe.learning_rate(i, 20) for i in range(20)]
    assert len(set(etas)) >= 3
    for i, eta in enumerate(etas):
        dw = 0.9 * dw - 0.0005 * eta * w - eta * seen.gradients[i]
        w = w + dw
        following = after[i + 1]
        torch.testing.assert_close(following, w, rtol=1e-12, atol=1e-14)


def test_torchs_sgd_is_the_same_rule_only_while_eta_stays() -> None:
    def end(optimizer: str, schedule: str) -> Tensor:
        model = net()
        p = list(model.parameters())
        recipe = replace(RECIPE, lr=0.3, schedule=schedule)
        kind = LectureSGD if optimizer == "lecture" else torch.optim.SGD
        made = kind(p, lr=0.3, momentum=0.9, weight_decay=5e-4)
        x, y = data()[:12]
        for i in range(20):
            made.param_groups[0]["lr"] = recipe.learning_rate(i, 20)
            made.zero_grad()
            model.training_loss(x, y).backward()  # type: ignore[no-untyped-call]
            made.step()
        return numbers(model)

    torch.testing.assert_close(end("lecture", "constant"), end("torch", "constant"), rtol=1e-9, atol=1e-12)
    assert (end("lecture", "one_cycle") - end("torch", "one_cycle")).abs().max() > 1e-3


def test_the_lectures_rule_decays_biases_too_and_takes_a_closure() -> None:
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = LectureSGD([w], lr=0.5, momentum=0.9, weight_decay=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (0 * w).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    assert optimizer.step(closure) == 0
    torch.testing.assert_close(w.detach(), torch.full((2,), 0.95, dtype=torch.float64))


def test_a_tenth_of_eta_after_each_third() -> None:
    rates = [replace(RECIPE, schedule="steps", lr=1.0).learning_rate(i, 10) for i in range(10)]
    assert rates == [1.0] * 4 + [0.1] * 3 + [0.01] * 3


def test_l1_and_l2_are_sums_over_matrices_with_their_gradients() -> None:
    model = net()
    w = torch.cat([p.detach().flatten() for p in model.parameters() if p.ndim > 1])
    for recipe, value, slope in (
        (replace(RECIPE, l1=0.3), 0.3 * w.abs().sum(), 0.3 * w.sign()),
        (replace(RECIPE, l2=0.3), 0.15 * w.square().sum(), 0.3 * w),
    ):
        penalty = Penalties(model, recipe)()
        torch.testing.assert_close(penalty.detach(), value)
        found = torch.autograd.grad(penalty, [p for p in model.parameters() if p.ndim > 1])
        torch.testing.assert_close(torch.cat([g.flatten() for g in found]), slope)


def test_l1_counts_from_its_share_of_the_steps_on() -> None:
    """Until then the run is the plain one to the last bit, then the weights shrink."""
    spies = [Recorder() for _ in range(3)]
    for spy, options in zip(spies, ({}, {"l1": 0.05, "l1_from": 0.5}, {"l1": 0.05}), strict=True):
        train(net(), data(), recipe=replace(RECIPE, **options), loss=spy, device="cpu")
    plain, late, whole = (torch.stack(spy.weights) for spy in spies)
    half = len(plain) // 2
    assert torch.equal(plain[: half + 1], late[: half + 1])
    assert not torch.equal(plain[half + 1], late[half + 1])
    assert not torch.equal(plain[1], whole[1])
    assert late[-1].abs().sum() < plain[-1].abs().sum()
    with pytest.raises(InputError, match=r"l1_from in \[0, 1\)"):
        replace(RECIPE, l1_from=1.0)


def test_l2_trains_as_sgds_weight_decay_does() -> None:
    plain = replace(RECIPE, weight_decay=0.0)
    models = [net(), net()]
    for model, recipe in zip(models, (replace(plain, l2=0.01), replace(plain, weight_decay=0.01)), strict=True):
        train(model, data(), recipe=recipe, device="cpu")
    torch.testing.assert_close(numbers(models[0]), numbers(models[1]), rtol=0, atol=2e-3)  # 16-bit weights


UNITS = {nn.Sigmoid: lambda a: a, nn.Tanh: lambda a: (a + 1) / 2, nn.ReLU: lambda a: 1 - (-a).exp()}


@pytest.mark.parametrize("kind", UNITS)
def test_sparsity_is_the_divergence_of_bernoullis_at_the_mean_activations(kind: type[nn.Module]) -> None:
    model, recipe = net(kind()), replace(RECIPE, sparsity=2.0, sparsity_target=0.1)
    x, _ = data()[:]
    penalties = Penalties(model, recipe)
    with penalties.watching():
        model.train()(x)
        model.eval()(x * 0)  # passes of an attack do not count
        found = penalties()
    q = UNITS[kind](kind()(model.net[2](x.flatten(1).double()))).mean(0).clamp(1e-6)  # of a dead unit it is infinite
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(torch.full_like(q, 0.1)), torch.distributions.Bernoulli(q)
    )
    torch.testing.assert_close(found, 2 * theirs.sum(), rtol=1e-6, atol=0)


def test_a_map_is_one_unit() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3))
    penalties, (x, _) = Penalties(layers, replace(RECIPE, sparsity=1.0)), data()[:]
    with penalties.watching():
        layers.train()(x)
        kept = list(penalties._means.values())
    assert [tuple(k.shape) for k in kept] == [(3,)]


def test_sparse_training_makes_the_units_sparser() -> None:
    def activity(sparsity: float) -> float:
        model = net(nn.Sigmoid(), units=20)
        recipe = replace(RECIPE, epochs=20, sparsity=sparsity, sparsity_target=0.05, schedule="constant", lr=0.3)
        train(model, data(), recipe=recipe, device="cpu")
        with torch.no_grad():
            return float(torch.sigmoid(model.net[2](data()[:][0].flatten(1).double())).mean())

    assert activity(0.1) < 0.15 < 0.35 < activity(0.0)


def test_sparsity_without_a_hidden_layer_is_refused() -> None:
    linear = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)))
    with pytest.raises(InputError, match="hidden layers"):
        train(linear, data(), recipe=replace(RECIPE, sparsity=0.1), device="cpu")
    with pytest.raises(InputError, match="no pass"):
        train(net(), data(), recipe=replace(RECIPE, sparsity=0.1), loss=weight_only, device="cpu")


def test_penalties_on_weights_that_are_frozen_are_refused() -> None:
    model = net()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.ndim == 1)
    with pytest.raises(InputError, match="trains none"):
        train(model, data(), recipe=replace(RECIPE, l1=0.1), device="cpu")


def weight_only(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return next(model.parameters()).square().sum()


@pytest.mark.parametrize("defense", ["noise(eps=0.25, alpha=0)", "fgsm(eps=0.1)", "pgd(eps=0.1, steps=2)"])
def test_penalties_and_defences_go_together(defense: str) -> None:
    recipe = replace(RECIPE, epochs=2, l1=1e-3, sparsity=1e-2, defense=defense)
    run = train(net(nn.ReLU()), data(), recipe=recipe, loss=create_defense(defense), device="cpu")
    assert run.log[-1].loss < run.log[0].loss


def test_training_on_noise_is_the_control_that_sees_noisy_images_only() -> None:
    model = net()
    spied: list[Tensor] = []
    model.net[0].register_forward_hook(lambda _, inputs, __: spied.append(inputs[0].detach().clone()))
    recipe = replace(RECIPE, epochs=1, batch_size=60, defense="noise(eps=0.25, alpha=0)")
    train(model, data(), recipe=recipe, loss=create_defense("noise(eps=0.25, alpha=0)"), device="cpu")
    clean = data()[:][0].flatten(1)
    trained = [x.flatten(1) for x in spied if len(x) == 60]
    distance = torch.cdist(trained[-1].to(clean), clean, p=float("inf")).min(1).values  # less for images at the edge
    assert 0.24 < distance.mean() < distance.max() < 0.25 + 1e-6
