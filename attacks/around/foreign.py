"""Attacks of other libraries under the same rules: one ball, one verdict, one count of passes.

`create_attack("foolbox:LinfPGD(steps=40)")`, `"torchattacks:PGD(steps=40)"`, `"art:ProjectedGradientDescent()"`: the
name is the class's in that library, the options are its constructor's. The library has to be installed.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import import_module
from inspect import signature
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from advkit.attacks.parts.point import State
from advkit.attacks.parts.stepless import Stepless
from advkit.core.attack import ATTACKS, Attack
from advkit.core.door import check_eps
from advkit.core.driver import Problem
from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.oracle import Oracle
from advkit.core.outputs import answer_of


class Counted(nn.Module):
    """The model as a module that counts the rows it sees and those it is differentiated at."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.queries, self.gradients = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits at x (N, ...)."""
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

    norms = ("linf", "l2", "l1", "l0")
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
        options = ", ".join(f"{name}={value}" for name, value in given.items())
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
        """What the other library finds."""
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


class Foolbox(Foreign):
    """Of Foolbox 3 (Rauber et al. 2017, arXiv 1707.04131); its class says the norm."""

    library = "foolbox"

    def __post_init__(self) -> None:
        distance = getattr(self._class("foolbox.attacks"), "distance", None)
        norms = {0: "l0", 1: "l1", 2: "l2", float("inf"): "linf"}
        object.__setattr__(self, "norm", norms.get(getattr(distance, "p", float("inf")), "linf"))
        super().__post_init__()

    def _is_minimal(self) -> bool:
        names = [base.__name__ for base in self._class("foolbox.attacks").__mro__]
        return "MinimizationAttack" in names

    def _images(self, call: Call) -> Tensor:
        foolbox = import_module("foolbox")
        model = foolbox.PyTorchModel(call.model, bounds=(0, 1), device=call.x.device)
        criterion = (
            foolbox.Misclassification(call.y) if call.target is None else foolbox.TargetedMisclassification(call.target)
        )
        attack = self._made(self._class("foolbox.attacks"))
        epsilons = None if self.kind == "minimal" else [call.eps]
        _, clipped, _ = attack(model, call.x, criterion, epsilons=epsilons)
        found: Tensor = clipped if epsilons is None else clipped[0]
        return found


class Torchattacks(Foreign):
    """Of torchattacks (Kim 2020, arXiv 2010.01950); the norm is linf unless the spec says `norm=l2`."""

    library = "torchattacks"

    def _is_minimal(self) -> bool:
        return "eps" not in signature(self._class("torchattacks").__init__).parameters

    def _images(self, call: Call) -> Tensor:
        radius = {} if self.kind == "minimal" else {"eps": call.eps}
        attack = self._made(self._class("torchattacks"), call.model, **radius)
        labels = call.y
        if call.target is not None:
            attack.set_mode_targeted_by_label(quiet=True)
            labels = call.target
        found: Tensor = attack(call.x, labels)
        return found


class ART(Foreign):
    """Of ART's evasion attacks (Nicolae et al. 2018, arXiv 1807.01069); the norm is linf unless `norm=l2` is given."""

    library = "art"

    def _is_minimal(self) -> bool:
        return "eps" not in signature(self._class("art.attacks.evasion").__init__).parameters

    def _images(self, call: Call) -> Tensor:
        maker = self._class("art.attacks.evasion")
        known = signature(maker.__init__).parameters
        given: dict[str, Any] = {} if self.kind == "minimal" else {"eps": call.eps}
        given |= {"norm": ART_NORMS[self.norm]} if "norm" in known else {}
        given |= {"targeted": call.target is not None} if "targeted" in known else {}
        given |= {"verbose": False} if "verbose" in known and "verbose" not in self.options else {}
        classification = import_module("art.estimators.classification")
        model = classification.PyTorchClassifier(
            model=call.model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(call.x.shape[1:]),
            nb_classes=call.classes,
            clip_values=(0.0, 1.0),
            device_type="gpu" if call.x.is_cuda else "cpu",
        )
        labels = call.y if call.target is None else call.target
        images = call.x.detach().cpu().float().numpy()
        found = self._made(maker, model, **given).generate(images, y=np.eye(call.classes)[labels.cpu().numpy()])
        return torch.from_numpy(np.asarray(found))


ART_NORMS: dict[str, Any] = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}


def _shared_out(total: int, x: Tensor) -> Tensor:
    """(M,) int64: a number of passes over the rows, so evenly that they differ by 1 at the most."""
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


def _register(maker: type[Foreign]) -> None:
    @ATTACKS.library(maker.library)
    def make(
        class_name: str,
        *,
        eps: float | None = None,
        norm: str = "linf",
        target: str | int = "untargeted",
        **options: Any,
    ) -> Attack:
        return maker(class_name=class_name, options=options, eps=eps, norm=norm, target=target)


for _maker in (Foolbox, Torchattacks, ART):
    _register(_maker)
