"""Feature adversaries: Sabour, Cao, Faghri, Fleet 2016, section 3 (arXiv 1511.05122)."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from advkit.core.attack import BudgetAttack, register_attack
from advkit.core.best_points import take
from advkit.core.door import check_count, check_positive
from advkit.core.driver import Problem
from advkit.core.errors import InputError, unknown
from advkit.core.goals import Goal, flat, wide
from advkit.core.guard import Model, modules_of
from advkit.core.oracle import Oracle
from advkit.core.outputs import answer_of

POOL = 64
"""Maximum number of images of the batch among which guides are looked for."""


class State(NamedTuple):
    """The image, the representation that it is to have, and how far from it the clean image is."""

    x_adv: Tensor  # (M, ...)
    phi: Tensor  # (M, D): the guide's
    far: Tensor  # (M,) float64: of the clean image, 0 before it is known
    done: Tensor  # (M,) bool: the last image has been looked at


@register_attack("features")
@dataclass(frozen=True, kw_only=True)
class Features(BudgetAttack):
    """Within the ball, the image whose inner representation is nearest to that of another image, its guide.

    `minimise |phi(x_adv) - phi(guide)|_2^2`, phi what a layer computes; steps along the norm's steepest direction. The
    guide is the image that reaches the goal by the largest margin: one of another class, or of the target. By default
    it is one of the batch, so that a sample's result depends on its batch.

    `Result.size` is `|phi(x_adv) - phi(guide)| / |phi(x) - phi(guide)|`: 0 is the guide's representation.

    Cost per sample: `steps` gradients and `steps` + 4 queries, one of them for the guide.

    Args:
        layer: name of the module whose output is the representation; default: the input of the last linear layer, or
            the logits of a model that has none.
        guides: images (K, C, H, W) among which each sample's guide is chosen; default: those of the batch.
        steps: number of steps.
        step_size: length of a step in units of the pixels; default: 2.5 * eps / steps.
    """

    norms = ("linf", "l2")
    paper = "Sabour et al. 2016, arXiv 1511.05122"
    needs_classes = True
    starts_at_x = False
    measures = "distance from the guide's representation, as a share of the clean image's"

    loss: str = "margin"
    layer: str | None = None
    guides: Tensor | None = field(default=None, compare=False, repr=False)
    steps: int = 50
    step_size: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("steps", self.steps)
        check_positive("step_size", self.step_size, optional=True)
        if self.guides is not None and not (isinstance(self.guides, Tensor) and self.guides.is_floating_point()):
            raise InputError("expected guides as a tensor of images (K, C, H, W)")
        object.__setattr__(self, "per_sample", self.guides is not None)

    @property
    def total_steps(self) -> int:
        """`steps`, and a look at the last image, whose size is known then."""
        return self.steps + 1

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        heard = Heard(model, self.layer)
        _heard.set(heard)
        return heard, problem

    def init(self, oracle: Oracle) -> State:
        """Return the clean image, and the guide's representation."""
        one = torch.ones_like(oracle.rows.row)
        row = torch.arange(len(one), device=one.device)
        place = _spread(len(one)).to(one.device)
        pool = oracle.x[place] if self.guides is None else self._given(oracle.x)
        with torch.no_grad():
            answers = oracle.model(pool)
        margins = margins_of(oracle.goal, answers, len(one))
        if self.guides is None:  # an image is no guide of its own
            margins = margins.masked_fill(place == row[:, None], -torch.inf)
        phi = _representation(len(pool))[margins.argmax(1)]
        oracle.spent(one, 0 * one)
        return State(oracle.x, phi, 0.0 * one.double(), oracle.fooled & False)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        """Look at the image, measure its distance from the guide, and step nearer."""

        def near(goal: Goal, logits: Tensor) -> Tensor:
            return -(_representation(len(logits)) - state.phi).square().sum(1)

        if i == self.steps:
            oracle.logits(state.x_adv)
            oracle.measured(self._share(state))
            return state._replace(done=torch.ones_like(state.done))
        gradient = oracle.gradient(state.x_adv, near)
        distance = _distance(state)
        state = state._replace(far=torch.where(state.far > 0, state.far, distance))
        oracle.measured(self._share(state))
        length = 2.5 * oracle.region.eps / self.steps if self.step_size is None else self.step_size
        return state._replace(x_adv=oracle.region.step(state.x_adv, gradient, length).to(oracle.x.dtype))

    def _share(self, state: State) -> Tensor:
        return _distance(state) / state.far.clamp(min=1e-300)

    def _given(self, x: Tensor) -> Tensor:
        assert self.guides is not None
        if self.guides.shape[1:] != x.shape[1:] or not len(self.guides):
            raise InputError(
                f"expected guides of the shape of the images, {tuple(x.shape[1:])}, got {tuple(self.guides.shape)}"
            )
        return self.guides.to(x)


class Heard(nn.Module):
    """A model of which one layer's output is kept at every pass; nothing stays on the model itself.

    Args:
        model: the model.
        layer: name of the module; None for the input of the last linear layer, or the logits where there is none.
    """

    def __init__(self, model: Model, layer: str | None) -> None:
        super().__init__()
        self.model = model
        self.phi: Tensor | None = None
        modules = dict(model.named_modules()) if isinstance(model, nn.Module) else {}
        if layer is not None and layer not in modules:
            raise unknown("layer", layer, modules)
        linear = [module for module in modules_of(model) if isinstance(module, nn.Linear)]
        self._where: Any = (modules[layer] if layer is not None else linear[-1] if linear else None,)
        self._inputs = layer is None

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's answer to x (N, ...)."""
        (module,) = self._where
        self.phi = None
        if module is None:
            answer = answer_of(self.model(x))
            self.phi = answer
            return answer
        keep = self._keep_input if self._inputs else self._keep_output
        hook = (module.register_forward_pre_hook if self._inputs else module.register_forward_hook)(keep)
        try:
            return answer_of(self.model(x))
        finally:
            hook.remove()

    def _keep_input(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        self.phi = given[0]

    def _keep_output(self, module: nn.Module, given: Any, found: Any) -> None:
        self.phi = answer_of(found)


_heard: ContextVar[Heard] = ContextVar("advkit_features_heard")
"""The model of the attack that this thread is running."""


def _representation(count: int) -> Tensor:
    """(count, D): of the latest pass, without the rows that only filled up the batch."""
    phi = _heard.get().phi
    if phi is None:
        raise InputError(
            "the layer took no part in the model's answer: choose another layer=, "
            "or give the model as it was before torch.compile, which leaves out the hook of the attack"
        )
    if len(phi) < count:
        raise InputError(
            f"the layer was last called for {len(phi)} of {count} images, as nn.DataParallel on several devices does: "
            "give the network inside of it"
        )
    return wide(flat(phi))[:count]


def _distance(state: State) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm((_representation(len(state.phi)).detach() - state.phi).double(), dim=1)
    return distance


def _spread(count: int) -> Tensor:
    """The numbers of at most `POOL` of `count` images, evenly spread."""
    return torch.linspace(0, count - 1, min(POOL, count), dtype=torch.float64, device="cpu").round().long()


def margins_of(goal: Goal, answers: Tensor, count: int) -> Tensor:
    """(M, K): the margin by which each of the answers (K, classes) reaches each of the M = `count` goals."""
    rows = torch.arange(count, device=answers.device).repeat_interleave(len(answers))
    margins: Tensor = take(goal, rows).margin(answers.repeat(count, 1))
    return margins.view(count, -1)
