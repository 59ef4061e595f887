"""`evaluate` counts what the goal says, and says what stands against its errors."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from helpers.spoilt import Net
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from advkit import evaluate, goals
from advkit.attacks import FMN, PGD
from advkit.cli import main
from advkit.core.errors import AdvkitWarning, InputError
from advkit.evaluation import load_run

X = torch.rand(60, 3, 2, 2, generator=torch.Generator().manual_seed(1))
ATTACK = PGD(eps=0.1, steps=5)


Y = Net()(X).argmax(1)


def noisy(z: Tensor, x: Tensor) -> Tensor:
    return z + 0.3 * torch.randn_like(z)


@pytest.mark.parametrize(
    "goal",
    ["topk(k=2)", "confident(lead=1)", goals.confident(probability=0.6)],
    ids=lambda goal: getattr(goal, "spec", goal),
)
def test_the_errors_are_those_of_the_goal(goal) -> None:
    report = evaluate(Net(), (X, Y), [ATTACK], goal=goal, batch_size=25)
    found = ATTACK(Net(), X, Y, goal=goal)
    assert report.attacks[0].reached.tolist() == found.success.tolist()
    assert report.adversarial_error == float(found.success.double().mean())
    assert 0 < report.adversarial_error <= evaluate(Net(), (X, Y), [ATTACK]).adversarial_error
    assert report.goal in str(report.to_dict())


def test_an_image_that_is_wrong_but_not_confidently_counts_as_right_at_first() -> None:
    wrong = (Y + 1) % 6
    assert evaluate(Net(), (X, wrong)).clean_error == 1
    lead = Net()(X).topk(2).values
    sure = (Net()(X).amax(1) - Net()(X).gather(1, wrong[:, None])[:, 0]) > 1
    assert evaluate(Net(), (X, wrong), goal="confident(lead=1)").clean_error == float(sure.double().mean()) < 1
    assert lead.shape == (60, 2)


def test_a_target_as_a_goal_is_the_target_of_the_call() -> None:
    one, other = (evaluate(Net(), (X, Y), [ATTACK], **how) for how in ({"goal": goals.target(2)}, {"target": 2}))
    assert one.to_dict()["attacks"][0]["success_rate"] == other.to_dict()["attacks"][0]["success_rate"]


FORMS = {
    "multi_label": ("multi_label", 3, lambda z: (z > 0).long()),
    "one_logit": ("one_logit", 1, lambda z: (z[:, 0] > 0).long()),
    "regression(tolerance=0.2)": ("regression(tolerance=.2)", 2, lambda z: z),
    "segmentation(share=0.4)": ("segmentation(share=.4)", 12, lambda z: z.view(-1, 3, 2, 2).argmax(1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_outputs_that_are_no_classes_are_evaluated_and_kept(form: str, tmp_path: Path) -> None:
    goal, outputs, label = FORMS[form]
    net = Net(lambda z, x: z.view(-1, 3, 2, 2) if outputs == 12 else z, outputs)
    y = label(net(X)).detach()
    report = evaluate(net, (X, y), [ATTACK, FMN(steps=20)], goal=goal, output=tmp_path / "run", batch_size=25)
    assert report.clean_error == 0
    found = ATTACK(net, X, y, goal=goal)
    assert report.attacks[0].adversarial_error == float(found.success.double().mean()) > 0
    again = load_run(tmp_path / "run").report
    assert again.goal == form
    assert again.to_dict() == report.to_dict()
    assert report.clean_top5_error is None
    assert [row.top5_error for row in report.attacks] == [None] * len(report.attacks)
    assert report.attacks[0].mean_confidence is None
    page = (tmp_path / "run" / "report.html").read_text()
    assert form in page
    assert "nan" not in page
    other = "regression(tolerance=7)"
    with pytest.raises(InputError, match="goal"):
        evaluate(net, (X, y), [ATTACK, FMN(steps=20)], goal=other, output=tmp_path / "run", batch_size=25, resume=True)
    with pytest.raises(InputError, match="classes"):
        evaluate(net, (X, y), [ATTACK], goal=goal, checks=True)


@pytest.mark.filterwarnings("ignore:the model gave the same image")
def test_a_random_model_is_said_to_be_one_and_its_errors_are_means_over_verdicts(tmp_path: Path) -> None:
    report = evaluate(Net(noisy), (X, Y), [ATTACK], batch_size=25)
    assert report.nature == "random"
    assert "random" in " ".join(report.warnings)
    several = evaluate(Net(noisy), (X, Y), [ATTACK], batch_size=25, verdicts=20, output=tmp_path / "run", checks=False)
    counts = several.attacks[0].counts.verdicts
    assert len(counts) == several.verdicts == 20
    assert len(set(counts)) > 1
    assert several.adversarial_error == pytest.approx(sum(counts) / 20 / 60)
    assert several.attacks[0].adversarial_error_spread == pytest.approx(torch.tensor(counts).double().std() / 60)
    assert several.clean_error_spread > 0
    assert load_run(tmp_path / "run").report.to_dict() == several.to_dict()
    assert "mean over 20 verdicts" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.filterwarnings("ignore:the model gave the same image")
def test_the_mean_over_verdicts_is_that_of_fresh_passes_and_not_the_attackers_luck() -> None:
    attack = PGD(eps=0.05, steps=20)
    lucky = evaluate(Net(noisy), (X, Y), [attack]).adversarial_error
    mean = evaluate(Net(noisy), (X, Y), [attack], verdicts=50).adversarial_error
    x_adv = attack(Net(noisy), X, Y).x_adv
    torch.manual_seed(5)
    fresh = torch.stack([Net(noisy)(x_adv).argmax(1) != Y for _ in range(200)]).double().mean()
    assert mean == pytest.approx(float(fresh), abs=0.06)
    assert lucky > mean + 0.1


@pytest.mark.parametrize("spoil", [lambda z, x: z + z.mean(0), lambda z, x: (z - z.mean(0)) / z.var(0).sqrt()])
@pytest.mark.filterwarnings("ignore:the model gave the same image")
@pytest.mark.filterwarnings("ignore:.*Degrees of freedom")
def test_a_model_that_mixes_its_batch_is_said_to(spoil) -> None:
    y = Net(spoil)(X).argmax(1)
    report = evaluate(Net(spoil), (X, y), [ATTACK])
    assert report.nature == "depends on the batch"
    assert "batch" in " ".join(report.warnings)


def test_batch_norm_without_statistics_is_noticed_and_a_sound_model_is_not_accused() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(16, 6)
    )
    assert evaluate(net, (X, net(X).argmax(1))).nature == "depends on the batch"
    assert evaluate(Net(), (X, Y), [ATTACK]).nature == ""
    assert evaluate(Net(), (X, Y), [ATTACK]).warnings == []


@pytest.mark.filterwarnings("ignore:the gradient was exactly zero")
def test_a_model_that_is_not_finite_near_its_images_is_never_silently_robust() -> None:
    clean = {tuple(row.tolist()) for row in X.flatten(1)}

    def hole(z: Tensor, x: Tensor) -> Tensor:
        known = torch.tensor([tuple(row.tolist()) in clean for row in x.flatten(1)])
        return torch.where(known[:, None], z, torch.nan)

    with pytest.warns(AdvkitWarning, match="NaN or infinity"):
        report = evaluate(Net(hole), (X, Y), [ATTACK])
    assert report.adversarial_error == 0
    assert report.attacks[0].counts.hidden == report.attacks[0].counts.non_finite == 60
    assert "60 of them count as right" in " ".join(report.warnings)
    assert bool(report.attacks[0].non_finite.all())


def test_the_command_takes_a_goal_and_verdicts() -> None:
    words = ["attack", "--model", "lenet5", "--attack", "pgd(steps=3)", "--count", "20", "--json"]
    found = CliRunner().invoke(main, [*words, "--goal", "topk(k=3)", "--verdicts", "2"])
    assert found.exit_code == 0, found.output
    figures = json.loads(found.stdout)
    assert figures["goal"] == "top_k(k=3)"
    assert figures["verdicts"] == 2
    assert figures["adversarial_error_spread"] == 0
    refused = CliRunner().invoke(main, [*words, "--goal", "topk"])
    assert refused.exit_code == 2


@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
def test_images_of_batches_that_mix_and_of_random_answers_are_counted() -> None:
    for change, random, mixed in (
        (lambda z, x: z, 0, 0),
        (lambda z, x: z + z.mean(0), 0, 59),  # the mean of a batch of one image is its own
        (noisy, 60, 0),
    ):
        counts = evaluate(Net(change), (X, Y), batch_size=59).counts
        assert (counts.random, counts.mixed) == (random, mixed)


def test_evaluations_in_several_threads_find_what_one_alone_finds_and_leave_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 6)).train()
    found: list[Any] = []

    def look() -> None:
        figures = evaluate(net, (X, Y), ["pgd(eps=.1, steps=5)"], batch_size=20).to_dict()
        figures["attacks"][0].pop("seconds")
        found.append(figures)

    look()
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(figures == found[0] for figures in found)
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad for p in net.parameters())


def test_data_sets_and_loaders_may_hold_labels_of_any_form() -> None:
    net = Net(outputs=3)
    data = TensorDataset(X, (net(X) > 0).long())
    one, other = (evaluate(net, d, [ATTACK], goal="multi_label") for d in (data, DataLoader(data, batch_size=20)))
    assert one.adversarial_error == other.adversarial_error > 0
