"""The command line that a run records: as it is typed, without a folder of this machine."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from advkit.evaluation.runs import identity


@pytest.mark.parametrize(
    ("first", "module", "words"),
    [
        ("/home/me/.venv/bin/advkit", None, "advkit"),
        ("/home/me/advkit/__main__.py", "advkit.__main__", "advkit"),
        ("/home/me/advkit/__main__.py", None, "advkit"),
        ("Scripts/advkit.exe", None, "advkit"),  # of Windows
        ("Scripts/advkit.EXE", None, "advkit"),
        ("Scripts/pytest.exe", None, "pytest"),
        ("/home/me/study/run.py", None, "python run.py"),
        ("study/run.py", None, "python study/run.py"),
        ("HERE/study/run.py", None, "python study/run.py"),
        ("/home/me/study/run.py", "study.run", "python -m study.run"),
        ("/home/me/.venv/bin/pytest", None, "pytest"),
        ("-c", None, "python -c"),
        ("", None, "python"),
    ],
)
def test_the_command_is_said_as_it_is_typed(monkeypatch, first, module, words):
    spec = None if module is None else ModuleSpec(module, None)
    monkeypatch.setattr(identity.sys, "argv", [first.replace("HERE", str(Path.cwd())), "--eps", "8/255"])
    monkeypatch.setattr(identity.sys.modules["__main__"], "__spec__", spec, raising=False)
    assert identity.command_line() == [*words.split(), "--eps", "8/255"]


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ("/opt/venv/bin/advkit attack --eps 8/255", "advkit attack --eps 8/255"),
        ("/opt/advkit/__main__.py evaluate --attacks 'pgd(eps=.1)'", "advkit evaluate --attacks 'pgd(eps=.1)'"),
        ("python study/run.py --data 'my digits'", "python study/run.py --data 'my digits'"),
        ("jupyter notebook", "jupyter notebook"),
    ],
)
def test_a_command_of_an_older_run_is_said_as_it_is_typed(recorded, said):
    assert identity.typed(recorded) == identity.typed(said) == said


def test_a_notebook_says_no_more_than_that_it_is_one(monkeypatch):
    monkeypatch.setattr(identity.sys, "argv", ["/opt/ipykernel_launcher.py", "-f", "/home/me/kernel-1.json"])
    spec = ModuleSpec("ipykernel_launcher", None)
    monkeypatch.setattr(identity.sys.modules["__main__"], "__spec__", spec, raising=False)
    assert identity.command_line() == ["jupyter", "notebook"]
