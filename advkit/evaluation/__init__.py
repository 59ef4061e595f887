"""How often a model is wrong, clean and attacked, and how sure that is."""

from advkit.evaluation._evaluate import evaluate
from advkit.evaluation._progress import Progress
from advkit.evaluation.checks import Checks, Finding, Probes, check_evaluation, probes
from advkit.evaluation.compare import Comparison, compare_runs
from advkit.evaluation.corruptions import CorruptionReport, corrupt, corruption_errors
from advkit.evaluation.curve import Curve, error_curve
from advkit.evaluation.intervals import mcnemar, wilson_interval
from advkit.evaluation.report import AttackReport, Report, difference_p
from advkit.evaluation.run import Run, load_run
from advkit.evaluation.transfer import Transfer, transfer_matrix

__all__ = [
    "AttackReport",
    "Checks",
    "Comparison",
    "CorruptionReport",
    "Curve",
    "Finding",
    "Probes",
    "Progress",
    "Report",
    "Run",
    "Transfer",
    "check_evaluation",
    "compare_runs",
    "corrupt",
    "corruption_errors",
    "difference_p",
    "error_curve",
    "evaluate",
    "load_run",
    "mcnemar",
    "probes",
    "transfer_matrix",
    "wilson_interval",
]
