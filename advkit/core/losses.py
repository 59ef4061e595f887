"""The losses that attacks maximise: (goal, logits) -> (N,), larger = more adversarial, never averaged over samples.

Computed in float32 or better, whatever the model's type.
"""

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advkit.core.errors import InputError, unknown, warn
from advkit.core.goals import Goal, wide
from advkit.core.large import is_large

Loss = Callable[..., Tensor]
"""(goal, logits) -> (N,), or (goal, logits, clean) -> (N,) where `clean` (N, K) are the logits of the clean images."""


LAST = {torch.float32: -60.0}
"""log sum exp(others) - own below which J is replaced by its tangent, by type; its exp() is not 0."""


def surprise(logits: Tensor, label: Tensor) -> Tensor:
    """J = -log softmax(logits)[label], (N, K) and (N,) -> (N,), exact up to a lead of the label of 60 (float64: 600).

    If the label's probability rounds to 1, the usual formula gives J = 0 and a gradient without the label's logit,
    which points elsewhere. The formula here, J = log(1 + exp(log sum exp(others) - own)), keeps both. Beyond that lead
    J continues as its tangent, so that the gradient does not vanish at any scale of the logits.
    """
    logits = wide(logits)
    own = logits.gather(1, label[:, None])
    others = logits.scatter(1, label[:, None], -torch.inf)
    return _of_lead((others - own).logsumexp(1))


def _of_lead(lead: Tensor) -> Tensor:
    """J (N,) of log sum exp(others) - own (N,)."""
    last = LAST.get(lead.dtype, -600.0)
    near = lead.clamp(min=last)
    return F.softplus(near, threshold=50).add_(lead - near, alpha=math.exp(last))


def _lead_and_slope(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """log sum exp(others) - own (N,), and the derivative of `surprise` with respect to the logits (N, K)."""
    logits, label = wide(logits), label[:, None]
    leads = logits.scatter(1, label, -torch.inf).sub_(logits.gather(1, label))
    lead = leads.logsumexp(1, keepdim=True)
    rate = lead.sigmoid().clamp_(min=math.exp(LAST.get(logits.dtype, -600.0)))
    return lead.squeeze(1), leads.softmax(1).scatter_(1, label, -1.0).mul_(rate)


def cross_entropy(goal: Goal, logits: Tensor) -> Tensor:
    """J of y for an untargeted goal, or minus J of the target (Goodfellow et al. 2014, arXiv 1412.6572)."""
    return goal.sign * surprise(logits, goal.label)


def margin(goal: Goal, logits: Tensor) -> Tensor:
    """Return the difference of logits that decides the class (Carlini and Wagner 2016, arXiv 1608.04644, f6)."""
    return goal.margin(logits)


def dlr(goal: Goal, logits: Tensor) -> Tensor:
    """Difference of logits ratio, invariant to shift and scale of the logits (Croce and Hein 2020, arXiv 2003.01690).

    It needs 3 classes, or 4 with a target; with fewer, `get_loss` returns `margin`.
    """
    ranked = wide(logits).sort(dim=1, descending=True).values
    spread = ranked[:, 0] - ranked[:, 2 : goal.ranks].mean(1)
    return goal.gap(logits) / (spread + 1e-12)


def rival(goal: Goal, logits: Tensor) -> Tensor:
    """Minus J of the class to reach, which is the target or the likeliest class other than y. Never above 0."""
    return -surprise(logits, goal.rival(logits))


def kl_to_clean(goal: Goal, logits: Tensor, clean: Tensor) -> Tensor:
    """KL(p(clean) || p(logits)): what TRADES maximises (Zhang et al. 2019, arXiv 1901.08573, equation 5)."""
    before = wide(clean).log_softmax(1)
    return (before.exp() * (before - wide(logits).log_softmax(1))).sum(1)


LOSSES: dict[str, Loss] = {}


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Decorator that registers a loss under this name."""

    def keep(loss: Loss) -> Loss:
        LOSSES[name] = loss
        return loss

    return keep


for _loss in (cross_entropy, margin, dlr, rival, kl_to_clean):
    register_loss(_loss.__name__)(_loss)

_OURS = frozenset(LOSSES.values())


def by_row(loss: str | Loss) -> bool:
    """Return whether each number of the loss is known to depend on its own row alone: it is one of ours.

    Args:
        loss: the loss, a name or a function.
    """
    return isinstance(loss, str) and LOSSES.get(loss) in _OURS


Values = Callable[[], Tensor]
"""() -> (N,): the loss, computed when it is asked for; most attacks ask for its gradient alone."""


def _cross_entropy_slope(goal: Goal, logits: Tensor) -> tuple[Values, Tensor]:
    lead, slope = _lead_and_slope(logits, goal.label)
    return lambda: goal.signed(_of_lead(lead)), goal.signed(slope)


def _rival_slope(goal: Goal, logits: Tensor) -> tuple[Values, Tensor]:
    lead, slope = _lead_and_slope(logits, goal.rival(logits))
    return lambda: -_of_lead(lead), slope.neg_()


def _margin_slope(goal: Goal, logits: Tensor) -> tuple[Values, Tensor]:
    """Rivals that share the first place share the derivative, as they do in autograd's `amax`."""
    logits, label = wide(logits), goal.label[:, None]
    others = logits.scatter(1, label, -torch.inf)
    best = others.amax(1, keepdim=True)
    first = (others == best).to(logits.dtype)
    slope = (first / first.sum(1, keepdim=True)).scatter_(1, label, -1.0)
    return lambda: goal.signed((best - logits.gather(1, label)).squeeze(1)), goal.signed(slope)


_SLOPES = {cross_entropy: _cross_entropy_slope, rival: _rival_slope, margin: _margin_slope}
"""Losses whose derivative with respect to the logits is known: a graph through them need not be built."""


def loss_and_slope(loss: str | Loss, goal: Any, logits: Tensor) -> tuple[Values, Tensor] | None:
    """Return the loss (N,), when asked for, and its derivative (N, K) at these logits; None if no closed form is known.

    A graph of a dozen small operations costs as much as the passes of a small network on one image.
    """
    if not isinstance(goal, Goal):
        return None
    slope = _SLOPES.get(get_loss(loss, goal, logits.shape[-1]) if isinstance(loss, str) else loss)
    return None if slope is None else slope(goal, logits.detach())


OF_THE_ANSWER = ("kl_to_clean",)
"""Losses that do not ask what the goal is."""


def check_loss(loss: str | Loss) -> None:
    """Check that the loss is a registered name, or a function of (goal, logits) or of (goal, logits, clean).

    Raises:
        InputError: neither.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
    elif not callable(loss):
        raise InputError(f"expected loss as a name or a function (goal, logits) -> (N,), got {loss!r}")
    elif is_loss_of_torch(needed_arguments(loss)):
        raise InputError(
            "expected a loss (goal, logits) or (goal, logits, clean), got one of torch, (input, target): write "
            "loss=lambda goal, logits: goal.sign * loss(logits, goal.label), with reduction='none'"
        )
    elif _arguments(loss) not in (2, 3):
        raise InputError(f"expected a loss (goal, logits) or (goal, logits, clean), got {_arguments(loss)} arguments")


@cache
def _arguments(loss: Loss) -> int:
    """How many positional arguments without a default the function takes."""
    return len(needed_arguments(loss))


def needed_arguments(function: Callable[..., Any]) -> list[str]:
    """Return the names of the positional arguments without a default; those of `forward` for a module.

    `*args` stands for as many as make two.
    """
    called = function.forward if isinstance(function, nn.Module) else function
    parameters = inspect.signature(called).parameters.values()
    names = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    some = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return names + ["*"] * (2 - len(names)) if some else names


def is_loss_of_torch(names: list[str]) -> bool:
    """Return whether these are the arguments of a loss of torch, such as `cross_entropy(input, target)`."""
    return names[:2] == ["input", "target"]


def asks_for_clean(loss: str | Loss) -> bool:
    """Return whether the loss takes the logits of the clean images."""
    return _arguments(LOSSES[loss] if isinstance(loss, str) else loss) == 3


def loss_values(loss: str | Loss, goal: Any, logits: Tensor, clean: Tensor) -> Tensor:
    """Return the loss (N,), given by name or function, at these logits; `clean` are the logits of the clean images.

    Raises:
        InputError: the function does not return one number a sample.
    """
    function = get_loss(loss, goal, logits.shape[-1]) if isinstance(loss, str) else loss
    values = function(goal, logits, clean) if _arguments(function) == 3 else function(goal, logits)
    if not isinstance(values, Tensor) or values.shape != (len(logits),):
        seen = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"expected the loss as a tensor ({len(logits)},), one number a sample, got {seen}")
    return values


def climb(loss: str | Loss, goal: Any, graph: Tensor, leaf: Tensor, clean: Tensor) -> tuple[Values, Tensor]:
    """Return the loss (N,), when asked for, and its gradient at the leaf (N, ...), detached.

    Integer votes have a gradient of 0. Entries that are NaN count as 0,
    infinite ones as the largest number.

    Args:
        loss: the loss, a name or a function.
        goal: the goal of the attack.
        graph: the logits (N, K), a function of the leaf; autograd must be on.
        leaf: the images (N, ...).
        clean: the logits of the clean images (N, K).
    """
    closed = loss_and_slope(loss, goal, graph)
    if closed is None:
        top = loss_values(loss, goal, graph, clean)
        values, weights = top.detach, torch.ones_like(top)
    else:
        values, weights, top = closed[0], closed[1].to(graph.dtype), graph
    gradient = torch.autograd.grad(top, leaf, weights, allow_unused=True)[0] if top.requires_grad else None
    found = torch.zeros_like(leaf) if gradient is None else _finite(gradient.detach())
    return values, found.contiguous()


def _finite(gradient: Tensor) -> Tensor:
    """NaN becomes 0 and infinity the largest number; on a CPU large gradients are read before they are copied."""
    if is_large(gradient) and math.isfinite(gradient.sum().item()):  # else the sum is not finite either
        return gradient
    return gradient.nan_to_num(0.0)


def get_loss(name: str, goal: Any, classes: int) -> Loss:
    """Return the loss of this name for this goal and number of classes; for a goal without classes, the margin.

    Raises:
        UnknownNameError: there is no such loss.
    """
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    if not goal.of_classes and name not in OF_THE_ANSWER:
        return margin
    if name == "dlr" and classes < goal.ranks:
        warn(f"dlr needs {goal.ranks} classes for this goal and the model has {classes}: margin is used instead")
        return margin
    return LOSSES[name]
