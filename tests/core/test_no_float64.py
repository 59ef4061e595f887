"""A device without float64: what runs on it finds what it finds on the CPU, and the rest says so in one line."""

from dataclasses import replace

import pytest
import torch
from helpers.no_float64 import There, moved, playing, there
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.core.draws import Draws
from advkit.core.errors import InputError
from advkit.defenses import Smoothed, create_defense
from advkit.evaluation import check_evaluation, corrupt, error_curve, transfer_matrix
from advkit.testing import assert_robust
from advkit.training.augment import AUGMENTATIONS

X = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)).eval()


@pytest.fixture
def labels() -> Tensor:
    with torch.no_grad():
        y = net()(X).argmax(1)
    y[0] = (y[0] + 1) % 5
    return y


@pytest.fixture
def played():
    with playing():
        yield


def test_the_played_device_refuses_what_the_real_one_does(played):
    x = there(torch.rand(3, 4))
    assert isinstance(x.detach() + 1, There)
    assert type(x.cpu()) is Tensor
    assert x.new_zeros(2).device.type == "mps"
    for wrong in (
        lambda: x.double(),
        lambda: x.sum(dtype=torch.float64),
        lambda: x + torch.rand(3, 4),
        lambda: torch.zeros(2, dtype=torch.float64, device=x.device),
        lambda: x.numpy(),
    ):
        with pytest.raises((TypeError, RuntimeError)):
            wrong()


@pytest.mark.parametrize("options", [{"checks": True}, {"checks": False, "verdicts": 3}], ids=str)
def test_an_evaluation_gives_the_figures_of_the_cpu(options, labels, recwarn):
    data = X.repeat(4, 1, 1, 1), labels.repeat(4)
    attacks = ["pgd(steps=3, eps=0.1)", "ddn(steps=5)", "square(queries=5, eps=0.1)"]
    plain = evaluate(net(), data, attacks=attacks, **options)
    with playing():
        found = evaluate(moved(net()), data, attacks=attacks, **options)
    assert found.adversarial_error == plain.adversarial_error > plain.clean_error > 0
    for there_, here in zip(found.attacks, plain.attacks, strict=True):
        assert replace(there_.counts, seconds=0.0) == replace(here.counts, seconds=0.0)
        torch.testing.assert_close(there_.distance, here.distance, rtol=1e-6, atol=0)


def test_a_run_is_kept(labels, played, tmp_path):
    report = evaluate(moved(net()), (X, labels), attacks=["fgsm(eps=0.1)"], checks=False, output=tmp_path / "run")
    assert report.count == 8
    assert (tmp_path / "run" / "samples.csv").exists()


def test_certificates_say_that_they_cannot(labels, played):
    with pytest.raises(InputError, match="move model and images to the CPU"):
        certify(moved(net()), there(X), there(labels), eps=0.01)


@pytest.mark.parametrize("spec", ["pgd", "apgd", "ddn", "fmn(norm=l1)", "deepfool", "cw(searches=1, steps=3)"])
def test_an_attack_finds_what_it_finds_on_the_cpu(spec, labels):
    attack = create_attack(spec)
    call = {"eps": 0.1} if attack.kind == "budget" else {}
    plain = attack(net(), X, labels, **call)
    with playing():
        found = attack(moved(net()), there(X), there(labels), **call)
        assert isinstance(found.x_adv, There)
        assert found.x_adv.cpu().equal(plain.x_adv)


@pytest.mark.filterwarnings("ignore:at..frobenius_norm is deprecated")  # torch asks for it past the mode
@pytest.mark.parametrize("spec", ["adversarial", "trades", "mart", "awp", "free", "fast", "nfgsm", "noise"])
def test_a_defence_gives_gradients(spec, labels, played):
    model = moved(net()).train()
    create_defense(spec, eps=0.1)(model, there(X), there(labels)).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
def test_what_is_measured_beside_an_evaluation_runs(labels, played):
    data, model = (X, labels), moved(net())
    assert transfer_matrix({"a": model, "b": moved(net())}, data, "pgd(steps=2, eps=0.1)").count > 0
    assert error_curve(model, data, "ddn(steps=3)").count == 8
    assert check_evaluation(model, data, eps=0.1).findings
    assert_robust(model, there(X), there(labels), "fgsm(eps=0.001)", max_error=1.0)


def test_draws_are_those_of_the_cpu(labels):
    ids = torch.arange(8)
    smooth, plain = Smoothed(net(), sigma=0.1), corrupt(X, "gaussian_noise", 2)
    answers, radii = smooth(X), smooth.certify(X, n0=10, n=50)
    changed = AUGMENTATIONS.factory("mirror")()(X, Draws(0, ids))
    with playing():
        smooth, x = Smoothed(moved(net()), sigma=0.1), there(X)
        torch.testing.assert_close(smooth(x).cpu(), answers)
        assert smooth.certify(x, n0=10, n=50).radius.equal(radii.radius)
        assert corrupt(x, "gaussian_noise", 2).cpu().equal(plain)
        assert AUGMENTATIONS.factory("mirror")()(x, Draws(0, there(ids))).cpu().equal(changed)
