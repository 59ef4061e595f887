"""Models in every form that people have them in: compiled, exported, scripted, lazy, of votes, of another type."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advkit import evaluate
from advkit.attacks import DeepFool, create_attack, list_attacks
from advkit.core.attack import Attack
from advkit.core.errors import InputError
from advkit.core.norms import get_norm
from advkit.core.outputs import Output

X = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
FEW = {"queries": 20, "steps": 4, "searches": 2, "leaps": 0, "rotations": 3, "shifts": 3, "tries": 5, "first": 4}
FEW |= {"population": 5, "generations": 3}
FEW |= {"turns": 1, "first_steps": 4, "later_steps": 3}


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    return nn.Sequential(*layers).eval()


Y = network()(X).argmax(1)


def compiled(backend: str) -> Any:
    return torch.compile(network(), backend=backend)


def frozen() -> Any:
    return torch.jit.optimize_for_inference(torch.jit.script(network()))


def dynamic() -> Any:
    return torch.export.export(network(), (X,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()


class Sparse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to_sparse()


FORMS: dict[str, Callable[[], Any]] = {
    "eager": lambda: compiled("eager"),
    "aot_eager": lambda: compiled("aot_eager"),
    "exported": lambda: torch.export.export(network(), (X,)).module(),
    "dynamic": dynamic,
    "scripted": lambda: torch.jit.script(network()),
    "traced": lambda: torch.jit.trace(network(), X),
    "fx": lambda: torch.fx.symbolic_trace(network()),
    "frozen": frozen,
    "sparse": lambda: nn.Sequential(network(), Sparse()),
}


def short(name: str) -> Attack:
    taken = create_attack(name).__dataclass_fields__
    return create_attack(name, **{option: value for option, value in FEW.items() if option in taken})


def attacked(name: str, model: Any) -> Any:
    attack = short(name)
    finite = attack.kind == "budget" and name not in ("patch", "lavan", "spatial")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attack(model, X, Y, **({"eps": max(0.1, get_norm(attack.norm).grain)} if finite else {}))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["pgd", "deepfool", "fab", "lbfgs", "square", "cascade", "autoattack", "hopskipjump"])
def test_a_model_in_another_form_is_attacked_as_the_module_itself(name: str, form: str) -> None:
    torch._dynamo.reset()
    found, plain = attacked(name, FORMS[form]()), attacked(name, network())
    if form == "frozen" and name in ("pgd", "deepfool", "fab", "lbfgs", "cascade", "autoattack"):
        return  # such a module gives no gradients: it is enough that nothing breaks
    assert torch.equal(found.success, plain.success)
    torch.testing.assert_close(found.distance, plain.distance, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", list_attacks())
def test_votes_break_no_attack(name: str) -> None:
    model = network()
    found = attacked(name, lambda x: (100 * model(x)).long())
    assert found.logits.is_floating_point()


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_graph_that_serves_once_costs_a_pass_for_each_gradient() -> None:
    torch._dynamo.reset()
    found, plain = DeepFool()(compiled("aot_eager"), X, Y), DeepFool()(network(), X, Y)
    torch.testing.assert_close(found.x_adv, plain.x_adv, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.gradients, plain.gradients)
    assert bool((found.queries >= plain.queries).all())


def test_a_lazy_module_is_asked_for_one_pass() -> None:
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    for use in (lambda: DeepFool()(lazy, X, Y), lambda: evaluate(lazy, (X, Y), ["fgsm"])):
        with pytest.raises(InputError, match="pass one batch"):
            use()
    lazy(X)
    DeepFool()(lazy, X, lazy(X).argmax(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_images_of_another_type_than_the_model_are_told_what_to_do(dtype: torch.dtype) -> None:
    model = network().to(dtype)
    with pytest.raises(InputError, match=r"give x\.to\('cpu', torch\."):
        DeepFool()(model, X, Y)
    DeepFool()(model, X.to(dtype), model(X.to(dtype)).argmax(1))  # the advice


def test_an_error_of_the_model_itself_is_not_hidden() -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("my own fault")

    with pytest.raises(RuntimeError, match="my own fault"):
        DeepFool()(broken, X, Y)


def test_an_exported_module_says_which_batches_it_takes() -> None:
    exported = torch.export.export(network(), (X,)).module()
    with pytest.raises(InputError, match="dynamic_shapes"):
        DeepFool()(exported, X.repeat(2, 1, 1, 1), Y.repeat(2))
    report = evaluate(exported, (X, Y), ["pgd(eps=.1, steps=3)"])
    assert report.adversarial_error == evaluate(network(), (X, Y), ["pgd(eps=.1, steps=3)"]).adversarial_error


WRONG_OUTPUTS = [([network()], 0), (nn.Module, 0), (network(), None), (network(), 1.5), (network(), True)]


@pytest.mark.parametrize("wrong", WRONG_OUTPUTS)
def test_what_is_no_output_of_a_model_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^expected (model|which) as a [^\n]*, got [\w.]+$"):
        Output(*wrong)
