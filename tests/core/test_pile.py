"""Points that wait to be compared: the record is what it would be if each were compared at once."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from advkit.attacks import DDN, FMN, PGD, create_attack, list_attacks
from advkit.core import losses, pile
from advkit.core.attack import Attack
from advkit.core.best_points import Best, Ranking, Record, Rows
from advkit.core.draws import Draws
from advkit.core.goals import Goal, untargeted
from advkit.core.losses import cross_entropy, loss_values
from advkit.core.norms import get_norm
from advkit.core.oracle import Oracle
from advkit.core.pile import Pile, Seen
from advkit.core.threat import Threat

CLASSES, SIZE = 4, 3


def beginning(rows: int, *, minimal: bool) -> Rows:
    """Rows of which nothing is known but their clean images."""
    x, y = torch.full((rows, SIZE), 0.5), torch.arange(rows) % CLASSES
    none = torch.zeros(rows, dtype=torch.bool)
    value = torch.full((rows,), -torch.inf, dtype=torch.float64 if minimal else torch.float32)
    zero = torch.zeros(rows, dtype=torch.int64)
    record = Record(Best(x, torch.zeros(rows, CLASSES), none, value), zero, zero, none, torch.zeros(rows), none)
    draws = Draws(0, torch.arange(rows))
    return Rows(zero, ~none, Threat("l2").around(x), untargeted(y), draws, record, torch.zeros(rows, CLASSES))


def points(generator: torch.Generator, rows: int, count: int) -> list[tuple[Tensor, Tensor, Seen]]:
    """Queries with ties, answers that are not finite, rows that are done and points that are not feasible."""
    found = []
    for _ in range(count):
        x = torch.randint(0, 4, (rows, SIZE), generator=generator) / 3.0
        logits = torch.randint(-2, 3, (rows, CLASSES), generator=generator).float()
        logits[torch.rand(rows, generator=generator) < 0.1, 1] = torch.nan
        logits[torch.rand(rows, generator=generator) < 0.1, 2] = torch.inf
        masks = [
            torch.rand(rows, generator=generator) < 0.7 if torch.rand((), generator=generator) < 0.6 else None
            for _ in range(3)
        ]
        found.append((x, logits, Seen(None, *masks[:2], None, masks[2])))
    return found


def compared(rows: Rows, ranking: Ranking, queries: list[tuple[Tensor, Tensor, Seen]], most: int) -> Rows:
    """The rows after the queries, of which at most `most` wait."""
    waiting = Pile(ranking, rows.goal)
    waiting._most = most
    for x, logits, seen in queries:
        waiting.add(x, logits, Seen(seen.values, seen.live, seen.inside, None, seen.slope))
        if waiting.full:
            rows = rows._replace(record=waiting.compare(rows)[0])
    return rows._replace(record=waiting.compare(rows)[0]) if len(waiting) else rows


def slowly(rows: Rows, ranking: Ranking, queries: list[tuple[Tensor, Tensor, Seen]]) -> list[dict[str, Any]]:
    """Each row's best point, one point after the other."""
    best: list[dict[str, Any]] = [{"x": 0.5, "reached": False, "value": -torch.inf, "zero": False} for _ in rows.live]
    for x, logits, seen in queries:
        values = -rows.region.gauge(x) if ranking.minimal else loss_values(ranking.loss, rows.goal, logits, rows.clean)
        fooled = ranking.fools(rows.goal, logits)
        for i, old in enumerate(best):
            live, inside, slope = (part is None or bool(part[i]) for part in (seen.live, seen.inside, seen.slope))
            old["zero"] |= live and not bool(fooled[i]) and not slope
            reached = bool(fooled[i]) and inside
            value = float(values[i]) if inside else -torch.inf
            if reached and value != value:  # a loss that is no number is less than any
                value = -torch.inf
            better = reached and value >= old["value"] if ranking.minimal else value >= old["value"]
            if reached != old["reached"] and not ranking.minimal:
                better = reached
            if live and better:
                old |= {"x": x[i].tolist(), "logits": logits[i].tolist(), "reached": reached, "value": value}
    return best


@pytest.mark.parametrize(
    "ranking", [Ranking("margin", False), Ranking("cross_entropy", False), Ranking("margin", True)]
)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9), most=st.integers(1, 9))
def test_the_record_is_that_of_one_point_after_the_other(ranking: Ranking, seed: int, count: int, most: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = beginning(6, minimal=ranking.minimal)
    queries = points(generator, 6, count)
    found = compared(rows, ranking, queries, most).record
    for i, one in enumerate(slowly(rows, ranking, queries)):
        assert bool(found.best.fooled[i]) == one["reached"]
        assert bool(found.zero[i]) == one["zero"]
        assert float(found.best.value[i]) == pytest.approx(one["value"], rel=1e-6)
        if ranking.loss == "margin" and "logits" in one:  # of cross-entropy equal answers round apart, by their place
            assert found.best.x_adv[i].tolist() == one["x"]
            torch.testing.assert_close(found.best.logits[i], torch.tensor(one["logits"]), equal_nan=True)
    unsound = torch.stack([~logits.isfinite().all(1) for _, logits, _ in queries]).any(0)
    assert found.broken.isfinite().equal(~unsound)


def test_the_latest_of_equal_points_is_kept_and_it_is_known_whether_it_is_the_latest() -> None:
    rows, ranking = beginning(2, minimal=False), Ranking("margin", False)
    logits = torch.tensor([[0.0, 1, 0, 0], [1.0, 0, 0, 0]])
    waiting = Pile(ranking, rows.goal)
    for k in range(3):
        waiting.add(torch.full((2, SIZE), k / 4), logits, Seen())
    record, latest = waiting.compare(rows)
    assert record.best.x_adv.eq(0.5).all()
    assert latest.all()
    for k in range(3):  # one row gains at the first of three, and at the last no row gains
        waiting.add(torch.full((2, SIZE), k / 4), logits - torch.eye(4)[:2] * (1 if k == 0 else -1), Seen())
    record, latest = waiting.compare(rows._replace(record=record))
    assert record.best.x_adv.eq(0).all()
    assert not latest.any()


class Net(nn.Module):
    """Answers that differ from image to image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 24), nn.Tanh(), nn.Linear(24, 5))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.net(x)
        return answer


X = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(3))
SHORT: dict[str, dict[str, Any]] = {
    "patch": {"steps": 4},
    "boundary": {"queries": 60, "tries": 10},
    "hopskipjump": {"queries": 60, "tries": 10},
    "geoda": {"queries": 60, "tries": 10},
    "rays": {"queries": 60},
    "lbfgs": {"searches": 3, "leaps": 0, "first_steps": 10, "later_steps": 5},
    "cw": {"searches": 2, "steps": 20},
    "ead": {"searches": 2, "steps": 20},
    "square": {"queries": 60},
    "simba": {"queries": 40},
    "nes": {"steps": 3, "samples": 4},
    "spsa": {"steps": 3, "samples": 4},
    "one_pixel": {"population": 6, "generations": 4},
    "sparse_rs": {"queries": 40},
    "autoattack": {"steps": 8, "queries": 20},
    "cascade": {"steps": 8, "queries": 20},
    "brendel_bethge": {"steps": 6, "tries": 3, "search": 4},
    "spatial": {"rotations": 3, "shifts": 3},
    "superdeepfool": {"steps": 10, "turns": 1},
    "alma": {"steps": 40},
    "ddn": {"steps": 40},
    "fmn": {"steps": 40},
    "sigma_zero": {"steps": 40},
    "colour": {"steps": 6, "table": 4},
    "flow": {"steps": 6},
}


@pytest.mark.parametrize("stop", ["fooled", "never"])
@pytest.mark.parametrize("name", list_attacks())
def test_an_attack_finds_what_it_finds_when_every_point_is_compared_at_once(
    name: str, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = create_attack(name, **SHORT.get(name, {}))
    if attack.kind == "minimal" and stop == "fooled":
        pytest.skip("a minimal attack has no budget to stop in")
    model = Net().eval()
    y = model(X).argmax(1)
    budget: dict[str, Any] = (
        {"eps": max(0.05, get_norm(attack.norm).grain), "stop": stop} if attack.kind == "budget" else {}
    )
    found = attack(model, X, y, **budget)
    monkeypatch.setattr(pile, "MOST", 1)
    at_once = attack(model, X, y, **budget)
    for field in ("x_adv", "success", "distance", "queries", "gradients", "zero_gradient", "non_finite", "unsteady"):
        assert getattr(found, field).equal(getattr(at_once, field)), field
    torch.testing.assert_close(found.logits, at_once.logits, rtol=0, atol=0)


class Reused(nn.Module):
    """Writes every answer into one tensor, as a recorded CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.kept = Net(), torch.zeros(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        self.kept = self.kept.detach()
        return self.kept[: len(x)].copy_(self.net(x))


@pytest.mark.parametrize("attack", [PGD(eps=0.05, steps=20), DDN(steps=20), FMN(steps=20)], ids=lambda a: a.name)
def test_a_model_that_writes_every_answer_into_one_tensor(attack: Attack) -> None:
    model, plain = Reused().eval(), Net().eval()
    with torch.no_grad():
        y = plain(X).argmax(1)
    budget: dict[str, Any] = {"stop": "never"} if attack.kind == "budget" else {}
    found, other = attack(model, X, y, **budget), attack(plain, X, y, **budget)
    assert found.x_adv.equal(other.x_adv)
    torch.testing.assert_close(found.logits, other.logits, rtol=0, atol=0)


class Careless(PGD):
    """Moves its iterate in place."""

    stays_inside = True

    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        moved = super().step(oracle, state, i)
        state.x_adv.copy_(moved.x_adv)
        return state


def test_an_attack_may_write_on_its_iterate() -> None:
    model = Net().eval()
    y = model(X).argmax(1)
    plain = PGD(eps=0.1, steps=9, random_start=True)(model, X, y, stop="never")
    found = Careless(eps=0.1, steps=9, random_start=True)(model, X, y, stop="never")
    assert found.x_adv.equal(plain.x_adv)
    assert found.success.equal(plain.success)


def test_a_loss_that_knows_the_samples_by_their_place_is_asked_about_one_batch() -> None:
    model, weights = Net().eval(), torch.linspace(0.5, 2, len(X))
    y = model(X).argmax(1)
    found = PGD(eps=0.05, steps=12, loss=lambda goal, logits: weights * cross_entropy(goal, logits))(
        model, X, y, stop="never"
    )
    plain = PGD(eps=0.05, steps=12)(model, X, y, stop="never")
    torch.testing.assert_close(found.x_adv, plain.x_adv, rtol=0, atol=1e-6)


def test_only_our_own_losses_are_known_to_judge_each_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that somebody registers, under a new name or one of ours, may mix the rows; so may a function."""

    def mixing(goal: Goal, logits: Tensor) -> Tensor:
        return goal.margin(logits) - goal.margin(logits).mean()

    for name, loss in list(losses.LOSSES.items()):
        assert losses.by_row(name)
        assert not losses.by_row(loss)
    for name in ("mixing", "cross_entropy"):
        monkeypatch.setitem(losses.LOSSES, name, mixing)
        assert not losses.by_row(name)
    assert losses.by_row("margin")
    assert not losses.by_row("nobody registered this")
