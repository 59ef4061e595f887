"""Tools for tests of attacks and models: classifiers with known answers, strategies for hypothesis, `check_attack`.

`advkit.testing.strategies` needs hypothesis (`pip install advkit[testing]`); nothing else here does.
"""

from advkit.testing import _checks_batch, _checks_inputs, _checks_result, _checks_strength, _checks_traces
from advkit.testing._check import BrokenPromiseError, CheckOutcome, CheckReport, check_attack, list_checks
from advkit.testing.affine import AffineClassifier
from advkit.testing.assertions import assert_in_threat
from advkit.testing.nets import toy_classifier

__all__ = [
    "AffineClassifier",
    "BrokenPromiseError",
    "CheckOutcome",
    "CheckReport",
    "assert_in_threat",
    "check_attack",
    "list_checks",
    "toy_classifier",
]

del _checks_batch, _checks_inputs, _checks_result, _checks_strength, _checks_traces  # imported for their checks
