"""Strategies for hypothesis: images, labels, goals, threats, classifiers, attacks; simple things first, to shrink well.

Arrays are drawn as a kind and a seed, not entry by entry. This is fast, and a counterexample is one line of code that
runs after `from advkit.testing import *`, `from advkit.attacks import *` and `import torch; from torch import tensor`.
"""

from typing import Any

import torch
from torch import Tensor, nn

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("advkit.testing.strategies needs hypothesis: pip install 'advkit[testing]'") from error

from advkit.attacks import ATTACKS, Attack, create_attack
from advkit.core.goals import Goal, targeted, untargeted
from advkit.core.norms import NORMS, get_norm
from advkit.core.threat import Threat
from advkit.testing._subject import RADII
from advkit.testing.affine import AffineClassifier
from advkit.testing.nets import BROKEN, toy_classifier
from advkit.testing.pictures import KINDS, make_images
from advkit.testing.quadratic import QuadraticClassifier

SEEDS = st.integers(0, 2**16)


def shapes(*, largest: int = 5) -> st.SearchStrategy[tuple[int, int, int]]:
    """(C, H, W) of small images."""
    return st.tuples(st.integers(1, 3), st.integers(1, largest), st.integers(1, largest))


def images(
    shape: tuple[int, ...] = (1, 4, 4),
    *,
    count: int | None = None,
    bounds: tuple[float, float] = (0, 1),
    dtype: torch.dtype = torch.float32,
) -> st.SearchStrategy[Tensor]:
    """(N, *shape) within bounds: black, white, flat, one pixel, saturated, cut off at the bounds, faint, uniform.

    Args:
        shape: shape of one image.
        count: number of images; default: 1 to 6.
        bounds: the range of the pixels.
        dtype: type of the pixels; entries at a bound are exactly there.
    """
    least, most = (1, 6) if count is None else (count, count)
    kinds = st.lists(st.sampled_from(KINDS), min_size=least, max_size=most)
    options: dict[str, Any] = {"bounds": bounds} if tuple(bounds) != (0, 1) else {}
    options |= {"dtype": dtype} if dtype != torch.float32 else {}
    constants = {name: st.just(value) for name, value in options.items()}
    return st.builds(make_images, kinds, st.just(shape), seed=SEEDS, **constants)


def labels(count: int, classes: int) -> st.SearchStrategy[Tensor]:
    """(N,) int64 classes below `classes`."""
    drawn = st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)
    return drawn.map(lambda values: torch.tensor(values, dtype=torch.int64))


@st.composite
def goals(draw: st.DrawFn, count: int, classes: int) -> Goal:
    """Return an untargeted goal, or one with targets other than the labels."""
    y = draw(labels(count, classes))
    if draw(st.booleans()):
        return untargeted(y)
    shift = draw(st.integers(1, classes - 1))
    return targeted((y + shift) % classes, y)


def budgets(norm: str = "linf") -> st.SearchStrategy[float]:
    """Radii, from 0 to one that holds every image of a few dozen pixels."""
    usual = RADII[norm]
    if get_norm(norm).grain:
        return st.integers(0, 40).map(float)
    return st.sampled_from([0.0, usual, 10 * usual]) | st.floats(1e-3 * usual, 10 * usual)


@st.composite
def threats(draw: st.DrawFn, *, norms: tuple[str, ...] = tuple(NORMS)) -> Threat:
    """Return a norm, a radius and the usual or other bounds."""
    norm = draw(st.sampled_from(norms))
    bounds = draw(st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-0.5, 3.25)]))
    return Threat(norm, draw(budgets(norm)), bounds)


@st.composite
def affine_classifiers(
    draw: st.DrawFn, shape: tuple[int, ...] = (1, 4, 4), *, classes: int | None = None
) -> AffineClassifier:
    """Return an `AffineClassifier` of 2 to 5 classes by default."""
    return AffineClassifier.random(shape, classes or draw(st.integers(2, 5)), seed=draw(SEEDS))


@st.composite
def quadratic_classifiers(draw: st.DrawFn, shape: tuple[int, ...] = (1, 4, 4)) -> QuadraticClassifier:
    """Return a `QuadraticClassifier`: two classes, a curved boundary."""
    return QuadraticClassifier.random(shape, seed=draw(SEEDS))


@st.composite
def classifiers(
    draw: st.DrawFn,
    shape: tuple[int, ...] = (1, 4, 4),
    *,
    classes: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Sound classifiers: affine, or a net with or without batch norm, in train or eval mode.

    Args:
        draw: draw function of hypothesis, which passes it.
        shape: shape of one image.
        classes: number of classes; default: 2 to 5.
        dtype: type of the weights.
    """
    classes = classes or draw(st.integers(2, 5))
    if draw(st.booleans()):
        return draw(affine_classifiers(shape, classes=classes)).to(dtype)
    net = toy_classifier(shape, classes, seed=draw(SEEDS), batch_norm=draw(st.booleans()), dtype=dtype)
    return net.train(draw(st.booleans()))


@st.composite
def broken_classifiers(
    draw: st.DrawFn, shape: tuple[int, ...] = (1, 4, 4), *, kinds: tuple[str, ...] = tuple(BROKEN)
) -> nn.Module:
    """Classifiers with NaN, constant or random logits, probabilities, gradients that are zero or NaN somewhere.

    Args:
        draw: draw function of hypothesis, which passes it.
        shape: shape of one image.
        kinds: kinds to draw from: "nan", "constant", "random", "probabilities", "zero gradient", "nan gradient".
    """
    kind = draw(st.sampled_from(kinds))
    return BROKEN[kind](draw(classifiers(shape)))


@st.composite
def attacks(draw: st.DrawFn, /, pattern: str = "*", *, kind: str | None = None, **options: Any) -> Attack:
    """Return a registered attack in one of its norms, with a radius if it takes one, aimed or not if it can aim.

    Args:
        draw: draw function of hypothesis, which passes it.
        pattern: shell pattern of the names.
        kind: kind of the attacks, "budget" or "minimal"; default: both.
        **options: hyperparameters for those attacks that have them, such as `steps=5`.
    """
    factories: dict[str, Any] = {name: ATTACKS.factory(name) for name in ATTACKS.names(pattern)}
    names = [name for name, factory in factories.items() if kind in (None, getattr(factory, "kind", None))]
    factory = factories[name := draw(st.sampled_from(names))]
    norm = draw(st.sampled_from(factory.norms))
    fields = factory.__dataclass_fields__
    chosen = {key: value for key, value in options.items() if key in fields}
    if "eps" in fields and "eps" not in options:
        chosen["eps"] = draw(budgets(norm))
    if factory.targetable and "target" not in options:
        chosen["target"] = draw(st.sampled_from(["untargeted", "runner_up"]))
    spec = create_attack(name, norm=norm, **chosen).spec
    return draw(st.builds(create_attack, st.just(spec)))  # a counterexample prints this call
