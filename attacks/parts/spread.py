"""The unit of the margin where an attack weighs it against a distance, as ALMA does (arXiv 2011.11857)."""

from torch import Tensor

from advkit.core.goals import wide
from advkit.core.oracle import Oracle


def spread_of(oracle: Oracle) -> Tensor:
    """(M,) float64: the unit of the margin; of a goal without classes the distance of the clean margin from 0."""
    logits = wide(oracle.clean).double()
    if oracle.goal.of_classes:
        ranked = logits.topk(min(3, logits.shape[1]), dim=1).values
        spread = ranked[:, 0] - ranked[:, -1]
    else:
        spread = oracle.goal.margin(logits).abs()
    return spread.clamp(min=1e-30)
