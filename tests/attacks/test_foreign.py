"""Attacks of other libraries: their points are judged as ours are, their passes counted, their options passed on."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import create_attack
from advkit.cli import main
from advkit.core.errors import InputError


class PGD:
    """As torchattacks has it: made with the model, called with images and labels."""

    def __init__(
        self, model: nn.Module, eps: float = 8 / 255, alpha: float = 0.01, steps: int = 10, over: float = 0
    ) -> None:
        self.model, self.eps, self.alpha, self.steps, self.over, self.sign = model, eps, alpha, steps, over, 1.0

    def set_mode_targeted_by_label(self, quiet: bool = False) -> None:
        self.sign = -1.0

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        x_adv = x + 0.001 * torch.randn_like(x) + 0.001 * torch.as_tensor(np.random.rand(), dtype=x.dtype)  # noqa: NPY002
        for _ in range(self.steps):
            leaf = x_adv.detach().requires_grad_()
            F.cross_entropy(self.model(leaf), y, reduction="sum").backward()
            assert leaf.grad is not None
            x_adv = (leaf + self.sign * self.alpha * leaf.grad.sign()).clamp(x - self.eps, x + self.eps).clamp(0, 1)
        return x_adv.detach() + self.over


class Nearest:
    """One that takes no eps: half the way to white."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        self.model(x)
        return (x + 1) / 2


@pytest.fixture
def torchattacks(monkeypatch):
    module = ModuleType("torchattacks")
    module.PGD, module.Nearest = PGD, Nearest
    monkeypatch.setitem(sys.modules, "torchattacks", module)


@pytest.fixture
def case() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 4))
    x = torch.rand(7, 1, 8, 8)
    with torch.no_grad():
        return model, x, model.eval()(x).argmax(1)


def test_it_is_judged_and_counted_as_ours_are(torchattacks, case):
    model, x, y = case
    result = create_attack("torchattacks:PGD(eps=0.1, alpha=0.02, steps=9)")(model.train(), x, y)
    assert model.training
    with torch.no_grad():
        logits = model.eval()(result.x_adv)
    assert result.success.equal(logits.argmax(1) != y)
    assert result.success.any()
    torch.testing.assert_close(result.logits, logits)
    assert float((result.x_adv - x).abs().max()) <= 0.1 + 1e-6
    assert result.gradients.eq(9).all()
    assert result.queries.eq(9 + 2).all()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_points_beyond_ball_and_range_are_brought_back(torchattacks, case):
    model, x, y = case
    result = create_attack("torchattacks:PGD(eps=0.1, over=0.7)")(model, x, y)
    assert float((result.x_adv - x).abs().max()) <= 0.1 + 1e-6
    assert float(result.x_adv.max()) <= 1


def test_the_seed_begins_its_random_numbers_and_ours_stay(torchattacks, case):
    attack = create_attack("torchattacks:PGD(eps=0.1, steps=2)")
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (attack(*case, seed=seed).x_adv for seed in (1, 1, 2))
    assert one.equal(same)
    assert not one.equal(other)
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


def test_a_target_is_passed_on(torchattacks, case):
    model, x, y = case
    attack = create_attack("torchattacks:PGD(eps=0.5, alpha=0.05, steps=20, target=2)")
    result = attack(model, x, y)
    assert result.success.equal(model(result.x_adv).argmax(1) == 2)
    assert int(result.success.sum()) > 2
    assert create_attack(attack.spec) == attack


def test_one_without_eps_is_minimal(torchattacks, case):
    model, x, y = case
    attack = create_attack("torchattacks:Nearest(norm=l2)")
    assert attack.kind == "minimal"
    result = attack(model, x, y)
    found = result.success
    torch.testing.assert_close(result.x_adv[found], (x[found] + 1) / 2)
    torch.testing.assert_close(result.distance[found], ((1 - x[found]) / 2).double().flatten(1).norm(dim=1))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchattacks:PGF(eps=0.1)", "unknown attack of torchattacks 'PGF'"),
        ("torchatack:PGD(eps=0.1)", "unknown library of attacks 'torchatack'"),
        ("torchattacks:PGD(eps=0.1, colour=3)", "does not take these options"),
        ("torchattacks:PGD", "needs eps"),
        ("torchattacks:PGD(eps=-1)", "eps"),
    ],
)
def test_what_is_wrong_is_one_line(spec, message, torchattacks, case):
    with pytest.raises(InputError, match=message) as caught:
        create_attack(spec)(*case)
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    with pytest.raises(InputError, match="pip install torchattacks"):
        create_attack("torchattacks:PGD(eps=0.1)")


def test_radii_and_ranges_that_it_cannot_take_are_refused(torchattacks, case):
    model, x, y = case
    attack = create_attack("torchattacks:PGD(eps=0.1)")
    with pytest.raises(InputError, match="one eps for all"):
        attack(model, x, y, eps=torch.linspace(0.1, 0.2, 7))
    with pytest.raises(InputError, match=r"in \[0, 1\]"):
        attack(model, x, y, bounds=(-1, 1))


def test_it_stands_beside_ours_in_one_table(torchattacks, case):
    report = evaluate(case[0], case[1:], attacks=["torchattacks:PGD(eps=0.1)", "pgd(eps=0.1)"], control=None)
    assert [a.attack for a in report.attacks] == ["torchattacks:PGD(eps=0.1)", "pgd(eps=0.1)"]


def test_the_command_takes_it(torchattacks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(
        main, ["attack", "--model", "lenet5", "--attack", "torchattacks:PGD(steps=3)", "--count", "20", "--eps", "0.1"]
    )
    assert run.exit_code == 0, run.output
    assert "torchattacks:PGD(eps=0.1, steps=3)" in run.output
    run = CliRunner().invoke(main, ["attack", "--model", "lenet5", "--attack", "torchattacks:PGD", "--steps", "3"])
    assert run.exit_code == 2
    assert "takes no --steps" in run.output


@pytest.mark.parametrize(
    "spec",
    [
        "foolbox:LinfPGD(steps=10, rel_stepsize=0.1, eps=0.2)",
        "torchattacks:PGD(steps=10, alpha=0.02, eps=0.2)",
        "art:ProjectedGradientDescent(max_iter=10, eps_step=0.02, eps=0.2)",
    ],
)
def test_each_library_finds_about_what_ours_does(spec, case):
    library = spec.split(":")[0]
    pytest.importorskip(library)
    found = create_attack(spec)(*case)
    assert abs(int(found.success.sum()) - int(create_attack("pgd(eps=0.2, steps=10)")(*case).success.sum())) <= 1
    assert found.gradients.eq(10).all()
