"""What a caller has, where a data set is wanted: pairs, dictionaries, sets of torch, loaders, lists."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from advkit.core.errors import InputError
from advkit.data import Dataset, as_dataset
from advkit.figures import directions_sheet, top_sheet
from advkit.insight import activity, directions, top_activations
from advkit.models import Classifier
from advkit.training import Recipe, measure, train

X = torch.rand(12, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


class Pictures:
    """A map-style data set as torchvision has them: no class of torch, names of classes."""

    classes = ("cat", "dog", "owl")

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return X[index], int(Y[index])


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return iter([(x, int(y)) for x, y in zip(X, Y, strict=True)])


class Foreign:
    """A loader of another library, which knows how to begin anew; a queue does not."""

    def __init__(self, shuffle: bool = False) -> None:
        self.shuffle = shuffle

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(12) if self.shuffle else torch.arange(12)
        return iter([(X[order[:5]], Y[order[:5]]), (X[order[5:]], Y[order[5:]])])


class Queue(Foreign):
    def __init__(self) -> None:
        self.left = list(Foreign())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while self.left:
            yield self.left.pop(0)


FORMS: dict[str, Callable[[], Any]] = {
    "pair": lambda: (X, Y),
    "arrays": lambda: [X.numpy(), Y.numpy()],
    "dictionary": lambda: {"image": X, "label": Y},
    "set of torch": lambda: TensorDataset(X, Y),
    "set of pictures": Pictures,
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=5),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=5),
    "stream": Stream,
    "loader of another library": Foreign,
    "queue": Queue,
    "items": lambda: [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "batches": lambda: [(X[:5], Y[:5]), (X[5:], Y[5:])],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_data_set(form: str) -> None:
    data = as_dataset(FORMS[form](), "train")
    assert isinstance(data, Dataset)
    assert data.split == "train"
    x, y = data.tensors()
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_names_of_classes_are_kept() -> None:
    assert as_dataset(Pictures(), "test").classes == ("cat", "dog", "owl")
    assert as_dataset((X, Y), "test").classes == ("0", "1", "2")


class Drawn(Pictures):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.rand(1, 6, 6), int(Y[index])


class Ending(Pictures):
    """Only its last item is another one each time; 12 items are more than are read twice."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return (torch.rand(1, 6, 6) if index == 0 else X[index]), int(Y[index])


CHANGING: list[Callable[[], Any]] = [
    Drawn,
    Ending,
    lambda: DataLoader(TensorDataset(X, Y), batch_size=5, shuffle=True),
    lambda: Foreign(shuffle=True),
]


@pytest.mark.parametrize("form", CHANGING)
def test_what_is_another_thing_each_time_is_refused(form: Callable[[], Any]) -> None:
    """Read once, random transforms would be drawn once and for all, and rows have other numbers the next time."""
    with pytest.raises(InputError, match="gives other images each time it is read: leave out random") as caught:
        as_dataset(form(), "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [X, X.numpy(), None, 3, FORMS, [], [1, 2], [X], {"a": X}, Classifier(nn.Flatten())])
def test_anything_else_is_one_line(value: Any) -> None:
    with pytest.raises(InputError) as caught:
        as_dataset(value, "test")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.fixture
def net() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))).eval()


@pytest.mark.parametrize("form", ["arrays", "set of torch", "loader"])
def test_units_are_looked_at_in_every_form(form: str, net: Classifier) -> None:
    known, data = as_dataset((X, Y), "test"), FORMS[form]()
    assert torch.equal(activity(net, data, layer="0").largest, activity(net, known, layer="0").largest)
    (top,) = top_activations(net, data, layer="0", units=[1], count=3)
    (same,) = top_activations(net, known, layer="0", units=[1], count=3)
    assert torch.equal(top.rows, same.rows)
    assert all(torch.equal(a, b) for a, b in zip(top.patches(data), same.patches(known), strict=True))
    top_sheet([top], data, [X[top.rows]])
    found = directions(net, data, layer="0", units=[0], count=2)
    assert torch.equal(found[0].rows, directions(net, known, layer="0", units=[0], count=2)[0].rows)
    directions_sheet(found, ["unit 0"], data, layer="0")


def test_training_takes_a_set_of_torch(net: Classifier) -> None:
    recipe = Recipe(model="given", data="given", input_shape=(1, 6, 6), num_classes=3, epochs=1, batch_size=4)
    twin = Classifier(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)))
    twin.load_state_dict(net.state_dict())
    train(net, TensorDataset(X, Y), recipe=recipe, test=TensorDataset(X, Y))
    train(twin, (X, Y), recipe=recipe, test=(X, Y))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))
    assert measure(net, TensorDataset(X, Y)) == measure(net, (np.asarray(X), np.asarray(Y)))
