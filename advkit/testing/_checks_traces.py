"""Checks that an attack leaves no trace on model, random numbers or a pending graph, and counts its passes."""

import torch
from torch import Tensor, nn

from advkit.testing._check import check
from advkit.testing._checks_batch import same
from advkit.testing._checks_result import expect
from advkit.testing._subject import Subject
from advkit.testing._toys import Case, toy_case
from advkit.testing.nets import Spy, Wrapped


class CrashError(RuntimeError):
    """Raised by a model on purpose."""


def _training_case(seed: int = 11) -> Case:
    """A net in train mode with one frozen batch norm, some parameters frozen, some with gradients."""
    case = toy_case(seed, batch_norm=True)
    model = nn.Sequential(nn.BatchNorm2d(2, dtype=torch.float64), *case.model.children()).train()
    model[2].eval()
    parameters = list(model.parameters())
    for parameter in parameters[::2]:
        parameter.requires_grad_(False)
    for parameter in parameters[1::2]:
        parameter.grad = torch.ones_like(parameter)
    return case._replace(model=model)


def snapshot(model: nn.Module) -> dict[str, object]:
    """Record what must not change: modes, requires_grad, gradients, parameters and buffers, by value and identity."""
    state: dict[str, object] = {f"mode of {name or 'the model'}": m.training for name, m in model.named_modules()}
    for name, p in model.named_parameters():
        state[f"requires_grad of {name}"] = p.requires_grad
        state[f"gradient of {name}"] = None if p.grad is None else p.grad.tolist()
        state[f"value of {name}"] = p.tolist()
        state[f"identity of {name}"] = id(p)
    for name, b in model.named_buffers():
        state[f"buffer {name}"] = b.tolist()
        state[f"identity of buffer {name}"] = id(b)
    return state


def _unchanged(before: dict[str, object], model: nn.Module, context: str) -> None:
    after = snapshot(model)
    changed = [key for key in before if before[key] != after.get(key)]
    expect(before.keys() == after.keys() and not changed, f"changed {context}: {', '.join(changed[:4])}")


@check()
def leaves_no_trace_on_the_model(subject: Subject) -> None:
    """Modes, requires_grad, gradients, parameters and buffers are as they were, and so is a frozen batch norm."""
    case = _training_case()
    before = snapshot(case.model)
    subject(case.model, case.x, case.y)
    _unchanged(before, case.model, "by the attack")


@check()
def leaves_no_trace_after_an_exception(subject: Subject) -> None:
    """The attack leaves no trace on the model when the model raises an exception either."""
    for calls in (0, 1):
        case = _training_case(12)
        model = Wrapped(case.model, before=_Fuse(calls)).train()
        model.net[2].eval()  # type: ignore[index]
        before = snapshot(model)
        random = torch.random.get_rng_state()
        try:
            subject(model, case.x, case.y, stop="never")
        except CrashError:
            pass
        else:
            expect(calls, "the model's exception was swallowed")
        _unchanged(before, model, f"by an exception in call {calls + 1}")
        expect(torch.equal(random, torch.random.get_rng_state()), "an exception changed torch's random state")


class _Fuse:
    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, x: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise CrashError("on purpose")
        return x


@check()
def attacks_in_eval_mode(subject: Subject) -> None:
    """A net in train mode, with batch norm and dropout, is attacked as the net that it is in eval mode."""
    case = toy_case(13, batch_norm=True)
    model = nn.Sequential(*list(case.model)[:-1], nn.Dropout(0.5), case.model[-1])  # type: ignore[call-overload, index]
    calm = subject(model.eval(), case.x, case.y)
    same(subject(model.train(), case.x, case.y), calm, "in train mode")


@check()
def leaves_the_random_state(subject: Subject) -> None:
    """torch's random numbers after the attack are those that would have come without it, dropout or not."""
    case = toy_case(14)
    model = Wrapped(case.model, before=lambda x: x + 0 * torch.rand(1, dtype=x.dtype)).eval()
    torch.manual_seed(7)
    expected = torch.rand(3)
    for net, context in ((case.model, "a model"), (model, "a model that draws random numbers itself")):
        torch.manual_seed(7)
        subject(net, case.x, case.y)
        expect(torch.equal(torch.rand(3), expected), f"an attack on {context} consumed or set torch's random state")


@check()
def leaves_a_pending_graph(subject: Subject) -> None:
    """A graph that the caller built before the attack, batch norm included, still gives its gradients."""
    for train in (False, True):
        case = toy_case(15, batch_norm=True)
        model = case.model.train(train)
        loss = model(case.x).square().sum()
        (expected,) = torch.autograd.grad(loss, model[-1].weight, retain_graph=True)  # type: ignore[index]
        subject(model, case.x, case.y)
        loss.backward()
        gradient = model[-1].weight.grad  # type: ignore[index]
        expect(torch.equal(gradient, expected), f"the caller's gradient changed (train mode: {train})")


@check()
def asks_no_gradient_of_parameters(subject: Subject) -> None:
    """The parameters are frozen while the model runs: their gradients would cost time and leave traces."""
    case = toy_case(16)
    spy = Spy(case.model)
    subject(spy, case.x, case.y)
    expect(not spy.asked, "a forward pass was recorded for the gradients of parameters")


@check(lambda subject: not subject.targeted)
def counts_every_pass(subject: Subject) -> None:
    """Queries and gradients are the rows that the model saw and was differentiated at, for a sample alone."""
    case = toy_case(17)
    for stop in ("fooled", "never"):
        for i in range(5):
            spy = Spy(case.model)
            found = subject(spy, case.x[i : i + 1], case.y[i : i + 1], stop=stop)
            for name, seen in (("queries", spy.forwards), ("gradients", spy.backwards)):
                figure = getattr(found, name)
                expect(
                    figure is None or int(figure) == seen, f"{name} {figure}, the model saw {seen} (sample {i}, {stop})"
                )
