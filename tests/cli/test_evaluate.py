"""`advkit evaluate`: its table, its JSON, its run folder, and one clear line for everything that can go wrong."""

import json
import signal

import pytest
import torch
from click.testing import CliRunner
from helpers.children import stopped, words_of

from advkit.cli import _workers, main
from advkit.evaluation import load_run

BASE = ("evaluate", "--model", "mlp", "--threads", "1", "--count", "40")


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """An empty current folder, and one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVKIT_DEBUG", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def done(*words):
    result = call(*words)
    assert result.exit_code == 0, result.stderr
    return result


def refused(*words):
    """The one line of stderr of a command that exits with 2."""
    result = call(*words)
    assert result.exit_code == 2, (result.exit_code, result.output)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    assert result.stdout == ""
    return lines[0]


def test_the_table_has_every_attack_the_worst_case_the_checks_and_the_caveat(somewhere):
    result = done(*BASE, "--attacks", "fgsm(eps=.1)", "pgd(eps=.1, steps=5)", "--output", "run")
    out = result.stdout
    assert out.startswith("mlp, ")
    for words in (
        "clean",
        "noise, same budget",
        "fgsm(eps=0.1)",
        "pgd(eps=0.1, steps=5)",
        "worst case",
        "95 % interval",
    ):
        assert words in out
    for words in ("top-5", "8-bit", "lower bound", "Checks: trustworthy", "40 images of 1,000", "25.5/255"):
        assert words in out
    names = {path.name for path in (somewhere / "run").iterdir()}
    assert names == {"run.json", "samples.csv", "report.html", "batches", "examples.png"}


def test_json_is_one_object_and_nothing_else(somewhere):
    result = done(*BASE, "--attack", "fgsm(eps=.1)", "--json")
    found = json.loads(result.stdout)
    assert found["model"] == "mlp"
    assert found["lower_bound"] is True
    assert found["checks"] is None or found["checks"]["verdict"] == "trustworthy"
    assert found["attacks"][0]["attack"] == "fgsm(eps=0.1)"
    assert found["clean_error"] <= found["attacks"][0]["adversarial_error"] <= found["adversarial_error"]
    assert list(somewhere.iterdir()) == []


def test_attacks_without_a_radius_get_the_one_given_or_their_norms_default():
    given = json.loads(
        done(*BASE, "--no-checks", "--eps", "8/255", "--attacks", "fgsm", "pgd(eps=.2, steps=2)", "--json").stdout
    )
    assert [row["eps"] for row in given["attacks"]] == [pytest.approx(8 / 255), 0.2]
    default = json.loads(done(*BASE, "--no-checks", "--attacks", "fgsm(norm=l2)", "--json").stdout)
    assert default["attacks"][0]["eps"] == 1.0
    clean = json.loads(done(*BASE, "--no-checks", "--attacks", "none", "--json").stdout)
    assert clean["attacks"] == []
    assert clean["adversarial_error"] == clean["clean_error"]


def test_the_flag_may_stand_before_each_attack_or_once():
    once = done(*BASE, "--no-checks", "--attacks", "fgsm", "fgsm(eps=.2)", "--seed", "1", "--json").stdout
    each = done(*BASE, "--no-checks", "--attacks", "fgsm", "--seed", "1", "--attacks", "fgsm(eps=.2)", "--json").stdout
    assert [a["attack"] for a in json.loads(once)["attacks"]] == [a["attack"] for a in json.loads(each)["attacks"]]


def test_a_complete_run_is_read_by_resume_and_another_is_refused(somewhere):
    words = (*BASE, "--no-checks", "--attacks", "fgsm(eps=.1)", "--output", "run")
    first = done(*words, "--json").stdout
    assert "a run in run already: go on with it by --resume" in refused(*words)
    assert done(*words, "--resume", "--json").stdout == first
    assert "its seed is 0, now seed is 1" in refused(*words, "--resume", "--seed", "1")
    assert "its attacks is" in refused(*BASE, "--no-checks", "--attacks", "fgsm(eps=.2)", "--output", "run", "--resume")
    assert "its model is" in refused(*words, "--resume", "--weights", "random")


def test_corruptions_and_views_have_their_figures(somewhere):
    words = ("--attacks", "none", "--no-checks", "--corruptions", "--count", "5", "--output", "run")
    found = json.loads(done(*BASE, *words, "--json").stdout)
    assert found["corruptions"] == json.loads((somewhere / "run" / "corruptions.json").read_text())
    assert found["corruptions"]["clean_error"] == found["clean_error"]
    text = done(
        "evaluate",
        "--model",
        "lenet5",
        "--count",
        "3",
        "--attacks",
        "fgsm",
        "--crops",
        "10",
        "--scales",
        "32,36",
        "--no-checks",
    )
    assert "lenet5" in text.stdout
    again = (*BASE[:5], "--attacks", "none", "--no-checks", "--count", "2", "--crops", "5")
    done(*again, "--scales", "32", "--output", "views")
    assert "its model is" in refused(*again, "--scales", "40", "--output", "views", "--resume")


def test_wrong_input_is_one_line(somewhere):
    (somewhere / "file").write_text("")
    for words, said in (
        ((), "give --model NAME"),
        (("--model", "lenet6"), "did you mean 'lenet5'"),
        (("--model", "mlp", "--attacks", "fgms"), "did you mean 'fgsm'"),
        (("--model", "mlp", "--attacks", "fgsm(eps=-1)"), "expected eps >= 0"),
        (("--model", "mlp", "--attacks", "fgsm(step=1)"), "unknown option"),
        (("--model", "mlp", "--resume"), "give its folder, --output DIR"),
        (("--model", "mlp", "--png"), "--png writes into the folder of a run: give --output DIR"),
        (("--model", "mlp", "--resume", "--output", "file"), "got the file file"),
        (("--model", "mlp", "--count", "0"), "expected count as an integer >= 1, got 0"),
        (("--model", "mlp", "--scales", "x", "--threads", "1"), "--scales: expected whole numbers"),
        (("--model", "mlp", "--scales", "20", "--threads", "1"), "expected scales of 32 or more"),
        (("--model", "mlp", "--target", "12", "--threads", "1"), "expected a class from 0 to 9"),
        (("--model", "mlp", "--device", "abacus"), "no device 'abacus' here"),
    ):
        assert said in refused("evaluate", *words)


def test_a_disk_error_is_one_line_and_exit_code_1(somewhere, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("advkit.data._folders.os.fsync", full)
    result = call(*BASE, "--attacks", "fgsm", "--no-checks", "--output", "run")
    assert result.exit_code == 1
    assert "No space left on device; the run is intact with 0 batches" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_ctrl_c_keeps_the_run_and_says_how_to_go_on(somewhere, monkeypatch):
    words = [
        "evaluate",
        "--model",
        "MODEL",
        "--data",
        "mnist5k",
        "--threads",
        "1",
        "--attacks",
        "pgd(eps=.05, steps=9)",
    ]
    words += ["--count", "200", "--batch-size", "10", "--no-checks", "--output", "run"]
    code, said = stopped(somewhere, words, signal.SIGINT, at=60)
    assert code == 130, said
    assert "kept in run: the same command with --resume goes on" in said
    kept = len(list((somewhere / "run" / "batches").iterdir()))
    assert 2 <= kept < 20
    monkeypatch.syspath_prepend(str(somewhere))
    done(*words_of(words, signal.SIGINT, 60), "--resume")
    assert len(load_run("run").numbers()) == 20


def test_the_checks_call_a_masked_model_suspect(somewhere, monkeypatch):
    (somewhere / "masked_net.py").write_text(
        "import torch\nfrom torch import nn\nfrom advkit import load_model\n"
        "class Masked(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = load_model('mlp')\n"
        "    def forward(self, x):\n        return self.net((4 * x).round() / 4)\n"
        "def make(**options):\n    return Masked()\n"
    )
    monkeypatch.syspath_prepend(str(somewhere))
    words = ("evaluate", "--model", "masked_net:make", "--threads", "1", "--count", "40", "--attacks", "fgsm(eps=.1)")
    out = done(*words, "--surrogate", "mlp").stdout
    assert "Checks: SUSPECT" in out
    assert "zero_gradients: the gradient is zero on" in out
    found = json.loads(done(*words, "--json").stdout)
    assert found["checks"]["verdict"] == "suspect"


@pytest.mark.parametrize(("said", "processes", "expected"), [("3", "1", 3), (None, "1", 5), ("1", "2", 5)])
def test_threads_are_those_of_the_environment_except_where_torchrun_set_them(
    said: str | None, processes: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_workers, "cores", lambda: 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert _workers.threads() == expected
