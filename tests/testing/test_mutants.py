"""Broken attacks, and the check that catches each: a suite that lets one of them pass is broken itself."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from advkit import load_data, load_model
from advkit.attacks import PGD, Result
from advkit.core import norms
from advkit.testing import BrokenPromiseError, check_attack, list_checks
from advkit.testing._checks_traces import snapshot
from advkit.testing._subject import outcome

Call = Callable[..., Any]


def reference(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, target: Any = None, **options: Any) -> Result:
    """A sound attack behind a plain function: what the mutants are made from."""
    return PGD(steps=5, random_start=False)(model, x, y, eps=eps, target=target, **options)


def no_op(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1) -> Tensor:
    return x.clone()


def flipped_sign(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1) -> Tensor:
    radius = torch.as_tensor(eps, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)
    return (x - radius * gradient.sign()).clamp(0, 1)


def exceeds_eps_by_one_step(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, **options: Any) -> Result:
    return reference(model, x, y, eps=torch.as_tensor(eps, dtype=torch.float64) * 1.5, **options)


def exceeds_eps_by_one_ulp(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, **options: Any) -> Result:
    found = reference(model, x, y, eps=eps, **options)
    away = norms.step_toward(found.x_adv, torch.where(found.x_adv > x, 2.0, -1.0).to(x.dtype))
    return replace(found, x_adv=torch.where(found.x_adv != x, away.clamp(0, 1), x))


def leaves_the_bounds(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, **options: Any) -> Result:
    found = reference(model, x, y, eps=eps, **options)
    return replace(found, x_adv=found.x_adv - 1e-6)


def leaves_train_mode(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    for module in model.modules() if isinstance(model, torch.nn.Module) else []:
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.train()
    return found


def leaves_eval_mode(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    if isinstance(model, torch.nn.Module):
        model.eval()
    return found


def attacks_in_the_mode_it_finds(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    return reference(lambda images: model(images), x, y, **options)


def leaves_gradients(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    if len(x) and isinstance(model, torch.nn.Module):
        with torch.enable_grad():
            model(x.detach()).sum().backward()
    return reference(model, x, y, **options)


def reseeds(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    torch.manual_seed(4)  # another one than a test begins with
    return reference(model, x, y, **options)


def consumes_random_numbers(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    torch.rand(1)
    return reference(model, x, y, **options)


def writes_on_x(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    x.data.copy_(found.x_adv)
    return found


def returns_x_itself(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    return replace(found, x_adv=x.detach()) if torch.equal(found.x_adv, x) else found


def mixes_samples(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, **options: Any) -> Result:
    found = reference(model, x, y, eps=eps, **options)
    return replace(found, x_adv=x + (found.x_adv - x) / max(len(x), 1) ** 0.5)


def spares_the_last_class(model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    found = reference(model, x, y, **options).x_adv
    classes = len(torch.atleast_2d(model(x[:1]).detach())[0]) if len(x) else 2
    return torch.where((y == classes - 1).view(-1, *[1] * (x.ndim - 1)), x, found)


def ignores_the_target(model: Any, x: Tensor, y: Tensor, *, target: Any = None, **options: Any) -> Result:
    return reference(model, x, y, **options)


def inverts_the_target(model: Any, x: Tensor, y: Tensor, *, target: Any = None, eps: Any = 0.1, **options: Any) -> Any:
    if target is None:
        return reference(model, x, y, eps=eps, **options)
    return reference(model, x, target, eps=eps, **options).x_adv


def claims_success(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    return replace(found, success=torch.ones_like(found.success))


def denies_success(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    return replace(found, success=torch.zeros_like(found.success))


def counts_too_little(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    return replace(found, queries=found.queries.clamp(max=2))


def measures_the_wrong_norm(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    found = reference(model, x, y, **options)
    return replace(found, distance=norms.get_norm("l2").size(found.x_adv.double() - x.double()))


def last_start_wins(model: Any, x: Tensor, y: Tensor, *, eps: Any = 0.1, **options: Any) -> Result:
    first = reference(model, x, y, eps=eps, **options)
    last = PGD(steps=1, step_size=1e-9)(model, x, y, eps=eps, seed=1, **options)
    return replace(last, success=first.success | last.success)


def forgets_its_type(model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    return reference(model, x, y, **options).x_adv.float()


def keeps_the_graph(model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    return reference(model, x, y, **options).x_adv.requires_grad_()


def fails_without_gradients(model: Any, x: Tensor, y: Tensor, **options: Any) -> Result:
    if not torch.is_grad_enabled():
        raise RuntimeError("element 0 of tensors does not require grad")
    return reference(model, x, y, **options)


def swallows_mistakes(model: Any, x: Tensor, y: Tensor, **options: Any) -> Any:
    try:
        return reference(model, x, y, **options)
    except ValueError:
        return x.clone()


def trains_parameters(model: Any, x: Tensor, y: Tensor, **options: Any) -> Tensor:
    leaf = x.clone().requires_grad_()
    with torch.enable_grad():
        F.cross_entropy(model(leaf), y.clamp(0, 1)).backward()
    return reference(model, x, y, **options).x_adv


FUNCTIONS: list[tuple[Call, str]] = [
    (no_op, "fools_a_linear_classifier"),
    (no_op, "moves"),
    (no_op, "attacks_every_label"),
    (flipped_sign, "fools_a_linear_classifier"),
    (flipped_sign, "attacks_every_label"),
    (flipped_sign, "moves_pixels_off_the_bounds"),
    (exceeds_eps_by_one_step, "stays_in_the_ball"),
    (exceeds_eps_by_one_step, "never_does_the_impossible"),
    (exceeds_eps_by_one_ulp, "stays_in_the_ball"),
    (leaves_the_bounds, "stays_in_the_bounds"),
    (leaves_train_mode, "leaves_no_trace_on_the_model"),
    (leaves_eval_mode, "leaves_no_trace_on_the_model"),
    (attacks_in_the_mode_it_finds, "attacks_in_eval_mode"),
    (attacks_in_the_mode_it_finds, "leaves_no_trace_on_the_model"),
    (leaves_gradients, "leaves_no_trace_on_the_model"),
    (reseeds, "leaves_the_random_state"),
    (consumes_random_numbers, "leaves_the_random_state"),
    (writes_on_x, "leaves_its_input_alone"),
    (returns_x_itself, "leaves_its_input_alone"),
    (mixes_samples, "gives_the_same_alone_or_in_a_batch"),
    (spares_the_last_class, "attacks_every_label"),
    (spares_the_last_class, "follows_a_permutation_of_the_classes"),
    (ignores_the_target, "follows_its_target"),
    (ignores_the_target, "tells_the_truth"),
    (inverts_the_target, "follows_its_target"),
    (claims_success, "tells_the_truth"),
    (denies_success, "tells_the_truth"),
    (counts_too_little, "counts_every_pass"),
    (measures_the_wrong_norm, "tells_the_truth"),
    (last_start_wins, "fools_a_linear_classifier"),
    (last_start_wins, "tells_the_truth"),
    (forgets_its_type, "returns_images_of_the_same_form"),
    (keeps_the_graph, "returns_images_of_the_same_form"),
    (fails_without_gradients, "works_without_gradients_around"),
    (swallows_mistakes, "refuses_wrong_input"),
    (trains_parameters, "asks_no_gradient_of_parameters"),
]


TWELVE = {
    no_op: "returns a copy of the images",
    flipped_sign: "steps down the loss",
    last_start_wins: "its last random start wins, not the best",
    exceeds_eps_by_one_step: "makes one step beyond eps",
    leaves_train_mode: "leaves batch norm in train mode",
    leaves_gradients: "leaves gradients on the parameters",
    reseeds: "seeds torch's random numbers",
    writes_on_x: "writes on x",
    mixes_samples: "mixes the samples of a batch",
    spares_the_last_class: "fails where the label is the last class",
    ignores_the_target: "ignores the target",
    claims_success: "claims success untruthfully",
}
"""What docs/testing.md lists."""


def mutation_table() -> str:
    """The table of docs/testing.md."""
    lines = ["| the attack | is caught by |", "|---|---|"]
    for mutant, what in TWELVE.items():
        caught = ", ".join(f"`{check}`" for found, check in FUNCTIONS if found is mutant)
        lines.append(f"| {what} | {caught} |")
    return "\n".join(lines)


def test_the_table_of_the_docs_is_what_the_tests_below_show() -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
    between = page.split("<!-- mutants: begin -->\n")[1].split("\n<!-- mutants: end -->")[0]
    assert between == mutation_table(), f"put this between the marks:\n{mutation_table()}"
    assert all(any(found is mutant for found, _ in FUNCTIONS) for mutant in TWELVE)


@pytest.mark.parametrize(("mutant", "check"), FUNCTIONS, ids=[f"{m.__name__}-{c}" for m, c in FUNCTIONS])
def test_each_broken_attack_is_caught(mutant: Call, check: str) -> None:
    traits = {"deterministic": True, "norm": "linf", "kind": "budget"}
    assert check in list_checks(mutant, **traits)
    with pytest.raises(BrokenPromiseError):
        check_attack(mutant, only=[check], **traits)


@pytest.mark.parametrize("check", sorted({check for _, check in FUNCTIONS}))
def test_the_sound_attack_that_they_are_made_from_passes(check: str) -> None:
    check_attack(reference, only=[check], deterministic=True)


# The twelve on a network that ships: what anybody would look at on real images.


@pytest.fixture(scope="module")
def shipped() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """A trained network behind a batch norm that changes nothing, and digits that it gets right, of every class."""
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1, eps=0.0), load_model("mlp", device="cpu")).eval()
    x, y = load_data("mnist5k")[:60]
    with torch.no_grad():
        right = model(x).argmax(1) == y
    return model, x[right], y[right]


def complaints(attack: Call, model: torch.nn.Module, x: Tensor, y: Tensor, sound: Tensor) -> list[str]:
    """What is wrong with an attack at eps .1; `sound` (N,) bool: which images a sound attack fools."""
    before, random, clean = snapshot(model), torch.random.get_rng_state(), x.clone()
    answer = outcome(attack(model, x, y, eps=0.1))
    seen = {
        "writes on x": not torch.equal(x, clean),
        "moves the random state": not torch.equal(torch.random.get_rng_state(), random),
        "leaves a trace on the model": snapshot(model) != before,
    }
    x.copy_(clean)
    model.eval().zero_grad()
    with torch.no_grad():
        fooled = model(answer.x_adv).argmax(1) != y
    alone = outcome(attack(model, x[:1], y[:1], eps=0.1)).x_adv
    x.copy_(clean)
    model.eval().zero_grad()
    seen["goes too far"] = bool((answer.x_adv - x).abs().max() > 0.1 + 1e-6)
    seen["fools too few"] = any(fooled[y == k].sum() < 0.5 * sound[y == k].sum() for k in range(10))
    seen["is not what it says"] = answer.success is not None and not torch.equal(answer.success, fooled)
    seen["depends on the batch"] = not torch.allclose(alone, answer.x_adv[:1], atol=1e-3)
    if "target" in inspect.signature(attack).parameters or attack is reference:
        target = (y + 1) % 10
        hit = outcome(attack(model, x, y, eps=0.25, target=target)).x_adv
        with torch.no_grad():
            seen["misses its target"] = bool((model(hit).argmax(1) == target).double().mean() < 0.5)
    return [what for what, yes in seen.items() if yes]


EXPECTED = {
    no_op: "fools too few",
    flipped_sign: "fools too few",
    last_start_wins: "fools too few",
    exceeds_eps_by_one_step: "goes too far",
    leaves_train_mode: "leaves a trace on the model",
    leaves_gradients: "leaves a trace on the model",
    reseeds: "moves the random state",
    writes_on_x: "writes on x",
    mixes_samples: "depends on the batch",
    spares_the_last_class: "fools too few",
    ignores_the_target: "misses its target",
    claims_success: "is not what it says",
}


@pytest.mark.parametrize("mutant", [reference, *TWELVE], ids=lambda mutant: mutant.__name__)
def test_the_twelve_are_caught_on_a_network_that_ships_too(
    mutant: Call, shipped: tuple[torch.nn.Module, Tensor, Tensor]
) -> None:
    model, x, y = shipped
    sound = reference(model, x, y, eps=0.1).success
    found = complaints(mutant, model, x.clone(), y, sound)
    assert EXPECTED[mutant] in found if mutant in EXPECTED else found == []
