"""An attack under test, ours or any other, in one form: what it accepts, what it promises, what it returned."""

import inspect
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import InputError, unknown
from advkit.core.guard import Model
from advkit.core.norms import NORMS
from advkit.testing._forms import Form, form_of

KINDS = ("budget", "minimal")
KNOWLEDGE = ("gradients", "scores", "labels", "nothing")
OPTIONS = ("target", "eps", "sample_ids", "seed", "bounds", "stop", "goal")
RADII = {"linf": 0.1, "l2": 0.4, "l1": 1.5, "l0": 4.0, "l0_pixels": 3.0}
"""Radii at which some, but not all, of the toy images are fooled."""

last_call: ContextVar[Any] = ContextVar("advkit_last_call", default=None)
"""(model, x, y, options) of the latest call of an attack under test."""


@dataclass(frozen=True)
class Outcome:
    """The return value of an attack. Only `x_adv` is required; anything else may be None and is then not checked."""

    x_adv: Tensor
    success: Tensor | None = None
    distance: Tensor | None = None
    queries: Tensor | None = None
    gradients: Tensor | None = None
    logits: Tensor | None = None
    zero_gradient: Tensor | None = None
    non_finite: Tensor | None = None
    unsteady: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """An attack with its traits.

    Attributes:
        attack: the callable.
        accepts: the names in `OPTIONS` that the attack takes.
        kind, norm, knowledge, targetable, per_sample, deterministic: as in `advkit.attacks.Attack`.
        targeted: whether it aims at a class by default.
        radius_per_sample: whether eps may be a tensor (N,); if not, samples of different radii are attacked one by one.
        ours: whether it is an advkit `Attack`.
        form: the goal of the attack, and the form of the toy models for it; None for a wrong class.
    """

    attack: Callable[..., Any]
    accepts: frozenset[str]
    kind: str
    norm: str
    knowledge: str
    targetable: bool
    per_sample: bool
    deterministic: bool
    targeted: bool
    radius_per_sample: bool
    ours: bool
    form: Form | None = None

    @property
    def farther(self) -> bool:
        """Whether the goal needs more than a wrong class."""
        return self.form is not None and self.form.farther

    @property
    def eps(self) -> float:
        """A radius that suits the toy models."""
        return RADII[self.norm]

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options that the attack takes; a budget attack gets a radius, a minimal one none."""
        options = {"eps": self.eps, **options} if self.kind == "budget" else {**options, "eps": None}
        return {name: value for name, value in options.items() if name in self.accepts and value is not None}

    def reached(self, model: Any, x: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
        """(N,) bool: at x another class leads y, the target leads all others, or the goal is reached."""
        logits = model(x).detach()
        return reached(logits, y, target) if self.form is None else self.form.reached(logits, y)

    def __call__(self, model: Model, x: Tensor, y: Tensor, **options: Any) -> Outcome:
        """Run the attack and ignore its warnings."""
        options = self.options(options)
        if self.form is not None:
            model, y = self.form.dressed(model, y)
            options["goal"] = self.form.goal
        last_call.set((model, x, y, options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.radius_per_sample or not isinstance(options.get("eps"), Tensor) or not len(x):
                return outcome(self.attack(model, x, y, **options))
            return self._one_by_one(model, x, y, options)

    def _one_by_one(self, model: Model, x: Tensor, y: Tensor, options: dict[str, Any]) -> Outcome:
        """A call for each sample, with its own radius as a number."""
        found = []
        for i in range(len(x)):
            own = {k: v[i : i + 1] if isinstance(v, Tensor) and v.ndim else v for k, v in options.items()}
            own["eps"] = float(options["eps"][i])
            found.append(outcome(self.attack(model, x[i : i + 1], y[i : i + 1], **own)))
        return outcome_of(lambda name: _joined([getattr(part, name) for part in found]))


def _joined(parts: list[Any]) -> Tensor | None:
    return torch.cat(parts) if all(isinstance(part, Tensor) for part in parts) else None


def outcome(answer: Any) -> Outcome:
    """Convert a tensor, a tuple that begins with one, or an object with `x_adv`.

    Raises:
        InputError: the attack returned something else.
    """
    if isinstance(answer, Tensor):
        return Outcome(answer)
    if isinstance(answer, tuple) and answer and isinstance(answer[0], Tensor):
        return Outcome(answer[0])
    if isinstance(getattr(answer, "x_adv", None), Tensor):
        return outcome_of(lambda name: getattr(answer, name, None))
    raise InputError(
        f"expected the attack to return images or an object with x_adv, got {type(answer).__name__}; "
        "wrap it in a function"
    )


def outcome_of(field: Callable[[str], Any]) -> Outcome:
    """Make an outcome from a function that returns its fields by name."""
    return Outcome(**{name: field(name) for name in Outcome.__dataclass_fields__})


def subject_of(attack: Any, traits: dict[str, Any], goal: Any = None) -> Subject:
    """Return the attack with its traits: those given, else those that it declares, else the weakest.

    Args:
        attack: an attack, or a callable without required parameters that makes one.
        traits: traits by name: `kind`, `norm`, `knowledge`, `targetable`, `per_sample`, `deterministic`, `targeted`,
            `radius_per_sample`.
        goal: the goal of the attack; see `check_attack`.

    Raises:
        InputError: the attack is not callable, or a trait, kind, norm or knowledge is unknown.
    """
    from advkit.core.attack import Attack

    if not callable(attack):
        raise InputError(f"expected an attack: a callable (model, x, y, ...), got {type(attack).__name__}")
    if not isinstance(attack, Attack) and not _required(attack):
        attack = attack()
    accepts = _accepted(attack)
    defaults = {
        "kind": "budget" if "eps" in accepts else "minimal",
        "norm": "linf",
        "knowledge": "gradients",
        "targetable": "target" in accepts,
        "per_sample": True,
        "deterministic": "seed" not in accepts,
        "targeted": getattr(attack, "target", "untargeted") != "untargeted",
        "radius_per_sample": True,
    }
    for name in traits:
        if name not in defaults:
            raise unknown("trait", name, defaults)
    values = {name: traits.get(name, getattr(attack, name, default)) for name, default in defaults.items()}
    form = None if goal is None else form_of(goal)
    if form is not None:
        values.update(targetable=False, targeted=False)
    for name, known in (("kind", KINDS), ("norm", NORMS), ("knowledge", KNOWLEDGE)):
        if values[name] not in known:  # no check would apply, and none would fail
            raise unknown(name, str(values[name]), known)
    return Subject(attack=attack, accepts=accepts, ours=isinstance(attack, Attack), form=form, **values)


def _required(attack: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(attack).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _accepted(attack: Callable[..., Any]) -> frozenset[str]:
    parameters = inspect.signature(attack).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return frozenset(OPTIONS)
    return frozenset(OPTIONS) & parameters.keys()


def reached(logits: Tensor, y: Tensor, target: Tensor | None) -> Tensor:
    """Return (N,) bool: another class leads y, or the target leads all the others; a tie does not count."""
    label = y if target is None else target
    own = logits.double().gather(1, label[:, None]).squeeze(1)
    other = logits.double().scatter(1, label[:, None], -torch.inf).amax(1)
    return other > own if target is None else own > other
