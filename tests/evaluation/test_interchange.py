"""Images and errors as other programs take them."""

import csv
import sys
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from advkit import evaluate, load_data, load_model
from advkit.attacks import FGSM, PGD
from advkit.cli import main
from advkit.core.errors import InputError
from advkit.evaluation import load_run
from advkit.evaluation.interchange import (
    export_images,
    export_result,
    lightning_callback,
    to_tensorboard,
    validation_errors,
)
from advkit.evaluation.runs.keep import Keep

ATTACKS = ["fgsm(eps=0.1)", "pgd(eps=0.1, steps=3)"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs") / "x"
    evaluate(load_model("mlp"), load_data("mnist5k"), ATTACKS, output=home, count=10, batch_size=4, checks=False)
    return home


@pytest.fixture(scope="module")
def wanted(home):
    """The images and the labels, and what the attack gives on them."""
    run = load_run(home)
    x = torch.cat([run.images(n, None) for n in run.numbers()])
    ids = torch.cat([columns[0]["sample_ids"] for columns in run])
    data = load_data("mnist5k")
    assert torch.equal(x, torch.stack([data[int(i)][0] for i in ids]))
    y = torch.tensor([int(data[int(i)][1]) for i in ids])
    return x, y, ids, PGD(eps=0.1, steps=3)(load_model("mlp"), x, y, sample_ids=ids)


def test_an_archive_holds_pairs_and_is_read_as_data(home, wanted, tmp_path):
    x, y, ids, result = wanted
    assert export_images(home, tmp_path / "p.npz", attack="pgd") == 10
    with np.load(tmp_path / "p.npz", allow_pickle=False) as held:
        found = {name: held[name] for name in held.files}
    torch.testing.assert_close(torch.from_numpy(found["x"]), x, rtol=0, atol=0)
    torch.testing.assert_close(torch.from_numpy(found["x_adversarial"]), result.x_adv, rtol=0, atol=1e-6)
    assert found["y"].tolist() == found["y_adversarial"].tolist() == y.tolist()
    assert found["ids"].tolist() == ids.tolist()
    assert found["success"].tolist() == result.success.tolist()
    assert str(found["about_attack"]) == ATTACKS[1]
    clean, attacked = (load_data(str(tmp_path / "p.npz"), split=split) for split in ("test", "adversarial"))
    model = load_model("mlp")
    assert evaluate(model, attacked).clean_error == pytest.approx(result.success.double().mean().item())
    assert evaluate(model, clean).clean_error <= evaluate(model, attacked).clean_error


def test_safetensors_hold_the_same(home, wanted, tmp_path):
    export_images(home, tmp_path / "p.safetensors", attack="pgd")
    found = safetensors.torch.load_file(tmp_path / "p.safetensors")
    assert torch.equal(found["x"], wanted[0])
    torch.testing.assert_close(found["x_adversarial"], wanted[3].x_adv, rtol=0, atol=1e-6)
    with safetensors.safe_open(tmp_path / "p.safetensors", framework="pt") as file:
        assert ATTACKS[1] in file.metadata()["advkit_images"]


def test_png_files_stay_within_eps_and_have_a_table(home, wanted, tmp_path):
    x, y, ids, result = wanted
    export_images(home, tmp_path / "pictures", attack=ATTACKS[1])
    with (tmp_path / "pictures" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == ids.tolist()
    assert [int(row["label"]) for row in rows] == y.tolist()
    assert [int(row["success"]) for row in rows] == result.success.int().tolist()
    for n, row in enumerate(rows):
        clean, attacked = (
            torch.from_numpy(np.asarray(Image.open(tmp_path / "pictures" / row[name])) / 255.0)
            for name in ("clean", "adversarial")
        )
        assert torch.equal(clean.float(), x[n, 0])
        assert (attacked - clean).abs().max() <= 0.1
        assert row["fits_8bit"] == "1"
        assert (attacked.float() - result.x_adv[n, 0]).abs().max() < 1 / 255


def test_a_result_is_written_without_a_run(wanted, tmp_path):
    x, y, _, result = wanted
    for name in ("r.npz", "r.safetensors", "r"):
        assert export_result(x, y, result, tmp_path / name, attack="pgd") == 10
    coloured = torch.rand(2, 3, 8, 8, dtype=torch.bfloat16)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).bfloat16()
    result = FGSM(eps=0.1)(model, coloured, torch.tensor([0, 1]))
    export_result(coloured, torch.tensor([0, 1]), result, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as held:
        assert held["x"].dtype == np.float32
    with pytest.raises(InputError, match="as many images"):
        export_result(x, y, result, tmp_path / "no.npz")


@pytest.mark.parametrize(
    ("name", "attack", "message"),
    [
        ("p.npz", None, "say which, fgsm"),
        ("p.npz", "pdg", "did you mean"),
        ("p.jpg", "pgd", "FILE.npz, FILE.safetensors or a folder"),
        ("there", "pgd", "already"),
    ],
)
def test_wrong_wishes_are_one_line(home, tmp_path, name, attack, message):
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match=message) as caught:
        export_images(home, tmp_path / name, attack=attack)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "p.npz").exists()


def test_a_run_without_images_says_so(tmp_path):
    x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
    options = {"output": tmp_path / "x", "keep": Keep(images=False), "checks": False}
    evaluate(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (x, y), ["fgsm(eps=0.1)"], **options)
    with pytest.raises(InputError, match="kept no images"):
        export_images(tmp_path / "x", tmp_path / "p.npz")


def test_the_command(home, tmp_path, monkeypatch):
    done = CliRunner().invoke(main, ["export", str(home), str(tmp_path / "p.npz"), "--attack", "fgsm"])
    assert done.exit_code == 0, done.output
    assert "10 pairs" in done.output
    assert CliRunner().invoke(main, ["export", str(home)]).exit_code == 2
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    done = CliRunner().invoke(main, ["export", str(home), "--tensorboard", str(tmp_path / "logs")])
    assert done.exit_code == 2
    assert "pip install tensorboard" in done.output


class Board:
    def __init__(self):
        self.said = []

    def add_scalar(self, *said):
        self.said.append(said)


def test_scalars_are_the_errors_of_the_report(home):
    run, board = load_run(home), Board()
    to_tensorboard(run, board, step=3)
    report = run.report
    assert ("advkit/clean_error", report.clean_error, 3) in board.said
    assert ("advkit/adversarial_error", report.adversarial_error, 3) in board.said
    assert ("advkit/adversarial_error/pgd", report.attacks[1].adversarial_error, 3) in board.said
    with pytest.raises(InputError, match="add_scalar"):
        to_tensorboard(run, 3)


def test_tensorboard_reads_them(home, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch.utils.tensorboard")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        values = to_tensorboard(load_run(home), tmp_path / "logs", step=7)
        read = EventAccumulator(str(tmp_path / "logs")).Reload()
        assert set(read.Tags()["scalars"]) == set(values)
        event = read.Scalars("advkit/adversarial_error")[0]
    assert (event.step, event.value) == (7, pytest.approx(values["advkit/adversarial_error"]))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_validation_loop_gets_the_errors_in_any_mode_of_autograd(mode):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3)).train()
    with mode():
        x, y = torch.rand(16, 3, 2, 2), torch.randint(3, (16,))
        found = validation_errors(model, x, y, ["fgsm", "pgd(steps=2)"], eps=0.2, prefix="val_")
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    plain = torch.rand(0).new_tensor(x.tolist()), torch.tensor(y.tolist())
    report = evaluate(model, plain, ["fgsm(eps=0.2)", "pgd(steps=2, eps=0.2)"])
    assert found == {
        "val_clean_error": report.clean_error,
        "val_adversarial_error": report.adversarial_error,
        "val_adversarial_error/fgsm": report.attacks[0].adversarial_error,
        "val_adversarial_error/pgd": report.attacks[1].adversarial_error,
    }


class Module(nn.Module):
    """Has what a LightningModule offers to a callback."""

    def __init__(self):
        super().__init__()
        self.net, self.logged = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), []

    def forward(self, x):
        return self.net(x)

    def log_dict(self, values, **options):
        self.logged.append((values, options))


def test_the_callback_logs_by_batch_and_says_how_many_images(monkeypatch):
    package = ModuleType("lightning.pytorch")
    package.Callback = type("Callback", (), {})
    monkeypatch.setitem(sys.modules, "lightning", ModuleType("lightning"))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", package)
    callback, module = lightning_callback("fgsm", eps=0.1, batches=2, every=3), Module()
    batch = [torch.rand(5, 3, 2, 2), torch.randint(3, (5,))]
    for epoch, sanity in ((0, True), (0, False), (1, False), (3, False)):
        for index in range(4):
            trainer = SimpleNamespace(sanity_checking=sanity, current_epoch=epoch)
            callback.on_validation_batch_end(trainer, module, None, batch, index)
    assert len(module.logged) == 4
    values, options = module.logged[0]
    assert set(values) == {"val_clean_error", "val_adversarial_error"}
    assert options == {"on_step": False, "on_epoch": True, "batch_size": 5, "sync_dist": True}
    with pytest.raises(InputError, match="at least 1"):
        lightning_callback("fgsm", every=0)


def test_without_lightning_it_is_named(monkeypatch):
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="pip install lightning"):
        lightning_callback("fgsm")


def test_the_real_trainer_logs_the_mean_over_all_images(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = pytest.importorskip("lightning.pytorch")

        class Real(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))

            def forward(self, x):
                return self.net(x)

            def validation_step(self, batch, _):
                self.log("seen", float(len(batch[1])))

        torch.manual_seed(0)
        x, y = torch.rand(10, 3, 2, 2), torch.randint(3, (10,))
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
        model = Real()
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "barebones": False}
        trainer = lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
            callbacks=[lightning_callback("fgsm", eps=0.1)],
            **quiet,
        )
        (found,) = trainer.validate(model, loader, verbose=False)
    report = evaluate(model, (x, y), ["fgsm(eps=0.1)"])
    assert found["val_clean_error"] == pytest.approx(report.clean_error)
    assert found["val_adversarial_error"] == pytest.approx(report.adversarial_error)
