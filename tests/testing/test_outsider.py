"""tests/outsider is a project of three files that uses the plugin as a stranger would; it is run as one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OUTSIDER = Path(__file__).parents[1] / "outsider"


def test_an_outsiders_project_runs_with_its_own_settings_and_ends_with_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "outsider"
    shutil.copytree(OUTSIDER, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    assert {path.name for path in folder.iterdir()} == {"model.py", "test_model.py", "pyproject.toml"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "advkit.testing", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    table = done.stdout[done.stdout.index("errors, clean and adversarial") :].splitlines()
    assert "[fgsm, linf 0.02, 200 images]" in table[1]
    assert "[pgd(steps=5), linf 0.01, 100 images]" in table[2]
    assert "lower bounds" in table[3]
