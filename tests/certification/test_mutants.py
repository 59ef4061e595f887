"""Relaxations that are wrong in one place, each planted: the checks of a certificate see every one."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.certification import certify
from advkit.certification.alpha_crown import Relaxation
from advkit.certification.ball import Ball, ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.curves import Tanh
from advkit.certification.graph import trace
from advkit.certification.relu_and_pooling import Lines, Maximum
from advkit.certification.rounding import EXACT
from advkit.certification.unit_rows import Rows

domains = importlib.import_module("advkit.certification.domains")
K = 3


def random_net(seed: int, kinds: tuple[str, ...]) -> tuple[nn.Module, Tensor, Tensor]:
    """Convolutions with the bends that are named, on 6x6 images; wide weights, so that bends are open."""
    torch.manual_seed(seed)
    bend = {"relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.1), "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    layers: list[nn.Module] = []
    maps = 1
    for kind in kinds:
        layers.append(nn.Conv2d(maps, 3, 3, padding=1))
        layers.append(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, 1)) if kind == "pool" else bend[kind]())
        maps = 3
    net = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(K)).double().eval()
    x = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    net(x)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)
        y = net(x).argmax(1)
    return net, x, y


def visited(net: nn.Module, x: Tensor, y: Tensor, eps: float) -> Iterator[Tensor]:
    """Random points, corners, and points to which attacks go."""
    draws = torch.Generator().manual_seed(0)
    for k in range(12):
        noise = 2 * torch.rand(x.shape, generator=draws, dtype=x.dtype) - 1
        yield (x + eps * (noise.sign() if k % 2 else noise)).clamp(0, 1)
    for spec in ("fgsm", "pgd(steps=8, loss='margin')", "apgd(steps=8)"):
        attack = create_attack(spec, eps=eps)
        for turn in (1, 2):
            yield attack(net, x, y, target=(y + turn) % K, stop="never").x_adv


def assert_contained(net: nn.Module, x: Tensor, y: Tensor, eps: float, method: str) -> None:
    margin = certify(net, x, y, eps=eps, method=method).margin
    with torch.no_grad():
        for point in visited(net, x, y, eps):
            logits = net(point)
            assert (logits.gather(1, y[:, None]) - logits >= margin - 1e-9).all()


@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    kinds=st.lists(st.sampled_from(["relu", "leaky", "tanh", "sigmoid", "pool"]), min_size=1, max_size=2),
    eps=st.sampled_from([0.01, 0.05, 0.2]),
    method=st.sampled_from(["ibp", "crown_ibp", "crown", "alpha_crown"]),
)
def test_bounds_contain_corners_random_points_and_those_of_attacks(
    seed: int, kinds: list[str], eps: float, method: str
) -> None:
    net, x, y = random_net(seed, tuple(kinds))
    assert_contained(net, x, y, eps, method)


def assert_exact_at_a_point() -> None:
    """A ball of one point: every relaxation is the network."""
    for kinds in (("relu", "pool"), ("leaky", "tanh")):
        net, x, _ = random_net(1, kinds)
        made = Bounds(trace(net, x).graph(), ball_around(x, 0.0, "linf", (0, 1)), EXACT)
        made.forward(refined=False)
        rows = torch.eye(K, dtype=torch.float64).expand(2, K, K)
        torch.testing.assert_close(made.lower(len(made.graph.nodes) - 1, rows), net(x).detach(), atol=1e-9, rtol=0)


def assert_lines_hold() -> None:
    """Over a grid of every window, and no looser than CROWN's."""
    draws = torch.Generator().manual_seed(0)
    low = 4 * torch.rand(50, 2, 6, 6, generator=draws, dtype=torch.float64) - 3
    high = low + 3 * torch.rand(50, 2, 6, 6, generator=draws, dtype=torch.float64)
    windows = importlib.import_module("advkit.certification.windows")
    size = windows.Pooling(kernel=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1))
    pooled = windows.pooled((2, 6, 6), (2, 3, 3), size, torch.device("cpu"))
    for op in (
        Maximum(windows=pooled, rectified=True),
        Maximum(windows=pooled, rectified=False),
        Maximum(windows=windows.own_entry((2, 6, 6)), rectified=True),
        Tanh(windows=windows.own_entry((2, 6, 6))),
    ):
        lines = op.lines(low, high)
        above, least = [], []
        for k in range(60):
            share = torch.rand(low.shape, generator=draws, dtype=torch.float64)
            z = low + (high - low) * (share.round() if k % 2 else share)
            taps = op.windows.taps(z)
            if isinstance(op, Tanh):
                f = taps.squeeze(1).tanh()
            else:
                f = taps.amax(1).clamp(min=0) if op.rectified else taps.amax(1)
            up = taps.gather(1, lines.high_tap[:, None]).squeeze(1) * lines.high_slope + lines.high_offset
            down = taps.gather(1, lines.low_tap[:, None]).squeeze(1) * lines.low_slope + lines.low_offset
            above.append(up - f)
            least.append(f - down)
        assert float(torch.stack(above).min()) > -1e-12
        assert float(torch.stack(least).min()) > -1e-12


def assert_sound_and_exact() -> None:
    """Everything that a mutant has to pass to live."""
    assert_exact_at_a_point()
    assert_lines_hold()
    for kinds in (("relu", "pool"), ("leaky", "tanh"), ("relu", "relu")):
        for method in ("crown", "alpha_crown"):
            assert_contained(*random_net(1, kinds), 0.05, method)
    from_file = Path(__file__).parent
    sys.path.insert(0, str(from_file))
    try:
        check = importlib.import_module("test_exact")
    finally:
        sys.path.remove(str(from_file))
    for seed in (0, 2, 3, 5, 29):
        check.check_against_the_program(seed)
    with pytest.MonkeyPatch.context() as patch:
        check.test_maxima_are_split_as_well_as_the_rectifiers_they_are_made_of(True, patch)


def lines_with(change: Callable[[Lines], Lines], kind: type = Maximum) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutant that changes the lines of every bend of a kind."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        made = kind.lines
        patch.setattr(kind, "lines", lambda self, *args: change(made(self, *args)))

    return plant


def steep(lines: Lines, factor: float) -> Lines:
    return lines._replace(high_slope=torch.where(lines.free, factor * lines.high_slope, lines.high_slope))


def offset(lines: Lines, factor: float) -> Lines:
    return lines._replace(high_offset=torch.where(lines.free, factor * lines.high_offset, lines.high_offset))


def slope_below(lines: Lines, value: float) -> Lines:
    return lines._replace(low_slope=torch.where(lines.free, value, lines.low_slope))


def swapped(lines: Lines) -> Lines:
    slopes = {"low_slope": lines.high_slope, "high_slope": lines.low_slope}
    return lines._replace(**slopes, low_offset=lines.high_offset, high_offset=lines.low_offset)


def patched(target: object, name: str, change: Callable[..., object]) -> Callable[[pytest.MonkeyPatch], None]:
    """A mutant that wraps a method: `change` takes the method and its arguments."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        made = getattr(target, name)
        patch.setattr(target, name, lambda *args, **kwargs: change(made, *args, **kwargs))

    return plant


def climb_too_far(made: Callable[..., object], self: Relaxation, value: Tensor, adam: torch.optim.Adam) -> None:
    with torch.no_grad():
        made(self, value, adam)
        for alpha in self.alpha.values():
            alpha.mul_(1.6).sub_(0.3)  # into [-0.3, 1.3]


def least_above(made: Callable[..., Tensor], self: Ball, rows: Rows) -> Tensor:
    middle = self._replace(low=(self.low + self.x) / 2, high=(self.high + self.x) / 2)
    return made(middle, rows)


def one_half(made: Callable[..., object], found: object, chosen: Tensor, tap: Tensor, half: int) -> object:
    return made(found, chosen, tap, 1)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "slope of the chord too small": lines_with(lambda lines: steep(lines, 0.8)),
    "slope of the chord too large": lines_with(lambda lines: steep(lines, 1.2)),
    "intercept too small": lines_with(lambda lines: offset(lines, 0.8)),
    "no intercept": lines_with(lambda lines: offset(lines, 0.0)),
    "sign of the intercept": lines_with(lambda lines: offset(lines, -1.0)),
    "slope below of more than 1": lines_with(lambda lines: slope_below(lines, 1.2)),
    "slope below of less than 0": lines_with(lambda lines: slope_below(lines, -0.2)),
    "above and below exchanged": lines_with(swapped),
    "tangent below taken above": lines_with(swapped, Tanh),
    "pooling: the line above follows another entry": lines_with(
        lambda lines: lines._replace(high_tap=(lines.high_tap + 1) % 4 if lines.high_tap.any() else lines.high_tap)
    ),
    "pooling: the line below follows another entry": lines_with(
        lambda lines: lines._replace(low_tap=(lines.low_tap + 1) % 4 if lines.low_tap.any() else lines.low_tap)
    ),
    "pooling: the second largest is the least": patched(
        Maximum, "_second", lambda made, self, u, i: made(self, u, i) - 0.5 * (u.shape[1] > 1)
    ),
    "no bias": patched(Rows, "constant", lambda made, self, bias, shape: 0 * made(self, bias, shape)),
    "sign of the bias": patched(Rows, "constant", lambda made, self, bias, shape: -made(self, bias, shape)),
    "half of the ball": patched(Ball, "least", least_above),
    "slopes leave [0, 1] in the ascent": patched(Relaxation, "climb", climb_too_far),
    "sign of the multipliers": patched(
        Maximum, "constrained", lambda made, self, splits, beta: -made(self, splits, beta)
    ),
    "one half of a split twice": patched(domains, "halved", one_half),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
def test_what_is_not_planted_passes() -> None:
    assert_sound_and_exact()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    with pytest.raises((AssertionError, RuntimeError, IndexError)):
        assert_sound_and_exact()
