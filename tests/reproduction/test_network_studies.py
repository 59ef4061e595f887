"""The studies of networks: their settings, and what they measure, against plain arithmetic."""

import math

import pytest
import torch
from torch import nn

from advkit.data import load_data
from advkit.models import Classifier, create_model
from advkit.reproduction.looking_at import data_of
from advkit.reproduction.papers import jaderberg_transformers, krizhevsky_rectifiers, srivastava_dropout
from advkit.reproduction.papers.krizhevsky_rectifiers import epochs_to
from advkit.reproduction.papers.wan_dropconnect import DROPCONNECT, DROPOUT, NONE, VOTE, WAYS, voted
from advkit.reproduction.study import BUDGETS, Measurement, Pooled, declared
from advkit.training import build
from advkit.training._batches import in_memory

NAMES = [
    "jaderberg_clutter",
    "jaderberg_transformers",
    "krizhevsky_rectifiers",
    "lin_nin",
    "srivastava_dropout",
    "wan_dropconnect",
]


@pytest.mark.parametrize("name", NAMES)
def test_untrained_networks_fill_every_cell_that_a_claim_names(name: str) -> None:
    """Each measurement runs on what the recipes build, and leaves an error for each of its images."""
    study = declared(name, "tiny")
    networks = {row: build(training.recipe).eval() for row, training in study.trainings.items()}
    found = {}
    for measurement in study.measurements.values():
        given = {row: networks[row] for row in measurement.networks}
        if isinstance(measurement, Pooled):
            found |= measurement.measure({row: [network] * 2 for row, network in given.items()})
        elif given and isinstance(measurement, Measurement):
            found |= measurement.measure(given, 0)
    missing = {cell for claim in study.claims for cell in (claim.smaller, claim.larger)} - found.keys()
    assert all(cell.table == "figure 1" for cell in missing)  # these are trained while they are measured
    assert all(0 <= figure.value <= 1 and len(figure.samples) in (500, 1000) for figure in found.values())


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", NAMES)
def test_two_networks_that_a_claim_compares_differ_in_what_it_names_alone(name: str, budget: str) -> None:
    """The same data, time and optimizer; only options, penalties and the kind of network may differ."""
    study = declared(name, budget)
    for measurement in study.measurements.values():
        recipes = [study.trainings[row].recipe for row in measurement.networks]
        same = {(r.data, r.optimizer, r.lr, r.batch_size, r.schedule, r.weight_decay, r.clip) for r in recipes}
        assert len(same) <= 1


@pytest.mark.parametrize("budget", ["small", "paper"])
@pytest.mark.parametrize(("name", "count"), [("jaderberg_transformers", 32), ("jaderberg_clutter", 4)])
def test_every_cell_of_the_papers_table_is_run(name: str, count: int, budget: str) -> None:
    study = declared(name, budget)
    (table,) = study.tables
    assert len(study.trainings) == sum(v is not None for p in table.printed.values() for v in p.values()) == count
    measured = [cell for m in study.measurements.values() for cell in m.measure.keywords["cells"].values()]
    assert len(set(measured)) == count
    assert {cell.row for cell in measured} == set(table.printed)
    for training in study.trainings.values():
        assert build_side(training.recipe.data) == training.recipe.input_shape[1]


@pytest.mark.parametrize(("name", "count"), [("jaderberg_transformers", 4 * (6 + 1 + 3) + 4), ("jaderberg_clutter", 4)])
def test_every_claim_agrees_with_the_printed_figures(name: str, count: int) -> None:
    """A claim that the paper's own table does not bear out is not the paper's."""
    study = declared(name, "small")
    (table,) = study.tables
    assert len(study.claims) == count
    for claim in study.claims:
        smaller, larger = (table.printed[c.row][c.column] for c in (claim.smaller, claim.larger))
        assert smaller < larger, claim.sentence


def test_the_networks_of_a_column_share_one_set_of_distorted_digits() -> None:
    spec = "distorted_mnist(variant=RTS, copies=1)"
    held, made = data_of(spec, "test"), load_data(spec, split="test")
    assert data_of(spec, "test") is held
    assert in_memory(held)
    assert not in_memory(made)
    rows = torch.tensor([3, 1, 999, 500])
    assert all(torch.equal(a, b) for a, b in zip(held[rows], made[rows], strict=True))
    assert (held.name, held.split, held.classes, held.input_shape) == (
        made.name, made.split, made.classes, made.input_shape,
    )  # fmt: skip


def build_side(data: str) -> int:
    (variant,) = [v for v in jaderberg_transformers.SIDES if f"variant={v}," in data]
    return jaderberg_transformers.SIDES[variant]


def test_dropout_stands_beside_the_penalties_of_its_rival() -> None:
    for way, rival in (("dropout + L2", "L2"), ("dropout + max-norm", "max-norm")):
        (ours, dropped), (theirs, kept) = (srivastava_dropout.SETTINGS[row] for row in (way, rival))
        assert ours == theirs
        assert dropped["dropout"] > 0 == kept["dropout"]


class Sure(nn.Module):
    """Says the same to every image."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def test_a_vote_is_the_largest_mean_probability() -> None:
    """Two of three networks say class 1, hardly; the third is sure of class 0."""
    networks = [Classifier(Sure(*p)) for p in ((0.4, 0.45, 0.15), (0.4, 0.45, 0.15), (0.9, 0.05, 0.05))]
    assert voted(networks, torch.rand(3, 1, 2, 2)).tolist() == [0, 0, 0]
    assert voted(networks[:2], torch.rand(3, 1, 2, 2)).tolist() == [1, 1, 1]


def test_the_claims_of_a_vote_are_over_images_and_the_others_over_networks() -> None:
    study = declared("wan_dropconnect", "small")
    for claim in study.claims:
        assert claim.over == ("images" if claim.smaller.column == VOTE else "seeds")
        assert claim.smaller.column == claim.larger.column
    assert set(WAYS) == {NONE, DROPOUT, DROPCONNECT}


@pytest.mark.parametrize(
    ("shares", "target", "expected"),
    [((0.9, 0.5, 0.1), 0.3, 1.5), ((0.9, 0.5, 0.1), 0.5, 1.0), ((0.9, 0.5, 0.1), 0.9, 0.0), ((0.9, 0.1), 0.7, 0.25)],
)
def test_the_time_to_an_error_lies_on_the_line_between_epochs(
    shares: tuple[float, ...], target: float, expected: float
) -> None:
    assert epochs_to(shares, target) == pytest.approx(expected)


def test_an_error_that_is_never_reached_takes_for_ever() -> None:
    assert epochs_to((0.9, 0.5, 0.6), 0.4) == math.inf


def test_the_parts_of_alexnet_are_left_out_and_nothing_else() -> None:
    for name, options in krizhevsky_rectifiers.PARTS.items():
        whole, part = (create_model("alexnet", **SMALL, **o) for o in ({}, options))
        assert whole.state_dict().keys() == part.state_dict().keys(), name
        assert (name == krizhevsky_rectifiers.WHOLE) == (str(whole) == str(part))


def test_among_clutter_the_transformer_alone_learns_at_a_tenth_of_the_rate() -> None:
    for row, training in declared("jaderberg_clutter", "small").trainings.items():
        model = build(training.recipe)
        scales = {id(p): group["scale"] for group in training.recipe.make_optimizer(model).param_groups
                  for p in group["params"]}  # fmt: skip
        for name, p in model.net.named_parameters():
            expected = 0.1 if name.startswith("transformer.") and row.startswith("ST-") else 1.0
            assert scales[id(p)] == pytest.approx(expected), f"{row}: {name}"
    assert {t.recipe.layer_decay for t in declared("jaderberg_transformers", "small").trainings.values()} == {1.0}


SMALL = {"input_shape": (1, 32, 32), "num_classes": 10, "width": 1 / 16, "seed": 0}
