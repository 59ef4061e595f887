"""One perturbation found on a data set, batch by batch, and added to any image: see `Universal` (arXiv 1610.08401)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.attacks.parts.on_data import Watch, check_gradients
from advkit.attacks.parts.stepless import Stepless
from advkit.attacks.universal.universal import State, Universal, moved
from advkit.core import door
from advkit.core.attack import BudgetAttack
from advkit.core.door import check_count
from advkit.core.driver import last_point
from advkit.core.errors import InputError
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.data._any_data import as_data
from advkit.data._stream import Batch, batches, how_many, total
from advkit.evaluation.measure.aims import aim_at, one_class


@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation(Stepless, BudgetAttack):
    """A perturbation that is known already, added to every image, within ball and range. What `find_universal` returns.

    Cost per sample: 2 queries, the second being the verdict, and no gradient.

    Args:
        delta: the perturbation, of the shape of an image.
    """

    norms = Universal.norms
    name = "universal_perturbation"
    paper = Universal.paper
    knowledge = "nothing"

    delta: Tensor = field(compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.delta, Tensor) or not self.delta.is_floating_point():
            raise InputError(f"expected delta as a floating-point tensor (C, H, W), got {type(self.delta).__name__}")

    @property
    def spec(self) -> str:
        """The Python expression, since tensors have no place in a spec."""
        return f"universal_perturbation(eps={self.eps}, norm={self.norm})"

    def init(self, oracle: Oracle) -> State:
        """Return the images with the perturbation."""
        x = oracle.x
        if self.delta.shape != x.shape[1:]:
            raise InputError(
                f"the perturbation is of shape {tuple(self.delta.shape)}, the images are of shape {tuple(x.shape[1:])}"
            )
        delta = self.delta.to(x).expand_as(x)
        return State(oracle.region.project(x + delta), delta)


@dataclass(frozen=True, kw_only=True)
class _Learner(Universal):
    """One step on one batch, from a perturbation on, which is kept for the next batch. All images have a say.

    Those that are fooled already count too: v would otherwise stay inside the ball once it fools the images that it
    is found on, and fool few others.
    """

    held: list[Tensor] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    left: float = 1.0

    def init(self, oracle: Oracle) -> State:
        delta = self.held[0].to(oracle.x).expand_as(oracle.x)
        return State(oracle.region.project(oracle.x + delta), delta)

    def step(self, oracle: Oracle, state: State, i: int) -> State:
        gradient = self.watch.over(oracle).gradient(state.x_adv, self.loss)
        everyone = torch.ones(len(gradient), dtype=torch.bool, device=gradient.device)
        state = moved(oracle, state.delta, gradient, everyone, self.left * self.length(oracle))
        self.held[0] = state.delta[0].detach().clone()
        return state

    def learn(self, model: Model, batch: Batch, bounds: tuple[float, float]) -> None:
        """One pass there and back: nothing is judged."""
        last_point(
            self, model, self._problem(model, batch.x, batch.y, None, None, batch.sample_ids, 0, bounds, "never")
        )


def find_universal(
    model: Model,
    data: Any,
    *,
    eps: float,
    norm: str = "linf",
    epochs: int = 10,
    batch_size: int = 100,
    count: int | None = None,
    step_size: float | None = None,
    loss: str = "cross_entropy",
    target: str | int = "untargeted",
    bounds: tuple[float, float] = (0, 1),
) -> UniversalPerturbation:
    """Find a perturbation that fools a model on most images of a data set, as an attack that adds it to any image.

        attack = find_universal(model, load_data("mnist5k", split="train"), eps=0.2)
        print(evaluate(model, load_data("mnist5k"), [attack]).adversarial_error)

    Every image counts in every step, also one that is fooled already, so that the perturbation suits images that it has
    not seen. Its steps begin as long as the radius and fall evenly towards 0.

    Cost per image and epoch: one query and one gradient.

    Args:
        model: images (N, C, H, W) -> logits.
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        eps: the radius of the ball, in units of the pixels.
        norm: linf, l2 or l1.
        epochs: number of passes over the images.
        batch_size: number of images in each step.
        count: number of images to use; default: all.
        step_size: length of the first step in units of the pixels; default: eps.
        loss: the loss that the steps increase, see `Attack`.
        target: the class to reach, by its number or by its name in the data, or a word as in `Attack`.
        bounds: the range of the pixels.

    Raises:
        InputError: a value that is refused, another kind of data, or a model that shows no gradients.

    Warns:
        AdvkitWarning: most gradients were exactly zero.
    """
    check_gradients(model, "universal perturbations")
    epochs = check_count("epochs", epochs)
    batch_size, count = how_many(batch_size, count)
    data = as_data(data, batch_size=batch_size, count=count)
    eps = door.check_finite_eps(eps)
    target = one_class(aim_at(target, data), "perturbation")
    held, watch = list[Tensor](), Watch()
    whole, seen = total(data, count), 0
    for epoch in range(epochs):
        for batch in batches(data, batch_size=batch_size, count=count):
            held = held or [torch.zeros_like(batch.x[0])]
            left = 1 - seen / (epochs * whole) if whole else 1.0
            learner = _Learner(
                eps=eps,
                norm=norm,
                steps=1,
                step_size=step_size,
                loss=loss,
                target=target,
                held=held,
                watch=watch,
                left=left,
            )
            learner.learn(model, batch, bounds)
            seen += len(batch.x)
        whole = seen // (epoch + 1)
    watch.remark()
    return UniversalPerturbation(delta=held[0], eps=eps, norm=norm)
