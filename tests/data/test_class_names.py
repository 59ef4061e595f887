"""Folders called by WordNet ids or names get the numbers of the network's classes; what does not fit is one line."""

import csv
import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, default_collate
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from advkit.attacks import FGSM
from advkit.core.errors import AdvkitWarning, InputError
from advkit.data import MemoryDataset, imagenet_names, load_data, read_names, renumbered
from advkit.data._stream import image_files
from advkit.evaluation import Keep, evaluate, merge_runs
from advkit.evaluation.measure.belong import belonging
from advkit.models import Card, Classifier, create_model, load_model


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (len(path.parent.name), 3, 9)).save(path)


class Seven(nn.Module):
    """A network that always answers 7."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        always = torch.full((len(x),), 7, device=x.device)
        return nn.functional.one_hot(always, self.outputs) + x.mean((1, 2, 3))[:, None]


def network(outputs: int = 1000, channels: int = 3) -> Classifier:
    return Classifier(Seven(outputs), card=Card(name="colour", num_classes=outputs, input_shape=(channels, 5, 6)))


def folder(home: Path, *names: str) -> str:
    for name in names:
        picture(home / name / "1.png")
    return f"folder:{home}"


def test_imagenets_ids_and_names_are_in_torchvisions_order() -> None:
    from torchvision.models import ResNet50_Weights

    names = imagenet_names()
    assert [name for name, _ in names] == ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    ids = [identity for _, identity in names]
    assert ids == sorted(set(ids))
    known = {"n01440764": "tench", "n01530575": "brambling", "n02123045": "tabby", "n15075141": "toilet tissue"}
    assert {i: n for n, i in names if i in known} == known
    assert len(names) == 1000


def test_folders_by_wordnet_id_get_the_networks_numbers(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path, "n15075141", "n01440764", "n02123045"))
    found = belonging(network(), data)
    assert found.labels.tolist() == [0, 281, 999]
    assert [found.classes[label] for label in found.labels.tolist()] == ["tench", "tabby", "toilet tissue"]
    assert found.files == data.files
    assert torch.equal(found[:][0], data[:][0])
    assert belonging(network(), found) is found


def test_the_last_output_is_a_class_and_the_next_is_none() -> None:
    for most in (6, 7):
        data = MemoryDataset("own", "test", "abcdefgh", torch.zeros(2, 3, 5, 6), torch.tensor([0, most]))
        if most == 6:
            assert belonging(network(7), data).labels.tolist() == [0, 6]
        else:
            with pytest.raises(InputError, match=r"labels up to 7, colour has 7 outputs \(0 to 6\)"):
                belonging(network(7), data)


def test_evaluate_counts_by_the_networks_numbers(tmp_path: Path) -> None:
    names = [imagenet_names()[number][1] for number in (7, 3, 5)]
    report = evaluate(network(), load_data(folder(tmp_path, *names)))
    assert report.clean_error == pytest.approx(2 / 3)  # the network says 7


def test_folders_by_name_get_them_too(tmp_path: Path) -> None:
    found = belonging(network(), load_data(folder(tmp_path, "Toilet_Tissue", "tench", "great-white shark")))
    assert sorted(found.labels.tolist()) == [0, 2, 999]


def test_a_class_that_is_none_of_the_networks_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'n99999999' .* none of the network's classes, while 1 others"):
        belonging(network(), load_data(folder(tmp_path, "n01440764", "n99999999")))


def test_a_name_of_two_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'cardigan' .* name of 2"):
        belonging(network(), load_data(folder(tmp_path, "cardigan", "tench")))


def test_names_that_tell_nothing_are_remarked_on(tmp_path: Path) -> None:
    data = load_data(folder(tmp_path, "mine", "yours"))
    with pytest.warns(AdvkitWarning, match=r"2 classes .* 1,000 outputs: .*mine is 0.*--classes FILE"):
        assert belonging(network(), data).labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "dog\ncat, pussy\n\nape\n"),
        ("c.txt", "n01 dog\nn02123045 cat\nape, monkey\n"),
        ("c.json", json.dumps(["dog", "cat", "ape"])),
        ("c.json", json.dumps({"0": ["n01", "dog"], "1": ["n02", "cat"], "2": ["n03", "ape"]})),
        ("c.json", json.dumps({"cat": 1, "ape": 2, "dog": 0})),
    ],
)
def test_a_file_says_the_networks_classes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    data = load_data(folder(tmp_path / "data", "cat", "ape"))
    assert belonging(network(3), data, tmp_path / name).labels.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "", "got none"),
        ("c.json", "{", "cannot read"),
        ("c.json", "3", "cannot read"),
        ("c.json", '{"1": "a"}', "cannot read"),
        ("c.json", "[1]", "cannot read"),
        ("c.txt", "a\nb", "expected 3 classes"),
        ("c.txt", "a\nb\nc", "no class of"),
        ("c.txt", "cat\nb\nc", "'ape' .* none of"),
    ],
)
def test_a_wrong_file_of_classes_gets_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    data = load_data(folder(tmp_path / "data", "cat", "ape"))
    with pytest.raises(InputError, match=message) as caught:
        belonging(network(3), data, tmp_path / name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        read_names(tmp_path / "none.txt")


def test_channels_and_classes_are_held_against_the_data_before_anything_runs(tmp_path: Path) -> None:
    lenet = load_model("lenet5", device="cpu")
    data = load_data(folder(tmp_path, *"abcdefghijkl"))
    with pytest.raises(InputError, match=r"takes images of 1 channels, folder.* has 3"):
        evaluate(lenet, data)
    with pytest.raises(InputError, match=r"labels up to 11, lenet5 has 10 outputs"):
        evaluate(lenet, load_data(data.name, grey=True))


def test_no_name_in_common_changes_nothing() -> None:
    assert renumbered(load_data("mnist5k"), [["a"], ["b"]]) is None


def test_the_rows_of_a_run_name_the_files(tmp_path: Path) -> None:
    names = ("n15075141", "n01440764", "n02123045", "n02123159")
    data = load_data(folder(tmp_path / "data", *names))
    (tmp_path / "data" / "n01440764" / "1.png").rename(tmp_path / "data" / "n01440764" / "\x1b[2J\n1.png")
    data = load_data(data.name)
    for shard in (None, "1/2", "2/2"):
        home = tmp_path / f"run{(shard or 'whole')[0]}"
        evaluate(network(), data, [FGSM(eps=0.1)], output=home, checks=False, batch_size=2, keep=Keep(shard=shard))
    merge_runs([tmp_path / "run1", tmp_path / "run2"], output=tmp_path / "merged")
    for home in ("runw", "merged"):
        rows = list(csv.DictReader((tmp_path / home / "samples.csv").read_text().splitlines()))
        files = {int(row["id"]): row["file"] for row in rows}
        assert files == {
            0: "n01440764/\\x1b[2J\\n1.png", 1: "n02123045/1.png", 2: "n02123159/1.png", 3: "n15075141/1.png"
        }  # fmt: skip
    loader = DataLoader(ImageFolder(str(tmp_path / "data"), ToTensor()), batch_size=3)
    assert image_files(loader) == list(files.values())
    assert image_files(DataLoader(loader.dataset, batch_sampler=BatchSampler(loader.sampler, 2, False))) is not None
    others = BatchSampler(RandomSampler(loader.dataset), 2, False)
    for other in (
        {"shuffle": True},
        {"batch_sampler": others},
        {"collate_fn": lambda items: default_collate(items[:1])},
    ):
        assert image_files(DataLoader(loader.dataset, **other)) is None
    assert image_files(load_data("mnist5k")) is None
    assert image_files(SimpleNamespace(files=["a.png", None])) is None
    assert image_files(SimpleNamespace(samples=[("x/a.png", 0), ("x/b.png", 1)])) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\n",
        "\ufeffcat\ndog",
        "\n cat \r\ndog\n\n",
        '["cat", "dog"]',
        '\ufeff{"dog": 1, "cat": 0}',
        '{"1":"dog","0":"cat"}',
    ],
)
def test_names_of_classes_are_told_by_content(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes").write_text(text, encoding="utf-8")
    assert [several[0] for several in read_names(tmp_path / "classes")] == ["cat", "dog"]


def test_json_that_is_cut_is_no_list_of_names(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text('["cat",')
    with pytest.raises(InputError, match=r"cannot read .* Expecting value"):
        read_names(tmp_path / "classes.txt")


def digits(home: Path) -> str:
    """Ten folders, one of each digit by its name."""
    for name in ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"):
        (home / name).mkdir()
        Image.new("L", (32, 32)).save(home / name / "0.png")
    return f"folder:{home}"


def test_names_of_digits_are_in_the_order_of_the_alphabet_and_a_warning_says_so(tmp_path: Path) -> None:
    data, names = load_data(digits(tmp_path), grey=True), tmp_path.parent / f"{tmp_path.name}.txt"
    names.write_text("zero\none\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n")
    model = load_model("lenet5")
    with pytest.warns(AdvkitWarning, match=r"learned the digits of mnist5k: .*eight is 0.*--classes FILE"):
        belonging(model, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = belonging(model, data, names)
        belonging(create_model("lenet5"), data)  # whatever it learns, it has not learned digits
    assert sorted(found.labels.tolist()) == list(range(10))
