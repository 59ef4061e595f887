"""A model that cannot be certified as it is given: the line says why, and what to give."""

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify, lipschitz
from advkit.certification.trained_bounds import TrainedBounds
from advkit.core.errors import AdvkitWarning, InputError
from advkit.defenses import CROWNIBP, IBP, Transformed


def network(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).to(dtype).eval()


class Centred(nn.Module):
    """A network whose first layer has images of any type, such as a normalisation by buffers."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.net, self.mean = network(dtype), torch.tensor([0.5], dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - self.mean)


def images(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


Y = torch.zeros(3, dtype=torch.int64)
TYPES = [
    (a, b) for a in (torch.float16, torch.float32, torch.float64) for b in (torch.float32, torch.float64) if a != b
]


@pytest.mark.parametrize(("own", "theirs"), TYPES, ids=str)
def test_another_type_of_images_is_said(own: torch.dtype, theirs: torch.dtype) -> None:
    line = f"the model takes no images of {theirs} on cpu: its parameters are {own}"
    for ask in (
        lambda: certify(network(own), images(theirs), Y, eps=0.1),
        lambda: lipschitz(network(own), images(theirs)),
        lambda: TrainedBounds(network(own), images(theirs), 0.1),
    ):
        with pytest.raises(InputError, match=line):
            ask()


def test_a_float64_network_that_takes_float32_images_is_bounded_in_float64() -> None:
    model, x = Centred(torch.float64).eval(), images()
    y = model(x).argmax(1)
    assert model(x).dtype == torch.float64
    margin = certify(model, x, y, eps=0.01).margin
    torch.testing.assert_close(margin, certify(model, x.double(), y, eps=0.01).margin, atol=1e-4, rtol=0)
    assert (margin <= certify(model, x.double(), y, eps=0.01).margin + 1e-12).all()
    for loss in (IBP(eps=0.1), CROWNIBP(eps=0.1)):
        torch.testing.assert_close(loss(model, x, Y), loss(model, x.double(), Y), atol=1e-5, rtol=0)


def test_a_compiled_model_is_refused_and_its_module_certified() -> None:
    model, x = network(), images()
    compiled = torch.compile(model, backend="eager")
    inner = network()
    inner.compile(backend="eager")
    for given, advice in (
        (compiled, "what torch.compile took \\(model._orig_mod"),
        (nn.Sequential(compiled), "what torch.compile took"),
        (torch.compile(lambda z: model(z), backend="eager"), "what torch.compile took"),
        (inner, r"a copy of it on which compile\(\) was not called"),
    ):
        with pytest.raises(InputError, match=f"the model is compiled, so it cannot be certified: give .*{advice}"):
            certify(given, x, Y, eps=0.1)
    y = model(x).argmax(1)
    assert torch.equal(certify(compiled._orig_mod, x, y, eps=0.01).margin, certify(model, x, y, eps=0.01).margin)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_traced_script_is_the_network() -> None:
    model, x = network(), images()
    y = model(x).argmax(1)
    script = torch.jit.trace(model, x)
    assert torch.equal(certify(script, x, y, eps=0.01).margin, certify(model, x, y, eps=0.01).margin)


def test_an_export_for_one_size_of_batch_is_said() -> None:
    model = torch.export.export(network(), (images(),)).module()
    with pytest.raises(InputError, match="exported for one size of batch"):
        certify(model, images(), Y, eps=0.1)


@pytest.mark.parametrize(
    ("name", "why"), [("jpeg", r"leaves torch by Tensor\.numpy"), ("bit_depth", "of round"), ("median", "of median")]
)
def test_a_transform_is_refused_for_what_it_does(name: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        certify(Transformed(network(), name), images(), Y, eps=0.1)


ADVICE = {
    "probabilities": (lambda z: z.flatten(1)[:, :3].softmax(1), "certify the network that gives its logits"),
    "log-probabilities": (lambda z: z.flatten(1)[:, :3].log_softmax(1), "certify the network that gives its logits"),
    "an assignment": (lambda z: assigned(z)[:, :3], "entries are written into a tensor, as by an assignment"),
    "circular padding": (lambda z: circular(z)[:, :3], "entries are written .* circular padding"),
    "attention": (lambda z: attended(z)[:, :3], "mixes the images of a batch, or .* as attention does"),
    "a branch": (
        lambda z: z.flatten(1)[:, :3] * (2 if z.mean() > 0 else 1),
        "reads a number that depends on the image",
    ),
    "a number": (lambda z: z.flatten(1)[:, :3] * z.sum().item(), "reads a number that depends on the image"),
    "dropout": (lambda z: nn.functional.dropout(z.flatten(1)[:, :3]), r"training=self\.training"),
}


def assigned(z: Tensor) -> Tensor:
    z = z.flatten(1).clone()
    z[:, 0] = 0
    return z


def circular(z: Tensor) -> Tensor:
    return nn.functional.pad(z, (1, 1, 1, 1), mode="circular").flatten(1)


ATTENTION = nn.MultiheadAttention(4, 2, batch_first=True).eval()


def attended(z: Tensor) -> Tensor:
    z = z.flatten(2).transpose(1, 2).expand(-1, -1, 4)
    made: Tensor = ATTENTION(z, z, z)[0].flatten(1)
    return made


@pytest.mark.parametrize("name", ADVICE)
def test_what_has_no_bound_is_told_what_to_do(name: str) -> None:
    form, said = ADVICE[name]
    with pytest.raises(InputError, match=said) as caught:
        certify(form, images(), Y, eps=0.1)
    assert "\n" not in str(caught.value)
    assert "tracing tensor" not in str(caught.value)


def test_sums_without_a_correct_digit_are_said() -> None:
    x = images(torch.bfloat16)
    with pytest.warns(AdvkitWarning, match=r"sums of 14\d terms in bfloat16 may have no correct digit"):
        found = certify(network(torch.bfloat16), x, Y, eps=0.01)
    assert not found.certified.any()


def test_a_part_of_a_node_is_no_limit() -> None:
    with pytest.raises(InputError, match=r"expected nodes as an integer >= 1, got 2\.5"):
        certify(network(), images(), Y, eps=0.01, method="exact", nodes=2.5)


def test_a_network_without_known_bounds_is_told_of_smoothing() -> None:
    x, y = torch.rand(1, 1, 4, 4), torch.tensor([0])
    for layer in (nn.GroupNorm(1, 1), nn.LayerNorm([1, 4, 4]), nn.InstanceNorm2d(1), nn.LogSigmoid()):
        with pytest.raises(InputError, match=r"without it, or under noise: advkit.defenses.Smoothed"):
            certify(nn.Sequential(layer, nn.Flatten(), nn.Linear(16, 2)), x, y, eps=0.1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(InputError, match=r"of instance_norm, .* under noise: advkit.defenses.Smoothed"):
        certify(lambda z: net(nn.functional.instance_norm(z)), x, y, eps=0.1)
    with pytest.raises(InputError, match=r"advkit.defenses.Smoothed\(model, sigma\)"):
        certify(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), x, y, eps=0.1, method="smoothing")


def test_a_network_under_autocast_is_told_to_leave_it() -> None:
    x, y = torch.rand(1, 1, 4, 4), torch.tensor([0])
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(InputError, match=r"outside of torch.autocast"):
        certify(net, x, y, eps=0.1)
