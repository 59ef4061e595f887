"""All checks: importing a module of checks registers them, in the order of `list_checks()`."""

from advkit.testing import _checks_batch, _checks_inputs, _checks_result, _checks_strength, _checks_traces
from advkit.testing._check import BrokenPromiseError, CheckOutcome, CheckReport, check_attack, list_checks

__all__ = ["BrokenPromiseError", "CheckOutcome", "CheckReport", "check_attack", "list_checks"]

del _checks_batch, _checks_inputs, _checks_result, _checks_strength, _checks_traces  # imported for their checks
