"""Certificates against closed forms, a mixed-integer program, and every corner that an attack could visit."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.ball import ball_around
from advkit.certification.bounds import Bounds
from advkit.certification.certify import METHODS
from advkit.certification.curves import Tanh
from advkit.certification.graph import trace
from advkit.certification.relu_and_pooling import Maximum
from advkit.certification.rounding import EXACT, rounding_of
from advkit.certification.windows import own_entry
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.norms import get_norm


class Residual(nn.Module):
    """Convolution, batch norm, a residual sum, concatenation, average pooling and overlapping max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.norm, self.pool = nn.BatchNorm2d(2), nn.MaxPool2d(3, 2, padding=1)
        self.out = nn.Linear(4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.a(x)).relu()
        z = (z + self.b(z)).relu()
        both = torch.cat([self.pool(z), nn.functional.avg_pool2d(z, 2)], 1)
        return self.out(both.flatten(1))


class Maxed(nn.Module):
    """Max pooling without a rectifier, and maxout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden, self.out = nn.Conv2d(1, 2, 3), nn.Linear(2, 6), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = nn.functional.max_pool2d(self.conv(x), 2).flatten(1)
        return self.out(self.hidden(z).unflatten(1, (3, 2)).amax(2))


def smooth() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 3))


def rectified() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3))


NETS = {"residual": Residual, "maxed": Maxed, "smooth": smooth, "rectified": rectified}
LINF_L2_L1 = (("linf", 0.1), ("l2", 0.4), ("l1", 1.0))


def toy(name: str, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A random network on 4x4 images, five of these, and what it says of them."""
    torch.manual_seed(seed)
    net = NETS[name]().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.rand(5, 1, 4, 4)
    return net, x, net(x).argmax(1)


def visited(net: nn.Module, x: Tensor, eps: float, norm: str) -> Tensor:
    """Corners, edges and the points to which gradients lead: (points, N, ...), all feasible."""
    found, r = get_norm(norm), torch.full((len(x), 1, 1, 1), eps, dtype=torch.float64)
    low, high = ((x.double() + s * eps).clamp(0, 1) for s in (-1, 1))
    points = []
    for k in range(25):
        g = torch.randn(x.shape, generator=torch.Generator().manual_seed(k))
        points.append(found.maximise(g, x, r, low, high).float())
    for k in range(3):
        leaf = x.clone().requires_grad_()
        for _ in range(4):
            (g,) = torch.autograd.grad((net(leaf)[:, k] - net(leaf)[:, (k + 1) % 3]).sum(), leaf)
            leaf = found.maximise(g, x, r, low, high).float().requires_grad_()
            points.append(leaf.detach())
    return torch.stack(points)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", ["ibp", "crown_ibp", "crown", "alpha_crown"])
@pytest.mark.parametrize(("norm", "eps"), LINF_L2_L1)
def test_no_point_of_the_ball_lies_below_the_margins(name: str, method: str, norm: str, eps: float) -> None:
    for seed in range(1):
        net, x, y = toy(name, seed)
        margin = certify(net, x, y, eps=eps, norm=norm, method=method).margin
        for point in visited(net, x, eps, norm):  # in l2 and l1 the points are rounded, and may lie just outside
            logits = net(point).detach().double()
            assert (logits.gather(1, y[:, None]) - logits >= margin - 1e-6 * (norm != "linf")).all()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.4), ("l1", 0.4)])
@pytest.mark.parametrize("method", ["crown_ibp", "crown"])
def test_affine_networks_are_bounded_exactly(norm: str, eps: float, method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)).double()
    x = 0.5 + 0.001 * torch.rand(4, 1, 4, 4, dtype=torch.float64)  # no ball meets the end of the range
    y = torch.tensor([0, 1, 2, 0])
    margin = certify(net, x, y, eps=eps, norm=norm, method=method).margin
    W = torch.stack([torch.autograd.functional.jacobian(lambda z: net(z)[0], x[:1])[k].flatten() for k in range(3)])
    for n in range(4):
        C = W[y[n]] - W  # (3, 16)
        dual = {"linf": C.abs().sum(1), "l2": C.norm(dim=1), "l1": C.abs().amax(1)}[norm]
        clean = net(x[n : n + 1])[0]
        exact = clean[y[n]] - clean - eps * dual
        torch.testing.assert_close(margin[n], exact.detach(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_the_ceiling_is_the_value_at_the_maximiser(norm: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        g = torch.randn(6, 12, dtype=torch.float64, generator=generator)
        x = torch.rand(6, 12, dtype=torch.float64, generator=generator)
        eps = 2 * torch.rand(6, 1, dtype=torch.float64, generator=generator)
        reach = get_norm(norm).reach(eps)
        low, high = (x - reach).clamp(min=0), (x + reach).clamp(max=1)
        best = get_norm(norm).maximise(g, x, eps, low, high)
        value = (g * (best - x)).sum(1)
        ceiling = get_norm(norm).ceiling(g.abs(), torch.where(g > 0, high - x, x - low), eps.flatten())
        assert (ceiling >= value - 1e-12).all()
        torch.testing.assert_close(ceiling, value, atol=1e-9, rtol=1e-9)


def exact_least(net: nn.Sequential, x: Tensor, eps: float, c: np.ndarray) -> float:
    """min <c, net(z)> over |z - x| <= eps in [0, 1] for Linear, ReLU, Linear: a mixed-integer program."""
    optimize = pytest.importorskip("scipy.optimize")
    (W, b), (V, d) = ((m.weight.detach().numpy(), m.bias.detach().numpy()) for m in (net[1], net[3]))
    n, h, big = W.shape[1], W.shape[0], 50.0
    lo, hi = (np.clip(x.flatten().numpy() + s * eps, 0, 1) for s in (-1, 1))
    eye, zero, none = np.eye(h), np.zeros((h, h)), np.full(h, np.inf)
    rows = optimize.LinearConstraint(  # of (z, a, t), a = relu(W z + b), t whether it is active
        np.block([[W, -eye, zero], [W, -eye, -big * eye], [np.zeros((h, n)), eye, -big * eye]]),
        np.concatenate([-none, -b - big, -none]),
        np.concatenate([-b, none, np.zeros(h)]),
    )
    found = optimize.milp(
        np.concatenate([np.zeros(n), c @ V, np.zeros(h)]), constraints=rows,
        integrality=np.concatenate([np.zeros(n + h), np.ones(h)]),
        bounds=optimize.Bounds(
            np.concatenate([lo, np.zeros(2 * h)]), np.concatenate([hi, np.full(h, big), np.ones(h)])
        ),
    )  # fmt: skip
    return float(found.fun + c @ d)


@pytest.mark.parametrize("seed", range(4))
def test_no_margin_exceeds_the_mixed_integer_program(seed: int) -> None:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x, eps = torch.rand(2, 1, 4, 4, dtype=torch.float64), 0.15
    y = net(x).argmax(1)
    found = {m: certify(net, x, y, eps=eps, method=m).margin for m in ("ibp", "crown_ibp", "crown", "alpha_crown")}
    gaps = []
    for n, k in itertools.product(range(2), range(3)):
        if k == y[n]:
            continue
        c = np.eye(3)[int(y[n])] - np.eye(3)[k]
        least = exact_least(net, x[n], eps, c)
        assert all(float(margin[n, k]) <= least + 1e-7 for margin in found.values())
        gaps.append(least - float(found["crown"][n, k]))
    assert min(gaps) < 0.5


@pytest.mark.parametrize("operation", [Maximum(windows=own_entry((7,)), rectified=True), Tanh(windows=own_entry((7,)))])
def test_lines_hold_and_touch_over_a_grid(operation: Maximum | Tanh) -> None:
    generator = torch.Generator().manual_seed(0)
    low = 6 * torch.rand(200, 7, dtype=torch.float64, generator=generator) - 5
    high = low + 5 * torch.rand(200, 7, dtype=torch.float64, generator=generator)
    lines = operation.lines(low, high)
    f = torch.tanh if isinstance(operation, Tanh) else torch.relu
    grid = low + (high - low) * torch.linspace(0, 1, 101, dtype=torch.float64)[:, None, None]
    below = f(grid) - (lines.low_slope * grid + lines.low_offset)
    above = lines.high_slope * grid + lines.high_offset - f(grid)
    assert below.min() > -1e-12
    assert above.min() > -1e-12
    assert below.amin(0).max() < 1e-2  # and each touches the function
    assert above.amin(0).max() < 1e-2


@pytest.mark.parametrize("name", ["residual", "maxed", "rectified"])
def test_backward_coefficients_are_the_network_at_a_point(name: str) -> None:
    """A ball of one point: every relaxation is exact, so that a lost bias, sign or tap shows."""
    net, x, _ = toy(name, 0)
    net, x = net.double(), x.double()
    made = Bounds(trace(net, x).graph(), ball_around(x, 0.0, "linf", (0, 1)), EXACT)
    made.forward(refined=False)
    rows = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(made.lower(len(made.graph.nodes) - 1, rows), net(x).detach(), atol=1e-9, rtol=0)
    for low, high in zip(made.low, made.high, strict=True):
        assert (high - low).abs().max() < 1e-9


def test_the_end_that_is_left_out_changes_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every unit of open sign has both of CROWN's ends; the others keep the sign that both ends would give."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 4, 2, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(24, 12),
        nn.ReLU(), nn.Linear(12, 3),
    ).double()  # fmt: skip
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64)
    asked: list[int] = []
    units = Bounds._units
    monkeypatch.setattr(Bounds, "_units", lambda self, p, i, *more: asked.append(i.numel()) or units(self, p, i, *more))

    def bounds() -> tuple[Bounds, int]:
        made = Bounds(trace(net, x).graph(), ball_around(x, 0.06, "linf", (0, 1)), EXACT)
        asked.clear()
        with torch.no_grad():
            made.forward(refined=True)
        return made, sum(asked)

    made, few = bounds()
    one_side = Bounds._one_side

    def both(
        self: Bounds, place: int, low: Tensor, high: Tensor, open_: Tensor, side: Tensor, limit: Tensor
    ) -> tuple[Tensor, Tensor]:
        for sign in (side, -side):
            low, high = one_side(self, place, low, high, open_, sign, torch.full_like(limit, torch.inf))
        return low, high

    monkeypatch.setattr(Bounds, "_one_side", both)
    slow, many = bounds()
    assert few < 0.8 * many
    for place in made.graph.fronts:
        low, high = made.low[place], made.high[place]
        open_ = (low < 0) & (high > 0)
        assert torch.equal(open_, (slow.low[place] < 0) & (slow.high[place] > 0))
        torch.testing.assert_close(low[open_], slow.low[place][open_], atol=1e-9, rtol=0)
        torch.testing.assert_close(high[open_], slow.high[place][open_], atol=1e-9, rtol=0)


def test_a_batch_is_its_samples_and_a_larger_ball_certifies_less() -> None:
    net, x, y = toy("residual", 1)
    whole = certify(net, x, y, eps=0.05)
    alone = torch.cat([certify(net, x[n : n + 1], y[n : n + 1], eps=0.05).margin for n in range(5)])
    torch.testing.assert_close(whole.margin, alone, atol=1e-9, rtol=0)
    small, large = (certify(net, x, y, eps=e, method="ibp").margin for e in (0.05, 0.1))  # CROWN changes slopes
    assert (large <= small + 1e-9).all()
    found = certify(net, x, y, eps=0.3, radius=True)
    assert found.radius is not None
    assert certify(net, x, y, eps=found.radius).certified[found.radius > 0].all()


def test_float32_networks_get_a_wider_margin_than_float64_ones() -> None:
    net, x, y = toy("rectified", 0)
    single = certify(net, x, y, eps=0.02).margin
    double = certify(net.double(), x.double(), y, eps=0.02).margin
    other = torch.arange(3) != y[:, None]
    assert (single < double)[other].all()
    assert (double - single).max() < 1e-4


def test_what_cannot_be_bounded_is_named() -> None:
    class Batched(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.mean(0, keepdim=True)).flatten(1)[:, :3]

    class Erf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.erf(x).flatten(1)[:, :3]

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x + torch.randn(1, 1, 4, 4)).flatten(1)[:, :3]

    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(InputError, match="random"):
        certify(Noisy(), x, y, eps=0.1)
    with pytest.raises(InputError, match="batch"):
        certify(Batched(), x, y, eps=0.1)
    with pytest.raises(InputError, match="erf"):
        certify(Erf(), x, y, eps=0.1)


def test_the_model_is_left_as_it_was() -> None:
    net, x, y = toy("residual", 0)
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    certify(net, x, y, eps=0.1)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_gpu_that_may_shorten_its_factors_is_warned_of() -> None:
    gpu, shortest = torch.device("cuda"), 2.0**-11
    with pytest.warns(AdvkitWarning, match="TF32"):
        assert rounding_of(torch.float32, gpu).unit == shortest
    assert rounding_of(torch.float64, gpu).unit < 1e-15
    assert rounding_of(torch.float32, torch.device("cpu")).unit < 1e-7
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        assert rounding_of(torch.float32, gpu).unit < 1e-7
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


class Answers(nn.Module):
    """A network whose answer has the form that it is told."""

    def __init__(self, form: Callable[[Tensor], object]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.form = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)), form

    def forward(self, x: Tensor) -> object:
        return self.form(self.layers(x))


@pytest.mark.parametrize("method", ["crown", "exact", "lipschitz"])
def test_answers_that_hold_logits_are_certified_and_others_named(method: str) -> None:
    x = torch.rand(2, 1, 4, 4)
    y = Answers(lambda z: z)(x).argmax(1)
    ask = {"eps": 0.01, "norm": "l2" if method == "lipschitz" else "linf", "method": method}
    plain, held = (certify(Answers(f), x, y, **ask) for f in (lambda z: z, lambda z: {"logits": z}))
    assert torch.equal(plain.margin, held.margin)
    with pytest.raises(InputError, match=r"got a dict of 'out'; choose one of them: advkit.models.Output"):
        certify(Answers(lambda z: {"out": z}), x, y, **ask)
    with pytest.raises(InputError, match="got a tuple of 2"):
        certify(Answers(lambda z: (z, z)), x, y, **ask)


@pytest.mark.parametrize("method", METHODS)
def test_no_images_are_none_certified(method: str) -> None:
    norm = "l2" if method == "lipschitz" else "linf"
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.ReLU(), nn.Linear(3, 2))
    found = certify(model, torch.rand(0, 1, 4, 4), torch.zeros(0, dtype=torch.int64), eps=0.1, method=method, norm=norm)
    assert found.certified.shape == (0,)
