"""Whatever a network shows of a change, the next bounds are those of the new network."""

import copy
import gc
import types
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from advkit.certification import trained_bounds
from advkit.certification.trained_bounds import tracing_of
from advkit.core.contents import LONG, contents_of
from advkit.defenses import CROWNIBP, IBP


class Net(nn.Module):
    """A network that uses attributes of many kinds in its pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.bend, self.last = nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3)
        self.scale, self.name, self.sizes, self.more = 1.0, "plain", [1.0, 2.0], {"a": (1.0, [3.0])}
        self.config = types.SimpleNamespace(scale=1.0, parts=[1.0])
        self.function: Callable[[Tensor], Tensor] = torch.relu
        self.unlisted = [nn.Linear(6, 6).double().requires_grad_(False)]
        self.constant = torch.ones((), dtype=torch.float64)
        self.register_buffer("shift", torch.zeros(6))
        self.register_parameter("spare", None)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        z = self.function(self.unlisted[0](self.bend(self.first(x.flatten(1)) + self.shift))) * self.constant
        z = z * self.scale * self.config.scale * self.config.parts[0] * sum(self.sizes) * self.more["a"][1][0]
        z = -z if self.name == "other" else z
        return self.last(z if self.spare is None else z * self.spare)


def patched(model: Net) -> None:
    model.bend.forward = lambda z: z.clamp(min=0.1)  # type: ignore[method-assign]


def grown(model: Net) -> None:
    model.last = nn.Sequential(model.last, nn.ReLU())  # type: ignore[assignment]


def replaced_in_place(model: Net) -> None:
    """At the same place in memory, if the old one is gone and Python puts the new one there."""
    old = weakref.ref(model.bend)
    del model.bend
    gc.collect()
    assert old() is None
    model.bend = nn.Tanh()  # type: ignore[assignment]


CHANGES: dict[str, Callable[[Net], object]] = {
    "an activation": lambda m: setattr(m, "bend", nn.Tanh()),
    "an activation that is gone": replaced_in_place,
    "a layer": lambda m: setattr(m, "last", nn.Linear(6, 3).double()),
    "another layer around": grown,
    "an option of a layer": lambda m: setattr(m, "bend", nn.LeakyReLU(0.3)) or setattr(m.bend, "negative_slope", 0.6),
    "a number": lambda m: setattr(m, "scale", 2.0),
    "a word": lambda m: setattr(m, "name", "other"),
    "an entry of a list": lambda m: m.sizes.__setitem__(0, 5.0),
    "a longer list": lambda m: m.sizes.append(5.0),
    "an entry deep inside": lambda m: m.more["a"][1].__setitem__(0, 7.0),
    "an attribute of an object": lambda m: setattr(m.config, "scale", 4.0),
    "an entry of an object's list": lambda m: m.config.parts.__setitem__(0, 4.0),
    "an object": lambda m: setattr(m, "config", types.SimpleNamespace(scale=0.5, parts=[1.0])),
    "a function": lambda m: setattr(m, "function", torch.tanh),
    "a partial function": lambda m: setattr(m, "function", partial(torch.clamp, min=0.2)),
    "a module in a list": lambda m: m.unlisted.__setitem__(0, nn.Linear(6, 6).double().requires_grad_(False)),
    "a tensor": lambda m: setattr(m, "constant", torch.full((), 3.0, dtype=torch.float64)),
    "a tensor's values": lambda m: m.constant.fill_(6.0),
    "a buffer": lambda m: setattr(m, "shift", torch.ones(6, dtype=torch.float64)),
    "a parameter that was None": lambda m: setattr(m, "spare", nn.Parameter(torch.full((), 2.0, dtype=torch.float64))),
    "a parameter's values": lambda m: m.first.weight.data.mul_(2),
    "a hook": lambda m: m.bend.register_forward_hook(lambda module, args, out: out + 1),
    "a hook before": lambda m: m.bend.register_forward_pre_hook(lambda module, args: (args[0] + 1,)),
    "a forward of its own": patched,
    "a class": lambda m: setattr(m, "__class__", Doubled),
}


class Doubled(Net):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def images() -> tuple[Tensor, Tensor]:
    return torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(4) % 3


@pytest.mark.parametrize("loss", [IBP(eps=0.05), CROWNIBP(eps=0.05)], ids=["ibp", "crown_ibp"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_loss_follows_a_change_of_the_model(name: str, loss: IBP) -> None:
    torch.manual_seed(0)
    model, (x, y) = Net().double(), images()
    before = loss(model, x, y)
    assert loss(model, x, y) == before
    CHANGES[name](model)
    after = loss(model, x, y)
    fresh = loss(copy.deepcopy(model), x, y)
    assert after == fresh
    assert after != before


def test_a_hook_that_was_taken_off_is_gone() -> None:
    model, (x, y) = Net().double(), images()
    before = IBP(eps=0.05)(model, x, y)
    hooks = [model.bend.register_forward_hook(lambda module, args, out: 2 * out)]
    hooks.append(nn.modules.module.register_module_forward_hook(lambda module, args, out: 2 * out))
    while hooks:
        assert IBP(eps=0.05)(model, x, y) != before
        hooks.pop().remove()
    assert IBP(eps=0.05)(model, x, y) == before


def used(model: Net, x: Tensor) -> None:
    """A step of training, of evaluation, and modes."""
    model(x).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    model.train(not model.training)
    with torch.no_grad():
        model.shift.add_(1)


def test_steps_modes_and_counters_are_no_change() -> None:
    class Counting(Net):
        counters = ("calls",)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.kept = super().forward(x)
            return self.kept

    model, (x, _) = Counting().double(), images()
    model(x)
    first = tracing_of(model, x)
    for _ in range(3):
        used(model, x)
        assert tracing_of(model, x) is first


def plain() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()


def with_weight_norm() -> nn.Module:
    model = plain()
    nn.utils.weight_norm(model[1])  # type: ignore[index]
    return model


KINDS: dict[str, Callable[[], nn.Module]] = {
    "script": lambda: torch.jit.script(plain().eval()),
    "fx": lambda: torch.fx.symbolic_trace(plain()),
    "weights made by a hook": with_weight_norm,
    "parametrized": lambda: nn.Sequential(
        nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3))
    ).double(),
}


@pytest.mark.filterwarnings("ignore:`torch")
@pytest.mark.parametrize("name", KINDS)
def test_training_records_a_model_once(name: str) -> None:
    model, (x, y) = KINDS[name](), images()
    descent, seen = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(3):
        IBP(eps=0.1)(model, x, y).backward()
        descent.step()
        seen.append(trained_bounds._TRACINGS[model].tracing)
    assert seen[0] is seen[1] is seen[2]


def test_a_model_is_not_kept_alive() -> None:
    model, (x, _) = Net().double(), images()
    model.sizes.append(model)  # a circle
    model.config.owner = model
    assert contents_of(model) == contents_of(model)
    del model.sizes[2]
    tracing_of(model, x)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_long_list_is_itself() -> None:
    model = Net()
    model.sizes = [1.0] * (LONG + 1)
    first = contents_of(model)
    assert contents_of(model) == first
    model.sizes = list(model.sizes)
    assert contents_of(model) != first
