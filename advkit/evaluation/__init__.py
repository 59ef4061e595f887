"""How often a model is wrong, clean and attacked, and how sure that is."""

from advkit.evaluation._evaluate import evaluate
from advkit.evaluation._measure import Progress
from advkit.evaluation.checks import Checks, Finding, Probes, check_evaluation, probes
from advkit.evaluation.compare import Comparison, compare_runs
from advkit.evaluation.intervals import mcnemar, wilson_interval
from advkit.evaluation.report import AttackReport, Report, difference_p
from advkit.evaluation.run import Run, load_run

__all__ = [
    "AttackReport",
    "Checks",
    "Comparison",
    "Finding",
    "Probes",
    "Progress",
    "Report",
    "Run",
    "check_evaluation",
    "compare_runs",
    "difference_p",
    "evaluate",
    "load_run",
    "mcnemar",
    "probes",
    "wilson_interval",
]
