"""The papers' tables, run again: our figure beside the printed one, each claim with its test.

found = reproduce("goodfellow_logistic", budget="small", seeds=3)
print(found)  # also in runs/reproduce/goodfellow_logistic-small/report.html
"""

from advkit.reproduction.reproducing import reproduce
from advkit.reproduction.run_again import Figure, Reproduction
from advkit.reproduction.study import (
    Budget,
    Claim,
    Measured,
    Measurement,
    Pooled,
    Study,
    Table,
    Training,
    list_reproductions,
)
from advkit.reproduction.verdicts import Verdict

__all__ = [
    "Budget",
    "Claim",
    "Figure",
    "Measured",
    "Measurement",
    "Pooled",
    "Reproduction",
    "Study",
    "Table",
    "Training",
    "Verdict",
    "list_reproductions",
    "reproduce",
]
