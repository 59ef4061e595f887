"""Operator norms against singular values of dense matrices, and the radius that their product gives."""

import math

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify, lipschitz, operator_norms
from advkit.certification.linear import Conv
from advkit.certification.operator_norms import matrix_norm
from advkit.core.errors import InputError
from advkit.models import load_model

SHAPE = (3, 9, 8)


def conv(*args: int, **options: object) -> nn.Module:
    return nn.Conv2d(*args, bias=False, **options)  # type: ignore[arg-type]


LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(30, 20), (30,)),
    "wide": (nn.Linear(10, 40), (10,)),
    "conv": (conv(3, 5, 3, padding=1), SHAPE),
    "no padding": (conv(3, 5, 3), SHAPE),
    "much padding": (conv(3, 4, 3, padding=4), SHAPE),
    "strided": (conv(3, 5, 3, stride=2, padding=1), SHAPE),
    "stride beyond kernel": (conv(3, 5, 2, stride=3), SHAPE),
    "kernel 5 stride 2 by 3": (conv(3, 4, (5, 4), stride=(2, 3), padding=(2, 1)), SHAPE),
    "groups": (conv(4, 6, 3, groups=2, padding=1), (4, 6, 5)),
    "depthwise": (conv(4, 4, 3, groups=4), (4, 6, 5)),
    "dilated": (conv(3, 4, 3, dilation=2, padding=2), SHAPE),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1, bias=False), (3, 5, 4)),
    "transposed, groups": (nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), (4, 5, 4)),
    "one dimension": (nn.Conv1d(3, 4, 5, stride=2, padding=2, bias=False), (3, 17)),
    "one by one": (conv(3, 7, 1), SHAPE),
    "average": (nn.AvgPool2d(2), (2, 6, 8)),
    "average, overlapping": (nn.AvgPool2d(3, 2, padding=1), (2, 7, 8)),
    "adaptive average": (nn.AdaptiveAvgPool2d(3), (2, 7, 8)),
    "global average": (nn.AdaptiveAvgPool2d(1), (2, 7, 8)),
    "zero padding": (nn.ZeroPad2d(2), (2, 4, 4)),
    "replicated border": (nn.ReplicationPad2d(1), (2, 4, 4)),
    "upsampling": (nn.Upsample(scale_factor=2), (2, 4, 4)),
}
TORUS = [name for name, (layer, _) in LAYERS.items() if "Conv" in type(layer).__name__]


def filled(name: str, seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    layer, shape = LAYERS[name]
    torch.manual_seed(seed)
    layer = layer.double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer, shape


def dense(layer: nn.Module, shape: tuple[int, ...]) -> Tensor:
    """The matrix of an affine layer, column by column."""
    with torch.no_grad():
        eye = torch.eye(math.prod(shape), dtype=torch.float64).view(-1, *shape)
        return (layer(eye) - layer(torch.zeros_like(eye))).flatten(1).T


class FirstTwo(nn.Module):
    """Two entries as logits."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


def of(layer: nn.Module, shape: tuple[int, ...]) -> float:
    """The bound of the layer alone in a network: what is behind it has norm 1."""
    net = nn.Sequential(layer, FirstTwo())
    return lipschitz(net.double(), torch.zeros(1, *shape, dtype=torch.float64)).layers[0].norm


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LAYERS)
def test_the_norm_is_the_largest_singular_value(name: str, seed: int) -> None:
    layer, shape = filled(name, seed)
    true = float(torch.linalg.matrix_norm(dense(layer, shape), 2))
    bound = of(layer, shape)
    assert true <= bound
    assert bound <= 1.002 * true


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TORUS)
def test_the_torus_dominates_the_rectangle(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_norms, "DENSE", 0)
    layer, shape = filled(name, seed)
    true = float(torch.linalg.matrix_norm(dense(layer, shape), 2))
    bound = of(layer, shape)
    assert true <= bound
    assert bound <= 1.35 * true  # on so few pixels; the next test has a layer of usual size


@pytest.mark.parametrize("options", [{"padding": 1}, {"padding": 1, "stride": 2}, {}])
def test_the_torus_is_tight_on_layers_of_usual_size(options: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, shape = nn.Conv2d(4, 6, 3, **options).double(), (4, 16, 16)
    true = of(layer, shape)
    monkeypatch.setattr(operator_norms, "DENSE", 0)
    bound = of(layer, shape)
    assert true / 1.0002 <= bound <= 1.05 * true


def test_the_torus_is_its_matrix_where_the_border_is_circular() -> None:
    """Frequency by frequency it is the spectrum of the circular convolution, whatever the stride."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    for stride in (1, 2):
        op = Conv(
            weight=weight, stride=[stride] * 2, padding=[0, 0], dilation=[1, 1], transposed=False,
            output_padding=[0, 0], groups=1,
        )  # fmt: skip
        eye = torch.eye(3 * 36, dtype=torch.float64).view(-1, 3, 6, 6)
        around = nn.functional.pad(eye, (0, 2, 0, 2), mode="circular")
        true = float(torch.linalg.matrix_norm(nn.functional.conv2d(around, weight, stride=stride).flatten(1), 2))
        found = operator_norms._torus_norm(op, (3, 6, 6), (4, 6 // stride, 6 // stride))
        assert true <= found <= 1.0002 * true


TURNED = [  # side, kernel, padding: around a torus one too small, the taps on either side meet and cancel
    (2, 3, 1),
    (3, 5, 2),
]


@pytest.mark.parametrize(("side", "kernel", "padding"), TURNED)
@pytest.mark.parametrize("axes", [1, 2])
def test_a_torus_one_too_small_is_below_the_norm_and_ours_is_not(
    side: int, kernel: int, padding: int, axes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_norms, "DENSE", 0)
    layer = (nn.Conv1d if axes == 1 else nn.Conv2d)(1, 1, kernel, padding=padding, bias=False).double()
    with torch.no_grad():  # antisymmetric but for the middle, along the first axis
        layer.weight.zero_()
        line = torch.zeros(kernel, dtype=torch.float64)
        line[0], line[kernel // 2], line[-1] = -1, 0.2, 1
        layer.weight.view(kernel, -1)[:, kernel // 2 if axes == 2 else 0] = line
    shape = (1, *[side] * axes)
    true = float(torch.linalg.matrix_norm(dense(layer, shape), 2))
    assert true <= of(layer, shape)
    sides = operator_norms._torus_sides
    monkeypatch.setattr(operator_norms, "_torus_sides", lambda *a: [n - 1 for n in sides(*a)])
    assert of(layer, shape) < true


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 3), (3, 4, 9), (1, 30, 30)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gram_iteration_is_an_upper_bound(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for scale in (1e-30, 1.0, 1e30):
        W = scale * torch.randn(shape, dtype=dtype)
        true = float(torch.linalg.matrix_norm(W, 2).amax())
        assert true * (1 - 1e-13) <= matrix_norm(W) <= 1.001 * true


def test_matrices_with_equal_singular_values_and_of_zeros() -> None:
    turned = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))[0]
    assert 1 - 1e-13 <= matrix_norm(turned[None]) <= 1.001
    assert matrix_norm(torch.zeros(2, 3, 3, dtype=torch.float64)) == 0


def test_batch_norm_and_bends() -> None:
    norm = nn.BatchNorm2d(3).eval()
    nn.init.uniform_(norm.running_var, 0.1, 2)
    nn.init.normal_(norm.weight)
    scale = float((norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()).abs().max())
    net = nn.Sequential(
        norm, nn.ReLU(), nn.MaxPool2d(2), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.Dropout(), nn.Flatten()
    )
    table = lipschitz(net, torch.zeros(1, 3, 4, 4))
    kinds = {layer.kind: layer.norm for layer in table.layers}
    assert kinds["BatchNorm2d"] == pytest.approx(scale, rel=1e-6)
    assert kinds["MaxPool2d"] == 1
    assert kinds["LeakyReLU"] == pytest.approx(1)
    assert kinds["Sigmoid"] == pytest.approx(0.25)
    assert kinds["Tanh"] == 1
    assert table.constant == pytest.approx(scale / 4, rel=1e-6)
    assert table.constant == pytest.approx(math.prod(layer.norm for layer in table.layers))


def test_windows_that_overlap_move_together() -> None:
    net = nn.Sequential(nn.MaxPool2d(3, 1), nn.Flatten())
    table = lipschitz(net, torch.zeros(1, 1, 5, 5))
    spike = torch.zeros(1, 1, 5, 5)
    spike[..., 2, 2] = 1
    assert table.layers[0].norm == 3 == float((net(spike) - net(0 * spike)).norm())


class Residual(nn.Module):
    """A sum, a concatenation and a difference."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x).relu()
        z = z - self.b(z).relu()
        return self.out(torch.cat([z, z.tanh()], 1).flatten(1))


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "residual": Residual(),
        "pooled": nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 3)
        ),
        "affine": nn.Sequential(nn.Conv2d(1, 3, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 3)),
    }


@pytest.mark.parametrize("name", nets())
def test_the_constant_bounds_every_jacobian_and_every_quotient(name: str) -> None:
    net = nets()[name].double().eval()
    x = torch.randn(40, 1, 4, 4, dtype=torch.float64)
    table = lipschitz(net, x)
    jacobians = torch.stack([torch.autograd.functional.jacobian(net, row[None]).view(3, 16) for row in x])
    assert float(torch.linalg.matrix_norm(jacobians, 2).amax()) <= table.constant
    pairs = (jacobians[:, :, None] - jacobians[:, None]).norm(dim=3).amax(0)
    assert (pairs <= table.pairs + 1e-12).all()
    assert (table.pairs <= math.sqrt(2) * table.constant * (1 + 1e-9)).all()
    moved, far = net(x) - net(x.flip(0)), (x - x.flip(0)).flatten(1).norm(dim=1)
    assert (moved.norm(dim=1) <= table.constant * far + 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_affine_network_has_its_exact_distance(dtype: torch.dtype) -> None:
    net = nets()["affine"].to(dtype)
    x = 0.5 + 0.1 * torch.rand(6, 1, 4, 4, dtype=dtype)
    with torch.no_grad():
        y = net(x).argmax(1)
        J = dense(net.double(), (1, 4, 4))
        lead = net(x.double()).gather(1, y[:, None]) - net(x.double())
    apart = (J[y][:, None] - J[None]).norm(dim=2)
    true = (lead / apart.where(apart > 0, 1)).where(apart > 0, torch.inf).amin(1)
    net = net.to(dtype)
    table = lipschitz(net, x)
    assert torch.allclose(table.radius(net(x).detach(), y), true, rtol=1e-4)
    inside, outside = (
        certify(net, x, y, eps=f * true, norm="l2", method="lipschitz", bounds=(-99, 99)) for f in (0.999, 1.001)
    )
    assert inside.certified.all()
    assert not outside.certified.any()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", nets())
def test_no_visited_point_breaks_a_margin(name: str, norm: str) -> None:
    net = nets()[name].eval()
    x = torch.rand(8, 1, 4, 4)
    y = net(x).argmax(1)
    eps = {"linf": 0.02, "l2": 0.1, "l1": 0.1}[norm]
    found = certify(net, x, y, eps=eps, norm=norm, method="lipschitz")
    for k in range(20):
        delta = torch.randn(x.shape, generator=torch.Generator().manual_seed(k))
        size = delta.flatten(1).norm(p={"linf": math.inf, "l2": 2, "l1": 1}[norm], dim=1)
        logits = net((x + delta * (0.999 * eps / size).view(-1, 1, 1, 1)).clamp(0, 1)).double()
        assert (found.margin <= logits.gather(1, y[:, None]) - logits).all()
    assert (found.margin <= certify(net, x, y, eps=0, norm=norm, method="crown").margin + 1e-6).all()


def test_the_radius_asked_for_is_the_radius_that_follows() -> None:
    net, x = nets()["pooled"].eval(), torch.rand(5, 1, 4, 4)
    logits = net(x).detach()
    y = logits.argmax(1)
    found = certify(net, x, y, eps=5.0, norm="l2", method="lipschitz", radius=True, bounds=(-100, 100))
    assert found.radius is not None
    assert torch.allclose(found.radius, lipschitz(net, x).radius(logits, y), atol=3e-3)


def test_a_wrong_image_has_no_radius() -> None:
    net, x = nets()["affine"], torch.rand(4, 1, 4, 4)
    logits = net(x).detach()
    assert (lipschitz(net, x).radius(logits, logits.argmin(1)) == 0).all()


def test_the_shipped_network_has_a_table() -> None:
    """The product that an independent prototype found, from below, for this checkpoint is 339."""
    net = load_model("mlp")
    table = lipschitz(net, torch.zeros(1, 1, 32, 32))
    linear = [layer for layer in table.layers if layer.kind == "Linear"]
    found = [
        float(torch.linalg.matrix_norm(m.weight.detach().double(), 2))
        for m in net.modules()
        if isinstance(m, nn.Linear)
    ]
    assert [layer.norm for layer in linear] == pytest.approx(found, rel=2e-3)
    assert all(layer.norm >= norm for layer, norm in zip(linear, found, strict=True))
    assert math.prod(found) <= math.prod(layer.norm for layer in linear)


def test_a_layer_without_a_constant_is_named() -> None:
    net = nn.Sequential(nn.LocalResponseNorm(2), nn.Flatten())
    with pytest.raises(InputError, match="no Lipschitz constant is known"):
        lipschitz(net, torch.zeros(1, 4, 3, 3))


def test_squares_of_constants_add_up_in_a_concatenation() -> None:
    table = lipschitz(lambda x: torch.cat([3 * x, 4 * x], 1).flatten(1), torch.zeros(1, 1, 2, 2))
    assert table.constant == pytest.approx(5)
