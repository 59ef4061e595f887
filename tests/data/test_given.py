"""Data as people have them: arrays, tables, functions; halves and classes of any set."""

import io
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advkit.core import files
from advkit.core.errors import InputError
from advkit.data import list_datasets, load_data, places, registered
from advkit.models import create_model

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
Y = np.array([0, 2, 1, 1, 0, 2])


NAMES = [("x", "y"), ("X", "y"), ("images", "labels"), ("arr_0", "arr_1"), ("x_test", "y_test"), ("X_test", "Y_test")]
NAMES += [("test_images", "test_labels"), ("images_test", "labels_test")]


@pytest.mark.parametrize("names", NAMES)
def test_an_archive_is_read_under_its_usual_names(tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "a.npz", **{names[0]: GREY, names[1]: Y})
    data = load_data(str(tmp_path / "a.npz"))
    x, y = data.tensors()
    assert torch.equal(x, torch.from_numpy(GREY)[:, None].float() / 255)
    assert y.tolist() == Y.tolist()
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize("shape", ["x_{}", "{}_images", "images_{}", "X_{}"])
def test_the_arrays_of_a_split_come_before_those_without(tmp_path: Path, shape: str) -> None:
    labels = {"x_{}": "y_{}", "X_{}": "y_{}"}.get(shape, shape.replace("images", "labels"))
    own = {split: {shape.format(split): GREY + n, labels.format(split): Y} for n, split in enumerate(("train", "val"))}
    np.savez(tmp_path / "a.npz", x=GREY + 9, y=Y, **own["train"], **own["val"])
    for n, split in enumerate(("train", "val")):
        x, _ = load_data(str(tmp_path / "a.npz"), split=split).tensors()
        assert torch.equal(x, torch.from_numpy(GREY + n)[:, None].float() / 255)
    assert torch.equal(load_data(str(tmp_path / "a.npz")).tensors()[0], torch.from_numpy(GREY + 9)[:, None] / 255)
    with pytest.raises(InputError, match="x_other and y_other in"):
        load_data(str(tmp_path / "a.npz"), split="other")


@pytest.mark.parametrize("x", [COLOUR, COLOUR.transpose(0, 3, 1, 2), (COLOUR / 255).astype(np.float32)])
def test_channels_may_stand_first_or_last(tmp_path: Path, x: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=x, y=Y[:, None])
    expected = torch.from_numpy(COLOUR).permute(0, 3, 1, 2).float() / 255
    assert torch.allclose(load_data(str(tmp_path / "a.npz")).tensors()[0], expected)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": GREY}, "expected arrays x_test and y_test, or x and y, in"),
        ({"x": GREY, "y": Y * 1.0}, "labels .* as integers"),
        ({"x": GREY, "y": Y[:3]}, "images .* and labels"),
        ({"x": GREY.astype(np.int32), "y": Y}, "uint8 or as floats"),
        ({"x": GREY * 1.0, "y": Y}, r"floats in \[0, 1\]"),
        ({"x": GREY, "y": -Y}, "labels in 0"),
        ({"x": np.array([{}] * 6), "y": Y}, "cannot read"),
        ({"x": GREY[:, 0, 0], "y": Y}, r"\(N, C, H, W\)"),
    ],
)
def test_a_wrong_archive_gets_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_data(str(tmp_path / "a.npz"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_archive_gets_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    for name in ("a.npz", "none.npz"):
        with pytest.raises(InputError, match="cannot read"):
            load_data(str(tmp_path / name))


def test_an_archive_that_unpacks_to_far_more_than_it_holds_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((400, 1, 50, 100), np.uint8), y=np.zeros(400, np.int64))
    assert load_data(str(tmp_path / "a.npz")).input_shape == (1, 50, 100)
    monkeypatch.setattr(files, "HARMLESS", 10**6)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"unpacks to 2,00\d,\d{3}"):
        load_data(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("wrong", ["header lies", "header without end", "names lead out"])
def test_hostile_archives_get_one_line(tmp_path: Path, wrong: str) -> None:
    small, lying = io.BytesIO(), io.BytesIO()
    np.save(small, GREY)
    np.lib.format.write_array_header_1_0(lying, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 4, 4)})
    endless = b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{" * 1000
    name = "../../x.npy" if wrong == "names lead out" else "x.npy"
    content = {"header lies": lying.getvalue() + b"abc", "header without end": endless}.get(wrong, small.getvalue())
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(name, content)
        archive.writestr("y.npy", small.getvalue())
    with pytest.raises(InputError) as caught:
        load_data(str(tmp_path / "a.npz"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.parent.glob("x.npy"))


def pictures(home: Path) -> None:
    (home / "deep").mkdir()
    for i, name in enumerate(("b.png", "a.png", "deep/c.png")):
        Image.fromarray(GREY[i]).save(home / name)


@pytest.mark.parametrize("head", ["file,label\n", "", "label,filename\n"])
def test_a_table_names_files_and_labels(tmp_path: Path, head: str) -> None:
    pictures(tmp_path)
    rows = [("b.png", "dog"), ("a.png", "ape"), ("deep/c.png", "dog")]
    order = (1, 0) if head.startswith("label") else (0, 1)
    (tmp_path / "t.csv").write_text(head + "".join(f"{row[order[0]]},{row[order[1]]}\n" for row in rows))
    data = load_data(str(tmp_path / "t.csv"), grey=True)
    assert data.classes == ("ape", "dog")
    assert data.labels.tolist() == [1, 0, 1]
    assert torch.equal(data[2][0], torch.from_numpy(GREY[2])[None].float() / 255)


def test_whole_numbers_in_a_table_are_the_labels(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "t.csv").write_text("path,class,split\nb.png,3,test\na.png,0,train\ndeep/c.png,1,test\n")
    assert load_data(str(tmp_path / "t.csv")).labels.tolist() == [3, 1]
    assert load_data(str(tmp_path / "t.csv"), split="train").labels.tolist() == [0]
    with pytest.raises(InputError, match=r"unknown split .* expected one of: test, train"):
        load_data(str(tmp_path / "t.csv"), split="val")


def test_a_class_of_a_table_has_one_number_in_every_split(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "t.csv").write_text("path,class,split\nb.png,dog,test\na.png,ape,train\ndeep/c.png,dog,train\n")
    test, train = (load_data(str(tmp_path / "t.csv"), split=split) for split in ("test", "train"))
    assert (test.labels.tolist(), train.labels.tolist()) == ([1], [0, 1])
    assert test.classes == train.classes == ("ape", "dog")


@pytest.mark.parametrize("label", ["1.0", "-1", "1e0", "nan", "+1", "0.7"])
def test_a_label_of_a_table_that_is_another_number_is_no_name_of_a_class(tmp_path: Path, label: str) -> None:
    """It took part as a name, and its rank, 0, was the label."""
    pictures(tmp_path)
    for rows in (f"a.png,{label}\n", f"a.png,0\nb.png,{label}\n", f"a.png,{label}\nb.png,dog\n"):
        (tmp_path / "t.csv").write_text(rows)
        with pytest.raises(InputError, match=r"whole numbers.* got .*" + re.escape(label)):
            load_data(str(tmp_path / "t.csv"))
    (tmp_path / "t.csv").write_text("a.png,3\nb.png,dog\n")
    with pytest.raises(InputError, match=r"all labels .* as whole numbers or all as names, got 3 and dog"):
        load_data(str(tmp_path / "t.csv"))


def test_arrays_of_another_machine_and_files_that_are_no_archives(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((3, 1, 4, 4)), np.arange(3)
    np.savez(tmp_path / "big.npz", x=x.astype(">f4"), y=y.astype(">i2"))
    assert torch.equal(load_data(str(tmp_path / "big.npz"))[:][0], torch.from_numpy(x.astype(np.float32)))
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match=r"it is no archive, as np\.savez\('text\.npz', x=x, y=y\) writes$"):
        load_data(str(tmp_path / "text.npz"))


@pytest.mark.parametrize("text", ["", "file,label\n", "file,label\nb.png\n", "file,label\nz.png,1\n", "b.png,\n"])
def test_a_wrong_table_gets_one_line(tmp_path: Path, text: str) -> None:
    pictures(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load_data(str(tmp_path / "t.csv"))
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    text = """
import itertools, torch
from torch.utils.data import DataLoader, TensorDataset
X, Y = torch.rand(6, 1, 5, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
def tensors(count=6): return X[:count], Y[:count]
def numpys(): return X.numpy(), Y.numpy()
def loader(): return DataLoader(TensorDataset(X, Y), batch_size=4)
def dataset(split): return TensorDataset(X, Y)
def items(): return [(x, int(y)) for x, y in zip(X, Y)]
def dicts(): return [{"image": x, "label": int(y)} for x, y in zip(X, Y)]
def triples(): return [(x, int(y), "name") for x, y in zip(X, Y)]
def lists(): return X.tolist(), Y.tolist()
def places(count, /): return X[:count], Y[:count]
class Broken:
    def __len__(self): return 3
    def __getitem__(self, index): return {}["picture"]
def broken(): return Broken()
def names(): return X.tolist(), ["cat"] * 6
def unsized(): return iter(items())
def fractions(): return [(x, 3.7) for x in X]
def truths(): return [(x, True) for x in X]
def texts(): return [(x, "3") for x in X]
def sizes(): return [(X[0], 1), (X[0, :, :3], 1)]
def nothing(): return None
def keys(): return [{"a": 1}]
"""
    (tmp_path / "own_data.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    yield "own_data"
    sys.modules.pop("own_data", None)


@pytest.mark.parametrize(
    "name",
    ["tensors", "numpys", "loader", "dataset", "items", "dicts", "triples", "unsized", "lists", "places(count=6)"],
)
def test_a_function_gives_data_of_any_form(module: str, name: str) -> None:
    data = load_data(f"{module}:{name}")
    x, y = data.tensors()
    made = sys.modules[module]
    assert torch.equal(x, made.X)
    assert torch.equal(y, made.Y)
    assert len(load_data(f"{module}:tensors(count=2)")) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fractions", "labels as integers, got 3.7"),
        ("truths", "labels as integers, got True"),
        ("texts", "labels as integers, got '3'"),
        ("names", "labels as integers, got 'cat'"),
        ("sizes", "of one size"),
        ("nothing", "to return a data set"),
        ("keys", "among the keys"),
        ("missing", "has no 'missing'"),
        ("tensors(cuont=2)", "did you mean 'count'"),
    ],
)
def test_other_functions_get_one_line(module: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(f"{module}:{name}")
    assert "\n" not in str(caught.value)


def test_the_error_of_a_set_of_ones_own_says_whose_it_is(module: str) -> None:
    with pytest.raises(KeyError, match="picture") as caught:
        load_data(f"{module}:broken")
    assert caught.value.__notes__ == [f"raised by the code of {module}:broken"]


def test_a_module_that_is_not_there_gets_one_line() -> None:
    with pytest.raises(InputError, match="cannot import 'no_such_module'"):
        load_data("no_such_module:make")


def test_a_path_has_options_in_brackets_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says that any set takes `half=`; the brackets were taken for a part of the path."""
    monkeypatch.chdir(tmp_path)
    for odd in (Path("odd (1)"), Path()):
        odd.mkdir(exist_ok=True)
        pictures(odd)
        np.savez(odd / "d (2).npz", x=np.zeros((12, 1, 4, 4), np.float32), y=np.arange(12) % 3)
        (odd / "t.csv").write_text("a.png,0\nb.png,1\n")
        assert len(load_data(odd / "d (2).npz")) == 12
        half = load_data(f"{odd}/d (2).npz(half=1)")
        assert (len(half), half.name) == (6, f"{odd}/d (2).npz(half=1)")
        assert len(half.sibling("test")) == 6
        assert len(load_data(f"{odd}/d (2).npz(classes='0,2', half=2)")) == 4
        assert load_data(f"{odd}/t.csv(size=2)").input_shape[1:] == (2, 2)
    (tmp_path / "odd (1)" / "a.png").rename(tmp_path / "odd (1)" / "deep" / "a.png")
    (tmp_path / "odd (1)" / "b.png").unlink()
    for file in ("t.csv", "d (2).npz"):
        (tmp_path / "odd (1)" / file).unlink()
    for name in ("folder:odd (1)(size=2)", "odd (1)(size=2)"):
        assert registered(name) == "folder"
        assert places(name) == [Path("odd (1)")]
        assert load_data(name).input_shape[1:] == (2, 2)
    for wrong, line in [
        ("colour=2", "unknown option of data set 'npz' 'colour'"),
        ("path=b", "path in front of the brackets"),
    ]:
        with pytest.raises(InputError, match=line):
            load_data(f"d (2).npz({wrong})")


def test_halves_are_disjoint_whole_and_stratified() -> None:
    whole = load_data("mnist5k")
    halves = [load_data(f"mnist5k(half={half})") for half in (1, 2)]
    for half in halves:
        assert half.labels.bincount().tolist() == [50] * 10
    pixels = {x.numpy().tobytes() for half in halves for x in half.tensors()[0]}
    assert pixels == {x.numpy().tobytes() for x in whole.tensors()[0]}
    assert halves[0].sibling("train").labels.bincount().tolist() == [200] * 10


@pytest.mark.parametrize("given", ["'3,7'", "(3, 7)", "['3', '7']"])
def test_classes_get_the_labels_of_their_order(given: str) -> None:
    data, whole = load_data(f"mnist5k(classes={given}, pad=0)"), load_data("mnist5k", pad=0)
    rows = ((whole.labels == 3) | (whole.labels == 7)).nonzero()[:, 0]
    x, y = data.tensors()
    assert torch.equal(x, whole[rows][0])
    assert torch.equal(y, (whole.labels[rows] == 7).long())
    assert data.classes == ("3", "7")
    assert data.input_shape == (1, 28, 28)
    assert torch.equal(load_data("mnist5k(classes='7,3', pad=0)").labels, 1 - y)


def test_a_half_of_some_classes(tmp_path: Path) -> None:
    assert load_data("mnist5k(classes=7, half=2)").labels.tolist() == [0] * 50
    pictures(tmp_path)
    (tmp_path / "t.csv").write_text("b.png,dog\na.png,ape\ndeep/c.png,dog\n")
    part = load_data(str(tmp_path / "t.csv"), classes="dog", half=2)
    assert [file.name for file in part.files] == ["c.png"]


@pytest.mark.parametrize("spec", ["half=3", "half=True", "half=one", "classes='3,11'", "classes='3,3'", "classes=''"])
def test_wrong_parts_get_one_line(spec: str) -> None:
    with pytest.raises(InputError):
        load_data(f"mnist5k({spec})")


def test_the_forms_are_no_names() -> None:
    assert not {"folder", "npz", "csv", "factory"} & set(list_datasets())


def test_mlp_on_the_papers_mnist_has_the_papers_parameters() -> None:
    data = load_data("mnist5k(pad=0)")
    net = create_model("mlp", input_shape=data.input_shape, num_classes=len(data.classes))
    assert net.card.parameters == 1_276_810


@pytest.mark.parametrize("name", ["x.npy", "x.pt", "x.tsv", "x.npz.gz", "x"])
def test_a_file_of_another_kind_is_told_what_is_read(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"12")
    with pytest.raises(
        InputError, match=rf"^{name} is a file of another kind: expected FILE.npz .*:function, which reads"
    ):
        load_data(name)
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match="unknown data set"):
        load_data(name)


def test_archives_without_images_and_with_objects_are_told_so(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, x=np.zeros((0, 1, 4, 4)), y=np.zeros(0, dtype=int))
    with pytest.raises(InputError, match=r"got none: \(0, 1, 4, 4\)"):
        load_data(str(file))
    np.savez(file, x=np.zeros((2, 1, 4, 4)), y=np.array([0, 1], dtype=object))
    with pytest.raises(InputError, match=r"save numbers, such as y\.astype\(int\)"):
        load_data(str(file))
