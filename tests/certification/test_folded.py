"""A network folded over one ball is that network there, its bounds are the same, and a search on it finds the same."""

import importlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.alpha_crown import raised
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.domains import Domains, whole_balls
from advkit.certification.folded import Folded, Map, folded
from advkit.certification.graph import Graph, Input, trace
from advkit.certification.linear import Affine, Joint, joint
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.rounding import EXACT, rounding_of

K = 3
module = importlib.import_module("advkit.certification.folded")


class Branches(nn.Module):
    """A residual sum, batch norm, a leaky rectifier, overlapping maxima of rectified and of plain maps."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm, self.out = nn.BatchNorm2d(3), nn.Linear(48, K)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.a(x)).relu()
        z = nn.functional.leaky_relu(self.b(z) + self.c(z))
        z = nn.functional.max_pool2d(self.b(z).relu(), 2, 1)
        return self.out(nn.functional.max_pool2d(self.c(z), 2, 1, 0).flatten(1))


def strided() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 6), nn.ReLU(),
        nn.Linear(6, K),
    )  # fmt: skip


NETS = [Branches, strided]


def bounded(make: Callable[[], nn.Module], *, double: bool = True, eps: float = 0.05) -> tuple[nn.Module, Bounds]:
    """A random network and its bounds over the ball around one image."""
    torch.manual_seed(3)
    net = make().double().eval()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(1.5)
    net = net if double else net.float()
    x = torch.rand(1, 1, 6, 6).to(torch.float64 if double else torch.float32)
    made = Bounds(trace(net, x).graph(), ball_around(x, eps, "linf", (0, 1)), EXACT)
    made = made if double else Bounds(made.graph, made.ball, rounding_of(torch.float32, x.device))
    with torch.no_grad():
        made.forward(refined=True)
    return net, made


def leads() -> Tensor:
    eye = torch.eye(K, dtype=torch.float64)
    return eye[:1] - eye


def value(graph: Graph, x: Tensor) -> Tensor:
    """What the nodes compute of images."""
    held: list[Tensor] = []
    for node in graph.nodes:
        op, before = node.operation, [held[i] for i in node.inputs]
        if isinstance(op, Input):
            held.append(x)
        elif isinstance(op, Affine):
            z = op.linear(before)
            held.append(z if op.bias is None else z + op.bias)
        else:
            assert isinstance(op, Maximum)
            z = op.windows.taps(before[0]).amax(1).view(-1, *node.shape)
            held.append(z.clamp(min=0) if op.rectified else z)
    return held[-1]


def points(made: Bounds) -> Tensor:
    """Corners and inner points of the ball."""
    share = torch.rand(200, *made.ball.x.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    share[::2] = share[::2].round()
    return made.ball.low + (made.ball.high - made.ball.low) * share


@pytest.mark.parametrize("make", NETS)
def test_the_folded_network_is_the_network_over_the_ball(make: Callable[[], nn.Module]) -> None:
    net, made = bounded(make)
    found, C = folded(made, leads()), leads()
    assert 0 < sum(len(o) for o in found.outputs.values()) < sum(made.low[i].numel() for i in made.graph.bends)
    z = points(made)
    torch.testing.assert_close(value(found.made.graph, z), net(z).detach() @ C.T, atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", NETS)
def test_its_bounds_are_those_of_the_network(make: Callable[[], nn.Module]) -> None:
    _, made = bounded(make)
    found = folded(made, leads())
    rows = torch.eye(K, dtype=torch.float64)
    one, other = (
        made.lower(len(made.graph.nodes) - 1, leads()[None]),
        found.made.lower(len(found.made.graph.nodes) - 1, rows[None]),
    )
    torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


@pytest.mark.parametrize("make", NETS)
def test_the_rounding_of_the_network_is_still_covered(make: Callable[[], nn.Module]) -> None:
    """A ball so small that rounding is most of the width: what the network computes in float32 lies within."""
    net, made = bounded(make, double=False, eps=1e-7)
    found = folded(made, leads())
    last, rows = len(found.made.graph.nodes) - 1, torch.eye(K, dtype=torch.float64)[None]
    least, most = found.made.lower(last, rows), -found.made.lower(last, -rows)
    x = made.ball.x.float()
    z = torch.cat([x, *(torch.nextafter(x, x + s) for s in (1, -1))]).clamp(0, 1)
    logits = net(z).detach().double()
    margin = logits @ leads().T
    assert (margin >= least).all()
    assert (margin <= most).all()
    before = made.lower(len(made.graph.nodes) - 1, leads()[None])
    assert (least <= before + 1e-12).all()
    assert (most - least)[0, 1:].min() > 1e-7


@pytest.mark.parametrize("make", NETS)
def test_parts_of_the_ball_keep_their_assumptions(make: Callable[[], nn.Module]) -> None:
    _, made = bounded(make, eps=0.1)
    found, C = folded(made, leads()), leads()
    whole = whole_balls(made, torch.zeros(40, dtype=torch.int64), torch.arange(40) % K, torch.zeros(40))
    draws = torch.Generator().manual_seed(0)
    for i, splits in whole.splits.items():
        place = {old: new for new, old in found.origin.items()}.get(i)
        assert place is not None
        outputs = found.outputs[place]
        for row in range(len(splits)):
            unit = outputs[torch.randint(len(outputs), (1,), generator=draws)]
            splits[row, :, unit] = torch.where(splits[row, :, unit] == 0, -1, splits[row, :, unit])
            if row % 2:
                splits[row, 0, unit] = 1
    part, rows = found.carried(whole), torch.arange(40) % K
    n = torch.zeros(40, dtype=torch.int64)
    beta = {i: torch.rand(b.shape, generator=draws) for i, b in whole.beta.items()}
    options = {"splits": whole.splits, "alpha": whole.alpha, "beta": beta}
    one = raised(made.take(n), C[rows], steps=0, **options)
    carried = found.carried(whole._replace(beta=beta))
    options = {"splits": part.splits, "alpha": part.alpha, "beta": carried.beta}
    other = raised(found.made.take(n), torch.eye(K, dtype=torch.float64)[rows], steps=0, **options)
    torch.testing.assert_close(one.bound, other.bound, atol=1e-9, rtol=0)
    torch.testing.assert_close(one.slope, other.slope, atol=1e-9, rtol=0)


def test_a_sparse_matrix_is_the_dense_one() -> None:
    draws = torch.Generator().manual_seed(0)
    W = torch.rand(30, 40, generator=draws) * (torch.rand(30, 40, generator=draws) < 0.05)
    made, dense = joint(W, torch.zeros(30)), Joint(weight=W)
    assert (made.sparse is not None) == torch.backends.mkl.is_available()
    shapes = [(2, 5), (30,)]
    found = []
    for op in (made, dense):
        A = torch.ones(4, 30).requires_grad_()
        parts = op.transpose(A, shapes)
        assert [tuple(p.shape[1:]) for p in parts] == shapes
        (g,) = torch.autograd.grad(sum((p**2).sum() for p in parts), A)
        found += [*parts, g]
    for one, other in zip(found[:3], found[3:], strict=True):
        torch.testing.assert_close(one, other)


def test_a_search_on_it_decides_as_the_search_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 8), nn.ReLU(),
        nn.Linear(8, K),
    )  # fmt: skip
    x = torch.rand(6, 1, 6, 6)
    y = net(x).argmax(1)
    exact = importlib.import_module("advkit.certification.exact")
    monkeypatch.setattr(exact, "SHARE", 10**9)
    seen: list[Folded] = []
    monkeypatch.setattr(exact, "folded", lambda *args: seen.append(folded(*args)) or seen[-1])
    one = certify(net, x, y, eps=0.06, method="exact", nodes=3000)
    assert seen
    monkeypatch.setattr(exact, "SHARE", 1e-9)
    monkeypatch.setattr(exact, "folded", None)
    other = certify(net, x, y, eps=0.06, method="exact", nodes=3000)
    assert one.exact
    assert torch.equal(one.certified, other.certified)


def affine_where_it_is_not(made: Callable[..., Tensor], lines: Lines) -> Tensor:
    open_ = made(lines)
    return open_ & (open_.cumsum(1) < open_.sum(1, keepdim=True))  # all but the last


def moved(made: Callable[..., Domains], self: Folded, found: Domains) -> Domains:
    part = made(self, found)
    return part._replace(splits={i: s.roll(1, 2) for i, s in part.splits.items()})


MUTANTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "an open output is taken as affine": (module, "_is_open", affine_where_it_is_not),
    "nothing is stopped at open outputs": (module, "_stopped", lambda made, lines: lines),
    "the sign of the weights": (module, "_map", lambda made, *a: made(*a)._replace(weight=-made(*a).weight)),
    "the sign of the bias": (module, "_map", lambda made, *a: made(*a)._replace(bias=-made(*a).bias)),
    "no bias": (module, "_map", lambda made, *a: made(*a)._replace(bias=torch.zeros_like(made(*a).bias))),
    "a weight is missing": (module, "_map", lambda made, *a: Map(made(*a).weight.clamp(max=0.2), *made(*a)[1:])),
    "rounding is not counted": (module, "_map", lambda made, *a: made(*a)._replace(error=0 * made(*a).error)),
    "assumptions go to another output": (Folded, "carried", moved),
    "no rectifier": (module, "_maximum", lambda made, *a: replace(made(*a), rectified=False)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, method, change = MUTANTS[name]
    made = getattr(target, method)
    monkeypatch.setattr(target, method, lambda *args: change(made, *args))
    with pytest.raises(AssertionError):
        check_all()


def check_all() -> None:
    for make in NETS:
        test_the_folded_network_is_the_network_over_the_ball(make)
        test_its_bounds_are_those_of_the_network(make)
        test_the_rounding_of_the_network_is_still_covered(make)
        test_parts_of_the_ball_keep_their_assumptions(make)
