"""Attacks of other libraries under the same rules: one ball, one verdict, one count of passes.

`create_attack("foolbox:LinfPGD(steps=40)")`, `"torchattacks:PGD(steps=40)"`, `"art:ProjectedGradientDescent()"`: the
name is the class's in that library, the options are its constructor's. The library has to be installed.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import import_module
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from advkit.attacks.parts.point import State
from advkit.attacks.parts.stepless import Stepless
from advkit.core.attack import Attack
from advkit.core.door import check_eps
from advkit.core.driver import Problem
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.norms import NORMS
from advkit.core.oracle import Oracle
from advkit.core.outputs import answer_of
from advkit.core.written import written


class Counted(nn.Module):
    """The model as a module that counts the rows it sees and those it is differentiated at."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.queries, self.gradients = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the model's logits at x (N, ...)."""
        self.queries += len(x)
        answer: Tensor = answer_of(self.model(_Seen.apply(x, self)))
        return answer


class _Seen(torch.autograd.Function):
    """The identity; the way back is counted."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counted: Counted) -> Tensor:
        ctx.counted = counted
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.counted.gradients += len(gradient)
        return gradient, None


class Call(NamedTuple):
    """The arguments for the other library."""

    model: Counted
    x: Tensor
    y: Tensor
    target: Tensor | None  # (M,) the class to reach
    eps: float
    classes: int


@dataclass(frozen=True, kw_only=True)
class Foreign(Stepless, Attack):
    """An attack of another library. Its images are brought into ball and range, and judged as ours are.

    Images have to lie in [0, 1], and all samples share one eps, for that is what these libraries take.

    Cost per sample: the mean over the batch of the rows that the model saw and was differentiated at, and 2 queries
    more, for the clean image and the verdict.

    Args:
        class_name: the name of the class in that library.
        options: arguments for its constructor.
        eps: the radius of the ball; an attack that looks for the nearest point ignores it.
    """

    norms = tuple(NORMS)
    library: ClassVar[str] = ""
    climbs = False
    needs_classes = True
    stepwise = False

    class_name: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    eps: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "name", f"{self.library}:{self.class_name}")
        object.__setattr__(self, "paper", f"as in {self.library}")
        object.__setattr__(self, "kind", "minimal" if self._is_minimal() else "budget")
        if self.eps is not None:
            object.__setattr__(self, "eps", check_eps(self.eps))

    @property
    def deterministic(self) -> bool:
        """It may draw random numbers; torch's and NumPy's begin with the seed."""
        return False

    @property
    def spec(self) -> str:
        """As `create_attack` reads it."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        given = {name: changed[name] for name in ("eps", "norm", "target") if name in changed} | self.options
        options = ", ".join(f"{name}={written(value)}" for name, value in given.items())
        return f"{self.name}({options})" if options else self.name

    def _radius(self, eps: Any, x: Tensor) -> float | Tensor:
        eps = self.eps if eps is None else eps
        if self.kind == "minimal":
            return super()._radius(eps, x)
        if eps is None:
            raise InputError(f"{self.name} needs eps, the radius of the ball: eps= in the spec or in the call")
        return check_eps(eps, x)

    def _arrange(self, model: Model, problem: Problem) -> tuple[Model, Problem]:
        if tuple(problem.threat.bounds) != (0, 1):
            raise InputError(f"{self.name} takes images in [0, 1], got bounds {problem.threat.bounds}")
        return model, problem

    def init(self, oracle: Oracle) -> State:
        """Run the attack of the other library."""
        counted, goal = Counted(oracle.model).eval(), oracle.goal
        call = Call(counted, oracle.x, goal.y, goal.target, self._one_radius(oracle), oracle.clean.shape[1])
        with torch.enable_grad(), _drawing_from(oracle.draws.seed):
            found = self._images(call)
        oracle.spent(*(_shared_out(total, oracle.x) for total in (counted.queries, counted.gradients)))
        return State(found.detach().to(oracle.x))

    def _one_radius(self, oracle: Oracle) -> float:
        eps = oracle.region.eps.flatten()
        if self.kind == "budget" and bool((eps != eps[0]).any()):
            raise InputError(f"{self.name} takes one eps for all samples")
        return float(eps[0])

    def _class(self, module: str) -> Any:
        """The class in the library.

        Raises:
            InputError: the library is not installed, or has no such class.
        """
        try:
            place = import_module(module)
        except ImportError as error:
            raise InputError(
                f"{self.library} cannot be imported ({error}): pip install {PACKAGES[self.library]}"
            ) from error
        if not hasattr(place, self.class_name):
            raise unknown(f"attack of {self.library}", self.class_name, [n for n in vars(place) if n[:1].isupper()])
        return getattr(place, self.class_name)

    def _made(self, maker: Any, *given: Any, **options: Any) -> Any:
        try:
            return maker(*given, **self.options, **options)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name} does not take these options: {error}") from error

    @abstractmethod
    def _is_minimal(self) -> bool:
        """Whether it looks for the nearest point."""

    @abstractmethod
    def _images(self, call: Call) -> Tensor:
        """The images (M, ...) that the library's attack returns."""


PACKAGES = {"foolbox": "foolbox", "torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox"}


def _shared_out(total: int, x: Tensor) -> Tensor:
    """(M,) int64: a number of passes shared out over the rows; two rows differ by at most 1."""
    row = torch.arange(len(x), device=x.device)
    return (total + len(x) - 1 - row) // len(x)


@contextmanager
def _drawing_from(seed: int) -> Iterator[None]:
    """torch's random numbers, whose state the guard puts back, and NumPy's begin with the seed."""
    before = np.random.get_state()  # noqa: NPY002 # what other libraries use
    torch.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
