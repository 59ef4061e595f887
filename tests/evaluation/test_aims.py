"""A class to reach, by the name that the data give it: everywhere the same as by its number."""

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.utils.data import DataLoader

from advkit import evaluate, load_data, load_model
from advkit.attacks import FGSM, PGD, create_attack, find_patch, find_universal
from advkit.cli import main
from advkit.cli.visualize._scene import Scene
from advkit.core.errors import InputError
from advkit.data import MemoryDataset
from advkit.evaluation import error_curve, transfer_matrix
from advkit.evaluation.measure.aims import aim_at

NAMES = ("zero", "one", "two", "three", "runner_up", "five", "six", "seven", "great white shark", "nine")


@pytest.fixture(scope="module")
def data() -> MemoryDataset:
    x, y = load_data("mnist5k")[:24]
    return MemoryDataset("named", "test", NAMES, x, y)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return load_model("mlp", device="cpu")


def test_names_come_first_then_numbers_then_words(data: MemoryDataset) -> None:
    assert aim_at("three", data) == 3
    assert aim_at("great white shark", DataLoader(data, batch_size=4)) == 8
    assert aim_at("runner_up", data) == 4
    assert aim_at("3", data) == aim_at(3, data) == 3
    assert aim_at("random", data) == "random"
    assert aim_at(None, data) is None
    each = torch.arange(24)
    assert aim_at(each, data) is each
    assert aim_at("3", (torch.zeros(1), torch.zeros(1))) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tree", "unknown class 'tree'; did you mean 'three'?"),
        ("10", "target: expected a class from 0 to 9, got 10"),
        ("-1", "target: expected a class from 0 to 9, got -1"),
    ],
)
def test_what_is_no_class_is_one_line(text: str, message: str, data: MemoryDataset) -> None:
    with pytest.raises(InputError) as caught:
        aim_at(text, data)
    assert str(caught.value).startswith(message)


def test_a_thousand_names_are_not_listed(data: MemoryDataset) -> None:
    many = MemoryDataset("many", "test", [f"class number {n}" for n in range(1000)], *data[:4])
    with pytest.raises(InputError, match="expected one of 1,000, such as 'class number 0', or its number"):
        aim_at("toaster", many)
    with pytest.raises(InputError, match="these data have no names of classes"):
        aim_at("toaster", load_data("mnist5k"))


def test_everything_takes_the_name(data: MemoryDataset, model: torch.nn.Module) -> None:
    attack = PGD(eps=0.2, steps=3)
    by_name, by_number, untargeted = (
        evaluate(model, data, attack, target=target).attacks[0].records() for target in ("three", 3, None)
    )
    assert by_name == by_number
    assert by_name != untargeted
    models = {"mlp": model, "other": load_model("maxout", device="cpu")}
    assert transfer_matrix(models, data, attack, target="three").rates == (
        transfer_matrix(models, data, attack, target=3).rates
    )
    assert error_curve(model, data, "deepfool", target="three") == error_curve(model, data, "deepfool", target=3)
    options = {"epochs": 2, "batch_size": 8}
    named, numbered = (find_universal(model, data, eps=0.2, target=t, **options) for t in ("three", 3))
    assert torch.equal(named.delta, numbered.delta)
    assert not torch.equal(named.delta, find_universal(model, data, eps=0.2, **options).delta)
    named, numbered = (find_patch(model, data, size=0.1, target=t, **options) for t in ("three", 3))
    assert torch.equal(named.patch, numbered.patch)
    assert named.target == 3


def test_a_spec_names_its_class(data: MemoryDataset, model: torch.nn.Module) -> None:
    three, quoted, number = (
        evaluate(model, data, f"pgd(eps=0.2, steps=3, target={word})").attacks[0] for word in ("three", "'three'", 3)
    )
    assert three.records() == quoted.records() == number.records()
    assert three.name == number.name
    models = {"mlp": model, "other": load_model("maxout", device="cpu")}
    by_name, by_number = (transfer_matrix(models, data, f"fgsm(eps=0.3, target={word})") for word in ("three", 3))
    assert by_name.rates == by_number.rates
    assert error_curve(model, data, "deepfool(target=three)") == error_curve(model, data, "deepfool(target=3)")
    with pytest.raises(InputError, match="unknown class 'xthree'; did you mean 'three'"):
        evaluate(model, data, "pgd(eps=0.2, target=xthree)")
    with pytest.raises(InputError, match="only what is given data knows names of classes"):
        create_attack("pgd(target=three)")


def test_a_picture_names_its_class(data: MemoryDataset, model: Any) -> None:
    x, y = data[:6]
    seen = Scene(classifier=model, data=data, rows=torch.arange(6), x=x, y=y)
    named, numbered = (seen.adversarial(f"fgsm(eps=0.3, target={word})") for word in ("'great white shark'", 8))
    assert torch.equal(named, numbered)
    assert not torch.equal(named, seen.adversarial("fgsm(eps=0.3)"))
    with pytest.raises(InputError, match="unknown class 'tree'; did you mean 'three'"):
        seen.adversarial("fgsm(eps=0.3, target=tree)")


def test_a_targeted_matrix_is_the_one_counted_by_hand(data: MemoryDataset, model: torch.nn.Module) -> None:
    nets = {"mlp": model, "other": load_model("maxout", device="cpu")}
    x, y = data[:]
    found = transfer_matrix(nets, data, FGSM(eps=0.3), target="three", batch_size=7)
    meant = y != 3
    assert not meant.all()
    for s, source in enumerate(nets.values()):
        x_adv = FGSM(eps=0.3)(source, x, y, stop="never", target=3).x_adv
        for t, shown in enumerate(nets.values()):
            both = (source(x).argmax(1) == y) & (shown(x).argmax(1) == y) & meant
            assert found.both[s][t] == int(both.sum())
            assert found.wrong[s][t] == int((both & (shown(x_adv).argmax(1) == 3)).sum())
    assert "Taken for three" in str(found)
    for target in ("random", torch.zeros(24, dtype=torch.int64)):
        with pytest.raises(InputError, match="expected target as one class"):
            transfer_matrix(nets, data, FGSM(eps=0.1), target=target)  # type: ignore[arg-type]


def timeless(content: Any) -> Any:
    """The content without times, and without the target as it was typed."""
    if isinstance(content, dict):
        return {name: timeless(value) for name, value in content.items() if name not in ("seconds", "target")}
    return [timeless(value) for value in content] if isinstance(content, list) else content


@pytest.mark.parametrize(
    "words",
    [
        ("attack", "--model", "mlp", "--attack", "fgsm", "--eps", "0.2"),
        ("evaluate", "--model", "mlp", "--attacks", "fgsm(eps=0.2)"),
        ("transfer", "--models", "mlp", "maxout", "--attack", "fgsm(eps=0.2)"),
        ("curve", "--model", "mlp", "--attack", "deepfool"),
    ],
)
def test_every_command_that_attacks_takes_it(words: tuple[str, ...], tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    x, y = load_data("mnist5k")[:12]
    folder = tmp_path / "digits"
    from torchvision.utils import save_image

    for k, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        place = folder / f"{label}-{NAMES[label].replace(' ', '_')}"
        place.mkdir(parents=True, exist_ok=True)
        save_image(image, place / f"{k}.png")
    for label, name in enumerate(NAMES):  # every class has a folder, so that labels are the digits
        (folder / f"{label}-{name.replace(' ', '_')}").mkdir(exist_ok=True)
        if not any((folder / f"{label}-{name.replace(' ', '_')}").iterdir()):
            save_image(x[0], folder / f"{label}-{name.replace(' ', '_')}" / "none.png")
    base = [*words, "--data", f"folder:{folder}", "--threads", "1", "--json", "--count", "12"]
    found = {}
    for target in ("3-three", "3"):
        result = CliRunner().invoke(main, [*base, "--target", target])
        assert result.exit_code == 0, result.output
        found[target] = timeless(json.loads(result.stdout))
    assert found["3-three"] == found["3"]
    plain = CliRunner().invoke(main, base)
    assert timeless(json.loads(plain.stdout)) != found["3"]
    refused = CliRunner().invoke(main, [*base, "--target", "3-tree"])
    assert refused.exit_code == 2
    assert "did you mean '3-three'?" in refused.stderr
