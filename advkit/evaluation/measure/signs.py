"""The signs of hidden gradients, one function each: evidence in, a finding out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from advkit.core import door
from advkit.core.classify import classify, looking
from advkit.core.guard import Model
from advkit.core.intervals import mcnemar, wilson_interval
from advkit.core.words import number
from advkit.evaluation.measure.eight_bit import nearest
from advkit.evaluation.measure.probes import Probes
from advkit.evaluation.measure.stream import Batch

LEVELS = 4
"""Radii at which PGD is tried: from eps to the whole range, in equal ratios."""

ALLOWED = 0.01
"""A share that the 95 % interval must exceed before it counts as a sign."""

P = 0.01
"""McNemar's p-value below which two rates differ; 1 in 100, since several are tried."""

FEW = 8
"""Below this many images, or flips, the absence of a sign is no evidence."""


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


class Level(NamedTuple):
    """The verdicts at one radius, for the n images that are right without an attack."""

    eps: float
    fgsm: Tensor  # (n,) bool: fooled
    pgd: Tensor  # (n,) bool
    noise: Tensor  # (n,) bool


class Evidence(NamedTuple):
    """The input of the checks; images that are wrong without an attack are left out, except in `x` and `logits`."""

    x: Tensor  # (N, ...)
    bounds: tuple[float, float]
    logits: Tensor  # (N, K)
    again: Tensor  # (N, K): the same images, classified once more
    gradient: Tensor  # (n, ...): of the cross-entropy
    levels: list[Level]
    whole: float  # the width of the range
    saved: Tensor  # (n,) bool: fooled at the first radius, and still so when saved with 8 bits
    fooled: Tensor  # (n,) bool: fooled at the first radius by the strongest point
    labels: Tensor  # (N,)
    alone: Tensor  # (m, K): the first few images again, each as a batch of its own
    finite: Tensor  # (n,) bool: the answers near the images are finite
    transferred: Tensor | None  # (n,) bool: fooled by the surrogate's adversarial images


def gather(
    model: Model,
    batch: Batch,
    attacks: Probes,
    surrogate: Model | None,
    *,
    eps: float,
    seed: int,
    bounds: tuple[float, float],
) -> Evidence:
    """Run the probing attacks."""
    with looking(model, batch.x.device):  # one block: it is the random state that it restores
        logits, again = model(batch.x), model(batch.x)
        alone = torch.cat([_alone(model, row[None], logits) for row in batch.x[:FEW]])
    door.check_answer(logits, batch.x, batch.y)
    x, y, ids = (part[logits.argmax(1) == batch.y] for part in batch)
    call: dict[str, Any] = {"sample_ids": ids, "seed": seed, "bounds": bounds}

    def verdict(attack: Any, radius: float) -> Tensor:
        fooled: Tensor = attack(model, x, y, eps=radius, **call).success
        return fooled.cpu()

    width = bounds[1] - bounds[0]
    first, *rest = radii(eps, width)
    strongest = attacks.pgd(model, x, y, eps=first, stop="never", **call)
    levels = [Level(first, verdict(attacks.fgsm, first), strongest.success.cpu(), verdict(attacks.noise, first))]
    levels += [Level(r, *(verdict(a, r) for a in (attacks.fgsm, attacks.pgd, attacks.noise))) for r in rest]
    gradient = _gradient(model, x, y)
    return Evidence(
        labels=batch.y,
        alone=alone,
        finite=_finite_near(model, x, gradient, first, bounds),
        x=batch.x,
        bounds=bounds,
        logits=logits,
        again=again,
        gradient=gradient,
        levels=levels,
        whole=width,
        saved=strongest.success.cpu() & _wrong(model, nearest(strongest.x_adv, bounds), y),
        fooled=strongest.success.cpu(),
        transferred=None if surrogate is None else _transferred(model, surrogate, attacks, x, y, eps, call),
    )


def radii(eps: float, width: float) -> list[float]:
    """Return radii from eps to the whole range in equal ratios; only the range if eps is not smaller."""
    if eps >= width:
        return [width]
    return [eps * (width / eps) ** (i / (LEVELS - 1)) for i in range(LEVELS - 1)] + [width]


def _transferred(
    model: Model, surrogate: Model, attacks: Probes, x: Tensor, y: Tensor, eps: float, call: dict[str, Any]
) -> Tensor:
    found = attacks.pgd(surrogate, x, y, eps=eps, stop="never", **call)
    return _wrong(model, found.x_adv, y)


def _wrong(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """(N,) bool on the CPU."""
    if not len(x):
        return torch.zeros(0, dtype=torch.bool)
    return (classify(model, x).argmax(1) != y).cpu()


def _gradient(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the cross-entropy, as autograd gives it; zeros where the logits do not depend on the images."""
    if not len(x):
        return x
    with looking(model, x.device, gradients=True):
        leaf = x.clone().requires_grad_()
        loss = F.cross_entropy(model(leaf.clone()).float(), y.clone(), reduction="sum")
        if not loss.requires_grad:
            return torch.zeros_like(x)
        (gradient,) = torch.autograd.grad(loss, leaf, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


def _alone(model: Model, x: Tensor, logits: Tensor) -> Tensor:
    """(1, K): the answer to one image; NaN where the model takes no batch of one."""
    try:
        answer: Tensor = model(x)
    except (ValueError, RuntimeError):
        return torch.full_like(logits[:1], torch.nan)
    return answer


def _finite_near(model: Model, x: Tensor, gradient: Tensor, eps: float, bounds: tuple[float, float]) -> Tensor:
    """(n,) bool on the CPU: finite answers one step along the gradient, and where all pixels are lighter, or darker."""
    finite = torch.ones(len(x), dtype=torch.bool)
    ones = torch.ones_like(x)
    for step in (gradient.sign().nan_to_num(), ones, -ones) if len(x) else ():
        finite &= classify(model, (x + eps * step).clamp(*bounds)).isfinite().all(1).cpu()
    return finite


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
    together = seen.logits[: len(seen.alone)].double()
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
    scale = first.double().abs().amax(1).clamp_min(1e-30)
    return ~((first.double() - second.double()).abs().amax(1) / scale <= 1e-3).cpu()  # NaN differs


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
    logits = seen.logits.double()
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
