"""A pytest that runs inside a test leaves imported what it imported: some modules cannot be imported twice."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytest's own, which forgets all modules that a run inside was the first to import; here only the run's own go."""
    inside, run = dict[str, ModuleType](), pytester.inline_run

    class Seen:
        def pytest_sessionfinish(self) -> None:
            inside.update(sys.modules)

    def inline_run(*args: Any, plugins: Any = (), **options: Any) -> Any:
        recorder = run(*args, plugins=[*plugins, Seen()], **options)
        for name, module in inside.items():
            file = getattr(module, "__file__", None)
            if file is None or not Path(file).is_relative_to(pytester.path):
                sys.modules.setdefault(name, module)
        return recorder

    monkeypatch.setattr(pytester, "inline_run", inline_run)
    return pytester
