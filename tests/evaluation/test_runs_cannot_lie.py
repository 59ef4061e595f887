"""A run folder says what was measured on what: holes, damage, exchanged data and edits are found, named, and redone."""

import json
import random
import shutil

import pytest
import torch
from click.testing import CliRunner
from helpers.children import ranks
from torch import nn

from advkit.attacks import FGSM, Noise
from advkit.cli import main
from advkit.core.errors import AdvkitWarning, InputError
from advkit.core.files import alone
from advkit.evaluation import Keep, compare_runs, evaluate, load_run, merge_runs, verify_run
from advkit.evaluation.runs.ranks import parse_shard

COUNT, SIZE = 42, 4


def toy():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(COUNT, 1, 4, 4, generator=generator)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator)
    with torch.no_grad():
        return net.eval(), x, net(x).argmax(1)


def go(home, *, data=None, **options):
    net, x, y = toy()
    options = {"batch_size": SIZE, "checks": False, "control": Noise(norm="linf"), **options}
    return evaluate(net, data or (x, y), [FGSM(eps=0.1)], output=home, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs") / "whole"
    go(home)
    return home


@pytest.fixture
def home(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def rows(home):
    return (home / "samples.csv").read_bytes()


def batch(home, number):
    return home / "batches" / f"{number:06d}.safetensors"


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << (place % 8)
    path.write_bytes(bytes(content))


def test_a_whole_run_is_called_whole(whole):
    assert verify_run(whole) == []
    assert CliRunner().invoke(main, ["verify", str(whole)]).exit_code == 0


def test_advice_on_a_folder_that_others_changed_is_right_when_it_is_followed(home, whole):
    shutil.copy(batch(home, 0), batch(home, 99))
    with pytest.raises(InputError, match=r"remove batches/000099\.safetensors there$"):
        go(home, resume=True)
    batch(home, 99).unlink()
    go(home, resume=True)
    assert rows(home) == rows(whole)
    shutil.rmtree(home / "batches")
    (home / "batches").write_text("")
    mend = "File exists; the run is intact with 0 batches: mend that, then go on"
    with pytest.warns(AdvkitWarning, match="is done again: it is missing"), pytest.raises(OSError, match=mend):
        go(home, resume=True)
    (home / "batches").unlink()
    go(home, resume=True)
    assert rows(home) == rows(whole)


def test_two_verdicts_are_another_run_than_one(tmp_path):
    go(tmp_path / "run", verdicts=2)
    with pytest.raises(InputError, match="verdicts"):
        go(tmp_path / "run", resume=True)


def test_a_missing_batch_is_found_by_every_reader_and_redone(home, whole):
    batch(home, 2).unlink()
    assert verify_run(home) == ["batch 2 is missing"]
    for read in (load_run, lambda place: compare_runs(place, whole)):
        with pytest.raises(InputError, match="lacks batch 2"):
            read(home)
    with pytest.warns(AdvkitWarning, match="batch 2 .* is done again: it is missing"):
        report = go(home, resume=True)
    assert report.count == COUNT
    assert rows(home) == rows(whole)
    assert verify_run(home) == []


@pytest.mark.parametrize("part", ["header", "rows", "images"])
def test_a_damaged_batch_is_named_and_redone(home, whole, part):
    path = batch(home, 3)
    place = {"header": 40, "rows": len(path.read_bytes()) - 5, "images": -SIZE * 16 * 4}[part]
    flip(path, place)
    assert [text.startswith("batch 3: ") for text in verify_run(home)] == [True]
    with pytest.warns(AdvkitWarning, match="batch 3 .* is done again"):
        go(home, resume=True)
    assert rows(home) == rows(whole)
    assert verify_run(home) == []


@pytest.mark.parametrize("name", ["9.seconds", "q.seconds", "0.second~"])
def test_a_column_whose_name_was_changed_is_found_by_every_reader(home, whole, name):
    path = batch(home, 3)
    path.write_bytes(path.read_bytes().replace(b"0.seconds", name.encode()))
    assert [text.startswith("batch 3: ") for text in verify_run(home)] == [True]
    for words in (["compare", str(home), str(whole)], ["card", str(home)]):
        ended = CliRunner().invoke(main, words)
        assert ended.exit_code in ((0, 2) if name == "0.second~" else (2,)), ended.output
    with pytest.warns(AdvkitWarning, match="batch 3 .* is done again"):
        go(home, resume=True)
    assert rows(home) == rows(whole)


def test_batches_that_changed_places_are_found(home):
    a, b = batch(home, 1), batch(home, 5)
    held = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(held)
    assert len(verify_run(home)) == 2
    with pytest.raises(InputError, match="batch 1: it is the file of batch 5"):
        list(load_run(home))


@pytest.mark.parametrize("part", ["images", "labels"])
def test_other_data_behind_the_committed_batches_are_refused(home, part):
    _, x, y = toy()
    x, y = x.clone(), y.clone()
    if part == "images":
        x[20:] = 1 - x[20:]
    else:
        y[20:] = (y[20:] + 1) % 3
    with pytest.raises(InputError, match=f"the {part} of batch 5 are not those"):
        go(home, resume=True, data=(x, y))


@pytest.mark.parametrize("name", ["samples.csv", "report.html"])
def test_an_edited_table_is_found_and_written_again(home, whole, name):
    flip(home / name, 100)
    assert verify_run(home) == [f"{name} is not what was written"]
    go(home, resume=True)
    assert verify_run(home) == []
    assert rows(home) == rows(whole)


def test_an_edited_figure_is_found(home):
    text = (home / "run.json").read_text()
    (home / "run.json").write_text(text.replace('"adversarial_error": 0', '"adversarial_error": 1', 1))
    with pytest.raises(InputError, match="it was edited"):
        verify_run(home)


def test_the_report_of_a_folder_is_the_one_that_evaluate_returned(tmp_path):
    report = go(tmp_path / "run", checks=True)
    read = load_run(tmp_path / "run").report
    assert read.to_dict() == report.to_dict()
    assert torch.equal(read.attacks[0].wrong, report.attacks[0].wrong)


def test_two_commands_on_one_folder_are_one_line(home):
    with alone(home), pytest.raises(InputError, match="another process is at work"):
        go(home, resume=True)
    go(home, resume=True)


def test_sixteen_shards_in_any_order_one_twice_have_the_rows_of_one_process(tmp_path):
    go(tmp_path / "one", batch_size=2, keep=Keep(png=True))
    order = [*range(1, 17), 5]
    random.Random(0).shuffle(order)
    homes = []
    for turn, index in enumerate(order):
        homes.append(tmp_path / f"{turn}-{index}")
        go(homes[-1], batch_size=2, keep=Keep(png=True, shard=f"{index}/16"))
    made = merge_runs(homes, output=tmp_path / "all")
    assert rows(tmp_path / "all") == rows(tmp_path / "one")
    assert verify_run(tmp_path / "all") == []
    names = [sorted(str(p.relative_to(tmp_path / n)) for p in (tmp_path / n).rglob("*.png")) for n in ("one", "all")]
    assert names[0] == names[1] != []
    assert made.report.count == COUNT
    with pytest.raises(InputError, match="no run has batch"):
        merge_runs([h for h in homes if not h.name.endswith("-7")], output=tmp_path / "short")
    assert not (tmp_path / "short").exists()


def test_shards_of_other_evaluations_are_not_merged(tmp_path):
    go(tmp_path / "a", keep=Keep(shard="1/2"))
    go(tmp_path / "b", keep=Keep(shard="2/2"), seed=1)
    with pytest.raises(InputError, match="shards of one evaluation: seed is 0"):
        merge_runs([tmp_path / "a", tmp_path / "b"], output=tmp_path / "all")


def test_a_shard_that_says_other_things_twice_is_refused(tmp_path):
    _, x, y = toy()
    for name, data in (("a", (x, y)), ("b", (torch.cat([x[:20], 1 - x[20:]]), y))):
        go(tmp_path / name, data=data, keep=Keep(shard="2/2"))
    with pytest.raises(InputError, match="batch 5 has other images"):
        merge_runs([tmp_path / "a", tmp_path / "b"], output=tmp_path / "all")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="expected a shard such as 3/16"):
        parse_shard(text)


def _rank(number, home):
    net, x, y = toy()

    def slow(z):
        import time

        time.sleep(0.02 if number else 0.0)
        return net(z)

    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, z):
            return slow(z)

    evaluate(Slow().eval(), (x, y), [FGSM(eps=0.1)], output=home, batch_size=1, checks=False)
    (home / f"rank{number}").write_text("")


def test_processes_take_batches_and_leave_no_claims(tmp_path):
    assert ranks(lambda rank: _rank(rank, tmp_path / "run"), tmp_path) == [0, 0]
    assert verify_run(tmp_path / "run") == []
    assert not (tmp_path / "run" / "claims").exists()


def mangled(home, dice):
    """The folder with one byte or one key of run.json or a batch changed."""
    kind = dice.choice(["byte of run.json", "key", "byte of a batch", "cut", "name"])
    path = home / "run.json"
    if kind == "key":
        record = json.loads(path.read_text())
        spot = record
        while True:
            key = dice.choice(list(spot) if isinstance(spot, dict) else range(len(spot)))
            if isinstance(spot[key], dict | list) and spot[key] and dice.random() < 0.7:
                spot = spot[key]
                continue
            break
        if dice.random() < 0.3:
            del spot[key]
        else:
            spot[key] = dice.choice([None, -1, "x", [], {}, True, 1e400, [1], {"a": 1}])
        path.write_text(json.dumps(record))
        return
    if kind != "byte of run.json":
        path = batch(home, dice.randrange(11))
    content = path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[: dice.randrange(len(content))])
    elif kind == "name":
        path.rename(path.with_name(dice.choice(["x.safetensors", "99.safetensors", "000000.safetensors"])))
    else:
        flip(path, dice.randrange(len(content)))


@pytest.mark.parametrize("part", range(4))
def test_edited_folders_are_one_line_for_every_command(whole, tmp_path, part):
    dice = random.Random(part)
    for number in range(75):
        home = shutil.copytree(whole, tmp_path / str(number))
        mangled(home, dice)
        for words in (["verify", str(home)], ["compare", str(home), str(whole)]):
            ended = CliRunner().invoke(main, words)
            assert ended.exit_code in (0, 2), (words, ended.output)
            assert isinstance(ended.exception, SystemExit | None), ended.exception
            assert ended.exit_code == 0 or ended.stderr.startswith("Error: ")
            assert len(ended.stderr.strip().splitlines()) <= 1
        shutil.rmtree(home)


def faulty(home):
    try:
        return bool(verify_run(home))
    except InputError:
        return True


def test_every_file_of_a_run_is_held_against_its_digest(tmp_path):
    home = tmp_path / "run"
    said = "--model mlp --attacks fgsm(eps=.2) --count 6 --batch-size 3 --no-checks --png --corruptions --threads 1"
    words = ["evaluate", *said.split(), "--output", str(home)]
    assert CliRunner().invoke(main, words).exit_code == 0
    files = sorted(path for path in home.rglob("*") if path.is_file() and path.stat().st_size)
    kinds = {path.relative_to(home).parts[0] for path in files}
    assert {"run.json", "samples.csv", "report.html", "examples.png", "png", "batches", "corruptions.json"} <= kinds
    assert not verify_run(home)
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert faulty(home), path
        path.unlink()
        assert faulty(home), path
        path.write_bytes(content)
    assert not verify_run(home)
    broken = [home / "examples.png", home / "corruptions.json", next(path for path in files if "png" in path.parts)]
    before = [path.read_bytes() for path in broken]
    for path in broken:
        path.unlink()
    again = CliRunner().invoke(main, [*words, "--resume"])
    assert again.exit_code == 0, again.stderr
    assert not verify_run(home)
    assert [path.read_bytes() for path in broken] == before


def test_a_merged_run_keeps_the_digests_of_its_pictures(tmp_path):
    for shard in ("1/2", "2/2"):
        go(tmp_path / shard[0], keep=Keep(png=True, shard=shard))
    merge_runs([tmp_path / "1", tmp_path / "2"], output=tmp_path / "whole")
    assert not verify_run(tmp_path / "whole")
    picture = next((tmp_path / "whole" / "png").rglob("*.png"))
    picture.write_bytes(b"")
    (wrong,) = verify_run(tmp_path / "whole")
    assert wrong.endswith(f"png/{picture.parent.name}/{picture.name} is not what was written")
