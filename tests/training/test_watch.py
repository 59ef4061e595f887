"""A run that watches itself: the probe, the failures that it names, the average, frozen parts, ramps and replays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import FGSM, PGD
from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.defenses import TRADES, AdversarialLoss, Free, create_defense, probe_for
from advkit.models import Classifier
from advkit.training import Progress, Recipe, train
from advkit.training._freeze import rates
from advkit.training._run import Row
from advkit.training._watch import Probe, remark
from advkit.training._weight_average import Average


def digits(count: int = 60) -> MemoryDataset:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(count, 1, 4, 4, generator=generator) * 0.3, torch.arange(count) % 3
    x[torch.arange(count), 0, 0, y] += 0.7
    return MemoryDataset("toy", "train", "abc", x, y)


def network() -> Classifier:
    torch.manual_seed(0)
    parts = {"stem": nn.Linear(16, 8), "norm": nn.BatchNorm1d(8), "head": nn.Linear(8, 3)}
    net = nn.Sequential()
    net.add_module("flat", nn.Flatten())
    for name, part in parts.items():
        net.add_module(name, part)
    return Classifier(net)


RECIPE = Recipe(model="toy", data="toy", epochs=4, batch_size=20, lr=0.1, schedule="constant")


def fit(recipe: Recipe = RECIPE, net: Classifier | None = None, **options: Any) -> Any:
    data = digits()
    return train(net or network(), data, recipe=recipe, test=data, device="cpu", **options)


def test_the_probe_is_logged_by_epoch_and_changes_nothing(tmp_path: Path) -> None:
    loss, seen = create_defense("fgsm(eps=0.1)"), list[Progress]()
    probe = probe_for(loss, count=7)
    watched = fit(loss=loss, probe=probe, progress=seen.append, output=tmp_path)
    plain = fit(loss=loss)
    for name, value in plain.classifier.state_dict().items():
        assert torch.equal(value, watched.classifier.state_dict()[name])
    assert all(row.probe_clean is not None and row.probe_many_steps is not None for row in watched.log)
    assert all(row.probe_clean <= row.probe_many_steps for row in watched.log)
    assert seen[-1].probe["probe_one_step"] == watched.log[-1].probe_one_step
    assert all(row.probe_clean is None for row in plain.log)
    assert "probe_many_steps" in (tmp_path / "log.csv").read_text()


def test_the_probe_has_the_radius_of_the_defence() -> None:
    for spec, eps in (("fast(eps=0.2)", 0.2), ("trades(eps=0.3)", 0.3), ("awp(eps=0.1)", 0.1)):
        probe = probe_for(create_defense(spec))
        assert isinstance(probe, Probe)
        assert (probe.one_step, probe.many_steps) == (FGSM(eps=eps), PGD(eps=eps, steps=10))
    assert probe_for(lambda model, x, y: None) is None


def row(epoch: int, clean: float, one: float, many: float) -> Row:
    return Row(
        epoch=epoch, lr=0.1, loss=1.0, clean_error=clean, seconds=1.0,
        probe_clean=clean, probe_one_step=one, probe_many_steps=many,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "word"),
    [
        (row(9, 0.01, 0.05, 0.99), "catastrophic"),
        (row(9, 0.01, 0.10, 0.30), ""),
        (row(9, 0.05, 0.40, 0.95), ""),  # as robust as it has ever been, and little
        (row(9, 0.01, 0.95, 0.99), ""),  # an undefended network: one step fools it, too
        (row(9, 0.90, 0.90, 0.90), "chance"),
        (row(9, 0.89, 0.89, 0.91), "chance"),
        (row(2, 0.90, 0.90, 0.90), ""),  # it has just begun
    ],
)
def test_failures_are_named(last: Row, word: str) -> None:
    found = remark((last,), 10)
    assert word in found
    assert bool(found) == bool(word)


@pytest.mark.parametrize("name", ["probe_clean", "probe_one_step", "probe_many_steps"])
def test_an_epoch_with_a_part_of_the_probe_says_nothing(name: str) -> None:
    """Such is a log that another version wrote."""
    assert remark((replace(row(9, 0.90, 0.05, 0.99), **{name: None}),), 10) == ""


def test_a_fall_from_an_earlier_robustness_is_named() -> None:
    assert "catastrophic" in remark((row(8, 0.05, 0.40, 0.60), row(9, 0.05, 0.40, 0.95)), 10)


def test_the_average_is_that_of_the_formula_and_is_what_is_kept() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    average, expected = Average(model, 0.5), model.weight.detach().clone()
    for n in range(12):
        with torch.no_grad():
            model.weight.add_(torch.randn(2, 3, dtype=torch.float64))
        average.add(model)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.state["weight"], expected, rtol=0, atol=1e-14)
    own = model.weight.detach().clone()
    with average.inside(model):
        assert torch.equal(model.weight, average.state["weight"])
    assert torch.equal(model.weight, own)
    plain, smooth = fit(), fit(replace(RECIPE, ema=0.99))
    assert not torch.equal(plain.classifier.net.head.weight, smooth.classifier.net.head.weight)
    assert [a.loss for a in plain.log] == [b.loss for b in smooth.log]


@pytest.mark.parametrize("options", [{"ema": 0.9}, {"ramp": 0.5}, {"freeze": "stem"}])
@pytest.mark.parametrize("loss", [Free(eps=0.1, replays=2), TRADES(attack=PGD(eps=0.1, steps=2))])
def test_resumed_runs_end_where_unbroken_ones_end(tmp_path: Path, options: Any, loss: Any) -> None:
    class BrokenError(Exception):
        pass

    def stop(at: Progress) -> None:
        if at.step == 7:
            raise BrokenError

    recipe = replace(RECIPE, **options)
    fresh = lambda: replace(loss)  # noqa: E731
    whole = fit(recipe, loss=fresh())
    with pytest.raises(BrokenError):
        fit(recipe, loss=fresh(), output=tmp_path, progress=stop, save_seconds=0)
    again = fit(recipe, loss=fresh(), output=tmp_path, resume=True)
    for name, value in whole.classifier.state_dict().items():
        assert torch.equal(value, again.classifier.state_dict()[name])


def test_frozen_parts_stay_as_they_are_and_are_free_again() -> None:
    net = network()
    before = {k: v.clone() for k, v in net.net.state_dict().items()}
    after = fit(replace(RECIPE, freeze="stem, norm"), net).classifier.net.state_dict()
    for name, value in before.items():
        stays = not name.startswith("head")
        kept = value.half().float() if value.ndim > 1 else value  # as a checkpoint stores it
        assert torch.equal(kept, after[name]) == stays, name
    assert all(p.requires_grad for p in net.parameters())
    with pytest.raises(InputError, match="its parts are"):
        fit(replace(RECIPE, freeze="sten"))


def test_rates_fall_from_the_output_to_the_input() -> None:
    net = network()
    share = rates(net.net, 0.5)
    assert [share[p.weight] for p in (net.net.stem, net.net.norm, net.net.head)] == [0.25, 0.5, 1.0]
    moved = []
    for decay in (1.0, 0.1):
        fresh = network()
        start = fresh.net.stem.weight.detach().clone()
        one = replace(RECIPE, epochs=1, batch_size=60, layer_decay=decay, momentum=0.0, weight_decay=0.0)
        moved.append(float((fit(one, fresh).classifier.net.stem.weight.detach() - start).norm()))
    assert moved[1] == pytest.approx(0.01 * moved[0], rel=0.2)


def test_a_ramp_passes_through_smaller_radii() -> None:
    class Spy:
        def __init__(self) -> None:
            self.shares: list[float] = []

        def at(self, share: float) -> Any:
            self.shares.append(share)
            return self

        def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
            return nn.functional.cross_entropy(model(x), y)

    spy = Spy()
    fit(replace(RECIPE, ramp=0.5), loss=spy)
    assert spy.shares == pytest.approx([min(1.0, (i + 1) / 6) for i in range(12)])
    assert TRADES(attack=PGD(eps=0.2, step_size=0.1)).at(0.5) == TRADES(attack=PGD(eps=0.1, step_size=0.05))
    assert AdversarialLoss(attack=FGSM(eps=0.2)).at(0.5) == AdversarialLoss(attack=FGSM(eps=0.1))
    loss = Free(eps=0.2)
    assert loss.at(0.5).kept is loss.kept


def test_free_training_makes_its_replays() -> None:
    class Counted(Free):
        calls = 0

        def __call__(self, model: Any, x: Tensor, y: Tensor) -> Tensor:
            Counted.calls += 1
            return super().__call__(model, x, y)

    fit(loss=Counted(eps=0.1, replays=3))
    assert Counted.calls == 4 * 3 * 3
