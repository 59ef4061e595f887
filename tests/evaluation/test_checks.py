"""The checks: models made to hide their gradients are called suspect for the right reason, honest ones are not."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from advkit import load_data, load_model
from advkit.attacks import FGSM, PGD, Noise
from advkit.core.errors import InputError
from advkit.evaluation import Probes, check_evaluation, evaluate
from advkit.evaluation.measure import signs
from advkit.evaluation.measure.checks import CHECKS, NEEDED, Checks
from advkit.evaluation.measure.eight_bit import decoded, nearest, nearest_level, toward


@pytest.fixture(scope="module")
def digits():
    return load_data("mnist5k")


@pytest.fixture(scope="module")
def mlp():
    return load_model("mlp")


class Masked(nn.Module):
    """A network behind something that spoils its gradients."""

    def __init__(self, net, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.net, self.before, self.after = net, before, after

    def forward(self, x):
        return self.after(self.net(self.before(x)))


MASKS = {
    "defensive quantisation": (
        {"before": lambda x: (4 * x).round() / 4},
        {"zero_gradients", "survives_the_whole_range", "transfer_beats_white_box"},
    ),
    "shattered gradients": (
        {"before": lambda x: x + 0.1 * torch.sin(300 * x)},
        {"fgsm_beats_pgd", "error_not_rising"},
    ),
    "saturated softmax": ({"after": lambda z: 1e4 * z}, {"zero_gradients"}),  # the attacks here see through it
    "softmax": ({"after": lambda z: (100 * z).softmax(1)}, {"probabilities", "zero_gradients"}),
    "random noise layer": ({"before": lambda x: x + 0.2 * torch.randn_like(x)}, {"random_logits"}),
}


@pytest.mark.parametrize("mask", MASKS)
def test_a_model_that_hides_its_gradients_is_suspect_for_the_right_reason(mask, mlp, digits):
    how, reasons = MASKS[mask]
    checks = check_evaluation(Masked(mlp, **how), digits, surrogate=mlp)
    assert checks.verdict == "suspect"
    assert reasons <= {finding.name for finding in checks.suspects}
    assert all(finding.advice and any(c.isdigit() for c in finding.evidence) for finding in checks.suspects)


@pytest.mark.parametrize(("name", "eps"), [("mlp", 0.01), ("mlp", 0.1), ("lenet5", 0.1), ("vgg11", 0.3)])
def test_an_honest_model_is_trustworthy(name, eps, digits):
    checks = check_evaluation(load_model(name), digits, eps=eps)
    assert checks.suspects == []
    assert checks.verdict == "trustworthy"
    assert checks.samples == 128


def test_a_network_that_withstands_is_trustworthy(digits):
    checks = check_evaluation(load_model("benchmarks/victims/lenet5-robust.safetensors"), digits, eps=0.2)
    assert checks.suspects == []


def test_the_answer_is_one_json_object_with_a_finding_for_each_check(mlp, digits):
    checks = check_evaluation(mlp, digits, count=40)
    found = json.loads(json.dumps(checks.to_dict(), allow_nan=False))
    assert tuple(finding["name"] for finding in found["findings"]) == CHECKS
    assert found["verdict"] == "trustworthy"
    assert found["samples"] == 40
    assert found["seconds"] > 0
    assert {finding["verdict"] for finding in found["findings"]} <= {"ok", "skipped"}
    assert all(set(finding) == {"name", "verdict", "evidence", "advice", "figures"} for finding in found["findings"])


def test_a_loop_over_the_checks_goes_through_the_findings():
    found = Checks.from_dict(
        {
            "findings": [{"name": "a", "verdict": "ok", "evidence": "", "advice": ""}],
            "samples": 1,
            "eps": 0.1,
            "seconds": 0.0,
        }
    )
    assert list(found) == found.findings
    assert found["a"] in found


def test_the_same_seed_gives_the_same_findings_and_the_model_is_left_alone(digits):
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Linear(1024, 10)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = (check_evaluation(net, digits, count=30, seed=1).findings for _ in range(2))
    assert first == second
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_images_scaled_twice_are_noticed(mlp, digits):
    x, y = digits[:60]
    assert check_evaluation(mlp, (x / 255, y))["input_range"].verdict == "suspect"
    assert check_evaluation(mlp, (x, y), bounds=(-100, 100))["input_range"].verdict == "suspect"


def test_success_that_rounding_takes_away_is_noticed(digits):
    x, _ = digits[:100]

    def between(x):  # reads only what 8 bits cannot hold
        off = (x * 255 - (x * 255).round().detach()).abs().flatten(1).mean(1)
        return torch.stack([torch.full_like(off, 0.1), off], 1)

    checks = check_evaluation(between, (x, torch.zeros(100).long()), eps=1.5 / 255)
    assert checks["eight_bit"].verdict == "suspect"
    assert checks["eight_bit"].figures["fooled"] == 100


def test_a_model_that_is_always_wrong_gives_no_evidence(digits):
    x, y = digits[:20]
    checks = check_evaluation(load_model("mlp"), (x, (y + 1) % 10), surrogate=load_model("mlp"))
    assert checks["zero_gradients"].verdict == "skipped"
    assert checks["fgsm_beats_pgd"].verdict == "skipped"
    assert checks.suspects == []
    assert checks.verdict == "undecided"


def test_few_images_decide_nothing(mlp, digits):
    x, y = digits[:1]
    checks = check_evaluation(mlp, (x, y))
    assert checks.verdict == "undecided"
    assert len(checks.judged) < len(checks.findings) / 2


def test_classes_rolled_by_one_are_worse_than_chance(mlp, digits):
    checks = check_evaluation(lambda x: mlp(x).roll(1, 1), digits)
    assert "guessing errs on 90 %" in checks["worse_than_chance"].evidence
    assert checks.verdict == "suspect"


def test_a_model_that_mixes_its_batch_is_noticed(digits):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024, track_running_stats=False), nn.Linear(1024, 10))
    x, _ = digits[:60]
    x = (x + 0.1 * torch.rand_like(x)).clamp(0, 1)
    with torch.no_grad():
        y = net(x).argmax(1)
    assert check_evaluation(net, (x, y))["batch_dependent"].verdict == "suspect"
    assert check_evaluation(net[::2], (x, y))["batch_dependent"].verdict == "ok"


def test_answers_that_are_not_finite_near_the_images_are_noticed(mlp, digits):
    def broken(x):
        changed = (x * 255 - (x * 255).round()).abs().flatten(1).amax(1) > 0.01
        return torch.where(changed[:, None], torch.nan, mlp(x))

    checks = check_evaluation(broken, digits, count=40, eps=0.07)
    assert checks["not_finite"].verdict == "suspect"
    assert check_evaluation(mlp, digits, count=40, eps=0.07)["not_finite"].verdict == "ok"


def test_own_probes_are_used(mlp, digits):
    weak = Probes(fgsm=PGD(steps=10), pgd=FGSM(target=3), noise=Noise())
    assert check_evaluation(mlp, digits, attacks=weak)["fgsm_beats_pgd"].verdict == "suspect"


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 129}, {"eps": 0}, {"eps": -1}, {"bounds": (1, 0)}])
def test_wrong_input_is_one_clear_line(wrong, mlp, digits):
    with pytest.raises(InputError, match="expected"):
        check_evaluation(mlp, digits, **wrong)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (0, 255)])
@pytest.mark.parametrize("on_grid", [True, False])
def test_a_file_is_never_further_from_x_than_the_image_was(dtype, bounds, on_grid):
    low, high = bounds
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 8, 8, generator=generator, dtype=dtype)
    x = (x * 255).round() / 255 if on_grid else x
    x = x * (high - low) + low
    for eps in (0.001, 1 / 255, 8 / 255, 0.1):
        sign = torch.where(torch.rand(x.shape, generator=generator) < 0.5, -1, 1)
        x_adv = (x + sign * eps * (high - low)).clamp(low, high)
        levels, fits = toward(x, x_adv, bounds)
        read = levels.to(dtype) / 255
        read = read if bounds == (0, 1) else read * (high - low) + low
        inside = (read.double() - x.double()).abs() <= (x_adv.double() - x.double()).abs()
        assert inside.flatten(1).all(1)[fits].all()
        assert (levels.double() - 255 * (x_adv.double() - low) / (high - low)).abs().max() < 1.01
        if on_grid:
            assert fits.all()


def test_an_image_without_levels_between_is_said_to_have_none():
    x = torch.full((1, 1, 2, 2), 0.5 / 255)
    _, fits = toward(x, x + 0.1 / 255)
    assert not fits.any()
    levels, fits = toward(x, x + 1 / 255)
    assert fits.all()
    assert (levels == 1).all()


def test_rounding_is_to_the_nearest_of_256_levels():
    x = torch.tensor([[0.0, 0.4 / 255, 0.6 / 255, 254.7 / 255, 1.0]])
    assert torch.equal(nearest(x), torch.tensor([[0.0, 0.0, 1 / 255, 1.0, 1.0]]))
    assert torch.equal(nearest(nearest(x)), nearest(x))


def test_the_checks_cost_at_most_a_quarter_of_the_attacks_passes():
    model, passes = load_model("lenet5"), [0]

    def count(module, inputs, output):
        passes[0] += len(inputs[0]) * (1 + output.requires_grad)

    handle = model.register_forward_hook(count)
    spent = []
    for checks in (False, True):
        passes[0] = 0
        evaluate(model, load_data("mnist5k"), ["fgsm", "pgd(steps=40)"], count=300, checks=checks)
        spent.append(passes[0])
    handle.remove()
    assert 0.15 < (spent[1] - spent[0]) / spent[0] <= 0.25


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6, 1e12])
def test_two_answers_differ_by_their_own_size(scale):
    first = torch.tensor([[1.0, -2.0], [0.5, 0.25], [3.0, 1.0]]) * scale
    second = first * torch.tensor([[1.0], [1.01], [1.00001]])
    assert signs._differ(first, second).tolist() == [False, True, False]
    assert signs._differ(first, first * float("nan")).all()


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (0.0, 255.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_is_the_nearest_to_its_own_pixel_and_to_its_neighbourhood(dtype, bounds):
    levels = torch.arange(256)
    unit = (bounds[1] - bounds[0]) / 255
    for off in (-0.49, 0.0, 0.49):
        pixels = decoded(levels, torch.zeros(1, dtype=dtype), bounds) + off * unit
        assert torch.equal(nearest_level(pixels, bounds).long(), levels)


@pytest.mark.parametrize(
    ("gradient", "zero", "broken"),
    [
        ([[0.0, 0.0, 1e-30]] * 40, 0, 0),
        ([[0.0, 0.0, 0.0]] * 40, 40, 0),
        ([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]] * 20, 20, 0),
        ([[0.0, float("nan"), 0.0]] * 40, 0, 40),
        ([[1.0, float("-inf"), 0.0]] * 40, 0, 40),
        ([[1.0, 2.0, -3.0]] * 39 + [[0.0, 0.0, 0.0]], 1, 0),
    ],
)
def test_a_gradient_is_zero_where_every_entry_is_and_broken_where_any_entry_is(gradient, zero, broken):
    seen = SimpleNamespace(gradient=torch.tensor(gradient).view(-1, 1, 1, 3))
    found = signs.zero_gradients(seen)
    assert found.figures == {"zero": zero, "not_finite": broken, "of": 40}
    assert found.verdict == ("suspect" if zero + broken > 1 else "ok")


def test_trustworthy_needs_a_result_of_each_needed_check_and_of_no_other():
    def verdict(judged, suspect=()):
        kinds = {name: "suspect" if name in suspect else "ok" if name in judged else "skipped" for name in CHECKS}
        findings = [signs.Finding(name=name, verdict=kind, evidence="") for name, kind in kinds.items()]
        return Checks(findings=findings, samples=9, eps=0.1, seconds=1.0).verdict

    assert verdict(CHECKS) == verdict(NEEDED) == "trustworthy"
    for name in NEEDED:
        assert verdict(set(CHECKS) - {name}) == "undecided"
    assert verdict(()) == "undecided"
    assert verdict(CHECKS, suspect=["probabilities"]) == verdict((), suspect=["probabilities"]) == "suspect"
