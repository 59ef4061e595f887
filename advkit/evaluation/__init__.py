"""Evaluation: the error of a model on clean and attacked images, with confidence intervals."""

from advkit.core.intervals import mcnemar, wilson_interval
from advkit.core.progress_bar import Progress
from advkit.evaluation.by_pose import success_by_pose
from advkit.evaluation.error_curve import error_curve
from advkit.evaluation.evaluating import evaluate
from advkit.evaluation.measure.attack_report import AttackReport
from advkit.evaluation.measure.certificates import BrokenCertificateError, Certification
from advkit.evaluation.measure.checks import CHECKS, Checks, check_evaluation
from advkit.evaluation.measure.corruptions import CORRUPTIONS, CorruptionReport, corrupt, corruption_errors
from advkit.evaluation.measure.made_corruptions import made_corruption_errors
from advkit.evaluation.measure.pose_table import PoseTable
from advkit.evaluation.measure.probes import Probes, probes
from advkit.evaluation.measure.published_corruptions import mean_corruption_error, published_corruption_errors
from advkit.evaluation.measure.report import Report, difference_p
from advkit.evaluation.measure.setting import Setting
from advkit.evaluation.measure.signs import Finding
from advkit.evaluation.measure.staircase import Curve, nice_radii
from advkit.evaluation.measure.transfer_matrix import TransferMatrix, transfer_matrix
from advkit.evaluation.merging import merge_runs
from advkit.evaluation.runs.keep import Keep
from advkit.evaluation.runs.paired import ComparedError, Comparison, compare_runs
from advkit.evaluation.runs.run_folder import Run, load_run
from advkit.evaluation.runs.verifying import verify_run
from advkit.evaluation.show import comparison_text as comparison_text
from advkit.evaluation.show import report_text as report_text  # what the objects say

__all__ = [
    "CHECKS",
    "CORRUPTIONS",
    "AttackReport",
    "BrokenCertificateError",
    "Certification",
    "Checks",
    "ComparedError",
    "Comparison",
    "CorruptionReport",
    "Curve",
    "Finding",
    "Keep",
    "PoseTable",
    "Probes",
    "Progress",
    "Report",
    "Run",
    "Setting",
    "TransferMatrix",
    "check_evaluation",
    "compare_runs",
    "corrupt",
    "corruption_errors",
    "difference_p",
    "error_curve",
    "evaluate",
    "load_run",
    "made_corruption_errors",
    "mcnemar",
    "mean_corruption_error",
    "merge_runs",
    "nice_radii",
    "probes",
    "published_corruption_errors",
    "success_by_pose",
    "transfer_matrix",
    "verify_run",
    "wilson_interval",
]
