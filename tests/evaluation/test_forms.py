"""What the command takes, the library takes: names, texts, arrays, loaders of any form; each mistake is one line."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import save_image

from advkit import evaluate, load_data, load_model
from advkit.attacks import FGSM, PGD
from advkit.core.errors import InputError
from advkit.core.words import beyond_the_range
from advkit.evaluation import Keep, load_run
from advkit.goals import multi_label

X, Y = load_data("mnist5k")[:12]
MODEL = load_model("lenet5", device="cpu")
EXPECTED = FGSM(eps=8 / 255)(MODEL, X, Y).success.float().mean().item()


class Dicts(TorchDataset[Any]):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"pixel_values": X[index], "labels": int(Y[index]), "name": "x"}


class Stream(IterableDataset[Any]):
    def __init__(self, *, endless: bool = False) -> None:
        self.endless = endless

    def __iter__(self) -> Iterator[Any]:
        yield from zip(X, Y.tolist(), strict=True)
        while self.endless:
            yield X[0], int(Y[0])


FORMS: dict[str, Any] = {
    "tensors": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "dictionary": {"image": X, "label": Y},
    "batches": [(X[:5], Y[:5]), (X[5:], Y[5:])],
    "batches of dictionaries": [{"x": X[:5], "y": Y[:5]}, {"x": X[5:], "y": Y[5:]}],
    "items": [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "dictionary of arrays": {"image": X.numpy(), "label": Y.numpy()},
    "items of arrays": [(x.numpy(), np.int64(y)) for x, y in zip(X, Y.tolist(), strict=True)],
    "arrays of another machine": (X.numpy().astype(">f4"), Y.numpy().astype(">i8")),
    "arrays read backwards": (X.numpy()[::-1].copy()[::-1], Y.numpy()[::-1].copy()[::-1]),
    "arrays that cannot be written": (np.frombuffer(X.numpy().tobytes(), np.float32).reshape(X.shape), Y.numpy()),
    "two items": [(X[0], int(Y[0])), (X[1], int(Y[1]))],
    "triples": DataLoader(TensorDataset(X, Y, Y), batch_size=5),
    "dictionaries": Dicts(),
    "loader of dictionaries": DataLoader(Dicts(), batch_size=5),
}


@pytest.mark.parametrize("form", FORMS)
def test_data_of_any_form_give_the_same_figure(form: str) -> None:
    report = evaluate(MODEL, FORMS[form], "fgsm(eps=8/255)", batch_size=5)
    expected = EXPECTED if form != "two items" else FGSM(eps=8 / 255)(MODEL, X[:2], Y[:2]).success.float().mean().item()
    assert report.adversarial_error == pytest.approx(expected)
    assert report.count == (12 if form != "two items" else 2)


def test_streams_are_read_and_an_endless_one_ends_after_count() -> None:
    assert evaluate(MODEL, Stream(), "fgsm(eps=8/255)", count=99).adversarial_error == pytest.approx(EXPECTED)
    assert evaluate(MODEL, Stream(endless=True), "fgsm", count=14, batch_size=4).count == 14
    assert evaluate(MODEL, DataLoader(Stream(endless=True), batch_size=4), "fgsm", count=14).count == 14


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (((X, Y) for _ in range(2)), "read only once"),
        (X, "got Tensor"),
        (None, "got NoneType"),
        ([(x, 3.7) for x in X], "labels as integers, got 3.7"),
        ([(x, "3") for x in X], "labels as integers, got '3'"),
        ([(x, True) for x in X], "labels as integers, got True"),
        ({"picture": X, "label": Y}, "among the keys"),
        (((X * 255).byte(), Y), r"x\.float\(\) / 255"),
        ((X * 255, Y), "out of bounds"),
        ([(X[:5], Y[:5]), (X[5:, :, :9], Y[5:])], "of one size"),
        ([], "empty data"),
        (b"mnist5k", "two tensors, got int"),
        ([(to_pil_image(X[0]), 1)], r"got tuple of Image, int; torchvision's ToTensor\(\)"),
        ([(X[0], 1), (X[0, :, 1:], 1)], "of one size: .*; resize them"),
        ([(x, "cat") for x in X], r"got 'cat'; np\.unique\(y, return_inverse=True\)\[1\] numbers names"),
        ([(x, "10") for x in X], r"got '10'; use .*int\(y\) of a single text"),
        ([(x, 3.0) for x in X], r"got 3\.0; use .*int\(y\) of a single number"),
        ({"image": X, "label": Y.numpy() + 0.5}, "got an array of float64; numbers with a fraction are no classes"),
        ({}, "got none$"),
        ((X[0, 0], Y[:1]), r"got 32 images and 1 labels; .*x\[None, None\]"),
        ((np.array([None]), Y), "array of numbers, got one of object"),
        ((X.to_sparse(), Y), r"of torch.sparse_coo; x.to_dense\(\)"),
        ((X, Y.to_sparse()), r"of torch.sparse_coo"),
        ((X.to("meta"), Y), "hold all their values"),
        (DataLoader(TensorDataset(X, Y), batch_size=None), "give the loader a batch_size"),
        (Path("none.npz"), "cannot read none.npz"),
        ("mnist5k:train", r"mnist5k has no variants, got 'train'; .* split='train'"),
        ((X[:, 0], Y), r"x\.reshape\(-1, 1, 32, 32\) has that shape"),
        ((X.permute(0, 2, 3, 1), Y), r"x\.permute\(0, 3, 1, 2\)"),
    ],
)
def test_other_data_get_one_line_each(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        evaluate(MODEL, data, "fgsm")
    assert "\n" not in str(caught.value)


def test_the_advice_on_shapes_is_right_when_it_is_followed() -> None:
    for x in (X[:, 0].reshape(-1, 1, 32, 32), X.permute(0, 2, 3, 1).permute(0, 3, 1, 2)):
        assert torch.equal(x, X)


def test_a_path_is_what_its_text_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=X.numpy(), y=Y.numpy())
    for i, (x, y) in enumerate(zip(X, Y.tolist(), strict=True)):
        (tmp_path / "folder" / str(y)).mkdir(parents=True, exist_ok=True)
        save_image(x, tmp_path / "folder" / str(y) / f"{i}.png")
    assert load_data(tmp_path / "folder").name == f"folder:{tmp_path / 'folder'}"
    assert evaluate(MODEL, tmp_path / "own.npz", "fgsm(eps=8/255)").adversarial_error == pytest.approx(EXPECTED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "resume= belongs to a run: give its folder, output="),
        ({"keep": Keep(images=False)}, "keep= belongs to a run: give its folder, output="),
        ({"keep": True}, r"expected keep as a Keep, such as Keep\(images=False\), got bool"),
    ],
)
def test_options_of_a_run_are_refused_without_one(options: dict[str, Any], message: str) -> None:
    """They were taken without a word, and nothing was resumed or kept."""
    with pytest.raises(InputError, match=message):
        evaluate(MODEL, (X, Y), "fgsm", **options)


def test_a_function_is_moved_nowhere() -> None:
    """On a machine without a GPU it ran on the CPU without a word."""
    with pytest.raises(InputError, match=r"device='cuda' moves a network .* the model is a function: leave device out"):
        evaluate(lambda x: MODEL(x), (X, Y), "fgsm", device="cuda")


def test_names_and_texts_are_taken() -> None:
    report = evaluate("lenet5", "mnist5k", ["fgsm", "pgd(steps=2)"], eps="8/255", count=np.int64(6), device="cpu")
    assert [row.attack for row in report.attacks] == ["fgsm(eps=8/255)", "pgd(eps=8/255, steps=2)"]
    assert report.count == 6
    assert FGSM(eps="8/255") == FGSM(eps=8 / 255)  # type: ignore[arg-type]
    assert torch.equal(FGSM(eps=0.3)(MODEL, X, Y, eps="8/255").x_adv, FGSM(eps=8 / 255)(MODEL, X, Y).x_adv)
    assert evaluate(MODEL, (X, Y), FGSM(), eps=0.2).attacks[0].eps == 0.2
    for wrong in ("much", "1/0", "-1", "nan", ""):
        with pytest.raises(InputError, match="expected"):
            evaluate(MODEL, (X, Y), "fgsm", eps=wrong)


ROWS: dict[str, tuple[Tensor, str]] = {
    "column": (Y[:, None], r"\.squeeze\(1\)"),
    "one-hot": (torch.nn.functional.one_hot(Y, 10), r"\.argmax\(1\)"),
    "one-hot floats": (torch.nn.functional.one_hot(Y, 10).float(), r"\.argmax\(1\)"),
    "soft": (torch.nn.functional.one_hot(Y, 10) * 0.9 + 0.01, r"soft labels .*\.argmax\(1\)"),
}


@pytest.mark.parametrize("form", ROWS)
def test_the_advice_on_labels_is_right_when_it_is_followed(form: str) -> None:
    y, advice = ROWS[form]
    with pytest.raises(InputError, match=advice):
        FGSM(eps=0.1)(MODEL, X, y)
    assert torch.equal(y.squeeze(1) if form == "column" else y.argmax(1), Y)


def test_several_classes_a_sample_are_told_of_their_goal() -> None:
    y = torch.zeros(12, 10, dtype=torch.int64)
    y[:, :2] = 1
    with pytest.raises(InputError, match=r"goal=advkit\.goals\.multi_label\(\)"):
        FGSM(eps=0.1)(MODEL, X, y)
    assert FGSM(eps=0.1)(MODEL, X, y.float(), goal=multi_label()).success.shape == (12,)


def test_fractions_are_no_classes() -> None:
    with pytest.raises(InputError, match=r"use \.long\(\)"):
        FGSM(eps=0.1)(MODEL, X, Y.float())
    for fractions in (Y + 0.7, Y + 0.7 * (torch.arange(len(Y)) == 3)):
        with pytest.raises(InputError, match="no classes"):
            FGSM(eps=0.1)(MODEL, X, fractions)


def test_an_eps_beyond_the_range_is_remarked_on_by_all_who_show_it() -> None:
    said = beyond_the_range(8, True)
    assert "8/255?" in said
    assert not beyond_the_range(0.99, True)
    assert not beyond_the_range(8, False)
    from advkit.certification import certify

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        text = str(evaluate(MODEL, (X, Y), "fgsm(eps=8)"))
    assert said in text
    assert "arger eps" not in text
    assert said in str(certify(MODEL, X[:2], Y[:2], eps=8.0))


def test_an_infinite_radius_is_no_radius(tmp_path):
    """Attacks that no ball limits: a run, JSON, words and a control of the size that the attack needed."""
    data = load_data("mnist5k")[:6]
    report = evaluate(load_model("mlp"), data, [PGD(eps=torch.inf, steps=2), "flow(steps=2)"], output=tmp_path / "run")
    assert [row.eps for row in report.attacks] == [None, None]
    assert report.control is not None
    assert report.control.eps is None
    assert torch.allclose(report.control.distance, report.attacks[0].distance.nan_to_num(posinf=0.0), atol=1e-6)
    json.dumps(report.to_dict(), allow_nan=False)
    said = str(report)
    assert "no radius in linf" in said
    assert "noise, same distances" in said
    assert "255?" not in said
    assert str(load_run(tmp_path / "run").report) == said
