"""Every attack's first state and steps on tensors of a GPU that is not there: a wait or a mix of devices raises."""

import sys
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from advkit.attacks import ATTACKS, create_attack, list_attacks
from advkit.attacks.brendel_bethge import trust_region
from advkit.core import door, driver, model_checks
from advkit.core.attack import Attack
from advkit.core.draws import Draws
from advkit.core.threat import Threat

STEPS = 60
"""Maximum number of steps that are made of an attack."""

SHORT = {"steps": 6, "classes": 2, "samples": 2, "turns": 1, "rotations": 3, "shifts": 3}
SHORT |= {"queries": 8, "tries": 3, "first": 4, "population": 4, "generations": 2}
SHORT |= {"searches": 2, "first_steps": 3, "later_steps": 2, "leaps": 1, "leap_searches": 1}
"""Options that lead an attack through all its phases within these steps; `--slow` takes the defaults too."""

SHORTER = {"brendel_bethge": {"steps": 2, "search": 2}, "lbfgs": {"searches": 1, "first_steps": 1}}
"""Those of attacks whose steps make hundreds of operations."""

LEVELS, ROUNDS = 2, 3
"""How often Brendel and Bethge's search repeats itself in a short attack: every third round differs."""

CELLS = [
    (name, norm)
    for name in list_attacks()
    for norm in type(create_attack(name)).norms
    if type(create_attack(name)).stepwise
]


def network() -> nn.Module:
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 10)
    return nn.Sequential(*layers).eval()


def plain_gradient(outputs: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Tensor, ...]:
    """Autograd runs fake tensors of a missing GPU on none: its answer is as large as the leaf."""
    return tuple(torch.empty_like(leaf.detach()) for leaf in ([inputs] if isinstance(inputs, Tensor) else inputs))


@pytest.fixture
def no_door(monkeypatch):
    """What the door asks of the values, once a call, waits: not looked at here."""
    with FakeTensorMode(), torch.device("cuda"):
        try:
            network()
        except RuntimeError as error:
            if torch.__version__ >= "2.7" or "CUDA error" not in str(error):
                raise
            pytest.skip("torch 2.6 asks the driver for fake random numbers")
    for home, check in ((model_checks, "check_answer"), (door, "check_effect")):
        monkeypatch.setattr(home, check, lambda *_: None)
    monkeypatch.setattr(torch.autograd, "grad", plain_gradient)
    forget()
    yield
    forget()


def forget() -> None:
    """What is remembered from call to call must not be fake for others, nor real here."""
    for name, module in list(sys.modules.items()):
        if name.startswith("advkit."):
            for value in vars(module).values():
                if callable(getattr(value, "cache_clear", None)):
                    value.cache_clear()


def made(name: str, norm: str, options: dict[str, int]) -> Attack:
    fields = ATTACKS.factory(name).__dataclass_fields__
    return create_attack(name, norm=norm, **{key: value for key, value in options.items() if key in fields})


def run(name: str, attack: Attack) -> int:
    """How many steps were made."""
    norm = attack.norm
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("cuda"):
            model, x, y = network(), torch.rand(6, 3, 16, 16), torch.zeros(6, dtype=torch.int64)
            ids = torch.arange(6)
        target = "untargeted" if attack.targetable and name != "fooling" else attack.target
        threat = Threat(norm, 0.1 if attack.kind == "budget" else torch.inf)
        problem = driver.Problem(x, y, target, threat, Draws(0, ids), "fooled")
        model, problem = attack._arrange(model, problem)
        oracle, _ = driver._look_at_clean(attack, model, problem)
        state = attack.init(oracle)
        for i in range(min(attack.total_steps, STEPS)):
            state = attack.step(oracle, state, i)
            assert state.x_adv.device.type == "cuda"
        return i + 1 if attack.total_steps else 0


@pytest.mark.parametrize("options", [SHORT, pytest.param({}, marks=pytest.mark.slow)], ids=["short", "defaults"])
@pytest.mark.parametrize(("name", "norm"), CELLS)
def test_no_step_waits_for_the_device_or_mixes_it_with_the_host(name, norm, options, no_door, monkeypatch):
    for loop, times in (("LEVELS", LEVELS), ("ROUNDS", ROUNDS)) if options else ():
        monkeypatch.setattr(trust_region, loop, times)
    attack = made(name, norm, options | SHORTER.get(name, {}) if options else options)
    assert run(name, attack) == min(attack.total_steps, STEPS)


@pytest.mark.parametrize("fault", ["wait", "mix"])
def test_a_fault_is_found(fault, no_door, monkeypatch):
    attack = type(create_attack("pgd"))
    step = attack.step

    def faulty(self: Any, oracle: Any, state: Any, i: int) -> Any:
        if fault == "wait" and bool(oracle.live.all()):
            return state
        return step(self, oracle, state._replace(x_adv=state.x_adv + torch.zeros(3, 16, 16)), i)

    monkeypatch.setattr(attack, "step", faulty)
    with pytest.raises(Exception, match=r"data_dependent|_local_scalar_dense|on the same device"):
        run("pgd", create_attack("pgd"))
