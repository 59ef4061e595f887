"""What a step costs beside its passes: small operations, waits for the device, and one graph for a compiler."""

from typing import Any

import pytest
import torch
from helpers.cost import network, passes, watching
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from advkit.attacks import FGSM, PGD, create_attack
from advkit.core.goals import untargeted
from advkit.core.guard import guard
from advkit.core.losses import get_loss
from advkit.core.threat import Threat

CEILINGS = {
    ("pgd", "linf"): 18,
    ("bim", "linf"): 20,
    ("pgd", "l2"): 28,
    ("bim", "l2"): 28,
    ("mifgsm", "linf"): 23,
    ("ddn", "l2"): 37,
    ("apgd", "linf"): 33,
    ("apgd", "l2"): 50,
    ("fmn", "l2"): 58,
    ("fmn", "linf"): 60,
    ("alma", "l2"): 89,
    ("alma", "l1"): 86,
    ("superdeepfool", "l2"): 158,
    ("lbfgs", "l2"): 177,
}
"""The most operations of a step, on the mean of all steps, beside the model's: docs/benchmarks.md.

Points wait and are compared together; the last comparison, after the steps, is not counted. The steps of L-BFGS depend
on the batch, and in float32 on the processor's rounding: there float64 is counted.
"""


@pytest.fixture
def batch() -> tuple[nn.Module, Tensor, Tensor]:
    model = network().requires_grad_(False)
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1)


def counted(name: str, norm: str, batch: tuple[nn.Module, Tensor, Tensor], **call: Any) -> list[int]:
    """The operations of each step but the first."""
    model, x, y = batch
    attack = create_attack(name, norm=norm)
    budget = {"eps": 1e-4, "stop": "never"} if attack.kind == "budget" else {}
    with watching() as notes:
        attack(model, x, y, **budget | call)
    floor = passes(model, x)
    return [sum(names.values()) - floor for names in notes[1:]]


@pytest.mark.parametrize(("name", "norm"), CEILINGS)
def test_a_step_makes_no_more_operations_than_its_ceiling(name, norm, batch):
    model, x, y = batch
    batch = (model.double(), x.double(), y) if name == "lbfgs" else batch
    steps = counted(name, norm, batch)
    assert sum(steps) / len(steps) <= CEILINGS[name, norm]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_samples_that_may_leave_cost_seven_operations_more(norm, batch):
    never, fooled = counted("pgd", norm, batch), counted("pgd", norm, batch, stop="fooled")
    assert sum(fooled) <= sum(never) + 7 * len(never)


def test_the_passes_themselves_are_counted(batch):
    model, x, _ = batch
    deeper = nn.Sequential(model, nn.ReLU(), nn.Linear(10, 10).requires_grad_(False))
    assert passes(deeper, x) > passes(model, x) >= 6


class Asks(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations whose answer the host has to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func._schema.name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
        return func(*args, **(kwargs or {}))


def test_no_step_waits_where_no_sample_leaves(batch):
    model, x, y = batch
    numbers = []
    for steps in (5, 50):
        with Asks() as asks:
            PGD(eps=0.01, steps=steps)(model, x, y, stop="never")
        numbers.append(asks.number)
    assert numbers[0] == numbers[1]


class Waits(torch.overrides.TorchFunctionMode):
    """Counts what makes the host wait for a device, lists and NumPy's view of a tensor included."""

    ASKING = ("tolist", "item", "__bool__", "__int__", "__float__", "nonzero", "numpy", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += getattr(func, "__name__", "") in self.ASKING
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("spec", ["pgd(steps=5)", "pgd(steps=50)", "pgd(norm=l2, steps=5)", "mifgsm"])
def test_a_call_waits_five_times_beside_its_steps(spec, batch):
    """Images, answer, who is wrong, verdict, what was met: here the last iterate is the best, so that one verdict does.

    Two questions are put to the host alone: the bounds in the images' type, and whether a model on it writes on its
    input.
    """
    _, x, _ = batch
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).requires_grad_(False).eval()
    y, attack = model(x).argmax(1), create_attack(spec)
    budget = {"eps": 1e-3, "stop": "never"} if attack.kind == "budget" else {}
    with Waits() as waits:
        attack(model, x, y, **budget)
    assert waits.number <= 5 + 2


def test_one_step_of_pgd_is_one_graph(batch):
    model, x, y = batch
    goal, region = untargeted(y), Threat("linf", 0.1).around(x)
    length = torch.full((len(x), 1, 1, 1), 0.01)

    def step(x_adv: Tensor) -> Tensor:
        leaf = x_adv.detach().requires_grad_()
        values = get_loss("cross_entropy", goal, 10)(goal, model(leaf))
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
        return region.step(x_adv, gradient, length)

    traced = make_fx(step)(x)
    other = torch.rand_like(x)
    assert traced(other).equal(step(other))
    assert not [node for node in traced.graph.nodes if "local_scalar" in str(node.target)]
    compiled = torch.compile(lambda x: region.step(x, torch.cos(x), length), fullgraph=True, backend="eager")
    assert compiled(other).equal(region.step(other, torch.cos(other), length))


class Writes(nn.Module):
    """Works on its input in place, openly or through `.data`."""

    def __init__(self, *, hidden: bool) -> None:
        super().__init__()
        self.hidden, self.linear = hidden, nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        (x.data if self.hidden else x).mul_(0.5)
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("attack", [FGSM(eps=0.1), PGD(eps=0.1, steps=3)])
def test_a_model_that_writes_on_its_input_gets_copies(hidden, attack):
    torch.manual_seed(0)
    model, x = Writes(hidden=hidden), torch.rand(5, 3, 8, 8)
    before = x.clone()
    with torch.no_grad():
        y = model(x.clone()).argmax(1)
        result = attack(model, x, y, stop="never")
        answer = model(result.x_adv.clone())
    assert x.equal(before)
    assert result.success.equal(answer.argmax(1) != y)
    assert float((result.x_adv - x).abs().max()) > 0.09


def test_leaving_a_model_waits_for_none_of_its_buffers():
    model = nn.Sequential(*(nn.BatchNorm2d(3) for _ in range(20)))
    for mode in ("eval", "keep"):
        before = [b.clone() for b in model.buffers()]
        with Asks() as asks, torch.no_grad(), guard(model, mode=mode):
            model(torch.rand(4, 3, 8, 8))
        assert asks.number == 0
        assert all(map(torch.equal, before, model.buffers()))
