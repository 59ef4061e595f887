"""Tools for tests of attacks and models: assertions, `check_attack`, classifiers with known answers, a pytest plugin.

`advkit.testing.strategies` holds strategies for hypothesis; only it and the plugin need `pip install advkit[testing]`.
Everything is imported at its first use, since pytest loads this package at every start.
PYTEST_DONT_REWRITE: there are no assertions here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advkit.core.goals import Goal
    from advkit.core.threat import Threat
    from advkit.testing._checks_data import check_dataset
    from advkit.testing._checks_model import check_model
    from advkit.testing._defense import check_defense
    from advkit.testing._suite import BrokenPromiseError, CheckOutcome, CheckReport, check_attack, list_checks
    from advkit.testing._toys import affine_case, awkward_images, toy_case
    from advkit.testing.affine import AffineClassifier
    from advkit.testing.assertions import assert_in_threat
    from advkit.testing.masking import MaskedError, assert_not_masked
    from advkit.testing.nets import (
        Spy,
        constant_logits,
        nan_gradient,
        nan_logits,
        probabilities,
        random_logits,
        toy_classifier,
        zero_gradient,
    )
    from advkit.testing.pictures import make_images
    from advkit.testing.quadratic import QuadraticClassifier
    from advkit.testing.robust import InconclusiveError, NotRobustError, Robustness, assert_robust

__all__ = [
    "AffineClassifier",
    "BrokenPromiseError",
    "CheckOutcome",
    "CheckReport",
    "Goal",
    "InconclusiveError",
    "MaskedError",
    "NotRobustError",
    "QuadraticClassifier",
    "Robustness",
    "Spy",
    "Threat",
    "affine_case",
    "assert_in_threat",
    "assert_not_masked",
    "assert_robust",
    "awkward_images",
    "check_attack",
    "check_dataset",
    "check_defense",
    "check_model",
    "constant_logits",
    "list_checks",
    "make_images",
    "nan_gradient",
    "nan_logits",
    "probabilities",
    "random_logits",
    "toy_case",
    "toy_classifier",
    "zero_gradient",
]

pytest_plugins = ("advkit.testing._plugin",)
"""What `-p advkit.testing` and the entry point load."""

_HOME = {
    "advkit.core.goals": ("Goal",),
    "advkit.core.threat": ("Threat",),
    "_suite": ("BrokenPromiseError", "CheckOutcome", "CheckReport", "check_attack", "list_checks"),
    "_checks_data": ("check_dataset",),
    "_checks_model": ("check_model",),
    "_defense": ("check_defense",),
    "_toys": ("affine_case", "awkward_images", "toy_case"),
    "affine": ("AffineClassifier",),
    "assertions": ("assert_in_threat",),
    "masking": ("MaskedError", "assert_not_masked"),
    "nets": (
        "Spy",
        "constant_logits",
        "nan_gradient",
        "nan_logits",
        "probabilities",
        "random_logits",
        "toy_classifier",
        "zero_gradient",
    ),
    "pictures": ("make_images",),
    "quadratic": ("QuadraticClassifier",),
    "robust": ("InconclusiveError", "NotRobustError", "Robustness", "assert_robust"),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(module if "." in module else f"{__name__}.{module}"), name)
    raise AttributeError(f"module 'advkit.testing' has no attribute {name!r}")
