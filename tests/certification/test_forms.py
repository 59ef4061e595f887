"""Many ways to write a network: each is bounded rightly by every method, or refused in a line that names it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F

from advkit.certification import certify
from advkit.certification.graph import RULES, trace
from advkit.certification.trained_bounds import TrainedBounds
from advkit.core.errors import InputError

SIGNS = torch.tensor([[0.5, -1.0, 0.25, 1.0], [-0.5, 0.5, 1.0, -1.0], [1.0, 1.0, -1.0, 0.5], [0.25, -0.5, -1.0, 1.0]])

AFFINE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean by view": lambda z: z - z.view(len(z), -1).mean(1)[:, None, None, None],
    "mean by the last axis": lambda z: z - z.view(len(z), -1).mean(-1).view(-1, 1, 1, 1),
    "mean over axes": lambda z: z - z.mean((1, 2, 3)).reshape(-1, 1, 1, 1),
    "mean over negative axes": lambda z: z - z.mean((-1, -2, -3), keepdim=True),
    "numbers": lambda z: torch.stack([z[:, 0, 0, 0], z.flatten(1).sum(1), 2 - z[:, 1, 1, 1]], 1),
    "a number": lambda z: z.flatten(1).sum(1).unsqueeze(1),
    "a number times numbers": lambda z: (3 * z.mean((1, 2, 3)) - z[:, 0, 1, 2])[:, None] * SIGNS.to(z)[0],
    "sum": lambda z: z.sum(1, keepdim=True),
    "reshape": lambda z: z.reshape(len(z), -1),
    "flatten": lambda z: z.flatten(-3),
    "view": lambda z: z.view(z.size(0), -1),
    "split": lambda z: z.split([1, 3], 1)[1] - z.split(1, 1)[0],
    "chunk": lambda z: torch.cat([part.flatten(1) for part in z.chunk(3, -1)], 1),
    "unbind": lambda z: z.unbind(1)[2] - z.unbind(-3)[0],
    "cat": lambda z: torch.cat([z, -z], -3),
    "stack": lambda z: torch.stack([z, -2 * z], 1),
    "stack at the end": lambda z: torch.stack([z, -2 * z], -1),
    "slices": lambda z: z[:, :1] - z[:, -1:, ::2].repeat_interleave(2, 2),
    "entries": lambda z: z[:, [2, 0]],
    "no entries": lambda z: torch.cat([z, z[:, :0]], 1),
    "pad": lambda z: F.pad(z, (1, -1, 0, 1), value=2.0),
    "pad by reflection": lambda z: F.pad(z, (1, 1, 1, 1), mode="reflect"),
    "nearest": lambda z: F.interpolate(z, size=(3, 5)),
    "nearest, exactly": lambda z: F.interpolate(z, scale_factor=2, mode="nearest-exact"),
    "area": lambda z: F.interpolate(z, size=(2, 2), mode="area"),
    "unflatten": lambda z: nn.Unflatten(1, (2, 2))(z),
    "permute": lambda z: z.permute(0, 2, 3, 1).contiguous(),
    "squeeze": lambda z: z.mean((2, 3), keepdim=True).squeeze(),
    "expand": lambda z: z.mean(1, keepdim=True).expand_as(z),
    "repeat": lambda z: z.repeat(1, 2, 1, 1),
    "patches": lambda z: F.unfold(z, 2),
    "pixels": lambda z: F.pixel_unshuffle(z, 2),
    "corners": lambda z: torch.cat([z.tril().flatten(1), z.diagonal(dim1=2, dim2=3).flatten(1)], 1),
    "turn": lambda z: z.rot90(1, (2, 3)) - z.flip(-1) + z.roll(1, 2),
    "a vector": lambda z: torch.stack([z.mean((2, 3)) @ row for row in SIGNS.to(z)], 1),
    "a product and a sum": lambda z: (
        torch.addmm(SIGNS.to(z)[0], z.mean((2, 3)), SIGNS.to(z), beta=3, alpha=-2)
        + torch.addmm(SIGNS.to(z)[0], z.mean((2, 3)), SIGNS.to(z), beta=0, alpha=0.5)
    ),
    "constants of its shape": lambda z: torch.full_like(z, 2.0) * z - torch.ones_like(z),
}

BENT: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda z: z.flatten(1).amax(1).unsqueeze(1),
    "least": lambda z: z.flatten(1).amin(1).unsqueeze(1),
    "least by axis": lambda z: z.min(1)[0] - z.min(-1, keepdim=True).values.squeeze(-1).mean(1)[:, None],
    "a rectified number": lambda z: (z[:, 0, 0, 0] - 0.1).relu()[:, None] - z.mean((1, 2, 3)).tanh()[:, None],
    "minimum": lambda z: torch.minimum(z, 0.2 - z) + torch.minimum(z, torch.tensor(0.1).to(z)),
    "larger half": lambda z: torch.maximum(*z.chunk(2, 1)),
}

OTHERS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "mean of all": ("mean", lambda z: z - z.mean()),
    "sum over the batch": ("sum", lambda z: z - z.sum(0)),
    "largest of all": ("max", lambda z: z - z.max()),
    "least over the batch": ("amin", lambda z: z - z.amin(0, keepdim=True)),
    "stack of images": ("unbind", lambda z: torch.stack(z.unbind(0))),
    "stack before the batch": ("stack", lambda z: torch.stack([z, -z])[0]),
    "cat of batches": ("cat", lambda z: torch.cat([z, -z])[: len(z)]),
    "split of the batch": ("split", lambda z: torch.cat(z.split(1))),
    "repeat of the batch": ("repeat", lambda z: z.repeat(2, 1, 1, 1)[: len(z)]),
    "images in one row": ("view", lambda z: z.flatten().view(len(z), -1)),
    "einsum of two": ("view", lambda z: torch.einsum("nchw,nchw->nc", z, z)),
    "another axis first": ("t", lambda z: (z.flatten(1).t() * 2).t()),
    "entries written": ("index_fill", lambda z: z.index_fill(1, torch.tensor([0]), 0.0)),
    "images and constants": ("cat", lambda z: torch.cat([z, torch.ones_like(z)], 1)),
    "bilinear": ("upsample_bilinear2d", lambda z: F.interpolate(z, scale_factor=2, mode="bilinear")),
    "a maximum of nothing": ("relu", lambda z: torch.cat([z.flatten(1), z[:, :0].relu().flatten(1)], 1)),
}


class Formed(nn.Module):
    """A convolution, a bend or none, the form, and a linear layer."""

    def __init__(self, form: Callable[[Tensor], Tensor], *, bends: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form, self.bends, self.conv = form, bends, nn.Conv2d(2, 4, 3, padding=1).double()
        self.last = nn.Linear(self.inner(torch.rand(3, 2, 4, 4).double()).shape[1], 3).double()

    def inner(self, x: Tensor) -> Tensor:
        z = self.conv(x)
        z = self.form(z.relu() if self.bends else z)
        z = z if z.ndim == 2 else z.reshape(len(x), -1)
        return z.relu() if self.bends else z

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(x))


def images() -> Tensor:
    return 0.2 + 0.6 * torch.rand(3, 2, 4, 4, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("name", [*AFFINE, *BENT])
def test_no_point_lies_below_the_margins(name: str) -> None:
    model, x, eps = Formed({**AFFINE, **BENT}[name], bends=True).eval(), images(), 0.05
    logits = model(x).detach()
    y = logits.argmax(1)
    least = torch.full_like(logits, torch.inf)
    draws = torch.Generator().manual_seed(0)
    for k in range(40):
        noise = 2 * torch.rand(x.shape, generator=draws).double() - 1
        logits = model(x + eps * (noise.sign() if k % 2 else noise)).detach()
        least = torch.minimum(least, logits.gather(1, y[:, None]) - logits)
    for method in ("ibp", "crown", "lipschitz"):
        assert (certify(model, x, y, eps=eps, method=method).margin <= least + 1e-9).all()
    margin = TrainedBounds(model, x, eps).interval_margins(y)
    torch.testing.assert_close(margin, certify(model, x, y, eps=eps, method="ibp").margin, atol=1e-7, rtol=0)


@pytest.mark.parametrize("name", AFFINE)
def test_without_a_bend_crown_is_exact(name: str) -> None:
    model, x, eps = Formed(AFFINE[name], bends=False).eval(), images(), 0.05
    logits = model(x).detach()
    y = logits.argmin(1)  # so that no image is settled by its intervals
    slopes = torch.autograd.functional.jacobian(lambda z: model(z).sum(0), x).transpose(0, 1).flatten(2)  # (N, K, D)
    reach = (slopes[torch.arange(3), y][:, None] - slopes).abs().sum(2) * eps
    exact = logits.gather(1, y[:, None]) - logits - reach
    torch.testing.assert_close(certify(model, x, y, eps=eps).margin, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_other_forms_are_refused_by_name(name: str) -> None:
    operation, form = OTHERS[name]
    model, x = Formed(form, bends=True).eval(), images()
    with pytest.raises(InputError, match=rf"no bound is known of {operation}, in the network \(Formed\)"):
        certify(model, x, model(x).argmax(1), eps=0.1)


@pytest.mark.parametrize(
    "error", [TypeError("two"), RuntimeError("two"), IndexError("two"), ValueError("two")], ids=repr
)
def test_a_rule_that_fails_is_a_refusal(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(call: object) -> None:
        raise error

    monkeypatch.setitem(RULES, "tanh", fails)
    model = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(32, 3)).double()
    with pytest.raises(InputError, match=r"no bound is known of tanh, in 1 \(Tanh\): it is used in .* two"):
        certify(model, images(), torch.zeros(3, dtype=torch.int64), eps=0.1)


class OnLastAxis(nn.Module):
    """A product on the last axis of (N, T, C), in one of the ways to write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer, self.out = way, nn.Linear(4, 5), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = x.flatten(1, 2)
        if self.way == "bmm":
            return torch.einsum("ntc,nsc->nts", z, z).flatten(1)
        ways = {
            "linear": lambda: self.layer(z),
            "matmul": lambda: z @ self.layer.weight.T,
            "einsum": lambda: torch.einsum("ntc,dc->ntd", z, self.layer.weight),
        }
        made: Tensor = self.out(ways[self.way]().relu().flatten(1))
        return made


@pytest.mark.parametrize("way", ["linear", "matmul", "einsum", "bmm"])
def test_products_on_the_last_axis_are_refused_with_what_is_covered(way: str) -> None:
    said = r"no bound is known of \w+, in .*matmul and einsum .* \(N, D\), and conv"
    with pytest.raises(InputError, match=said) as caught:
        certify(OnLastAxis(way).double(), torch.rand(2, 1, 4, 4).double(), torch.tensor([0, 1]), eps=0.1)
    assert "\n" not in str(caught.value)


def test_a_record_holds_no_stacks_and_leaves_torchs_choice_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = getattr(torch.fx, "config", None)
    if not hasattr(config, "do_not_emit_stack_traces"):
        pytest.skip("this torch leaves no choice")
    for chosen in (False, True):
        monkeypatch.setattr(config, "do_not_emit_stack_traces", chosen)
        tracing = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(2, 1, 2, 2))
        assert not any(node.stack_trace for node in tracing.module.graph.nodes)
        with pytest.raises(InputError, match="cannot be traced"):
            trace(lambda z: z if float(z.sum()) > 0 else -z, torch.zeros(2, 4))
        assert config.do_not_emit_stack_traces is chosen


def test_one_mode_finds_the_shapes_and_without_it_the_record_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval(), torch.zeros(2, 1, 4, 4)

    modes: list[object] = []

    def make(self: FakeTensorMode, **more: Any) -> None:
        modes.append(self)
        made(self, **more)

    def recorded() -> tuple[int, list[tuple[str, str, str]]]:
        modes.clear()
        nodes = trace(net, x).module.graph.nodes
        return len(modes), [(n.name, str(n.args), str(n.meta["val"].shape)) for n in nodes if "val" in n.meta]

    made = FakeTensorMode.__init__
    monkeypatch.setattr(FakeTensorMode, "__init__", make)
    few, one = recorded()
    monkeypatch.setattr(torch._guards, "tracing", None)
    many, several = recorded()
    assert one == several
    assert few == 1 < many
