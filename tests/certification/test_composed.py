"""Maps composed once for all later layers give the bounds of passes through every layer."""

import pytest
import torch
from torch import nn

from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.composed import composed, pays
from advkit.certification.graph import trace
from advkit.certification.relu_and_pooling import Lines
from advkit.certification.rounding import EXACT, rounding_of

FRONT = 6


def network() -> nn.Sequential:
    """Two convolutions, and layers of eight units in front of four bends."""
    torch.manual_seed(0)
    dense = [m for n in (8, 8, 8) for m in (nn.Linear(n, 8), nn.ReLU())]
    convs = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 4, 2, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*convs, nn.Linear(96, 8), nn.ReLU(), *dense, nn.Linear(8, 3)).double().eval()


def bounds(net: nn.Module, x: torch.Tensor, eps: torch.Tensor | float, *, exact: bool = True) -> Bounds:
    ball = ball_around(x, eps, "linf", (0, 1))
    return Bounds(trace(net, x).graph(), ball, EXACT if exact else rounding_of(torch.float32, x.device))


def passes(made: Bounds, place: int, first: tuple[int, Bounds] | None) -> torch.Tensor:
    """Both ends of every unit, by rows that all end at the image."""
    index = torch.arange(made.low[place][0].numel()).expand(len(made.low[place]), -1)
    made.first, one = first, torch.ones(index.shape, dtype=torch.float64)
    found = torch.cat([made._units(place, index, side * one, one * torch.inf) for side in (1, -1)], 1)
    made.first = None
    return found


@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize("step", [None, 5])
def test_composed_maps_give_the_bounds_of_the_whole_pass(
    windows: bool, step: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images have different numbers of open bends, and one has none."""
    net, x = network(), torch.rand(4, 1, 8, 8, dtype=torch.float64)
    made = bounds(net, x, torch.tensor([0.004, 0.02, 1e-9, 0.01], dtype=torch.float64))
    made.windows = windows
    with torch.no_grad():
        made.forward(refined=True)
        if step is not None:
            monkeypatch.setattr(Bounds, "step", lambda self, place: step)
        short = composed(made, FRONT)
        assert short is not None
        assert len({int(lines.free[n].sum()) for lines in short.lines.values() for n in range(4)}) > 2
        for place in made.graph.fronts:
            if place >= FRONT:
                whole, found = passes(made, place, None), passes(made, place, (FRONT, short))
                torch.testing.assert_close(found, whole, atol=1e-11, rtol=0)


def test_a_fault_of_one_open_bend_changes_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above sees an open bend that is left out."""
    net, x = network(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    made = bounds(net, x, 0.02)
    with torch.no_grad():
        made.forward(refined=True)
        short = composed(made, FRONT)
        assert short is not None
        whole = passes(made, FRONT, None)
        at = min(short.lines)
        wrong = dict(zip(Lines._fields, short.lines[at], strict=True)) | {
            "high_offset": 0 * short.lines[at].high_offset
        }
        short.lines[at] = Lines(**wrong)
        assert float((passes(made, FRONT, (FRONT, short)) - whole).max()) > 1e-4


def test_rounding_of_composed_maps_is_counted() -> None:
    """In the float32 network, visited values lie within the bounds; a ball of one point leaves rounding alone."""
    net, x = network().float(), torch.rand(3, 1, 8, 8)
    made = bounds(net, x, 0.0, exact=False)
    with torch.no_grad():
        made.forward(refined=True)
        short = composed(made, FRONT)
        assert short is not None
        assert all(float(error.amin()) > 0 for error in short.slack[-1:])
        for place in made.graph.fronts:
            if place >= FRONT:
                low, high = passes(made, place, (FRONT, short)).chunk(2, 1)
                real = net.double()[:place](x.double())
                net.float()
                assert (low < real).all()
                assert (real < -high).all()
                assert (net[:place](x).double() >= low).all()
                assert (net[:place](x).double() <= -high).all()
                whole = torch.stack(passes(made, place, None).chunk(2, 1)).sum(0)
                counted = (low + high) / whole  # only rounding keeps the ends apart
                assert counted.min() > 0.5
                assert counted.max() < 2


def test_every_bound_is_sound_where_maps_are_used() -> None:
    net, x = network(), torch.rand(3, 1, 8, 8, dtype=torch.float64)
    made = bounds(net, x, 0.02)
    assert pays(made.graph, FRONT)
    with torch.no_grad():
        made.forward(refined=True, compose=composed)
        assert made.first is None
        z = made.ball.low + (made.ball.high - made.ball.low) * torch.rand(300, *x.shape, dtype=torch.float64)
        z = torch.cat([z, torch.where(z > z.median(), made.ball.low, made.ball.high)])
        for i in range(len(net)):
            z = net[i](z.flatten(0, 1)).unflatten(0, (600, 3))
            assert (made.low[i + 1] <= z).all()
            assert (z <= made.high[i + 1]).all()


class Branches(nn.Module):
    """Two paths to the layer, and a bend that lies on one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.then = (
            network()[:5],
            nn.Sequential(nn.Conv2d(1, 6, 4, 2, 1), nn.ReLU()),
            network()[5:],
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.then(self.one(x) + self.other(x).flatten(1))
        return z


def test_composed_maps_of_branches_give_the_bounds_of_the_whole_pass() -> None:
    net, x = Branches().double().eval(), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    made = bounds(net, x, 0.02)
    at = next(i for i in range(len(made.graph.nodes)) if pays(made.graph, i))
    with torch.no_grad():
        made.forward(refined=True)
        short = composed(made, at)
        assert short is not None
        assert len(short.lines) == 3
        last = made.graph.fronts[-1]
        torch.testing.assert_close(passes(made, last, (at, short)), passes(made, last, None), atol=1e-11, rtol=0)


class Skips(nn.Module):
    """A path around the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.then, self.last = network()[:6], network()[6:-1], network()[-1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.last(self.then(self.first(x)) + x.flatten(1)[:, :8])
        return z


def test_maps_are_asked_only_where_every_path_leads_through_the_layer() -> None:
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    graph = trace(network(), x).graph()
    assert [i for i in range(len(graph.nodes)) if pays(graph, i)] == [FRONT]
    graph = trace(Skips().double().eval(), x).graph()
    assert not any(pays(graph, i) for i in range(len(graph.nodes)))
