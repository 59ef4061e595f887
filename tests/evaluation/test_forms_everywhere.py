"""Whoever takes data takes it in every form that `evaluate` takes, or says in one line what is wrong with it."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.training import RECIPE, toy_net
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    get_worker_info,
)
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.functional import to_pil_image

from advkit import evaluate
from advkit.attacks import FGSM, DeepFool, find_patch, find_universal
from advkit.core.errors import InputError
from advkit.data._stream import batches, total
from advkit.evaluation import (
    check_evaluation,
    corruption_errors,
    error_curve,
    made_corruption_errors,
    transfer_matrix,
)
from advkit.testing import assert_robust
from advkit.training import measure, train

X = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3
torch.manual_seed(1)
NET = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


class Dicts(TorchDataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": X[index], "labels": int(Y[index])}


class Pictures(Dicts):
    def __getitem__(self, index: int) -> Any:
        return to_pil_image(X[index]), 0


class Sizes(Dicts):
    def __getitem__(self, index: int) -> Any:
        return X[index, :, index:], 0


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y.tolist(), strict=True)


DATA = TensorDataset(X, Y)

STREAMS: dict[str, Callable[..., Any]] = {
    "evaluate": lambda data, **n: evaluate(NET, data, FGSM(eps=0.1), batch_size=5, **n).adversarial_error,
    "error_curve": lambda data, **n: error_curve(NET, data, DeepFool(steps=3), batch_size=5, **n).median,
    "transfer_matrix": lambda data, **n: transfer_matrix({"a": NET}, data, FGSM(eps=0.1), batch_size=5, **n).wrong,
    "corruption_errors": lambda data, **n: corruption_errors(NET, data, names=["blur"], severities=[5], **n).wrong,
    "made_corruption_errors": lambda data, **n: (
        made_corruption_errors(NET, data, kinds=["contrast"], severities=[5], **n).wrong
    ),
    "check_evaluation": lambda data, count=12: check_evaluation(NET, data, count=count)["worse_than_chance"].evidence,
    "find_universal": lambda data, **n: find_universal(NET, data, eps=0.1, epochs=1, batch_size=12, **n).delta.tolist(),
    "find_patch": lambda data, **n: find_patch(NET, data, size=0.2, epochs=1, **n).patch.tolist(),
}
"""What reads data batch by batch."""

COUNTED = sorted(STREAMS.keys() - {"check_evaluation"})
"""What takes all images where no count is given."""

PAIRS: dict[str, Callable[[Any], Any]] = {
    "train": lambda data: train(toy_net(), data, recipe=replace(RECIPE, epochs=1), device="cpu").log[-1].loss,
    "measure": lambda data: measure(NET, data),
}
"""What reads images by their numbers; images of 8 bits are images here, as in a file."""

FORMS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X.numpy(), Y.numpy()),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "lists of tensors": lambda: (list(X), list(Y)),
    "tensors and a list": lambda: (X, Y.tolist()),
    "dictionary": lambda: {"image": X, "label": Y},
    "batches": lambda: [(X[:5], Y[:5]), (X[5:], Y[5:])],
    "items": lambda: [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "triples": lambda: DataLoader(TensorDataset(X, Y, Y), batch_size=12),
    "dictionaries": Dicts,
    "loader of dictionaries": lambda: DataLoader(Dicts(), batch_size=12),
    "stream": Stream,  # with a count beyond its end
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=12),
}

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "endless": (lambda: itertools.cycle([(X, Y)]), "only once"),
    "generator": (lambda: ((X, Y) for _ in range(2)), "only once"),
    "iterator of a loader": (lambda: iter(DataLoader(TensorDataset(X, Y))), "only once"),
    "8-bit loader": (lambda: DataLoader(TensorDataset((X * 255).byte(), Y)), r"x\.float\(\) / 255"),
    "nothing": (lambda: None, "got NoneType"),
    "images alone": (lambda: X, "got Tensor"),
    "loader of images alone": (lambda: DataLoader(X), "as two tensors"),
    "a number": (lambda: 3, "got int"),
    "lists of unequal rows": (lambda: ([[[0.1, 0.2]], [[0.1]]], [0, 1]), "of one size"),
    "lists of texts": (lambda: ([["a"]], ["b"]), "two tensors|got tuple"),
    "empty": (list, "empty data"),
    "fractions": (lambda: (X, Y + 0.5), "labels.* as integers"),
    "the other way round": (lambda: (Y, X), "got .*int64"),
    "NaN": (lambda: (X * float("nan"), Y), "contain NaN"),
    "too few labels": (lambda: (X, Y[:5]), "labels"),
    "a single image": (lambda: (X[0], Y[0]), r"x\[None\], torch\.tensor\(\[y\]\)"),
    "a single image and its number": (lambda: (X[0], 1), r"x\[None\], torch\.tensor\(\[y\]\)|got tuple"),
    "one number for all": (lambda: (X, 1), r"torch\.full\(\(12,\), y\)|got tuple"),
    "names": (lambda: (X.numpy(), np.array(["cat"] * 12)), r"np\.unique\(y, return_inverse=True\)"),
    "digits as texts": (lambda: (X.numpy(), np.array(["0", "1", "2"] * 4)), r"y\.astype\(int\)"),
    "objects": (lambda: (X.numpy(), Y.numpy().astype(object)), r"y\.astype\(int\)"),
    "the splits of a set": (lambda: {"train": Dicts(), "test": Dicts()}, r"such as data\['test'\]"),
    "pictures": (lambda: DataLoader(Pictures(), batch_size=4), r"ToTensor\(\)"),
    "several sizes": (lambda: DataLoader(Sizes(), batch_size=4), r"batch_size=1"),
    "the only batch left out": (
        lambda: DataLoader(DATA, batch_size=99, drop_last=True),
        "drop_last=False",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STREAMS)
def test_every_form_gives_what_the_tensors_give(name: str, form: str) -> None:
    call = STREAMS[name]
    assert call(FORMS[form](), **({"count": 99} if "stream" in form and name in COUNTED else {})) == call((X, Y))


class Round(Sampler[int]):
    """Goes round the images for ever, as samplers of generative training do; its length may be said all the same."""

    def __iter__(self) -> Iterator[int]:
        return itertools.cycle(range(12))


class Liar(Round):
    def __len__(self) -> int:
        return 12


class Again(Stream):
    """A stream that says 12 images and begins anew after them."""

    def __len__(self) -> int:
        return 12

    def __iter__(self) -> Iterator[Any]:
        return itertools.cycle(zip(X, Y.tolist(), strict=True))


MORE = r"after len\(loader\) = 1, got more"
ENDLESS: dict[str, tuple[Callable[[], Any], str]] = {
    "stream": (Stream, "expected count=N"),
    "sampler": (lambda: DataLoader(DATA, sampler=Round(), batch_size=12), "expected count=N"),
    "batches of the caller": (lambda: DataLoader(DATA, batch_sampler=BatchSampler(Round(), 12, False)), "=N for data"),
    "sampler with a length": (lambda: DataLoader(DATA, sampler=Liar(), batch_size=12), MORE),
    "stream with a length": (lambda: DataLoader(Again(), batch_size=12), MORE),
}


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("name", STREAMS)
def test_what_may_never_end_needs_a_count(name: str, kind: str) -> None:
    data, message = ENDLESS[kind]
    expected = STREAMS[name]((X, Y))
    assert STREAMS[name](data(), count=12) == expected
    if name in COUNTED:
        with pytest.raises(InputError, match=message) as caught:
            STREAMS[name](data())
        assert "\n" not in str(caught.value)


def test_a_stream_that_its_workers_share_may_end_in_several_short_batches() -> None:
    class Shared(Stream):
        def __len__(self) -> int:
            return 12

        def __iter__(self) -> Iterator[Any]:
            worker = get_worker_info()
            assert worker is not None
            return itertools.islice(zip(X, Y.tolist(), strict=True), worker.id, None, 2)

    loader = DataLoader(Shared(), batch_size=4, num_workers=2)  # 4, 4, 2, 2: one batch more than said
    assert evaluate(NET, loader, FGSM(eps=0.1)).count == 12


def test_the_error_of_a_worker_is_one_line_too() -> None:
    with pytest.raises(InputError, match=r"cannot make a batch of its items: .*batch_size=1$") as caught:
        evaluate(NET, DataLoader(Sizes(), batch_size=4, num_workers=1), FGSM(eps=0.1))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
@pytest.mark.parametrize("counted", [False, True])
def test_images_that_every_worker_reads_are_not_counted_several_times(counted: bool) -> None:
    """Each of two workers read all 12 images: with a count beyond the end, 24 images took part in silence."""

    class Counted(Stream):
        def __len__(self) -> int:
            return 12

    loader = DataLoader(Counted() if counted else Stream(), batch_size=4, num_workers=2)
    with pytest.raises(InputError, match=r"2 workers, got the same: .*get_worker_info.*num_workers=0"):
        evaluate(NET, loader, FGSM(eps=0.1), count=None if counted else 99)


class Given(IterableDataset[tuple[torch.Tensor, int]]):
    """Images of these numbers, each a constant one, which every worker reads as a whole, or shares."""

    def __init__(self, numbers: list[int], *, shared: bool) -> None:
        self.numbers, self.shared = numbers, shared

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        assert worker is not None
        mine = self.numbers[worker.id :: worker.num_workers] if self.shared else self.numbers
        return iter([(torch.full((1, 4, 4), number / 10), 0) for number in mine])


@pytest.mark.parametrize("numbers", [[0] * 9, [0, 0, 0, 0, 1, 2, 3, 4]])
@pytest.mark.parametrize("size", [1, 2])
def test_a_stream_whose_first_batches_happen_to_be_equal_is_read(numbers: list[int], size: int) -> None:
    """Black images in the first batches were taken for images that each worker reads."""
    loader = DataLoader(Given(numbers, shared=True), batch_size=size, num_workers=2)
    assert sum(len(batch.x) for batch in batches(loader, batch_size=1, count=99)) == len(numbers)


@pytest.mark.parametrize("size", [1, 2])
def test_constant_images_that_every_worker_reads_are_told_apart(size: int) -> None:
    loader = DataLoader(Given([0, 0, 1, 1, 2, 2], shared=False), batch_size=size, num_workers=2)
    with pytest.raises(InputError, match="2 workers, got the same"):
        list(batches(loader, batch_size=1, count=99))


@pytest.mark.parametrize("count", ["5", True, 0, -1, 1.5, torch.tensor(0)])
@pytest.mark.parametrize("name", COUNTED)
def test_a_count_that_is_no_number_of_images_is_one_line(name: str, count: Any) -> None:
    for data in ((X, Y), DataLoader(DATA, batch_size=5)):
        with pytest.raises(InputError, match=r"^expected count as an integer >= 1, got .*; leave it out") as caught:
            STREAMS[name](data, count=count)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loader", "images"),
    [
        (DataLoader(DATA, batch_size=5), 12),
        (DataLoader(DATA, batch_size=5, drop_last=True), 10),
        (DataLoader(DATA, batch_size=5, sampler=SubsetRandomSampler([3, 1, 2])), 3),
        (DataLoader(DATA, batch_sampler=BatchSampler(SubsetRandomSampler([3, 1, 2]), 2, True)), 2),
        (DataLoader(DATA, batch_sampler=[[0, 1], [2]]), None),
        (DataLoader(Again(), batch_size=5), 12),
        (DataLoader(Stream(), batch_size=5), None),
    ],
)
def test_the_images_of_a_loader_are_those_that_it_gives(loader: DataLoader[Any], images: int | None) -> None:
    assert total(loader, None) == images
    assert total(loader, 1) == (None if images is None else 1)
    if not isinstance(loader.dataset, Stream):
        assert sum(len(y) for _, y in loader) == evaluate(NET, loader, FGSM(eps=0.1)).count == (images or 3)


@pytest.mark.parametrize("name", PAIRS)
def test_what_reads_images_by_their_numbers_takes_every_form(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = X[:, :, :6, :6] if name == "train" else X
    monkeypatch.setitem(globals(), "X", small)
    call = PAIRS[name]
    assert {call(make()) for make in FORMS.values()} == {call((small, Y))}
    assert call(DataLoader(TensorDataset((small * 255).byte(), Y))) == call(((small * 255).byte(), Y))


@pytest.mark.parametrize(
    ("name", "wrong"), [(n, w) for n in (*STREAMS, *PAIRS) for w in WRONG if n in STREAMS or w != "8-bit loader"]
)
def test_what_is_wrong_is_one_line(name: str, wrong: str) -> None:
    data, message = WRONG[wrong]
    with pytest.raises(InputError, match=message) as caught:
        (STREAMS | PAIRS)[name](data())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [X.numpy(), X.tolist(), DataLoader(X), (X * 255).byte(), X * 255, X * float("nan"), None]
)
def test_assert_robust_takes_tensors_and_says_so(wrong: Any) -> None:
    with pytest.raises(InputError, match="images") as caught:
        assert_robust(NET, wrong, Y, FGSM(eps=0.1), max_error=1.0)
    assert "\n" not in str(caught.value)
