"""How often a model is wrong, clean and attacked, and how sure that is."""

from advkit.evaluation.error_curve import error_curve
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.checks import CHECKS, Checks, check_evaluation
from advkit.evaluation.measure.corruptions import CORRUPTIONS, CorruptionReport, corrupt, corruption_errors
from advkit.evaluation.measure.intervals import mcnemar, wilson_interval
from advkit.evaluation.measure.probes import Probes, probes
from advkit.evaluation.measure.report import AttackReport, Report, difference_p
from advkit.evaluation.measure.signs import Finding
from advkit.evaluation.measure.staircase import Curve, nice_radii
from advkit.evaluation.measure.ticker import Progress
from advkit.evaluation.measure.transfer_matrix import Transfer, transfer_matrix
from advkit.evaluation.merging import merge_runs
from advkit.evaluation.runs.keep import Keep
from advkit.evaluation.runs.paired import Comparison, compare_runs
from advkit.evaluation.runs.run_folder import Run, load_run
from advkit.evaluation.runs.verifying import verify_run

__all__ = [
    "CHECKS",
    "CORRUPTIONS",
    "AttackReport",
    "Checks",
    "Comparison",
    "CorruptionReport",
    "Curve",
    "Finding",
    "Keep",
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
    "merge_runs",
    "nice_radii",
    "probes",
    "transfer_matrix",
    "verify_run",
    "wilson_interval",
]
