"""Places where nothing can be written or read, and names that are odd: exit 2 and one line that says which."""

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.children import bound_by_modes
from PIL import Image
from safetensors.torch import save_file

from advkit.cli import main
from advkit.core.files import atomic_write

EVALUATE = ["evaluate", "--model", "mlp", "--attacks", "fgsm", "--count", "8", "--batch-size", "4", "--no-checks"]
TRAIN = ["train", "--model", "mlp", "--data", "mnist5k", "--epochs", "1", "--probe", "0", "--width", "0.02"]
CURVE = ["curve", "--models", "mlp", "--count", "4"]
ATTACK = ["attack", "--model", "mlp", "--count", "4"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to be in, with a folder `closed` in which nothing can be written."""
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    (tmp_path / "closed").chmod(0o700)


def refused(words: list[str], says: str) -> str:
    """Run the command as somebody whom modes of files bind: exit 2 and one line with this text; its standard output."""
    with bound_by_modes():
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("Error: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert says in done.stderr
    assert "Errno" not in done.stderr
    assert "--debug" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([*EVALUATE, "--output", "closed"], "cannot make the folder closed/batches: Permission denied"),
        ([*EVALUATE, "--output", "closed/x"], "cannot make the folder closed/x: Permission denied"),
        ([*TRAIN, "--output", "closed"], "closed/run.json: Permission denied"),
        ([*TRAIN, "--output", "closed/x"], "cannot make the folder closed/x: Permission denied"),
        ([*CURVE, "--output", "closed/c.png"], "cannot write 'closed/c.png': give another --output PATH"),
        ([*ATTACK, "--output", "closed"], "cannot write 'closed/advkit-attack.png': give another --output PATH"),
    ],
    ids=lambda v: " ".join(v[:1] + v[-1:]) if isinstance(v, list) else "",
)
def test_a_folder_that_cannot_be_written_to_is_one_line_before_any_work(
    here: Path, words: list[str], says: str
) -> None:
    said = refused(words, says)
    assert not os.listdir("closed")
    assert "%" not in said  # no error of a network was measured


def test_files_that_cannot_be_read_are_one_line(here: Path) -> None:
    assert CliRunner().invoke(main, [*EVALUATE, "--output", "run"]).exit_code == 0
    np.savez("x.npz", x=np.zeros((4, 1, 32, 32), dtype="float32"), y=np.arange(4))
    shutil.copy("run/run.json", "w.safetensors")
    for file, words in (
        ("run/run.json", ["verify", "run"]),
        ("run/run.json", ["compare", "run", "run"]),
        ("run/run.json", [*EVALUATE, "--output", "run", "--resume"]),
        ("x.npz", [*ATTACK, "--data", "x.npz", "--no-picture"]),
        ("w.safetensors", [*ATTACK, "--weights", "w.safetensors", "--no-picture"]),
    ):
        os.chmod(file, 0)
        refused(words, "Permission denied")
        os.chmod(file, 0o600)
    os.chmod("run/batches/000000.safetensors", 0)
    assert "Permission denied" in refused(["verify", "run"], "the run in run is not whole: 1 thing is wrong")


@pytest.mark.parametrize(("kind", "says"), [("link", "the link out to nothing"), ("file", "the file out")])
@pytest.mark.parametrize("words", [EVALUATE, TRAIN], ids=lambda words: words[0])
def test_what_is_in_the_way_of_a_run_is_named(here: Path, words: list[str], kind: str, says: str) -> None:
    if kind == "link":
        Path("out").symlink_to("nowhere/else")
    else:
        Path("out").write_text("kept")
    done = CliRunner().invoke(main, [*words, "--output", "out"])
    assert done.exit_code == 2
    assert f"expected a folder for the run, got {says}: give another path" in done.stderr
    assert not Path("nowhere").exists()
    assert kind == "link" or Path("out").read_text() == "kept"


@pytest.mark.parametrize("name", ["a\nb", "-é网", "x" * 255, "a'b\"c %s{0}$HOME"])
def test_a_run_may_have_any_name(here: Path, name: str) -> None:
    assert CliRunner().invoke(main, [*EVALUATE, "--output", name]).exit_code == 0
    assert sorted(path.name for path in here.iterdir()) == sorted(["closed", name])
    for words in (["verify", "--", name], ["card", "--", name]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert "Traceback" not in done.output


@pytest.mark.parametrize("words", [EVALUATE, TRAIN, CURVE], ids=lambda words: words[0])
def test_a_name_that_is_too_long_is_one_line(here: Path, words: list[str]) -> None:
    for name in ("x" * 300 + ".png", "/".join(["x" * 9] * 600) + ".png"):
        done = CliRunner().invoke(main, [*words, "--output", name])
        assert done.exit_code == 2
        assert done.stderr.count("\n") == 1
        assert "Errno" not in done.stderr


def test_a_current_folder_that_is_gone_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    (here / "gone").rmdir()
    done = CliRunner().invoke(main, ATTACK)
    assert done.exit_code == 2
    assert done.stderr == "Error: the current folder is gone: change to another one (cd), and run that again\n"
    assert CliRunner().invoke(main, ["--version"]).exit_code == 0


def test_a_refused_write_names_the_file_that_was_asked_for(here: Path) -> None:
    with bound_by_modes(), pytest.raises(PermissionError) as told:
        atomic_write("closed/report.html", lambda file: file.write(b"x"))
    assert told.value.filename == "closed/report.html"
    assert not os.listdir("closed")


def numpy(file: IO[bytes]) -> None:
    np.savez(file, a=np.zeros(2000))


WRITERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "bytes": lambda file: file.write(bytes(16_000)),
    "torch": lambda file: torch.save({"a": torch.zeros(4000), "b": [1, 2]}, file),
    "safetensors": lambda file: save_file({"a": torch.zeros(4000)}, file.name),
    "numpy": numpy,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("size", [0, 100, 8192, 12_000])
def test_a_full_disk_is_called_so_whoever_writes(here: Path, name: str, size: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            atomic_write("out/file", WRITERS[name])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (told.value.errno, told.value.filename) == (errno.EFBIG, "out/file")
    assert not os.listdir("out")
    atomic_write("out/file", WRITERS[name])
    assert os.path.getsize("out/file") >= 16_000


def test_an_error_of_the_writer_itself_stays_what_it_is(here: Path) -> None:
    def broken(file: IO[bytes]) -> None:
        raise ValueError("no such layer")

    with pytest.raises(ValueError, match="no such layer"):
        atomic_write("out/file", broken)
    assert not os.listdir("out")


def test_a_folder_of_a_class_that_cannot_be_read_is_one_line(here: Path) -> None:
    """Else its images would be missing, and nobody would say so."""
    for name in ("a", "a/inner", "b"):
        (here / "pets" / name).mkdir(parents=True)
        Image.new("L", (32, 32)).save(here / "pets" / name / "0.png")
    for name in ("a", "a/inner"):
        (here / "pets" / name).chmod(0)
        refused([*ATTACK, "--data", "folder:pets", "--no-picture"], f"cannot read the folder pets/{name}: Permission")
        (here / "pets" / name).chmod(0o700)
