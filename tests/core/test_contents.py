"""The digests of a model: equal in every process, and other ones once a hook, a function or an attribute changed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import FGSM
from advkit.core.contents import contents_of, digests_of
from advkit.core.errors import InputError
from advkit.evaluation.runs.identity import check_same, model_digest
from advkit.models import create_model


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(16, 3), nn.ReLU())
        self[1].weight.data = torch.linspace(-1, 1, 48).sin().reshape(3, 16)
        self[1].bias.data = torch.ones(3)
        self.last = nn.functional.relu
        self.settings: dict[str, Any] = {"sizes": [1.0, 2.0], "names": {"one", "two", "three"}}
        self.config = SimpleNamespace(power=2)
        self.table, self.mean = np.ones(3), torch.ones(2)
        self.scaled = partial(torch.mul, other=2)
        self.rounds = rounding(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(super().forward(x))  # type: ignore[no-untyped-call]


def rounding(levels: int) -> Callable[[Tensor], Tensor]:
    return lambda x: (x * levels).round() / levels


class Scale:
    def __init__(self, by: float) -> None:
        self.by = by
        self.seen: list[Tensor] = []

    def __call__(self, module: nn.Module, given: Any, answer: Tensor) -> Tensor:
        self.seen.append(answer)
        return answer * self.by


def halved(module: nn.Module, given: tuple[Tensor], answer: Tensor) -> Tensor:
    return answer / 2


def thirded(module: nn.Module, given: tuple[Tensor], answer: Tensor) -> Tensor:
    return answer / 3


CHANGES: dict[str, Callable[[Net], Any]] = {
    "hook": lambda net: net[1].register_forward_hook(halved),
    "hook before": lambda net: net[1].register_forward_pre_hook(lambda module, given: (given[0] / 2,)),
    "function": lambda net: setattr(net, "last", nn.functional.elu),
    "forward": lambda net: setattr(net, "forward", lambda x: net[1](net[0](x))),
    "number in a list": lambda net: net.settings["sizes"].append(3.0),
    "number in an object": lambda net: setattr(net.config, "power", 3),
    "array": lambda net: net.table.__setitem__(0, 2),
    "tensor": lambda net: net.mean.mul_(2),
    "partial": lambda net: setattr(net, "scaled", partial(torch.mul, other=3)),
    "closure": lambda net: setattr(net, "rounds", rounding(4)),
    "activation": lambda net: net.__setitem__(2, nn.ELU()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_seen(name: str) -> None:
    net = Net()
    first = digests_of(net)
    assert digests_of(net) == digests_of(Net()) == first
    CHANGES[name](net)
    assert digests_of(net) != first


@pytest.mark.parametrize("pair", [(halved, thirded), (Scale(1), Scale(2)), (rounding(8), rounding(4))])
def test_hooks_are_told_apart_by_what_they_do(pair: tuple[Any, Any]) -> None:
    found = []
    for hook in (*pair, pair[0]):
        net = Net()
        net[1].register_forward_hook(hook)
        found.append(digests_of(net)["hooks"])
    assert found[0] == found[2] != found[1]
    assert None not in found


def test_a_hook_for_all_modules_is_seen() -> None:
    handle = nn.modules.module.register_module_forward_hook(halved)  # type: ignore[arg-type]
    try:
        assert digests_of(Net())["hooks"] is not None
    finally:
        handle.remove()
    assert digests_of(Net())["hooks"] is None


def test_passes_steps_and_modes_are_no_change() -> None:
    net, kept = Net(), []
    net[1].register_forward_hook(lambda module, given, answer: kept.append(answer))
    net[1].register_forward_hook(Scale(1))
    first = digests_of(net)
    net(torch.ones(2, 1, 4, 4)).sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    assert kept
    assert digests_of(net.eval()) == first


def test_a_function_may_enclose_itself() -> None:
    net = Net()

    def again(x: Tensor, depth: int = 1) -> Tensor:
        return again(x, depth - 1) if depth else x

    net.rounds = again
    assert digests_of(net) == digests_of(net)


def hooked() -> Net:
    net = Net()
    for hook in (halved, Scale(2), partial(halved)):
        net[1].register_forward_hook(hook)
    return net


def with_weight_norm() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.utils.weight_norm(nn.Linear(16, 3)))


KINDS: dict[str, Callable[[], nn.Module]] = {
    "hooked": hooked,
    "compiled": lambda: torch.compile(Net(), backend="eager"),  # type: ignore[dict-item,return-value]
    "script": lambda: torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(16, 3))),
    "weights made by a hook": with_weight_norm,
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 3)),
    **{name: partial(create_model, name, width=0.25) for name in ("lenet5", "googlenet", "stn_cnn")},
}


def told(name: str) -> dict[str, str | None]:
    torch.manual_seed(0)
    net = KINDS[name]()
    return {"digest": model_digest(net), **digests_of(net)}


@pytest.mark.parametrize("first", ["", "import lightning\n"], ids=["plain", "lightning"])
@pytest.mark.filterwarnings("ignore:`torch")
def test_digests_are_equal_in_another_process(first: str) -> None:
    """In another process the hashes of words, and so the orders of sets, and the addresses are others.

    Lightning, once imported, changes `torch.compile`.
    """
    if first:
        pytest.importorskip("lightning")
    work = first + "import json, test_contents as t\nprint(json.dumps({name: t.told(name) for name in t.KINDS}))"
    where = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": "5"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", work], capture_output=True, text=True, check=True, env=where
    )
    assert json.loads(done.stdout) == {name: told(name) for name in KINDS}


def test_what_a_library_notes_on_a_compiled_network_is_no_change() -> None:
    """As Lightning does once it is imported: it keeps the arguments of `torch.compile`."""
    net = torch.compile(Net(), backend="eager")
    before, after = (digests_of(net), contents_of(net)), vars(net)
    after["_noted"] = {"backend": "eager"}
    net._compile_kwargs = {"backend": "eager"}  # the wrapper hands it down
    assert "_compile_kwargs" in vars(net._orig_mod)
    assert (digests_of(net), contents_of(net)) == before
    vars(net._orig_mod)["_noted"] = 1
    assert digests_of(net) != before[0]
    assert contents_of(net) != before[1]


def test_a_run_is_not_resumed_with_another_hook(tmp_path: Path) -> None:
    x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])
    evaluate(Net(), (x, y), [FGSM(eps=0.1)], output=tmp_path)
    evaluate(Net(), (x, y), [FGSM(eps=0.1)], output=tmp_path, resume=True)
    with pytest.raises(InputError, match=r"cannot go on with the run in .*: its model is \{'hooks': None.* go on with"):
        evaluate(hooked(), (x, y), [FGSM(eps=0.1)], output=tmp_path, resume=True)


def test_a_run_of_before_hooks_were_recorded_goes_on_without_hooks() -> None:
    def config(net: nn.Module) -> dict[str, Any]:
        return {"model": {"name": "net", "digest": model_digest(net), **digests_of(net)}}

    old = {"model": {"name": "net", "digest": model_digest(Net())}}
    check_same("here", old, config(Net()))
    with pytest.raises(InputError, match=r"its model is \{'hooks': None"):
        check_same("here", old, config(hooked()))
