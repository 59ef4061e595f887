"""The budget "paper": every study starts at the paper's own size, and goes through, on a few images of its form.

The networks, the losses and the attacks are those of the budget; one epoch of a few images stands for the training.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.published_sets import declare_published, write_cifar, write_mnist
from torchvision import datasets

from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.data.distorted_mnist import COPIES
from advkit.data.mnist5k import FILE
from advkit.models import parameters
from advkit.reproduction import list_reproductions, reproduce
from advkit.reproduction.looking_at import data_of
from advkit.reproduction.study import Budget, Measurement, Study, declared
from advkit.training import build, train

DIGITS, EACH = 10, 2
GIVEN = ("imagenet_crops",)
"""Studies whose data and networks are the user's; their test is in test_imagenet_crops.py."""
HUGE = ("deep_image",)
"""Studies of photographs, whose networks take a step each below."""
NAMES = [name for name in list_reproductions() if name not in (*GIVEN, *HUGE)]


@pytest.fixture
def few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MNIST and CIFAR-10 of a few images each, in the files of their authors."""
    root = tmp_path / "data"
    with np.load(FILE) as archive:
        images, labels = archive["images"], archive["labels"]
    rows = np.concatenate([np.flatnonzero(labels == digit)[-4 * EACH :] for digit in range(DIGITS)])
    write_mnist(root / "MNIST", images[rows], labels[rows])
    coloured = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    write_cifar(root, datasets.CIFAR10, coloured, [row % 10 for row in range(20)])
    declare_published(monkeypatch, root)
    monkeypatch.setenv("ADVKIT_DATA", str(root))
    data_of.cache_clear()
    yield
    data_of.cache_clear()


def hurried(study: Study) -> Study:
    """The study with one epoch in place of many, and few digits held out.

    The epochs count where networks are trained while they are measured, too.
    """
    trainings = {
        name: replace(training, recipe=replace(recipe, epochs=1, validation=min(recipe.validation, 10)))
        for name, training in study.trainings.items()
        for recipe in (training.recipe,)
    }
    measurements = {name: _hurried(measurement) for name, measurement in study.measurements.items()}
    return replace(study, trainings=trainings, measurements=measurements)


def _hurried(measurement: Any) -> Any:
    base = getattr(measurement.measure, "keywords", {}).get("base")
    if base is None:
        return measurement
    assert isinstance(measurement, Measurement)
    return replace(measurement, measure=partial(measurement.measure, base={**base, "epochs": 1}))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("few_images")
def test_a_study_goes_through_at_the_papers_size(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = hurried(declared(name, "paper"))
    monkeypatch.setattr("advkit.reproduction.reproducing.declared", lambda *_, **__: study)
    found = reproduce(name, budget="paper", seeds=2, output=tmp_path / "run", device="cpu")
    assert len(found.verdicts) == len(study.claims)
    assert all(claim.smaller in found.figures and claim.larger in found.figures for claim in study.claims)
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
def test_the_networks_of_photographs_take_a_step(name: str) -> None:
    training = next(iter(declared(name, "paper").trainings.values()))
    recipe = replace(training.recipe, epochs=1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, *recipe.input_shape), dtype=torch.uint8, generator=generator)
    data = MemoryDataset("few", "train", tuple(map(str, range(recipe.num_classes))), images, torch.tensor([0, 999]))
    run = train(build(recipe), data, recipe=recipe, test=data, device="cpu")
    assert all(bool(p.isfinite().all()) for p in run.classifier.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_without_its_data_a_study_says_what_is_missing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVKIT_DATA", str(tmp_path / "empty"))
    data_of.cache_clear()
    with pytest.raises(InputError) as said:
        reproduce(name, budget="paper", seeds=1, output=tmp_path / "run", device="cpu")
    assert "\n" not in str(said.value)
    assert str(tmp_path / "empty") in str(said.value)


SIZES = {
    ("wan_dropconnect", "relu, dropout"): 1_276_810,
    ("wan_dropconnect", "relu, DropConnect"): 1_276_810,
    ("goodfellow_maxout", "maxout"): 1_233_610,
    ("lin_nin", "global average pooling"): 966_986,
    ("szegedy_distortion", "FC100-100-10"): 784 * 100 + 100 + 100 * 100 + 100 + 100 * 10 + 10,
    ("srivastava_dropout", "L2"): 784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 2048 + 2048 + 2048 * 10 + 10,
    ("deep_image", "no augmentation"): 138_357_544,
    ("krizhevsky_rectifiers", "as in the paper"): 1_116_490,  # 64 maps of 5x5 twice, 32 of 3x3 at 36 places twice
    ("krizhevsky_rectifiers", "without response normalisation"): 1_116_490,
    ("szegedy_distortion", "FC200-200-10"): 784 * 200 + 200 + 200 * 200 + 200 + 200 * 10 + 10,
    ("szegedy_distortion", "AE400-10"): 784 * 400 + 400 + 400 * 784 + 784 + 400 * 10 + 10,
    ("szegedy_transfer", "FC123-456-10, half 1"): 784 * 123 + 123 + 123 * 456 + 456 + 456 * 10 + 10,
}


@pytest.mark.parametrize(("name", "row"), SIZES)
def test_networks_have_the_papers_size(name: str, row: str) -> None:
    recipe = declared(name, "paper").trainings[row].recipe
    with torch.device("cpu" if ":" in recipe.model else "meta"):  # a network by reference is looked at when it is made
        network = build(recipe)
    assert parameters(network) == SIZES[name, row]


@pytest.mark.parametrize("name", ["jaderberg_transformers", "jaderberg_clutter"])
def test_networks_with_and_without_a_transformer_have_400_000_parameters(name: str) -> None:
    for row, training in declared(name, "paper").trainings.items():
        with torch.device("meta"):
            assert parameters(build(training.recipe)) == pytest.approx(400_000, rel=0.02), row


IMAGES = {"mnist": 59_000, "cifar10": 50_000, "imagenet": 1_281_167}
"""Training images; of MNIST's 60,000 the embedded set's 1,000 test digits are left out."""
STEPS = {
    "jaderberg_transformers": 150_000,
    "jaderberg_clutter": 150_000,
    "deep_image": 74 * 1_281_167 / 256,
    "krizhevsky_rectifiers": 160 * 50_000 / 50,
}


@pytest.mark.parametrize("name", STEPS)
def test_networks_train_for_as_many_steps_as_the_paper_says(name: str) -> None:
    """Or for as many as the published files say, where the paper points to them; to two per cent."""
    for training in declared(name, "paper").trainings.values():
        source = next(key for key in IMAGES if key in training.recipe.data)
        copies = COPIES["train"] if "distorted" in training.recipe.data else 1
        steps = training.recipe.epochs * copies * IMAGES[source] / training.recipe.batch_size
        assert steps == pytest.approx(STEPS[name], rel=0.02)


@pytest.mark.parametrize("name", sorted(set(list_reproductions()) - set(GIVEN)))
def test_no_network_of_the_papers_size_sees_the_embedded_digits(name: str) -> None:
    for training in declared(name, "paper").trainings.values():
        for spec in filter(None, (training.recipe.data, training.test)):
            assert "mnist5k" not in spec
            assert any(source in spec for source in IMAGES)


def test_tiny_and_small_digits_are_embedded_and_the_papers_are_not() -> None:
    assert {Budget(name).digits() for name in ("tiny", "small")} == {"mnist5k(pad=0)"}
    assert Budget("paper").digits() == "mnist(pad=0)"
