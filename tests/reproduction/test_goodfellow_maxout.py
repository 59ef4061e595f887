"""What is shown to whom under FGSM: uncut examples, transfers, and an ensemble of equals."""

import pytest
import torch

from advkit.models import Classifier, create_model
from advkit.reproduction.looking_at import digits_of
from advkit.reproduction.papers.goodfellow_maxout import (
    ALL,
    CLEAN,
    CROSSED,
    ENSEMBLE,
    EPS,
    FOOLED,
    LARGER,
    MEMBER,
    NOISY,
    ONE,
    PLAIN,
    SURE,
    TOGETHER,
    WHOLE,
    _measure,
    _measure_together,
    fgsm,
)

DATA = "mnist5k(pad=0)"
X, Y = digits_of(DATA)


def network(seed: int) -> Classifier:
    return create_model("maxout", units=8, input_shape=(1, 28, 28), mean=0.0, std=1.0, seed=seed).eval()


def test_examples_are_a_whole_step_and_not_cut() -> None:
    model, x, y = network(0), X[:20], Y[:20]
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(model(leaf), y, reduction="sum"), leaf)
    found = fgsm(model, x, y)
    assert torch.allclose(found, x + EPS * gradient.sign(), atol=1e-6)
    assert found.min() < 0


def test_a_row_of_transfers_is_shown_to_every_network() -> None:
    networks = {PLAIN: network(0), LARGER: network(1)}
    cells = _measure(networks, 0, data=DATA)
    for source in networks:
        made = fgsm(networks[source], X, Y)
        assert cells[CROSSED.cell(source, source)].samples == cells[ALL.cell(source, FOOLED)].samples
        for name, shown in networks.items():
            wrong = (shown(made).argmax(1) != Y).double()
            assert cells[CROSSED.cell(source, name)].samples == wrong.tolist()
    sure, given = networks[PLAIN](fgsm(networks[PLAIN], X, Y)).softmax(1).max(1)
    assert cells[ALL.cell(PLAIN, SURE)].value == pytest.approx(sure[given != Y].mean().item(), abs=1e-5)
    assert len(cells[ALL.cell(PLAIN, NOISY)].samples) == len(cells[ALL.cell(PLAIN, CLEAN)].samples) == len(Y)


def test_an_ensemble_of_equals_is_one_of_them() -> None:
    cells = _measure_together({PLAIN: [network(0)] * 3}, data=DATA)
    for row in TOGETHER.printed:
        assert cells[TOGETHER.cell(row, ENSEMBLE)].samples == cells[TOGETHER.cell(row, MEMBER)].samples
    assert cells[TOGETHER.cell(ONE, ENSEMBLE)].samples == cells[TOGETHER.cell(WHOLE, ENSEMBLE)].samples


def test_the_ensemble_is_attacked_by_the_mean_of_its_logits() -> None:
    members = [network(0), network(1)]
    cells = _measure_together({PLAIN: members}, data=DATA)
    leaf = X.clone().requires_grad_()
    mean = (members[0](leaf) + members[1](leaf)) / 2
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(mean, Y, reduction="sum"), leaf)
    x_adv = X + EPS * gradient.sign()
    wrong = ((members[0](x_adv) + members[1](x_adv)).argmax(1) != Y).double()
    found = torch.tensor(cells[TOGETHER.cell(WHOLE, ENSEMBLE)].samples)
    assert (found != wrong).sum() <= 2  # float noise of a gradient near 0
