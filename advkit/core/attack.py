"""The base classes of attacks: frozen dataclasses of the paper's hyperparameters with a first state and a step."""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor

from advkit.core import door, model_checks
from advkit.core.classify import classify
from advkit.core.draws import Draws
from advkit.core.driver import Problem, drive, last_point
from advkit.core.errors import InputError, unknown
from advkit.core.float64 import lacks_float64
from advkit.core.goals import is_aimed, untargeted
from advkit.core.guard import Model
from advkit.core.host import AsFromHost, back, to_host
from advkit.core.knowledge import check_knowledge
from advkit.core.losses import Loss, check_loss
from advkit.core.norms import get_norm
from advkit.core.option_names import NamedOptions
from advkit.core.oracle import Oracle
from advkit.core.plain import plain
from advkit.core.registry import Registry
from advkit.core.result import Result, better_of
from advkit.core.threat import Threat
from advkit.core.wishes import Wish, as_wish
from advkit.core.written import written

STOPS = ("fooled", "never")

ATTACKS: Registry["Attack"] = Registry("attack", "advkit.attacks", values={"eps": "0.1"})

A = TypeVar("A", bound="type[Attack]")


def register_attack(name: str) -> Callable[[A], A]:
    """Class decorator that registers the attack under this name."""

    def keep(cls: A) -> A:
        cls.name = name
        return ATTACKS.register(name)(cls)

    return keep


@dataclass(frozen=True, kw_only=True)
class Attack(NamedOptions, ABC):
    """An attack on an image classifier; see `__call__`.

    Traits, declared by the class: `kind` ("budget": maximise a loss within eps; "minimal": find the nearest
    adversarial point), `norms`, `per_sample` (a sample's result does not depend on the rest of the batch),
    `deterministic` (the seed changes nothing), `targetable`, `knowledge` ("gradients", "scores", "labels", "nothing"),
    `stepwise` (False: made of several attacks, so that no wrapper can drive it), `climbs` (False: it has no loss),
    `needs_classes` (the method compares classes, so that goals of another form are refused), `stays_inside` (every
    point it asks about is feasible, so that a step need not check that), `follows_gradient` (its steps depend on the
    gradient alone, so that another may be put in its place), `begins_at_image` (False: the image gives shape and range
    only), `measures` (what `Result.size` is, for an attack that is no matter of an lp ball) and `paper`.

    Args:
        target: default of the call's `target`: "untargeted", "runner_up" (the likeliest class other than y on the
            clean image), "random", "all" (every other class in turn, the best kept), or a class.
        norm: the norm that measures a perturbation, one of those that the attack allows.
        loss: the name of the loss that the attack climbs, or a function `(goal, logits) -> (N,)`.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[Literal["budget", "minimal"]]
    norms: ClassVar[tuple[str, ...]]
    per_sample: ClassVar[bool] = True
    targetable: ClassVar[bool] = True
    knowledge: ClassVar[str] = "gradients"
    stepwise: ClassVar[bool] = True
    climbs: ClassVar[bool] = True
    needs_classes: ClassVar[bool] = False
    stays_inside: ClassVar[bool] = False
    follows_gradient: ClassVar[bool] = False
    begins_at_image: ClassVar[bool] = True
    measures: ClassVar[str] = ""
    paper: ClassVar[str] = ""

    target: str | int = "untargeted"
    norm: str = "linf"
    loss: str | Loss = "cross_entropy"

    def __init_subclass__(cls, **options: Any) -> None:
        """`stays_inside` is not inherited: what a subclass asks about is not what its parent did."""
        super().__init_subclass__(**options)
        cls.stays_inside = cls.__dict__.get("stays_inside", False)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, door.without_graph(plain(getattr(self, field.name))))
        if self.norm not in self.norms:
            raise unknown(f"norm of {self.name}", str(self.norm), self.norms)
        check_loss(self.loss)
        if not self.climbs and self.loss != type(self).loss:
            raise InputError(f"{self.name} climbs no loss: leave loss out")
        for field in dataclasses.fields(self):
            if isinstance(field.default, bool):
                door.check_flag(field.name, getattr(self, field.name))
        if not isinstance(self.target, str | int):
            raise InputError("expected target as a word or a class; a tensor of targets belongs to the call")
        self.check_aim(door.check_target(self.target, torch.empty(0, device="cpu")))

    @classmethod
    def _giver(cls, option: str) -> str:
        return getattr(ATTACKS.wrappers.get(option), "__name__", "")

    @property
    def deterministic(self) -> bool:
        """Whether the seed changes nothing."""
        return self.target != "random"

    @property
    def starts_at_x(self) -> bool:
        """Whether the first gradient is taken at the clean image, so that its forward pass serves twice."""
        return True

    @property
    @abstractmethod
    def total_steps(self) -> int:
        """Maximum number of steps that the driver makes."""

    @abstractmethod
    def init(self, oracle: Oracle) -> Any:
        """Return the first state: a NamedTuple of tensors whose first dimension is the batch, with a field `x_adv`.

        Args:
            oracle: the model as the attack may ask it, with the clean images.
        """

    @abstractmethod
    def step(self, oracle: Oracle, state: Any, i: int) -> Any:
        """Return the state after step i; the model has not seen its `x_adv`. Rows leave by a field `done` (M,) bool.

        Args:
            oracle: the model as the attack may ask it.
            state: the state after the last step.
            i: number of the step, from 0.
        """

    @property
    def spec(self) -> str:
        """The spec string from which `create_attack` builds this attack again; a tensor or a function has no text."""
        changed = [f for f in dataclasses.fields(self) if f.repr and getattr(self, f.name) != f.default]
        options = ", ".join(f"{f.name}={written(getattr(self, f.name))}" for f in changed)
        return f"{self.name}({options})" if options else self.name

    def __call__(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        target: str | int | Tensor | None = None,
        goal: Any = None,
        eps: float | Tensor | None = None,
        sample_ids: Tensor | None = None,
        seed: int = 0,
        bounds: tuple[float, float] = (0, 1),
        stop: str = "fooled",
        clean: Tensor | None = None,
    ) -> Result:
        """Attack a batch.

        The model runs in eval mode with frozen parameters, and is left as it was. The attack does not change your
        tensors, and the result shares no memory with them. On a device without float64, such as Apple's "mps", the
        model runs on the device and the attack's own arithmetic runs on the CPU.

        Args:
            model: an `nn.Module` or a function that takes images and returns logits (N, K), K >= 2.
            x: images (N, C, H, W), or (N, ...), within `bounds`.
            y: true classes (N,), integers.
            target: the class to reach: a tensor (N,), a class, or a word as in the class's `target`.
            goal: what counts as a success, see `advkit.goals`: such as `confident(lead=1)`, its spec
                "confident(lead=1)", or a function `(outputs, y) -> (N,)` that is > 0 where the goal is reached.
                Default: a class other than y.
            eps: the radius of the ball in units of the pixels, a number or a tensor (N,), one radius a sample (budget
                attacks).
            sample_ids: (N,) integers that name the samples; default: the row numbers. The random numbers of a sample
                depend only on its name and the seed.
            seed: seed of the random numbers.
            bounds: the range of the pixels.
            stop: "fooled" ends the attack on a sample at its first adversarial point, at distance 0 if it is wrong
                already; "never" goes on to the strongest point. Minimal attacks ignore it.
            clean: the model's outputs for `x`, (N, K), where you know them. An attack that does not take its first
                gradient at `x`, such as PGD with a random start, makes one pass less; `queries` counts it all the same.

        Returns:
            A `Result`.

        Raises:
            InputError: wrong input; the message says what was expected.
        """
        if lacks_float64(x):
            given = {"target": target, "goal": goal, "eps": eps, "sample_ids": sample_ids, "clean": clean}
            given = {name: to_host(value) for name, value in given.items()}
            model_checks.check_model(model)
            model = AsFromHost(model, x.device)
            return back(self(model, x.cpu(), to_host(y), **given, seed=seed, bounds=bounds, stop=stop), x.device)
        problem = self._problem(model, x, y, target, eps, sample_ids, seed, bounds, stop, goal)
        problem = problem._replace(clean=door.check_clean(clean, x))
        if not len(x):
            return _nothing(x)
        if isinstance(problem.target, str) and problem.target == "all":
            return self._over_all_targets(model, problem)
        return self._run(model, problem)

    def examples(
        self,
        model: Model,
        x: Tensor,
        y: Tensor,
        *,
        goal: Any = None,
        seed: int = 0,
        bounds: tuple[float, float] = (0, 1),
    ) -> Tensor:
        """Return images to train on: adversarial examples without a verdict.

        An attack that follows the gradient returns its last point, as the papers on adversarial training do: k steps
        cost k passes, and one more where the loss compares with the clean answer. Any other attack returns the
        strongest point that it visits (`stop="never"`).

        Args:
            model: an `nn.Module` or a function that takes images and returns logits (N, K); it is left as it was.
            x: images (N, ...) within `bounds`.
            y: true classes (N,), integers.
            goal: what counts as a success, as in the call.
            seed: seed of the random numbers.
            bounds: the range of the pixels.

        Returns:
            Images of x's shape, detached.

        Raises:
            InputError: wrong input; the message says what was expected.
        """
        if not self._is_plain_ascent or lacks_float64(x) or not (isinstance(x, Tensor) and x.ndim and len(x)):
            return self(model, x, y, goal=goal, seed=seed, bounds=bounds, stop="never").x_adv
        return last_point(self, model, self._problem(model, x, y, None, None, None, seed, bounds, "never", goal))

    @property
    def _is_plain_ascent(self) -> bool:
        """Whether its steps follow the gradient away from y, on the model and in the ball as they are."""
        own = type(self)
        alone = own._run is Attack._run and own._arrange is Attack._arrange and not hasattr(self, "attack")
        return self.follows_gradient and self.kind == "budget" and self.target == "untargeted" and alone

    def _run(self, model: Model, problem: Problem) -> Result:
        """Through the driver; an attack that is made of several others gives each its part of the problem."""
        asked, problem = self._arrange(model, problem)
        if asked is not model:
            problem = problem._replace(clean=None)  # it is another model's answer
        found = drive(self, asked, problem)
        passes = self.passes
        return replace(found, queries=found.queries * passes, gradients=found.gradients * passes)

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        """What the driver gets: a wrapper may put something around the model, or narrow the region."""
        return model, problem

    @property
    def passes(self) -> int:
        """How many passes of the model one query takes."""
        return 1

    def _problem(
        self,
        model: Any,
        x: Any,
        y: Any,
        target: Any,
        eps: Any,
        ids: Any,
        seed: Any,
        bounds: Any,
        stop: Any,
        goal: Any = None,
    ) -> Problem:
        model_checks.check_model(model)
        check_knowledge(model, self, _knowledge_by_name)
        bounds = door.check_bounds(bounds)
        door.check_images(x, bounds)
        wish = self._wish(goal)
        y = door.check_classes("labels", y, x) if wish is None or wish.labelled else door.check_rows(y, x)
        target = door.one_target(target, getattr(wish, "target", None), x)
        target = door.check_target(self.target if target is None else target, x)
        self.check_aim(target)
        if wish is not None and not wish.of_classes:
            self._check_open(target)
        if stop not in STOPS:
            raise unknown("stop", str(stop), STOPS)
        draws = Draws(door.check_seed(seed), door.check_ids(ids, x))
        return Problem(x.detach(), y, target, self._threat(eps, x, bounds), draws, stop, wish)

    def check_aim(self, target: str | int | Tensor) -> None:
        """Check that the attack can have this target.

        Args:
            target: a word, a class or a tensor (N,), as in the call.

        Raises:
            InputError: it cannot; the message says what to do.
        """
        if not self.targetable and is_aimed(target):
            raise InputError(f"{self.name} has no targeted form: leave target out")

    def having(self, **options: Any) -> Self:
        """Return the attack with other options; in a wrapper the attack inside has them.

        Args:
            **options: hyperparameters by name, such as `target="all"`.

        Raises:
            InputError: there is no such option, or it refuses a value.
        """
        return replace(self, **options)

    def _wish(self, goal: Any) -> Wish | None:
        """The goal of the call; an attack with an option that redefines success puts it here."""
        return None if goal is None else as_wish(goal)

    def _check_open(self, target: Any) -> None:
        if self.needs_classes or not self.stepwise:
            raise InputError(
                f"{self.name} compares classes and cannot pursue this goal: use another, such as PGD or FMN"
            )
        if is_aimed(target):
            raise InputError("expected no target beside a goal that does not speak of classes")

    def _threat(self, eps: Any, x: Tensor, bounds: tuple[float, float]) -> Threat:
        """What the attack may do; a budget attack gets a finite radius, for steps of no size times inf would be NaN."""
        radius = self._radius(eps, x)
        door.check_grain(self.name, get_norm(self.norm), radius)
        return Threat(self.norm, radius if self.kind == "minimal" else _finite(radius, self.norm, x, bounds), bounds)

    def _radius(self, eps: Any, x: Tensor) -> float | Tensor:
        if eps is not None:
            raise InputError(f"{self.name} looks for the nearest adversarial point and takes no eps")
        return torch.inf

    def _over_all_targets(self, model: Model, problem: Problem) -> Result:
        """Every class other than y in turn; the nearest success (minimal) or the one that leads y most is kept."""
        classes = _count_classes(model, problem)
        first, *others = (problem._replace(target=(problem.y + shift) % classes) for shift in range(1, classes))
        result, lead = self._run(model, first), untargeted(problem.y)
        for other in others:
            found = self._run(model, other)
            nearer, stronger = found.distance < result.distance, lead.margin(found.logits) > lead.margin(result.logits)
            result = better_of(result, found, nearer if self.kind == "minimal" else stronger)
        return result


@dataclass(frozen=True, kw_only=True)
class BudgetAttack(Attack):
    """An attack that maximises a loss within a ball.

    Args:
        eps: the radius of the ball in units of the pixels; the call's `eps` overrides it. `math.inf` sets no
            limit but the range of the pixels; a spec writes `eps=inf`.
        norm: the norm of the ball.
        loss: the loss that is maximised: "cross_entropy", "margin", "dlr", or a function.
        target: default of the call's `target`, see `Attack`.
    """

    kind = "budget"

    eps: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None:
            object.__setattr__(self, "eps", door.check_one_eps(self.eps))
            door.check_grain(self.name, get_norm(self.norm), self.eps)

    def _radius(self, eps: Any, x: Tensor) -> float | Tensor:
        eps = self.eps if eps is None else eps
        if eps is None:
            norm = f", norm={self.norm}" if self.norm != type(self).norm else ""
            one = f"{self.name}(eps={10 if get_norm(self.norm).grain else 0.1}{norm})"
            raise InputError(f"{self.name} needs eps, the radius of the ball: {one}, or eps= in the call")
        return door.check_eps(eps, x)


@dataclass(frozen=True, kw_only=True)
class MinimalAttack(Attack):
    """An attack that looks for the nearest adversarial point."""

    kind = "minimal"


def _finite(eps: float | Tensor, norm: str, x: Tensor, bounds: tuple[float, float]) -> float | Tensor:
    """The radius; in place of an infinite one that of the whole range, which is all that it can use."""
    if isinstance(eps, float) and math.isfinite(eps):
        return eps
    whole = get_norm(norm).size(torch.full((1, *x.shape[1:]), bounds[1] - bounds[0], dtype=torch.float64, device="cpu"))
    return torch.where(eps.isinf(), whole.to(eps.device), eps) if isinstance(eps, Tensor) else float(whole)


def _knowledge_by_name() -> dict[str, str]:
    return {name: str(getattr(ATTACKS.factory(name), "knowledge", "gradients")) for name in ATTACKS.names()}


def _count_classes(model: Model, problem: Problem) -> int:
    """Classify one image, outside all counts, unless the answer is known."""
    if problem.clean is not None:
        return problem.clean.shape[1]
    x, y = problem.x[:1], problem.y[:1]
    logits = classify(model, x)
    model_checks.check_answer(logits, x, y)
    return logits.shape[1]


def _nothing(x: Tensor) -> Result:
    """The result on a batch of no samples."""
    none = torch.zeros(0, dtype=torch.int64, device=x.device)
    return Result(x.detach().clone(), none.bool(), none.double(), none, none, x.new_zeros(0, 0), none.bool())
