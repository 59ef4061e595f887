"""advkit train: what its options make of a recipe, and what it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from advkit.cli import main
from advkit.training import RECIPES

SHORT = ("--epochs", "1", "--batch-size", "1000", "--device", "cpu", "--output", "run")
SMALL = ("train", "--model", "mlp(hidden=(16,), width=1)", *SHORT)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def advkit(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def written(home: Path) -> dict[str, object]:
    recipe: dict[str, object] = json.loads((home / "run" / "run.json").read_text())["recipe"]
    return recipe


def test_every_field_of_a_recipe_is_an_option(somewhere: Path) -> None:
    words = "--l1 1e-5 --l2 1e-4 --sparsity 1e-3 --max-norm 3 --optimizer lecture --schedule steps --accumulate 2"
    words += " --clip 1 --validation 100 --watch fgsm(eps=8/255) --patience 2 --precision bfloat16 --no-channels-last"
    done = advkit(*SMALL, *words.split(), "--augment", "patch(size=30) + mirror(p=0)", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "validation error" in done.stderr
    expected = {
        "model": "mlp", "width": 1, "options": {"hidden": [16]}, "input_shape": [1, 30, 30], "l1": 1e-5, "l2": 1e-4,
        "sparsity": 1e-3, "max_norm": 3, "optimizer": "lecture", "schedule": "steps", "accumulate": 2, "clip": 1,
        "validation": 100, "watch": "fgsm(eps=8/255)", "patience": 2, "precision": "bfloat16", "channels_last": False,
        "seed": 3, "augment": "Compose(parts=(RandomPatch(size=30, padding=0), Mirror(p=0)))",
    }  # fmt: skip
    assert {name: written(somewhere)[name] for name in expected} == expected


def test_no_augmentation_can_be_asked_for(somewhere: Path) -> None:
    assert advkit(*SMALL, "--augment", "none").exit_code == 0
    assert written(somewhere)["augment"] is None


def test_recipes_are_listed_with_their_commands_and_results() -> None:
    done = advkit("train", "--recipes")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    for name, recipe in RECIPES.items():
        (line,) = (line for line in lines if f"--recipe {name} " in line)
        assert recipe.expected[:20] in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--patience", "3"), "validation= holds images out"),
        (("--watch", "fsgm(eps=0.1)"), "did you mean 'fgsm'"),
        (("--augment", "mirorr"), "did you mean 'mirror'"),
        (("--precision", "bf16"), "bfloat16"),
        (("--save-seconds", "-1"), "save-seconds"),
        (("--log", "wandb"), "tensorboard"),
        (("--accumulate", "1001"), "lower accumulate"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(words: tuple[str, ...], message: str) -> None:
    done = advkit(*SMALL, *words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.strip().count("\n") == 0 or "Usage" in done.stderr


def test_several_processes_do_not_download_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = advkit(*SMALL, "--data", "mnist", "--download")
    assert done.exit_code == 2
    assert "run advkit data mnist --download first" in done.stderr
