"""Checks of an evaluation: cheap signs that a model hides its gradients or that its figures are misleading.

The signs are those of Athalye, Carlini, Wagner 2018, section 3.1 (arXiv 1802.00420) and Carlini et al. 2019, section 5
(arXiv 1902.06705). They can show that a low adversarial error is not reliable, never that it is right.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from advkit.core import door, model_checks
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.guard import Model
from advkit.core.knowledge import check_open
from advkit.data._any_data import as_data
from advkit.data._stream import Batch, batches
from advkit.evaluation.measure import signs
from advkit.evaluation.measure.fit import fitted
from advkit.evaluation.measure.gathering import gather
from advkit.evaluation.measure.probes import Probes, probes
from advkit.evaluation.measure.signs import Finding

MOST = 128
"""Maximum number of images that the checks look at."""

CHECKS = tuple(sign.__name__ for sign in signs.SIGNS)
"""Names of the findings, in their order."""


NEEDED = frozenset({"worse_than_chance", "zero_gradients", "fgsm_beats_pgd", "survives_the_whole_range"})
"""Checks without which nothing is called trustworthy."""


@dataclass(frozen=True, kw_only=True)
class Checks:
    """The result of `check_evaluation`.

    Attributes:
        findings: finding of each sign, in the order of `CHECKS`.
        samples: number of images that were checked.
        eps: the linf radius of the checks, in units of the pixels.
        seconds: wall-clock time of all checks.
    """

    findings: Sequence[Finding] = field(default=())
    samples: int
    eps: float
    seconds: float

    @property
    def suspects(self) -> list[Finding]:
        """The findings with the verdict "suspect"."""
        return [finding for finding in self.findings if finding.verdict == "suspect"]

    @property
    def judged(self) -> list[Finding]:
        """The findings that are not skipped."""
        return [finding for finding in self.findings if finding.verdict != "skipped"]

    @property
    def verdict(self) -> str:
        """ "suspect" if any finding is suspect, "undecided" if too many were skipped, otherwise "trustworthy".

        "trustworthy" requires a result of every check in `NEEDED`, and means that no sign of hidden gradients was seen.
        """
        if self.suspects:
            return "suspect"
        return "trustworthy" if {finding.name for finding in self.judged} >= NEEDED else "undecided"

    def __iter__(self) -> Iterator[Finding]:
        """The findings, in order."""
        return iter(self.findings)

    def __getitem__(self, name: str) -> Finding:
        """The finding of this name.

        Raises:
            KeyError: there is no such check.
        """
        return {finding.name: finding for finding in self.findings}[name]

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Checks":
        """Read the result of `to_dict`.

        Args:
            found: the result of `to_dict`, also after JSON.
        """
        findings = [Finding(**finding) for finding in found["findings"]]
        return cls(findings=findings, samples=found["samples"], eps=found["eps"], seconds=found["seconds"])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        return {
            "verdict": self.verdict,
            "judged": len(self.judged),
            "samples": self.samples,
            "eps": self.eps,
            "seconds": self.seconds,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def check_evaluation(
    model: Model,
    data: Any,
    *,
    eps: float | None = None,
    attacks: Probes | None = None,
    surrogate: Model | None = None,
    count: int = MOST,
    seed: int = 0,
    bounds: tuple[float, float] = (0, 1),
) -> Checks:
    """Look for signs that gradient attacks fail on this model for the wrong reason, on at most 128 images.

    The model is used in eval mode and left as it was. Images that are wrong without an attack are left out.
    "trustworthy" means that no sign was seen; it is no proof.

    Args:
        model: an nn.Module or a function that takes images (N, C, H, W) in `bounds` and returns logits (N, K).
        data: a Dataset, a DataLoader or a pair of tensors (x, y), see `evaluate`.
        eps: linf radius of the evaluation, in units of the pixels; default: a tenth of the range. PGD is also tried
            with larger radii, up to the whole range.
        attacks: attacks to probe with; default: `probes()`.
        surrogate: another model for the same images, without the defence. If attacks on it work better than attacks
            on the model itself, the latter are too weak.
        count: number of images to use, 1 to 128, a fixed random choice.
        seed: seed of the attacks' random numbers.
        bounds: the range of the pixels.

    Returns:
        The findings, each with its evidence and what to do.

    Raises:
        InputError: data or model outputs do not fit, the model shows no gradients, the count is not in 1 to 128, or eps
            is not > 0.
    """
    model_checks.check_model(model)
    check_open(model, "the checks", "evaluate with checks=False (--no-checks)")
    low, high = door.check_bounds(bounds)
    eps = (high - low) / 10 if eps is None else door.check_one_eps(eps)
    if not 0 < eps < float("inf"):
        raise InputError(f"expected eps > 0 for the checks, got {eps:g}")
    count, seed = door.check_count("count", count, most=MOST), door.check_seed(seed)
    start = time.perf_counter()
    batch = _some(model, as_data(data, batch_size=count, count=count), count, (low, high))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AdvkitWarning)  # what they say is among the findings, with its figures
        evidence = gather(
            model, batch, probes() if attacks is None else attacks, surrogate, eps=eps, seed=seed, bounds=(low, high)
        )
    findings = [sign(evidence) for sign in signs.SIGNS]
    return Checks(findings=findings, samples=len(batch.y), eps=eps, seconds=time.perf_counter() - start)


def _some(model: Model, data: Any, count: int, bounds: tuple[float, float]) -> Batch:
    """The images to check as one batch, where the model is."""
    parts = list(batches(data, batch_size=count, count=count))
    whole = Batch(*(torch.cat(column) for column in zip(*parts, strict=True)))
    return fitted(whole, model, bounds)
