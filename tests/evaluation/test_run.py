"""The run folder: whatever stops an evaluation, and however many processes share it, the rows are the same."""

import csv
import errno
import gc
import itertools
import json
import math
import os
import signal
import tracemalloc
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers.children import ended, ranks
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from advkit import load_data, load_model
from advkit.attacks import FGSM, LBFGS, PGD, Noise
from advkit.core.errors import InputError
from advkit.core.files import locked
from advkit.data import _folders
from advkit.evaluation import Keep, compare_runs, evaluate, load_run
from advkit.evaluation.runs.digests import of_record
from advkit.evaluation.runs.rows import HEADER

N, K = 60, 6
ATTACKS = (FGSM(eps=0.05), PGD(eps=0.05, steps=5))


def digits(home, **more):
    """120 digits under four attacks, 10 a batch."""
    attacks = [FGSM(eps=0.1), PGD(eps=0.1, steps=8), FGSM(norm="l2", eps=1.5), PGD(eps=0.05, steps=8)]
    options = {"control": Noise(), "count": 120, "batch_size": 10, "checks": False, "resume": True, **more}
    evaluate(load_model("mlp"), load_data("mnist5k"), attacks, output=home, **options)


def toy(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(N, 1, 4, 4, generator=generator) * 205 + 25).round() / 255
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, K))
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(K, 16, generator=generator))
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
        y = net(x).argmax(1)
    y[::7] = (y[::7] + 1) % K
    return net, x, y


def go(home, *, net=None, attacks=ATTACKS, data=None, **options):
    own, x, y = toy()
    options = {"checks": False, "control": Noise(), "batch_size": 13, **options}
    return evaluate(net or own, data or (x, y), attacks, output=home, **options)


def read(home):
    with open(Path(home) / "samples.csv", newline="") as file:
        return list(csv.DictReader(file))


def figures(home):
    """run.json's figures without the times."""
    found = json.loads((Path(home) / "run.json").read_text())["figures"]
    for row in [*found["attacks"], found["control"]]:
        row.pop("seconds")
    return found


def test_a_run_and_an_evaluation_in_memory_have_the_same_figures(tmp_path):
    net, x, y = toy()
    report, plain = go(tmp_path / "run"), evaluate(net, (x, y), ATTACKS, control=Noise(), batch_size=13)
    for found in (report, plain):
        for row in [*found.attacks, found.control]:
            assert row.seconds > 0
    first, second = (json.loads(json.dumps(r.to_dict())) for r in (report, plain))
    for found in (first, second):
        for row in [*found["attacks"], found["control"]]:
            row.pop("seconds")
            assert (row.pop("survival_rate") is None) == (found is second)
    assert first == second
    assert torch.equal(report.worst_case, plain.worst_case)


def test_there_is_one_row_a_sample_and_attack_and_it_is_true(tmp_path):
    net, x, y = toy()
    go(tmp_path)
    rows, specs = read(tmp_path), [*(a.spec for a in ATTACKS), "noise"]
    assert list(rows[0]) == HEADER
    assert [(int(row["id"]), row["attack"]) for row in rows] == [(i, spec) for i in range(N) for spec in specs]
    clean = net(x)
    for attack in ATTACKS:
        result = attack(net, x, y)
        delta = (result.x_adv.double() - x.double()).flatten(1)
        mine = [row for row in rows if row["attack"] == attack.spec]
        for i, row in enumerate(mine):
            assert int(row["label"]) == y[i]
            assert int(row["clean_prediction"]) == clean[i].argmax()
            assert int(row["prediction"]) == result.logits[i].argmax()
            assert int(row["success"]) == result.success[i]
            assert int(row["wrong"]) == (result.logits[i].argmax() != y[i] or clean[i].argmax() != y[i])
            assert int(row["top5_wrong"]) == (y[i] not in result.logits[i].topk(5).indices) or clean[i].argmax() != y[i]
            assert float(row["linf"]) == pytest.approx(delta[i].abs().max().item(), rel=1e-6)
            assert float(row["l2"]) == pytest.approx(delta[i].norm().item(), rel=1e-6)
            assert float(row["l1"]) == pytest.approx(delta[i].abs().sum().item(), rel=1e-6)
            assert float(row["l0"]) == (delta[i] != 0).sum()
            assert float(row["distance"]) == float(row["linf"])
            assert float(row["confidence"]) == pytest.approx(result.logits[i].softmax(0).max().item(), rel=1e-5)
            assert (int(row["queries"]), int(row["gradients"])) == (result.queries[i], result.gradients[i])


def test_without_attacks_there_is_a_row_for_each_clean_image(tmp_path):
    go(tmp_path, attacks=(), control=None)
    rows = read(tmp_path)
    assert [row["attack"] for row in rows] == ["clean"] * N
    assert all(row["prediction"] == row["clean_prediction"] and float(row["l2"]) == 0 for row in rows)
    assert all((row["queries"], row["gradients"]) == ("1", "0") for row in rows)


def test_the_error_among_five_classes_is_the_share_of_its_column():
    model, data = load_model("mlp"), load_data("mnist5k")
    (row,) = evaluate(model, data, [FGSM(eps=0.3)], count=40).attacks
    assert 0 < row.top5_error == row.top5_wrong.double().mean().item() < row.adversarial_error


def test_the_images_kept_are_those_that_the_rows_speak_of(tmp_path):
    net, x, _ = toy()
    go(tmp_path)
    run = load_run(tmp_path)
    assert run.numbers() == list(range(5))
    assert run.attacks == [*(a.spec for a in ATTACKS), "noise"]
    kept = torch.cat([run.images(number, None) for number in run.numbers()])
    assert torch.equal(kept, x)
    x_adv = torch.cat([run.images(number, 1) for number in run.numbers()])
    for name, found in (
        ("prediction", net(x_adv).argmax(1)),
        ("linf", (x_adv.double() - x.double()).abs().flatten(1).amax(1)),
    ):
        assert torch.equal(found, torch.cat([columns[2][name] for columns in run]))
    go(tmp_path / "small", keep=Keep(images=False))
    with pytest.raises(InputError, match="kept no images"):
        load_run(tmp_path / "small").images(0, 0)


@pytest.mark.parametrize("eps", [0.003, 0.05, 8 / 255])
def test_png_files_are_within_eps_and_survive_as_the_rows_say(tmp_path, eps):
    net, x, y = toy()
    go(tmp_path, attacks=[PGD(eps=eps, steps=5)], keep=Keep(png=True), control=None)
    rows = read(tmp_path)
    survived = 0
    for i, row in enumerate(rows):
        path = tmp_path / "png" / "0-pgd" / f"{i:06d}.png"
        right = row["clean_prediction"] == row["label"]
        assert path.exists() == (right and row["success"] == "1")
        if path.exists():
            levels = torch.tensor(list(Image.open(path).tobytes())).view(1, 1, 4, 4)
            assert (levels.float() / 255 - x[i]).double().abs().max() <= eps
            assert int(row["survives_8bit"]) == int(net(levels.float() / 255).argmax() != y[i])
            survived += int(row["survives_8bit"])
    assert (survived > 0) == (eps > 0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 warns of forks beside threads
def test_a_killed_run_ends_with_the_rows_of_an_unbroken_one(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    digits(whole)
    for share in (0.1, 0.37, 0.61):

        def kill(done, whole, share=share):
            if done > share * whole:
                os.kill(os.getpid(), signal.SIGKILL)

        assert ended(lambda kill=kill: digits(broken, progress=kill)) == -signal.SIGKILL
    assert not (broken / "samples.csv").exists()
    with pytest.raises(InputError, match="not complete"):
        load_run(broken)
    digits(broken)
    assert (broken / "samples.csv").read_bytes() == (whole / "samples.csv").read_bytes()
    assert figures(broken) == figures(whole)
    assert [p.name for p in broken.rglob(".*")] == []
    assert load_run(broken).numbers() == list(range(12))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_two_processes_and_one_have_the_same_rows(tmp_path):
    assert ranks(lambda _: digits(tmp_path / "two"), tmp_path) == [0, 0]
    digits(tmp_path / "one")
    assert (tmp_path / "two" / "samples.csv").read_bytes() == (tmp_path / "one" / "samples.csv").read_bytes()
    assert figures(tmp_path / "one") == figures(tmp_path / "two")


def test_a_run_that_ended_before_its_first_batch_leaves_its_place_to_another(tmp_path):
    home, other = tmp_path / "run", nn.Sequential(nn.Flatten(), nn.Linear(25, K))  # of another size
    for _ in range(2):
        with pytest.raises(RuntimeError, match="mat1"):
            go(home, net=other, attacks=["fgsm(eps=0.2)"])
    begun = (home / "run.json").read_bytes()
    with locked(home), pytest.raises(InputError, match="another process is at work"):
        go(home)
    assert (home / "run.json").read_bytes() == begun
    (home / "png").mkdir()
    go(home)
    go(tmp_path / "fresh")
    assert figures(home) == figures(tmp_path / "fresh")
    assert {p.name for p in home.iterdir()} == {p.name for p in (tmp_path / "fresh").iterdir()}


def test_a_run_with_one_batch_keeps_its_place(tmp_path):
    def stop(done, whole):
        if list((tmp_path / "batches").glob("*.safetensors")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, progress=stop)
    with pytest.raises(InputError, match=r"a run in .* already.*--resume"):
        go(tmp_path, resume=False)


def test_a_run_that_is_interrupted_keeps_what_is_done(tmp_path):
    def stop(done, whole):
        if done > whole / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "broken", progress=stop)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "broken" / "batches").iterdir()}
    assert 0 < len(kept) < 5
    seen = []
    go(tmp_path / "broken", resume=True, progress=lambda done, whole: seen.append((done, whole)))
    go(tmp_path / "whole")
    assert (tmp_path / "broken" / "samples.csv").read_bytes() == (tmp_path / "whole" / "samples.csv").read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())  # what was done is not done again
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_a_complete_run_is_read_and_not_done_again(tmp_path):
    (net, x, y), calls = toy(), []
    net.register_forward_hook(lambda *_: calls.append(len(_[1][0])))
    first = go(tmp_path, net=net)
    assert calls
    calls.clear()
    second = evaluate(net, (x, y), ATTACKS, control=Noise(), batch_size=13, output=tmp_path, resume=True, checks=False)
    assert first.to_dict() == second.to_dict()
    assert sum(calls) == 0


def test_what_would_mix_two_runs_is_refused(tmp_path):
    net, x, y = toy()
    other = toy(1)[0]
    go(tmp_path)
    with pytest.raises(InputError, match=r"a run in .* already.*--resume"):
        go(tmp_path)
    changes = {
        "attacks": {"attacks": [FGSM(eps=0.06), ATTACKS[1]]},
        "model": {"net": other},
        "seed": {"seed": 1},
        "stop": {"stop": "never"},
        "batch_size": {"batch_size": 14},
        "count": {"count": 30},
        "control": {"control": None},
        "data": {"data": (x, (y + 1) % K)},
        "target": {"target": 2},
        "bounds": {"bounds": (0, 2)},
        "images": {"keep": Keep(images=False)},
    }
    before = (tmp_path / "run.json").read_bytes()
    for name, change in changes.items():
        with pytest.raises(InputError, match=f"its {name} is .*, now .* or give another folder"):
            go(tmp_path, resume=True, **change)
    with torch.no_grad():
        net[1].bias[0] += 1e-6
    with pytest.raises(InputError, match="its model is"):
        go(tmp_path, net=net, resume=True)
    assert (tmp_path / "run.json").read_bytes() == before


class Remembering(nn.Module):
    """A network that keeps its last features, and divides by a tensor that is not registered."""

    def __init__(self, net):
        super().__init__()
        self.net, self.features, self.scale = net, [], torch.tensor(2.0)

    def forward(self, x):
        self.features = [x.detach()] if self.keeps else []
        return self.net(x / self.scale)


@pytest.mark.parametrize("keeps", [True, False])
def test_what_passes_change_is_no_other_model_and_what_they_use_is(tmp_path, keeps):
    net = Remembering(toy()[0])
    net.keeps = keeps
    go(tmp_path, net=net)
    net(torch.full((1, 1, 4, 4), 0.3))
    go(tmp_path, net=net, resume=True)
    net.scale = torch.tensor(3.0)
    with pytest.raises(InputError, match=r"its model is {'attributes': {'scale': '\w+'}}, now model is {'attributes'"):
        go(tmp_path, net=net, resume=True)


def test_other_versions_are_refused_and_the_threads_are_those_of_the_beginning(tmp_path):
    net, threads = toy()[0], []
    net.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    go(tmp_path, count=13, net=net)
    threads.clear()
    record = json.loads((tmp_path / "run.json").read_text())
    record["status"], record["environment"]["threads"] = "running", 2
    (tmp_path / "run.json").write_text(json.dumps({**record, "digest": of_record(record)}))
    (tmp_path / "batches" / "000000.safetensors").unlink()
    before = torch.get_num_threads()
    go(tmp_path, count=13, resume=True, net=net)
    assert set(threads) == {2}
    assert torch.get_num_threads() == before
    record["environment"]["torch"] = "1.0"
    (tmp_path / "run.json").write_text(json.dumps({**record, "digest": of_record(record)}))
    with pytest.raises(InputError, match=r"its torch is 1\.0, now torch is"):
        go(tmp_path, count=13, resume=True, net=net)


def test_a_disk_that_fills_up_within_a_batch_is_told_like_one_that_was_full(tmp_path, monkeypatch):
    real, calls = safetensors.torch.save_file, []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) > 1:
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        real(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(OSError, match=r"No space left on device; the run is intact with 1 batches.*--resume"):
            go(tmp_path)
    assert [p.name for p in tmp_path.rglob(".*")] == []
    go(tmp_path, resume=True)


@pytest.mark.parametrize("when", [0, 1, 3, 6, 7])
def test_a_full_disk_is_one_clear_error_and_the_run_is_intact(tmp_path, monkeypatch, when):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > when:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(_folders.os, "fsync", full)
        with pytest.raises(
            OSError, match=r"No space left on device; the run is intact with .* batches.*--resume"
        ) as told:
            go(tmp_path / "full")
    assert "\n" not in str(told.value)
    assert [p.name for p in (tmp_path / "full").rglob(".*")] == []
    go(tmp_path / "full", resume=True)
    go(tmp_path / "whole")
    assert (tmp_path / "full" / "samples.csv").read_bytes() == (tmp_path / "whole" / "samples.csv").read_bytes()


def test_a_folder_that_is_no_place_for_a_run_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder for the run, got the file"):
        go(tmp_path / "file")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("[]")
    with pytest.raises(InputError, match="record of a run of advkit evaluate, got something else"):
        go(tmp_path / "other", resume=True)
    (tmp_path / "other" / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot read"):
        load_run(tmp_path / "other")
    with pytest.raises(InputError, match="there is no run in"):
        load_run(tmp_path / "nowhere")


def test_a_batch_that_is_spoilt_is_named(tmp_path):
    go(tmp_path)
    (tmp_path / "batches" / "000002.safetensors").write_bytes(b"spoilt")
    with pytest.raises(InputError, match=r"cannot read .*000002\.safetensors"):
        list(load_run(tmp_path))


def test_a_loader_keeps_its_batches(tmp_path):
    net, x, y = toy()
    loader = DataLoader(TensorDataset(x, y), batch_size=17)
    report = evaluate(net, loader, ATTACKS, output=tmp_path, checks=False)
    assert load_run(tmp_path).numbers() == list(range(4))
    assert report.sample_ids.tolist() == list(range(N))
    again = evaluate(net, loader, ATTACKS, output=tmp_path, checks=False, resume=True)
    assert again.to_dict() == report.to_dict()


def test_a_minimal_attack_and_targets_are_kept_too(tmp_path):
    net, x, y = toy()
    targets = torch.arange(N) % K
    run = evaluate(net, (x, y), [LBFGS()], target=targets, output=tmp_path, checks=False, count=20, control=None)
    plain = evaluate(net, (x, y), [LBFGS()], target=targets, count=20)
    first, second = (r.attacks[0].to_dict() for r in (run, plain))
    for found in (first, second):
        del found["seconds"], found["survival_rate"]
    assert first == second
    assert len(read(tmp_path)) == 20


def living():
    """The bytes of all tensors that live now."""
    tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor]  # no fake ones of other tests
    tensors = [t for t in tensors if t.layout is torch.strided]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


class Endless(torch.utils.data.Dataset):
    """Images made as they are read, and the bytes of all tensors that live then."""

    def __init__(self, count):
        self.count, self.most = count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if i % 20 == 0 and i:
            self.most = max(self.most, living())
        x = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(i))
        return x, i % 3


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    net, most = nn.Sequential(nn.Flatten(), nn.Linear(4096, 3)), []
    for count in (40, 200):
        data = Endless(count)
        evaluate(net, data, [FGSM(eps=0.1)], batch_size=20, output=tmp_path / str(count), checks=False)
        most.append(data.most)
    assert most[1] < most[0] + 160 * 64  # an image alone has 16,384 bytes


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    """Counted, not measured: the most that Python's objects took, and tensors at every sixteenth pass."""
    net, attacks = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), [FGSM(eps=0.1), FGSM(eps=0.2)]
    x, y = torch.rand(2000, 1, 2, 2), torch.randint(3, (2000,))

    def most(count, home):
        held, calls = [], itertools.count()
        tracemalloc.start()
        report = evaluate(
            net, (x[:count], y[:count]), attacks, control=Noise(), batch_size=125, output=home, checks=False,
            progress=lambda *_: held.append(0 if next(calls) % 16 else living()),
        )  # fmt: skip
        assert compare_runs(home, home)[0].count == report.count == count
        objects = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return objects + max(held) + living()

    most(125, tmp_path / "first")  # what is imported and cached once
    few, many = most(250, tmp_path / "few"), most(2000, tmp_path / "many")
    assert many - few < 500_000  # of 5,250 rows more; kept in memory, each has 300 bytes


def test_the_checks_are_part_of_a_run(tmp_path):
    report = evaluate(load_model("mlp"), load_data("mnist5k"), [FGSM(eps=0.1)], count=40, output=tmp_path)
    assert report.checks.verdict == "trustworthy"
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["checks"] == report.checks.to_dict()
    assert record["checks"]["samples"] == 32  # no more than a quarter of what the attacks cost, 32 at least
    assert evaluate(load_model("mlp"), load_data("mnist5k"), [FGSM(eps=0.1)], count=40).checks is None


def test_the_checks_take_the_radius_of_the_first_attack_spread_evenly():
    net, x, y = toy()
    free = [PGD(eps=math.inf), FGSM(eps=0.3)]
    for attacks, eps in (([FGSM(eps=0.2)], 0.2), ([PGD(norm="l2", eps=0.4)], 0.1), ([LBFGS()], 0.1), (free, 0.3)):
        report = evaluate(net, (x, y), attacks, count=2, checks=True)
        assert report.checks.eps == pytest.approx(eps)
