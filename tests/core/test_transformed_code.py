"""Attacks inside `torch.func` and tracers say one line; without gradients around they work."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from advkit.attacks import ATTACKS, FGSM, PGD, create_attack
from advkit.core.classify import classify
from advkit.core.errors import InputError
from advkit.defenses import AdversarialLoss, Smoothed

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]
X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 4)).eval()


NET = network()
Y = NET(X).argmax(1)
SHORT = {"fgsm": "fgsm(eps=0.1)", "pgd": "pgd(eps=0.1, steps=2)", "square": "square(eps=0.1, queries=5)"}
SHORT |= {
    "cw": "cw(steps=2, searches=1)",
    "deepfool": "deepfool(steps=2)",
    "autoattack": "autoattack(eps=0.1, steps=2, queries=3)",
}
ASKED: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: lambda x, spec=spec: create_attack(spec)(NET, x, Y[: len(x)]).x_adv for name, spec in SHORT.items()},  # type: ignore[misc]
    "examples": lambda x: PGD(eps=0.1, steps=2).examples(NET, x, Y[: len(x)]),
    "training loss": lambda x: AdversarialLoss(attack=FGSM(eps=0.1))(NET, x, Y[: len(x)]),
    "classify": lambda x: classify(NET, x),
    "smoothing": lambda x: Smoothed(NET, 0.5).predict(x, 20),
}
TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor]], object]] = {
    "vmap": lambda ask: torch.func.vmap(lambda one: ask(one[None]))(X),
    "vmap of something else": lambda ask: torch.func.vmap(lambda w: w * ask(X).sum())(torch.ones(2)),
    "grad": lambda ask: torch.func.grad(lambda x: ask(x).sum())(X),
    "jacrev": lambda ask: torch.func.jacrev(lambda x: ask(x).sum())(X),
    "jacfwd": lambda ask: torch.func.jacfwd(lambda x: ask(x).sum())(X),
    "jvp": lambda ask: torch.func.jvp(ask, (X,), (X,)),
    "functionalize": lambda ask: torch.func.functionalize(ask)(X),
}


@pytest.mark.parametrize("how", TRANSFORMS)
@pytest.mark.parametrize("what", ASKED)
def test_inside_torch_func_it_is_one_line(what: str, how: str) -> None:
    with pytest.raises(InputError) as caught:
        TRANSFORMS[how](ASKED[what])
    assert str(caught.value).startswith(("attacks and evaluations cannot run inside torch.func", "expected"))
    assert "\n" not in str(caught.value)
    assert torch.equal(ASKED["fgsm"](X), ASKED["fgsm"](X))  # and no trace of it is left


@pytest.mark.parametrize("what", ["fgsm", "pgd", "square", "classify"])
def test_a_trace_is_one_line(what: str) -> None:
    with pytest.raises(InputError, match=r"cannot be traced: torch\.jit\.trace would keep one result"):
        torch.jit.trace(lambda x: ASKED[what](x), (X,), check_trace=False)
    with pytest.raises(InputError, match="cannot be traced by make_fx"):
        make_fx(lambda x: ASKED[what](x))(X)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "square", "cw", "deepfool", "autoattack"])
def test_without_gradients_around_the_result_is_the_same(name: str, context: Callable[[], torch.no_grad]) -> None:
    expected = create_attack(SHORT[name])(NET, X, Y)
    with context():
        found = create_attack(SHORT[name])(NET, X, Y)
        made_inside = create_attack(SHORT[name])(NET, X.clone(), Y.clone())
    for result in (found, made_inside):
        assert torch.equal(result.x_adv, expected.x_adv)
        assert torch.equal(result.success, expected.success)


def test_an_attack_works_after_and_beside_torch_func() -> None:
    """A result made outside goes into a function; a model that uses `torch.func` itself can be attacked."""
    x_adv = FGSM(eps=0.1)(NET, X, Y).x_adv
    assert torch.func.grad(lambda x: NET(x).sum())(x_adv).shape == X.shape

    class Inside(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.func.vmap(lambda one: NET(one[None])[0])(x)

    assert torch.equal(FGSM(eps=0.1)(Inside(), X, Y).x_adv, x_adv)


def test_every_attack_asks_before_it_begins() -> None:
    for name in ATTACKS.names():
        with pytest.raises(InputError, match=r"cannot run inside torch\.func"):
            torch.func.grad(lambda x, name=name: create_attack(name)(NET, x, Y).x_adv.sum())(X)
