"""The signs of hidden gradients, one function each: evidence in, a finding out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from advkit.core.float64 import in_float64
from advkit.core.intervals import mcnemar, wilson_interval
from advkit.core.words import number
from advkit.evaluation.measure.gathering import FEW, Evidence, Level

ALLOWED = 0.01
"""A share that the 95 % interval must exceed before it counts as a sign."""

P = 0.01
"""McNemar's p-value below which two rates differ; 1 in 100, since several are tried."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check.

    Attributes:
        name: name of the check, such as "zero_gradients".
        verdict: "ok", "suspect", or "skipped" if there was nothing to judge.
        evidence: observations with their numbers.
        advice: what to do; empty if not suspect.
        figures: the numbers as values.
    """

    name: str
    verdict: str
    evidence: str
    advice: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON takes it."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "evidence": self.evidence,
            "advice": self.advice,
            "figures": self.figures,
        }


def worse_than_chance(seen: Evidence) -> Finding:
    """The model makes more errors than one that always predicts the same class: labels and classes do not match."""
    wrong, classes = (seen.logits.argmax(1) != seen.labels).cpu(), seen.logits.shape[1]
    chance = 1 - 1 / classes
    if len(wrong) < FEW:
        return _skipped("worse_than_chance", f"{len(wrong)} images are too few to tell")
    return _finding(
        "worse_than_chance",
        _exceeds(wrong, chance),
        f"without an attack {_of(wrong)} images are wrong ({_interval(wrong)}); guessing errs on {100 * chance:.4g} %",
        "labels and classes do not fit: look at the order of the classes, the weights and the range of the images",
        {"wrong": int(wrong.sum()), "of": len(wrong), "chance": chance},
    )


def batch_dependent(seen: Evidence) -> Finding:
    """Logits of one image alone differ from those in the batch: the verdict depends on the other images."""
    together = seen.logits[: len(seen.alone)]
    if len(seen.logits) < 2:
        return _skipped("batch_dependent", "there is one image only")
    if _differ(seen.logits, seen.again).any():
        return _skipped("batch_dependent", "the logits differ between two calls already")
    differ = _differ(together, seen.alone)
    changed = int((together.argmax(1) != seen.alone.argmax(1)).sum())
    return _finding(
        "batch_dependent",
        bool(differ.any()),
        f"alone and in the batch the logits differ on {_of(differ)} images, the class on {changed}",
        "use the model in eval mode with running statistics: no figure here holds for single images",
        {"images": int(differ.sum()), "classes": changed, "of": len(differ)},
    )


def not_finite(seen: Evidence) -> Finding:
    """Answers near the images are not finite: an attack finds nothing there, whatever the model does."""
    bad = ~seen.finite
    if not len(bad):
        return _skipped("not_finite")
    return _finding(
        "not_finite",
        bool(bad.any()),
        f"one step away from the image the logits are NaN or infinite on {_of(bad)} images that are right",
        "mend the model: no attack finds an adversarial image where the answer is not a number",
        {"images": int(bad.sum()), "of": len(bad)},
    )


def _differ(first: Tensor, second: Tensor) -> Tensor:
    """(N,) bool on the CPU: two answers to the same images differ by more than the noise of floats."""
    first, second = in_float64(first), in_float64(second)
    scale = first.abs().amax(1).clamp_min(1e-30)
    return ~((first - second).abs().amax(1) / scale <= 1e-3).cpu()  # NaN differs


def input_range(seen: Evidence) -> Finding:
    """Images fill only a small part of the range, so that eps means something else."""
    low, high = (value.item() for value in torch.aminmax(seen.x))
    share = (high - low) / seen.whole
    evidence = f"the pixels lie in {low:.4g} to {high:.4g} of {seen.bounds[0]:g} to {seen.bounds[1]:g}"
    return _finding(
        "input_range",
        share < 1 / 16,
        evidence,
        "the images were scaled twice, or bounds= are not theirs: eps is in units of these pixels",
        {"low": low, "high": high, "share": share},
    )


def random_logits(seen: Evidence) -> Finding:
    """Logits differ from call to call: an attack follows gradients of a network that has changed since."""
    differ = _differ(seen.logits, seen.again)
    changed = int((seen.logits.argmax(1) != seen.again.argmax(1)).sum())
    text = f"logits differ between two calls on {_of(differ)} images, the class on {changed}"
    return _finding(
        "random_logits",
        bool(differ.any()),
        text,
        "attack the mean over the randomness (eot=) and judge each image by several calls",
        {"images": int(differ.sum()), "classes": changed, "of": len(differ)},
    )


def probabilities(seen: Evidence) -> Finding:
    """Outputs are probabilities: a second softmax flattens the loss."""
    logits = in_float64(seen.logits)
    rows = ((logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-3)).cpu()
    return _finding(
        "probabilities",
        bool(rows.all()),
        f"outputs are non-negative and sum to 1 on {_of(rows)} images",
        "let the model return logits: remove its last softmax",
        {"images": int(rows.sum()), "of": len(rows)},
    )


def zero_gradients(seen: Evidence) -> Finding:
    """Gradients are zero everywhere, or not finite."""
    if not len(seen.gradient):
        return _skipped("zero_gradients")
    rows = seen.gradient.flatten(1)
    zero, broken = (rows.abs().amax(1) == 0).cpu(), (~rows.isfinite().all(1)).cpu()
    bad = zero | broken
    text = f"the gradient is zero on {_of(zero)} images that are right, and not finite on {_of(broken)}"
    return _finding(
        "zero_gradients",
        _exceeds(bad, ALLOWED),
        text,
        "look for rounding, saturated outputs or steps in the model; attack with loss='margin', in float64, through a "
        "differentiable stand-in (BPDA), or without gradients",
        {"zero": int(zero.sum()), "not_finite": int(broken.sum()), "of": len(bad)},
    )


def fgsm_beats_pgd(seen: Evidence) -> Finding:
    """One step fools images on which many steps fail."""
    worst = max(seen.levels, key=lambda level: int((level.fgsm & ~level.pgd).sum()))
    return _rival(
        "fgsm_beats_pgd",
        worst.fgsm & ~worst.pgd,
        f"at eps {number(worst.eps)} FGSM fools {{}} images that PGD does not",
        "the gradient misleads where PGD follows it: give PGD other step sizes, more steps and restarts, and add "
        "attacks without gradients",
        {"eps": worst.eps},
    )


def noise_as_good(seen: Evidence) -> Finding:
    """Random noise of the same size fools as many images, at a radius at which it fools fewer than half."""
    name, heard = (
        "noise_as_good",
        [level for level in seen.levels if FEW <= int(level.noise.sum()) < len(level.noise) / 2],
    )
    if not heard:
        return _skipped(name, "noise fools nearly nobody, or half and more, at every radius tried")
    level = min(heard, key=_lead)
    only_pgd, only_noise = int((level.pgd & ~level.noise).sum()), int((level.noise & ~level.pgd).sum())
    p = mcnemar(only_pgd, only_noise)
    text = (
        f"at eps {number(level.eps)} PGD fools {_of(level.pgd)} images, noise {_of(level.noise)} (McNemar p = {p:.2g})"
    )
    return _finding(
        name,
        only_pgd <= only_noise or p > P,
        text,
        "the gradients say nothing: look for steps, rounding or randomness in the model, and attack without gradients",
        {"eps": level.eps, "pgd": int(level.pgd.sum()), "noise": int(level.noise.sum()), "of": len(level.pgd), "p": p},
    )


def _lead(level: Level) -> int:
    return int(level.pgd.sum()) - int(level.noise.sum())


def error_not_rising(seen: Evidence) -> Finding:
    """PGD fools fewer images at a larger radius."""
    steps = list(zip(seen.levels, seen.levels[1:], strict=False))
    if not steps:
        return _skipped("error_not_rising", "eps is the whole range")
    before, after = max(steps, key=lambda pair: int((pair[0].pgd & ~pair[1].pgd).sum()))
    lost, won = int((before.pgd & ~after.pgd).sum()), int((after.pgd & ~before.pgd).sum())
    p = mcnemar(lost, won)
    shares = ", ".join(f"{level.eps:.3g}: {int(level.pgd.sum())}" for level in seen.levels)
    return _finding(
        "error_not_rising",
        lost > won and p <= P,
        f"images that PGD fools by eps: {shares} of {len(before.pgd)}; where it falls most, p = {p:.2g}",
        "the step size does not suit the radius, or the gradients mislead: try more and smaller steps, and restarts",
        {
            "eps": [level.eps for level in seen.levels],
            "pgd": [int(level.pgd.sum()) for level in seen.levels],
            "p": p,
            "of": len(before.pgd),
        },
    )


def survives_the_whole_range(seen: Evidence) -> Finding:
    """PGD fails although it may change every pixel to any value; it fools nearly every network without masking."""
    level = seen.levels[-1]
    if not len(level.pgd):
        return _skipped("survives_the_whole_range")
    return _finding(
        "survives_the_whole_range",
        _exceeds(~level.pgd, ALLOWED),
        f"with eps {number(level.eps)}, the whole range, PGD fools {_of(level.pgd)} images ({_interval(level.pgd)})",
        "where every image is allowed the error must come near 100 %: something hides the gradients; use attacks "
        "without gradients, or through a differentiable stand-in (BPDA)",
        {"fooled": int(level.pgd.sum()), "of": len(level.pgd)},
    )


def transfer_beats_white_box(seen: Evidence) -> Finding:
    """Images made on a surrogate fool the model where images made on the model itself do not."""
    if seen.transferred is None:
        return _skipped("transfer_beats_white_box", "no surrogate was given")
    return _rival(
        "transfer_beats_white_box",
        seen.transferred & ~seen.fooled,
        "PGD on the surrogate fools {} images that PGD on the model does not",
        "the model's own gradients are worse than a stranger's: count the surrogate's images in the worst case, and "
        "look for what hides the gradients",
        {},
    )


def eight_bit(seen: Evidence) -> Finding:
    """Successes disappear when the images are saved with 8 bits a pixel."""
    fooled, kept = int(seen.fooled.sum()), int(seen.saved.sum())
    if fooled < FEW:
        return _skipped("eight_bit", f"PGD fools {fooled} images, too few to tell")
    low, high = wilson_interval(kept, fooled)
    share = f"{100 * kept / fooled:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f} %"
    return _finding(
        "eight_bit",
        high < 0.5,
        f"of {fooled} images that PGD fools at the strongest point, {kept} are still wrong as 8-bit images ({share})",
        "these images exist in floating point only; ask for rounded ones, or for an eps of several 255ths",
        {"fooled": fooled, "kept": kept},
    )


SIGNS: tuple[Callable[[Evidence], Finding], ...] = (
    worse_than_chance,
    input_range,
    random_logits,
    batch_dependent,
    not_finite,
    probabilities,
    zero_gradients,
    fgsm_beats_pgd,
    noise_as_good,
    error_not_rising,
    survives_the_whole_range,
    transfer_beats_white_box,
    eight_bit,
)


def _rival(name: str, only: Tensor, text: str, advice: str, figures: dict[str, Any]) -> Finding:
    """Suspect if the weaker attack alone fools more images (n,) than a per cent, by the interval."""
    if not len(only):
        return _skipped(name)
    figures = {**figures, "images": int(only.sum()), "of": len(only)}
    return _finding(name, _exceeds(only, ALLOWED), f"{text.format(_of(only))} ({_interval(only)})", advice, figures)


def _finding(name: str, suspect: bool, evidence: str, advice: str, figures: dict[str, Any]) -> Finding:
    of = figures.get("of", FEW)
    if not suspect and of < FEW:
        return Finding(name=name, verdict="skipped", evidence=f"{evidence}: too few to tell", figures=figures)
    verdict, advice = ("suspect", advice) if suspect else ("ok", "")
    return Finding(name=name, verdict=verdict, evidence=evidence, advice=advice, figures=figures)


def _skipped(name: str, why: str = "every image is wrong without an attack") -> Finding:
    return Finding(name=name, verdict="skipped", evidence=why)


def _exceeds(flags: Tensor, share: float) -> bool:
    """The share of True is above `share`, by its 95 % interval."""
    return wilson_interval(int(flags.sum()), len(flags))[0] > share


def _of(flags: Tensor) -> str:
    return f"{int(flags.sum())} of {len(flags)}"


def _interval(flags: Tensor) -> str:
    low, high = wilson_interval(int(flags.sum()), len(flags))
    return f"95 % interval {100 * low:.1f} to {100 * high:.1f} %"
