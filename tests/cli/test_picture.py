"""The picture shows images that fell, attacked as they were when they were counted."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from advkit.attacks import PGD
from advkit.cli import _picture, main
from advkit.cli.commands import visualize
from advkit.core.errors import InputError
from advkit.data import load_data
from advkit.evaluation import evaluate
from advkit.figures._examples import ENDINGS
from advkit.models import load_model


@pytest.fixture(scope="module")
def outcome():
    model, data, attack = load_model("lenet5", weights="random"), load_data("mnist5k"), PGD(eps=0.02, steps=3)
    torch.set_num_threads(1)
    return model, data, attack, evaluate(model, data, [attack], count=300, seed=4)


def test_fooled_images_of_many_classes_come_first(outcome):
    *_, report = outcome
    rows, row = torch.searchsorted(report.sample_ids, _picture.chosen(report)), report.attacks[0]
    fooled = row.right & row.reached
    assert len(rows) == 6
    assert int(fooled[rows].sum()) == min(6, int(fooled.sum()))
    assert len(set(report.y[rows][fooled[rows]].tolist())) == min(6, len(set(report.y[fooled].tolist())))


def test_the_images_are_those_that_were_counted(outcome, monkeypatch, tmp_path):
    model, data, attack, report = outcome
    seen = {}
    monkeypatch.setattr(_picture, "examples", lambda *args, **options: seen.update(options, args=args))
    assert _picture.draw(tmp_path / "a.png", report, model, attack, data, target=None) == 6
    x, x_adv, y = seen["args"]
    rows = torch.searchsorted(report.sample_ids, _picture.chosen(report))
    assert torch.equal(x, data[report.sample_ids[rows]][0])
    assert torch.equal(y, report.y[rows])
    confidence = seen["logits_adv"].softmax(1).amax(1).double()
    assert torch.allclose(confidence, report.attacks[0].confidence[rows], rtol=1e-4)
    assert torch.equal(seen["logits"].argmax(1), report.prediction[rows])
    assert ((x_adv - x).abs().flatten(1).amax(1) > 0).equal(report.attacks[0].distance[rows] > 0)


@pytest.mark.parametrize(
    "command", ["attack", "curve", "transfer", *(f"visualize {name}" for name in visualize.command.commands)]
)
def test_the_help_of_a_picture_names_what_can_be_written(command: str) -> None:
    said = " ".join(CliRunner().invoke(main, [*command.split(), "--help"]).output.split())
    place = said[said.index("--output") :]
    named = set(re.findall(r"\.[a-z]+", place[: place.index("folder of the picture")]))
    assert named == set(ENDINGS) - {".jpeg"} | ({".gif"} if command == "visualize stn" else set())  # it moves


@pytest.mark.parametrize(("endings", "said"), [((".png",), ".png"), (ENDINGS, ".png, .pdf, .svg, .jpg or .jpeg")])
def test_a_wrong_ending_names_every_right_one(endings: tuple[str, ...], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"a name that ends in {re.escape(said)}, got"):
        _picture.check_place(tmp_path / "a.bmp", "b.png", endings)
    for ending in endings:
        assert _picture.check_place(tmp_path / f"a{ending}", "b.png", endings).suffix == ending
