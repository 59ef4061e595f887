"""`check_defense`: every promise of a training loss as a named check."""

import copy
import inspect
import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from advkit.attacks import create_attack
from advkit.core.errors import InputError
from advkit.defenses import DEFENSES, create_defense
from advkit.testing._check import BrokenPromiseError, CheckOutcome, CheckReport
from advkit.testing._formulas import FORMULAS, Formula

TOLERANCE = 1e-10


class Branched(nn.Module):
    """A network with batch norm and an auxiliary classifier that has weight .3 in training."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten())
        self.head, self.auxiliary = nn.Linear(48, 3), nn.Linear(48, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, 1, 6, 6) -> logits (N, 3)."""
        logits: Tensor = self.head(self.stem(x))
        return logits

    def training_logits(self, x: Tensor) -> list[tuple[float, Tensor]]:
        """Both classifiers."""
        maps = self.stem(x)
        return [(1.0, self.head(maps)), (0.3, self.auxiliary(maps))]


def networks() -> dict[str, nn.Module]:
    """Small networks in train mode, float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return {
            "a convolutional network": nn.Sequential(
                nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)
            ).double(),
            "a network with batch norm and an auxiliary classifier": Branched().double(),
        }


def batch(n: int = 5, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 6, 6) and labels."""
    generator = torch.Generator().manual_seed(n)
    return torch.rand(n, 1, 6, 6, generator=generator, dtype=torch.float64).to(dtype), torch.arange(n) % 3


def gradients_of(value: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Return the gradients of `backward` by name, and remove them from the model."""
    torch.autograd.backward(value)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def formula_equals(loss: Any, formula: Callable[[Any], Formula]) -> None:
    """Value and gradients are those of the plain formula in float64 to 1e-10, over three steps of training."""
    for what, model in networks().items():
        rival, ours, plain = copy.deepcopy(model), copy.deepcopy(loss), formula(loss)
        for i in range(3):
            x, y = batch(5 + i % 2 if getattr(loss, "kept", None) is None else 5)
            torch.manual_seed(i)
            value = ours(model, x, y)
            found = gradients_of(value, model)
            torch.manual_seed(i)
            expected = plain(rival, x, y)
            expected, by_name = expected if isinstance(expected, tuple) else (expected, gradients_of(expected, rival))
            far = abs(float(value.detach() - expected.detach()))
            assert far <= TOLERANCE, f"on {what}, call {i + 1}: the value differs by {far:.3g}"
            for name, gradient in by_name.items():
                mine = found.get(name, torch.zeros_like(gradient))
                far = float((mine - gradient).abs().max())
                assert far <= TOLERANCE, f"on {what}, call {i + 1}: the gradient by {name} differs by {far:.3g}"
            with torch.no_grad():
                for net in (model, rival):
                    for name, p in net.named_parameters():
                        p.sub_(0.1 * by_name.get(name, torch.zeros_like(p)))


class NotPromised(Exception):  # noqa: N818
    """Raised by a check where the loss makes no such promise: nothing was looked at."""


def returns_a_scalar(loss: Any) -> None:
    """The value is one finite number, whose graph reaches the parameters."""
    for what, model in networks().items():
        value = copy.deepcopy(loss)(model, *batch())
        assert isinstance(value, Tensor), f"on {what}: expected a tensor of one number, got {type(value).__name__}"
        assert value.ndim == 0, f"on {what}: expected one number, got {tuple(value.shape)}: take the mean of the batch"
        assert bool(value.isfinite()), f"on {what}: the value is {float(value.detach())}"
        assert value.requires_grad, f"on {what}: the value has no graph, so nothing would be trained"


def leaves_no_trace(loss: Any) -> None:
    """Parameters, their gradients and flags, modes and the images are as they were."""
    for what, model in networks().items():
        x, y = batch()
        next(iter(model.parameters())).requires_grad_(False)
        before, image = {k: p.detach().clone() for k, p in model.named_parameters()}, x.clone()
        flags, modes = [p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]
        copy.deepcopy(loss)(model, x, y)
        for name, p in model.named_parameters():
            assert torch.equal(p, before[name]), f"on {what}: {name} has moved"
            assert p.grad is None, f"on {what}: {name} has a gradient before backward"
        assert [p.requires_grad for p in model.parameters()] == flags, f"on {what}: requires_grad has changed"
        assert [m.training for m in model.modules()] == modes, f"on {what}: a module's mode has changed"
        assert torch.equal(x, image), "the images have changed"
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        copy.deepcopy(loss)(networks()["a convolutional network"], *batch())
        states.append(torch.get_rng_state())
    assert not torch.equal(*states), "torch's global generator was seeded: every batch would get the same numbers"


def buffers_are_documented(loss: Any) -> None:
    """Batch norm updates `norm_updates` times a call in train mode, and never in eval mode."""
    x, y = batch()
    updates = getattr(loss, "norm_updates", 1)
    for training in (True, False):
        model = Branched().double().train(training)
        copy.deepcopy(loss)(model, x, y)
        count, wanted = int(model.stem[1].num_batches_tracked), updates if training else 0  # type: ignore[arg-type]
        advice = "" if hasattr(loss, "norm_updates") or not training else "; an attribute norm_updates of it may say so"
        assert count == wanted, f"expected {wanted} updates in train={training}, saw {count}{advice}"


def passes_are_counted(loss: Any) -> None:
    """No more images go through the network than `passes` says."""
    if getattr(loss, "passes", None) is None:
        raise NotPromised
    x, y = batch()
    model = networks()["a convolutional network"]
    seen: list[int] = []
    first = next(model.children())
    first.register_forward_hook(lambda module, given, answer: seen.append(len(given[0])))
    copy.deepcopy(loss)(model, x, y)  # the layout is looked for, and the network recorded, once
    seen.clear()
    copy.deepcopy(loss)(model, x, y)
    assert sum(seen) == loss.passes * len(x), f"expected {loss.passes} passes, saw {sum(seen) / len(x):g}"


def accumulates(loss: Any) -> None:
    """The gradient of a sum of two losses is the sum of their gradients."""
    model = networks()["a convolutional network"]
    parts = [batch(5), batch(4)]
    torch.manual_seed(0)
    ours = copy.deepcopy(loss)
    separate = [gradients_of(ours(model, x, y), model) for x, y in parts]
    torch.manual_seed(0)
    ours = copy.deepcopy(loss)
    together = gradients_of(torch.stack([ours(model, x, y) for x, y in parts]).sum(), model)
    for name, gradient in together.items():
        far = float((gradient - separate[0][name] - separate[1][name]).abs().max())
        assert far <= TOLERANCE, f"the gradient by {name} differs by {far:.3g}"


def value_without_gradients(loss: Any) -> None:
    """Under no_grad the value is the same, without a graph."""
    model, (x, y) = networks()["a convolutional network"], batch()
    torch.manual_seed(0)
    expected = copy.deepcopy(loss)(model, x, y).detach()
    torch.manual_seed(0)
    with torch.no_grad():
        value = copy.deepcopy(loss)(model, x, y)
    assert not value.requires_grad, "the value has a graph"
    assert abs(float(value - expected)) <= TOLERANCE, f"{float(value)} in place of {float(expected)}"


def works_under_autocast(loss: Any) -> None:
    """Under bfloat16 autocast the loss and all gradients are finite, the gradients in float32."""
    for what, model in networks().items():
        model = model.float()
        x, y = batch(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            value = copy.deepcopy(loss)(model, x, y)
        assert bool(value.isfinite()), f"on {what}: the loss is {float(value)}"
        for name, gradient in gradients_of(value, model).items():
            assert gradient.dtype == torch.float32, f"on {what}: the gradient by {name} is {gradient.dtype}"
            assert bool(gradient.isfinite().all()), f"on {what}: the gradient by {name} is not finite"


def keeps_to_the_range(loss: Any) -> None:
    """No image outside `bounds` reaches the network."""
    if not getattr(loss, "stays_in_range", True):
        raise NotPromised
    bounded = is_dataclass(loss) and (hasattr(loss, "bounds") or hasattr(getattr(loss, "loss", None), "bounds"))
    low, high = (0.25, 0.75) if bounded else (0, 1)  # a function takes images in [0, 1]
    loss = copy.deepcopy(loss)
    for part in (loss, getattr(loss, "loss", None)):
        if hasattr(part, "bounds"):
            object.__setattr__(part, "bounds", (low, high))
    model, (x, y) = networks()["a convolutional network"], batch()
    x = x if bounded else x.round()  # a step from the edge of the range leaves it
    seen: list[Tensor] = []
    next(model.children()).register_forward_hook(lambda module, given, answer: seen.append(given[0]))
    copy.deepcopy(loss)(model, x.clamp(low, high), y)  # the network is recorded once, with images that have no values
    seen.clear()
    for _ in range(2):
        loss(model, x.clamp(low, high), y)
    least, most = min(float(t.min()) for t in seen), max(float(t.max()) for t in seen)
    assert low <= least <= most <= high, f"expected pixels from {low} to {high}, saw {least:g} to {most:g}"


def takes_any_attack(loss: Any) -> None:
    """Any budget attack that keeps its batch can be inside."""
    made: Any = loss
    if not is_dataclass(loss) or "attack" not in {f.name for f in fields(loss)}:
        raise NotPromised
    model, (x, y) = networks()["a convolutional network"], batch()
    for spec in (
        "fgsm(eps=0.1)",
        "pgd(eps=0.5, norm=l2, steps=2)",
        "mifgsm(eps=0.1, steps=2)",
        "pgd(eps=0.1, steps=1)",
    ):
        value = replace(made, attack=create_attack(spec))(model, x, y)
        assert bool(value.isfinite()), f"with {spec} the loss is {float(value.detach())}"


def spec_makes_it_again(loss: Any) -> None:
    """`create_defense(loss.spec)` is the same loss."""
    if type(loss) not in DEFENSES._factories.values():
        raise NotPromised
    again = create_defense(loss.spec)
    assert again == loss, f"{loss.spec} makes {again!r}"


CHECKS: dict[str, Callable[[Any], None]] = {
    check.__name__: check
    for check in (
        returns_a_scalar,
        leaves_no_trace,
        buffers_are_documented,
        passes_are_counted,
        accumulates,
        value_without_gradients,
        works_under_autocast,
        keeps_to_the_range,
        takes_any_attack,
        spec_makes_it_again,
    )
}


def check_defense(loss: Any, *, formula: Callable[[Any], Formula] | None = None, raises: bool = True) -> CheckReport:
    """Run every check on a training loss.

    Args:
        loss: training loss for images in [0, 1], such as TRADES(attack=PGD(eps=0.1)), or a function, called as
            `loss(model, x, y)`.
        formula: function that takes the loss and returns a plainly written function (model, x, y) -> value, which draws
            the same random numbers from torch's global generator; by default the known one for the name of the loss.
        raises: True raises an error for a broken promise, False only reports it.

    Returns:
        A `CheckReport`; without a formula its check is skipped, and so is what this loss does not promise.

    Raises:
        BrokenPromiseError: an AssertionError that names every broken promise.
        InputError: the loss is not called as `loss(model, x, y)`, or the formula not as `formula(loss)`.
    """
    if not callable(loss):
        raise InputError(f"expected a training loss such as TRADES(attack=PGD(eps=0.3)), got {type(loss).__name__}")
    if isinstance(loss, type):
        raise InputError(
            f"expected a training loss, got the class {loss.__name__} itself: make one, {loss.__name__}(...)"
        )
    if not _takes(loss.forward if isinstance(loss, nn.Module) else loss, 3):
        raise InputError(f"expected a training loss called as loss(model, x, y), got {_name(loss)} of other arguments")
    if formula is not None and not (callable(formula) and _takes(formula, 1)):
        raise InputError("expected formula as a function of the loss that returns a function (model, x, y) -> value")
    formula = formula or FORMULAS.get(getattr(loss, "name", ""))
    promise = (formula_equals.__doc__ or "").strip()
    if formula is None:
        outcomes = [CheckOutcome("formula_equals", "skipped", promise)]
    else:
        known = formula
        outcomes = [_run("formula_equals", promise, lambda: formula_equals(loss, known))]
    for name, check in CHECKS.items():
        outcomes.append(_run(name, (check.__doc__ or "").strip(), lambda check=check: check(loss)))  # type: ignore[misc]
    report = CheckReport(str(getattr(loss, "spec", _name(loss))), tuple(outcomes))
    if raises and not report.ok:
        raise BrokenPromiseError(report)
    return report


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether it can be called with this number of arguments by place; True where Python does not know."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def _run(name: str, promise: str, body: Callable[[], None]) -> CheckOutcome:
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            body()
    except NotPromised:
        return CheckOutcome(name, "skipped", promise)
    except Exception as error:  # a loss that crashes breaks the promise that was being checked
        evidence = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return CheckOutcome(name, "broken", promise, evidence)
    return CheckOutcome(name, "kept", promise)
