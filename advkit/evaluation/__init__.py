"""How often a model is wrong, clean and attacked, and how sure that is."""

from advkit.evaluation._evaluate import evaluate
from advkit.evaluation._measure import Progress
from advkit.evaluation.intervals import mcnemar, wilson_interval
from advkit.evaluation.report import AttackReport, Report, difference_p

__all__ = ["AttackReport", "Progress", "Report", "difference_p", "evaluate", "mcnemar", "wilson_interval"]
