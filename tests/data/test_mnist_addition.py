"""MNIST addition: each channel is a distorted digit, the label is the sum, and a row depends on its number alone."""

import pytest
import torch

from advkit.core.errors import InputError, UnknownNameError
from advkit.data import load_data


@pytest.fixture(scope="module")
def pairs():
    return load_data("mnist_addition")


def test_the_label_is_the_sum_of_the_two_digits_that_the_channels_show(pairs):
    first, second = (load_data("distorted_mnist", seed=seed) for seed in (0, 1))
    x, y = pairs[:40]
    assert x.shape == (40, 2, 42, 42)
    assert pairs.classes == tuple(map(str, range(19)))
    assert torch.equal(x[:, 0], first[:40][0][:, 0])
    for row in range(40):
        same = (second[:][0][:, 0] == x[row, 1]).flatten(1).all(1).nonzero()[0, 0]
        assert int(y[row]) == int(first.labels[row]) + int(second.labels[same])
    assert torch.equal(pairs.addends.sum(1), pairs.labels)
    assert torch.equal(pairs.addends[:40, 0], first.labels[:40])


def test_second_digits_are_drawn_evenly_and_apart_from_the_first():
    data = load_data("mnist_addition", split="train")
    first, second = data.addends.T
    table = torch.zeros(10, 10).index_put_((first, second), torch.ones(len(data)), accumulate=True)
    chi = ((table - 400).square() / 400).sum().item()
    assert 40 < chi < 175  # 99 degrees of freedom at a level of 1e-6
    assert data._partner.bincount(minlength=len(data)).max() < 12


def test_without_distortion_the_digits_are_upright_in_the_middle_and_the_sums_stay(pairs):
    plain = load_data("mnist_addition(strength=0)")
    assert plain.name == "mnist_addition(strength=0)"
    assert torch.equal(plain.addends, pairs.addends)
    digits = load_data("mnist5k(pad=7)")
    rows = torch.arange(20)
    x, _ = plain[rows]
    assert torch.equal(x[:, 0], digits[rows][0][:, 0])
    shown = [(digits[:][0][:, 0] == image).flatten(1).all(1).nonzero()[0, 0] for image in x[:5, 1]]
    assert [int(digits.labels[row]) for row in shown] == plain.addends[:5, 1].tolist()
    assert plain.sibling("train").name == "mnist_addition(strength=0)"


def test_a_row_depends_on_its_number_the_split_and_the_seed(pairs):
    x, y = pairs[[7, 300, 7]]
    assert torch.equal(x[0], pairs[7][0])
    assert torch.equal(x[0], x[2])
    assert y[0] == y[2]
    more = load_data("mnist_addition", copies=2)
    assert len(more) == 2000
    assert torch.equal(more[:3][0][:, 0], pairs[:3][0][:, 0])
    other = load_data("mnist_addition(seed=1)")
    assert other.name == "mnist_addition(seed=1)"
    assert not torch.equal(other[7][0], x[0])
    assert not torch.equal(pairs.sibling("train")[7][0], x[0])
    assert pairs.sibling("train").name == "mnist_addition"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"source": "mnist6k"}, UnknownNameError, "did you mean 'mnist5k'"),
        ({"copies": 0}, InputError, "expected copies of 1 or more"),
        ({"strength": 1.5}, InputError, r"strength as a share in \[0, 1\]"),
        ({"seed": -1}, InputError, "expected seed as a whole number of at least 0"),
        ({"split": "extra"}, UnknownNameError, "unknown split"),
    ],
)
def test_wrong_options_are_named(options, kind, message):
    with pytest.raises(kind, match=message):
        load_data("mnist_addition", **options)
