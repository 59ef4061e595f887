"""Checks of unusual but valid input in every context, size and type, and of the errors for wrong input."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from advkit.core.errors import AdvkitWarning
from advkit.testing._check import check
from advkit.testing._checks_batch import same
from advkit.testing._checks_result import budget, expect, with_context
from advkit.testing._subject import Subject
from advkit.testing._toys import SHAPE, Case, awkward_images, predicted, toy_case
from advkit.testing.nets import Wrapped, constant_logits, nan_logits, probabilities, toy_classifier, zero_gradient


@check()
def works_without_gradients_around(subject: Subject) -> None:
    """Under no_grad and inference_mode, and on clones made in inference_mode, the result is the same."""
    case = toy_case(18)
    plain = subject(case.model, case.x, case.y)
    with torch.no_grad():
        same(subject(case.model, case.x, case.y), plain, "under no_grad")
    with torch.inference_mode():
        clones = case.x.clone(), case.y.clone()
        same(subject(case.model, case.x, case.y), plain, "under inference_mode")
    same(subject(case.model, *clones), plain, "on clones made in inference_mode")
    same(subject(case.model, case.x, clones[1]), plain, "on labels made in inference_mode")


@check()
def works_under_autocast(subject: Subject) -> None:
    """Under bfloat16 autocast the images keep their type, and lie where they must."""
    from advkit.core.threat import Threat

    case = toy_case(19, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = subject(case.model, case.x, case.y)
    expect(found.x_adv.dtype == torch.float32, f"{found.x_adv.dtype} under autocast")
    eps = subject.eps if budget(subject) else torch.inf
    with_context(case.x, found.x_adv, Threat(subject.norm, eps), "under autocast")


@check()
def works_on_no_images(subject: Subject) -> None:
    """A batch of no images gives a batch of no results."""
    case = toy_case(20)
    for x in (case.x[:0], case.x[:0].clone().requires_grad_()):
        found = subject(case.model, x, case.y[:0])
        expect(found.x_adv.shape == x.shape, f"shape {tuple(found.x_adv.shape)} for no images")
        expect(not found.x_adv.requires_grad, "x_adv is attached to a graph")


@check(lambda subject: not (subject.targeted or subject.farther))
def works_where_all_is_wrong(subject: Subject) -> None:
    """A batch that is misclassified throughout comes back as it was, all successes."""
    case = toy_case(21, wrong=tuple(range(9)))
    found = subject(case.model, case.x, case.y, stop="fooled")
    if "stop" in subject.accepts or subject.kind == "minimal":
        expect(torch.equal(found.x_adv, case.x), "images changed")
    expect(found.success is None or bool(found.success.all()), f"success {found.success}")


@check(lambda subject: subject.form is None)
def works_for_any_number_of_classes(subject: Subject) -> None:
    """2, 3, 5 and 1000 classes."""
    for classes in (2, 3, 5, 1000):
        model = toy_classifier(SHAPE, classes, seed=22)
        x = awkward_images(3, seed=22)
        found = subject(model, x, predicted(model, x))
        expect(found.x_adv.isfinite().all(), f"NaN with {classes} classes")


@check(lambda subject: subject.form is None)
def works_on_other_shapes(subject: Subject) -> None:
    """Vectors, and images of one pixel."""
    for shape in ((7,), (1, 1, 1)):
        model = toy_classifier(shape, 3, seed=23)
        x = awkward_images(4, shape, seed=23)
        found = subject(model, x, predicted(model, x))
        expect(found.x_adv.shape == x.shape, f"shape {tuple(found.x_adv.shape)} for {tuple(x.shape)}")


@check()
def works_on_a_function(subject: Subject) -> None:
    """A plain function serves as a model."""
    case = toy_case(24)
    same(subject(lambda x: case.model(x), case.x, case.y), subject(case.model, case.x, case.y), "as a function")


def _warned(subject: Subject, case: Case) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = subject.attack(case.model, case.x, case.y, **subject.options({}))
    return found, [str(w.message) for w in caught if issubclass(w.category, AdvkitWarning)]


@check(lambda subject: subject.ours and subject.knowledge == "gradients" and subject.form is None)
def reports_a_zero_gradient(subject: Subject) -> None:
    """Where the gradient is exactly zero, a warning says so, and the result says for which samples."""
    case = toy_case(25)
    case = case._replace(model=zero_gradient(case.model).eval())
    case = case._replace(y=predicted(case.model, case.x))
    found, texts = _warned(subject, case)
    expect(any("gradient" in text for text in texts), f"warnings: {texts}")
    expect(bool((found.zero_gradient | found.success).all()), f"zero_gradient {found.zero_gradient.tolist()}")


@check(lambda subject: subject.ours and subject.form is None)
def warns_of_a_suspicious_model(subject: Subject) -> None:
    """A model that returns probabilities, or the same for every image, is a warning."""
    case = toy_case(26)
    for model, word in ((probabilities(case.model), "probabilities"), (constant_logits(case.model), "same logits")):
        y = predicted(model, case.x)
        _, texts = _warned(subject, case._replace(model=model.eval(), y=y))
        expect(any(word in text for text in texts), f"expected a warning of {word}, got {texts}")


def _mistakes(case: Case) -> dict[str, tuple[Any, Tensor, Tensor, dict[str, Any]]]:
    """Wrong calls, by what is wrong with them."""
    model, x, y, _ = case
    nan = x.clone()
    nan[1, 0, 0, 0] = torch.nan
    return {
        "labels out of range": (model, x, y + 4, {}),
        "negative labels": (model, x, y - 4, {}),
        "labels as floats": (model, x, y.double(), {}),
        "one label too few": (model, x, y[1:], {}),
        "NaN pixels": (model, nan, y, {}),
        "pixels above the bounds": (model, x * 2, y, {}),
        "pixels below the bounds": (model, x - 0.5, y, {}),
        "8-bit images": (model, (255 * x).to(torch.uint8), y, {}),
        "NaN logits": (nan_logits(model), x, y, {}),
        "one logit only": (Wrapped(model, after=lambda logits: logits[:, :1]), x, y, {}),
        "logits without a batch": (Wrapped(model, after=lambda logits: logits[0]), x, y, {}),
        "a negative eps": (model, x, y, {"eps": -0.1}),
        "eps NaN": (model, x, y, {"eps": float("nan")}),
        "one eps too few": (model, x, y, {"eps": torch.full((len(x) - 1,), 0.1)}),
        "a target out of range": (model, x, y, {"target": y + 4}),
        "one target too few": (model, x, y, {"target": y[1:]}),
        "no model": (None, x, y, {}),
    }


@check(lambda subject: subject.form is None)
def refuses_wrong_input(subject: Subject) -> None:
    """Each mistake raises a ValueError that says what was expected."""
    for what, (model, x, y, options) in _mistakes(toy_case(27)).items():
        if not options.keys() <= subject.accepts or ("target" in options and not subject.targetable):
            continue
        if "eps" in options and subject.kind != "budget":
            continue
        if isinstance(options.get("eps"), Tensor) and not subject.radius_per_sample:
            continue
        _refused(what, lambda m=model, x=x, y=y, o=options: subject(m, x, y, **o))  # type: ignore[misc]


def _refused(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError as error:
        expect(len(str(error)) > 10, f"{what}: the message is {str(error)!r}")
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}, expected a ValueError") from error
    else:
        raise AssertionError(f"{what}: no error")
