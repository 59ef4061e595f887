"""A shallow RBF network beside softmax and maxout: low confidence where it errs, and on rubbish.

Goodfellow, Shlens, Szegedy 2014: Explaining and harnessing adversarial examples, sections 7 and 8 and the appendix
(arXiv 1412.6572).
"""

import math
from functools import partial

import torch
from torch import Tensor, nn

from advkit.attacks import FGSM
from advkit.core.draws import Draws
from advkit.core.goals import Goal
from advkit.core.guard import Model
from advkit.reproduction.looking_at import attacked, digits_of, logits_of
from advkit.reproduction.papers.goodfellow_maxout import EPS, FREE, PAPER, QUOTED, maxout, softmax
from advkit.reproduction.study import (
    STUDIES,
    Budget,
    Cell,
    Claim,
    Measured,
    Measurement,
    Networks,
    Study,
    Table,
    Training,
    claims,
)
from advkit.training import Recipe

SOFTMAX, MAXOUT, RBF = "softmax", "maxout", "shallow RBF"
CLEAN, SURE_CLEAN, FOOLED, SURE = "clean error", "confidence, clean", "error under FGSM", "confidence on mistakes"
RUBBISH, SURE_RUBBISH = "takes for a digit", "confidence on these"
WRONG, BOTH = "same class, where the first is wrong", "same class, where both are wrong"

FOOLING = Table(
    title=f"FGSM, eps {EPS:g}: errors, and how sure the network is",
    where="section 7",
    checked=QUOTED,
    columns=dict.fromkeys((CLEAN, SURE_CLEAN, FOOLED, SURE), "percent"),
    printed={
        SOFTMAX: {FOOLED: 0.999, SURE: 0.793},
        MAXOUT: {FOOLED: 0.894, SURE: 0.976},
        RBF: {SURE_CLEAN: 0.606, FOOLED: 0.554, SURE: 0.012},
    },
)
AGREEING = Table(
    title="FGSM examples made for maxout: how often the second network gives the class of the first",
    where="section 8",
    checked=QUOTED,
    columns={WRONG: "percent", BOTH: "percent"},
    printed={
        f"{MAXOUT}, {SOFTMAX}": {WRONG: 0.546, BOTH: 0.846},
        f"{MAXOUT}, {RBF}": {WRONG: 0.16, BOTH: 0.543},
        f"{SOFTMAX}, {RBF}": {BOTH: 0.536},
    },
)
NOISE = Table(
    title="Rubbish from N(0, 1): taken for a digit if a class has more than half the probability",
    where="appendix",
    checked=QUOTED,
    columns={RUBBISH: "percent", SURE_RUBBISH: "percent"},
    printed={
        SOFTMAX: {RUBBISH: 0.598, SURE_RUBBISH: 0.708},
        MAXOUT: {RUBBISH: 0.9835, SURE_RUBBISH: 0.928},
        RBF: {RUBBISH: 0.0},
    },
)


class ShallowRBF(nn.Module):
    """`log p(y = k | x) = -(x - mu_k)^T B_k (x - mu_k)`, B_k diagonal and positive: one unit a class, not normalised.

    Args:
        input_shape: shape (C, H, W) of the images.
        num_classes: number of classes.
    """

    def __init__(self, input_shape: tuple[int, int, int] = (1, 28, 28), num_classes: int = 10) -> None:
        super().__init__()
        pixels = math.prod(input_shape)
        self.mu = nn.Parameter(0.1 + 0.02 * torch.randn(num_classes, pixels))
        self.log_beta = nn.Parameter(torch.full((num_classes, pixels), math.log(0.01)))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (N, C, H, W) to the logarithm of each class's probability (N, K), at most 0."""
        x, beta = x.flatten(1), self.log_beta.exp()
        return -(x.square() @ beta.T) + 2 * x @ (beta * self.mu).T - (beta * self.mu.square()).sum(1)


def log_others(q: Tensor) -> Tensor:
    """Compute log(1 - e^q) for q < 0; a larger q is replaced by the last number below 0."""
    return torch.log(-torch.expm1(q.clamp(max=-1e-6)))


def surprise_of_rbf(goal: Goal, logits: Tensor) -> Tensor:
    """Compute (N,): minus the log likelihood of "this class and none of the others", whose gradient FGSM takes.

    Args:
        goal: goal of the attack.
        logits: logarithms of the probabilities (N, K).
    """
    own = nn.functional.one_hot(goal.y, logits.shape[1]).bool()
    return -torch.where(own, logits, log_others(logits)).sum(1)


def rbf_loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Compute the mean of `surprise_of_rbf` over a batch.

    Args:
        model: the network.
        x: images (N, C, H, W).
        y: classes (N,).
    """
    return surprise_of_rbf(Goal(y, y, 1.0), model(x)).mean()


def probabilities(name: str, model: Model, x: Tensor) -> Tensor:
    """Return probabilities (N, K): the softmax of the logits, or of the RBF network each class by itself.

    Args:
        name: name of the network.
        model: the network.
        x: images (N, C, H, W).
    """
    logits = logits_of(model, x).double()
    return logits.exp() if name == RBF else logits.softmax(1)


def where_true(values: Tensor, mask: Tensor) -> Measured:
    """Return the mean of the values (N,) where the mask (N,) is true."""
    return Measured.of(torch.where(mask, values.double(), math.nan))


def taken(p: Tensor) -> tuple[Measured, Measured]:
    """Return how often a class has more than half the probability, and its mean probability there.

    Args:
        p: probabilities (N, K).
    """
    top = p.amax(1)
    return Measured.of(top > 0.5), where_true(top, top > 0.5)


def agreement(first: Tensor, second: Tensor, y: Tensor) -> tuple[Measured, Measured]:
    """Return how often two networks give the same class where the first is wrong, and where both are wrong.

    Args:
        first: classes (N,) that the first network gives.
        second: classes (N,) that the second network gives.
        y: true classes (N,).
    """
    same, wrong = first == second, first != y
    return where_true(same, wrong), where_true(same, wrong & (second != y))


def _measure(networks: Networks, seed: int, *, data: str, count: int) -> dict[Cell, Measured]:
    x, y = digits_of(data)
    cells, given = {}, {}
    rubbish = Draws(seed, torch.arange(count)).normal(0, tuple(x.shape[1:])).float()
    made = attacked(networks[MAXOUT], x, y, FGSM(eps=EPS), bounds=FREE)
    for name, network in networks.items():
        own = attacked(network, x, y, _fgsm(name), bounds=FREE)
        for images, failing, sure, only_mistakes in ((x, CLEAN, SURE_CLEAN, False), (own, FOOLED, SURE, True)):
            top, classes = probabilities(name, network, images).max(1)
            cells[FOOLING.cell(name, failing)] = Measured.of(classes != y)
            cells[FOOLING.cell(name, sure)] = where_true(top, (classes != y) | (not only_mistakes))
        found = taken(probabilities(name, network, rubbish))
        cells |= {NOISE.cell(name, c): m for c, m in zip((RUBBISH, SURE_RUBBISH), found, strict=True)}
        given[name] = logits_of(network, made).argmax(1)
    for first, second in ((MAXOUT, SOFTMAX), (MAXOUT, RBF), (SOFTMAX, RBF)):
        found = agreement(given[first], given[second], y)
        cells |= {AGREEING.cell(f"{first}, {second}", c): m for c, m in zip((WRONG, BOTH), found, strict=True)}
    return cells


def _fgsm(name: str) -> FGSM:
    """Return FGSM on the loss that the network was trained with."""
    return FGSM(eps=EPS, loss=surprise_of_rbf) if name == RBF else FGSM(eps=EPS)


def _rbf(budget: Budget) -> Training:
    recipe = Recipe(
        model=f"{__name__}:{ShallowRBF.__name__}", data=budget.digits(), input_shape=(1, 28, 28), optimizer="adamw",
        epochs=budget.pick(tiny=1, small=60, paper=60), batch_size=100, lr=0.03, weight_decay=0.0,
    )  # fmt: skip
    return Training(recipe=recipe, loss=rbf_loss)


def _claims() -> tuple[Claim, ...]:
    fooling, noise, agreeing = FOOLING.cell, NOISE.cell, AGREEING.cell
    sentences = {
        "FGSM fools a shallow RBF network less often than softmax regression.": (
            fooling(RBF, FOOLED), fooling(SOFTMAX, FOOLED), "images",
        ),
        "A shallow RBF network is less sure of its mistakes under FGSM than a maxout network.": (
            fooling(RBF, SURE), fooling(MAXOUT, SURE), "seeds",
        ),
        "A shallow RBF network is less sure of its mistakes under FGSM than of clean digits.": (
            fooling(RBF, SURE), fooling(RBF, SURE_CLEAN), "seeds",
        ),
        "Softmax regression gives maxout's wrong class more often than the RBF network, where each is wrong too.": (
            agreeing(f"{MAXOUT}, {RBF}", BOTH), agreeing(f"{MAXOUT}, {SOFTMAX}", BOTH), "images",
        ),
        "A shallow RBF network takes noise for a digit less often than softmax regression.": (
            noise(RBF, RUBBISH), noise(SOFTMAX, RUBBISH), "images",
        ),
        "Softmax regression takes noise for a digit less often than a maxout network.": (
            noise(SOFTMAX, RUBBISH), noise(MAXOUT, RUBBISH), "images",
        ),
    }  # fmt: skip
    return claims(sentences)


@STUDIES.register("goodfellow_rbf")
def goodfellow_rbf(*, budget: Budget) -> Study:
    """Declare the settings, figures and claims of sections 7 and 8 and of the appendix."""
    trainings = {SOFTMAX: softmax(budget), MAXOUT: maxout(budget), RBF: _rbf(budget)}
    count = budget.pick(tiny=20, small=2000, paper=10_000)
    measure = partial(_measure, data=budget.digits(), count=count)
    return Study(
        title="A shallow RBF network, maxout and softmax on adversarial digits and on rubbish",
        paper=PAPER,
        trainings=trainings,
        measurements={"confidence": Measurement(networks=tuple(trainings), measure=measure)},
        tables=(FOOLING, AGREEING, NOISE),
        claims=_claims(),
        differences=(
            f"Digits: {budget.digits()}, {count} pieces of rubbish; the paper takes MNIST and 10,000.",
            f"Maxout layers of {round(240 * trainings[MAXOUT].recipe.width)} units; the paper has 240.",
            "The paper prints the RBF unit for two classes. Here each class has one unit with a diagonal matrix, kept "
            "negative definite. A class's probability is its unit's, and the probabilities do not add up to 1: with a "
            "softmax over ten classes no confidence could be 1.2 %.",
            "The RBF network is trained, and attacked, by the likelihood of its class and of no other. The paper does "
            "not say by what.",
            "Examples are not cut to the range of the pixels; the paper's formula does not cut them either.",
            "The figures of section 8 are read as: examples made for maxout, in all three rows.",
        ),
    )
