"""Softmax and maxout under FGSM, a maxout network trained on FGSM with its controls and transfers, and an ensemble.

Goodfellow, Shlens, Szegedy 2014: Explaining and harnessing adversarial examples, sections 4, 6 and 9
(arXiv 1412.6572).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from advkit.attacks import FGSM, Noise
from advkit.attacks.around.average import Averaged
from advkit.models import Classifier
from advkit.reproduction.looking_at import attacked, confidence_on_mistakes, digits_of, error
from advkit.reproduction.study import (
    STUDIES,
    Budget,
    Cell,
    Claim,
    Measured,
    Measurement,
    Networks,
    Pooled,
    Study,
    Table,
    Training,
    claims,
)
from advkit.training import Recipe

PAPER = "Goodfellow, Shlens, Szegedy: Explaining and harnessing adversarial examples, 2014, arXiv 1412.6572"
QUOTED = "against quotations of the paper's LaTeX source in three public reproductions; not in the paper itself."
EPS = 0.25
FREE = (-1, 2)
"""A range that FGSM does not leave: the paper's examples are not clipped to [0, 1]."""

SOFTMAX, PLAIN, TRAINED, LARGER = "softmax", "maxout", "maxout, FGSM training", "larger maxout, FGSM training"
SIGNS, UNIFORM = "maxout, training on +-eps", "maxout, training on U(-eps, eps)"
CLEAN, FOOLED, SURE, NOISY = "clean error", "error under FGSM", "confidence on mistakes", "error under +-eps noise"

ALL = Table(
    title=f"Clean digits, FGSM and random signs, eps {EPS:g}",
    where="sections 4 and 6",
    checked=QUOTED,
    columns=dict.fromkeys((CLEAN, FOOLED, SURE, NOISY), "percent"),
    printed={
        SOFTMAX: {FOOLED: 0.999, SURE: 0.793},
        PLAIN: {CLEAN: 0.0094, FOOLED: 0.894, SURE: 0.976},
        TRAINED: {CLEAN: 0.0084},
        LARGER: {CLEAN: 0.00782, FOOLED: 0.179, SURE: 0.814},
        SIGNS: {FOOLED: 0.862, SURE: 0.973},
        UNIFORM: {FOOLED: 0.904, SURE: 0.978},
    },
)
CROSSED = Table(
    title="Error of each network (columns) on the FGSM examples made for another (rows)",
    where="section 6, transfers",
    checked=QUOTED,
    columns={PLAIN: "percent", LARGER: "percent"},
    printed={PLAIN: {PLAIN: 0.894, LARGER: 0.196}, LARGER: {PLAIN: 0.409, LARGER: 0.179}},
)
MEMBERS, ONE, WHOLE = "clean digits", "examples for one member", "examples for the whole ensemble"
ENSEMBLE, MEMBER = "ensemble", "one member"
TOGETHER = Table(
    title="An ensemble of maxout networks, FGSM",
    where="section 9",
    checked=QUOTED,
    columns={ENSEMBLE: "percent", MEMBER: "percent"},
    printed={MEMBERS: {}, ONE: {ENSEMBLE: 0.879}, WHOLE: {ENSEMBLE: 0.911}},
)


def fgsm(model: Classifier | Averaged, x: Any, y: Any) -> Any:
    """Compute `x + eps sign(gradient)`, not clipped to the range of the pixels.

    Args:
        model: the network.
        x: images (N, C, H, W).
        y: classes (N,).
    """
    return attacked(model, x, y, FGSM(eps=EPS), bounds=FREE)


def _measure(networks: Networks, seed: int, *, data: str) -> dict[Cell, Measured]:
    x, y = digits_of(data)
    cells, made = {}, {name: fgsm(network, x, y) for name, network in networks.items()}
    for name, network in networks.items():
        noisy = attacked(network, x, y, Noise(eps=EPS), seed=seed, bounds=FREE)
        cells[ALL.cell(name, CLEAN)] = error(network, x, y)
        cells[ALL.cell(name, FOOLED)] = error(network, made[name], y)
        cells[ALL.cell(name, SURE)] = confidence_on_mistakes(network, made[name], y)
        cells[ALL.cell(name, NOISY)] = error(network, noisy, y)
    for source in CROSSED.printed:
        for name in CROSSED.columns:
            cells[CROSSED.cell(source, name)] = error(networks[name], made[source], y)
    return cells


def _measure_together(networks: Mapping[str, Sequence[Classifier]], *, data: str) -> dict[Cell, Measured]:
    x, y = digits_of(data)
    members = networks[PLAIN]
    ensemble = Averaged(members).eval()
    shown = {MEMBERS: x, ONE: fgsm(members[0], x, y), WHOLE: fgsm(ensemble, x, y)}
    looking = {ENSEMBLE: ensemble, MEMBER: members[0]}
    return {
        TOGETHER.cell(row, column): error(model, images, y)
        for row, images in shown.items()
        for column, model in looking.items()
    }


def maxout(budget: Budget, *, width: float = 1.0, **options: Any) -> Training:
    """Return the training of a maxout network with dropout.

    Args:
        budget: budget of the study.
        width: factor on the width of the budget's network.
        **options: further options of the recipe.
    """
    size = budget.pick(tiny=1 / 60, small=1 / 2, paper=1.0) * width
    recipe = Recipe(
        model="maxout", data=budget.digits(), width=size, input_shape=(1, 28, 28), options={"mean": 0.0, "std": 1.0},
        epochs=budget.pick(tiny=1, small=12, paper=100), batch_size=100, optimizer="adamw", lr=1e-3, weight_decay=0.0,
        clip=1.0, **options,
    )  # fmt: skip
    return Training(recipe=recipe)


def softmax(budget: Budget) -> Training:
    """Return the training of softmax regression.

    Args:
        budget: budget of the study.
    """
    options = {"hidden": (), "dropout": 0.0, "mean": 0.0, "std": 1.0}
    recipe = Recipe(
        model="mlp", data=budget.digits(), input_shape=(1, 28, 28), options=options, optimizer="adamw", lr=3e-3,
        epochs=budget.pick(tiny=1, small=30, paper=30), batch_size=100, weight_decay=0.0,
    )  # fmt: skip
    return Training(recipe=recipe)


def _trainings(budget: Budget) -> dict[str, Training]:
    fgsm_loss = f"fgsm(eps={EPS}, alpha=0.5, bounds={FREE})"
    held, epochs = budget.pick(tiny=20, small=400, paper=10_000), maxout(budget).recipe.epochs
    stopped = {"validation": held, "watch": f"fgsm(eps={EPS})", "patience": epochs}
    return {
        SOFTMAX: softmax(budget),
        PLAIN: maxout(budget),
        TRAINED: maxout(budget, defense=fgsm_loss),
        LARGER: maxout(budget, width=budget.pick(tiny=2, small=2, paper=20 / 3), defense=fgsm_loss, **stopped),
        SIGNS: maxout(budget, defense=f"noise(eps={EPS}, kind=sign, bounds={FREE})"),
        UNIFORM: maxout(budget, defense=f"noise(eps={EPS}, kind=uniform, bounds={FREE})"),
    }


def _claims() -> tuple[Claim, ...]:
    cell, across, together = ALL.cell, CROSSED.cell, TOGETHER.cell
    sentences = {
        "FGSM fools softmax regression more often than random signs of the same size.": (
            cell(SOFTMAX, NOISY), cell(SOFTMAX, FOOLED), "images",
        ),
        "FGSM fools a maxout network more often than random signs of the same size.": (
            cell(PLAIN, NOISY), cell(PLAIN, FOOLED), "images",
        ),
        "FGSM training with dropout makes fewer errors on clean digits than dropout alone.": (
            cell(TRAINED, CLEAN), cell(PLAIN, CLEAN), "seeds",
        ),
        "A larger network that is stopped by its error under FGSM makes fewer errors on clean digits still.": (
            cell(LARGER, CLEAN), cell(TRAINED, CLEAN), "seeds",
        ),
        "FGSM training makes fewer errors under FGSM than plain training.": (
            cell(LARGER, FOOLED), cell(PLAIN, FOOLED), "images",
        ),
        "Training on random signs of the same size protects less than FGSM training.": (
            cell(TRAINED, FOOLED), cell(SIGNS, FOOLED), "images",
        ),
        "Training on uniform noise of the same size protects less than FGSM training.": (
            cell(TRAINED, FOOLED), cell(UNIFORM, FOOLED), "images",
        ),
        "Examples made for the plain network fool the FGSM-trained one less often than the plain one.": (
            across(PLAIN, LARGER), across(PLAIN, PLAIN), "images",
        ),
        "Examples made for the FGSM-trained network fool the plain one less often than its own do.": (
            across(LARGER, PLAIN), across(PLAIN, PLAIN), "images",
        ),
        "The plain network is fooled more often by the FGSM-trained one's examples than the other way round.": (
            across(PLAIN, LARGER), across(LARGER, PLAIN), "images",
        ),
        "An ensemble is no defence: examples made for one member fool it far more often than it errs.": (
            together(MEMBERS, ENSEMBLE), together(ONE, ENSEMBLE), "images",
        ),
        "Examples made for the whole ensemble fool it more often than those made for one member.": (
            together(ONE, ENSEMBLE), together(WHOLE, ENSEMBLE), "images",
        ),
    }  # fmt: skip
    return claims(sentences)


@STUDIES.register("goodfellow_maxout")
def goodfellow_maxout(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of sections 4, 6 and 9."""
    trainings, data = _trainings(budget), budget.digits()
    units = {name: round(240 * trainings[name].recipe.width) for name in (PLAIN, LARGER)}
    held, epochs = trainings[LARGER].recipe.validation, trainings[PLAIN].recipe.epochs
    return Study(
        title="Maxout networks under FGSM, and trained on it",
        paper=PAPER,
        trainings=trainings,
        measurements={
            "FGSM": Measurement(networks=tuple(trainings), measure=partial(_measure, data=data)),
            "ensemble": Pooled(networks=(PLAIN,), measure=partial(_measure_together, data=data)),
        },
        tables=(ALL, CROSSED, TOGETHER),
        claims=_claims(),
        differences=(
            f"Digits: {data}; the paper takes MNIST.",
            f"Maxout layers of {units[PLAIN]} units, {units[LARGER]} in the larger network; the paper: 240 and 1600.",
            f"AdamW for {epochs} epochs. The paper gives no optimiser; the maxout networks that it builds on train by "
            "SGD with bounded column norms.",
            f"The larger network keeps the epoch of the lowest error under FGSM on {held} digits held out, cut to the "
            "range of the pixels; the paper then trains again on all digits.",
            "Examples and noise are not cut to the range of the pixels; the paper's formula does not cut them either.",
            "The confidence is that of mistakes only.",
            "The ensemble has as many members as there are seeds, and takes the mean of their logits; the paper has "
            "twelve, and does not say how they are averaged. Its first member is the one that is attacked alone.",
            "The paper's transfers are taken to be between its plain and its larger network; it does not name them.",
        ),
    )
