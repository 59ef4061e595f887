"""The code of docs/testing.md runs, and what the page says of checks, strategies and fixtures is there."""

import importlib.util
import re
from pathlib import Path

import pytest

from advkit import testing
from advkit.testing import list_checks, strategies

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
PEERS = ("foolbox", "torchattacks", "adv_lib")


def needs(block: str) -> list[str]:
    return [peer for peer in PEERS if f"import {peer}" in block and importlib.util.find_spec(peer) is None]


INSIDE = ("-q", "-p", "advkit.testing", "-p", "no:cacheprovider", "-p", "no:xdist")


def test_every_python_block_runs(pytester: pytest.Pytester) -> None:
    run = [block for block in BLOCKS if not needs(block)]
    assert len(run) >= 3
    for i, block in enumerate(run):
        tested = block if "def test_" in block else block + "\n\ndef test_it_was_run():\n    pass\n"
        pytester.makepyfile(**{f"test_block_{i}": tested})
    others = ("-W", "ignore::DeprecationWarning") if len(run) > 4 else ()  # of other libraries' imports
    result = pytester.runpytest_inprocess(*INSIDE, "-W", "error", *others)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*errors, clean and adversarial*", "*[[]pgd(steps=20), linf 0.02, 100 images]*"])


def test_the_settings_of_the_page_are_taken(pytester: pytest.Pytester) -> None:
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    pytester.makepyprojecttoml(settings)
    pytester.makepyfile(
        "def test_it(pytestconfig):\n    assert pytestconfig.pluginmanager.hasplugin('advkit.testing')\n"
    )
    assert pytester.runpytest_inprocess(*INSIDE[0:1], *INSIDE[3:]).ret == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_the_others_are_at_least_python(block: str) -> None:
    compile(block, "docs/testing.md", "exec")


@pytest.mark.parametrize("peer", PEERS)
def test_the_adapter_of_each_peer_is_four_lines(peer: str) -> None:
    (block,) = (block for block in BLOCKS if f"import {peer}" in block)
    (body,) = re.findall(r"^def .*?(?=\n\n\n)", block, re.MULTILINE | re.DOTALL)
    assert len(body.splitlines()) <= 4


def test_the_table_of_peers_has_every_check() -> None:
    table = PAGE.split("<!-- peers: begin -->")[1].split("<!-- peers: end -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list_checks()
    assert re.search(r"foolbox [\d.]+, torchattacks [\d.]+, adv-lib [\d.]+, torch [\d.]+", table)


def test_every_name_of_the_package_can_be_imported_and_is_listed_once() -> None:
    assert len(set(testing.__all__)) == len(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        testing.nothing  # noqa: B018


def test_every_strategy_that_the_page_names_is_there() -> None:
    named = re.search(r"`advkit.testing.strategies` has `([^`]*)`", PAGE)
    assert named is not None
    assert all(callable(getattr(strategies, name)) for name in named[1].split())


COUNTEREXAMPLE = """
import torch
from hypothesis import Phase, given, settings
from advkit.testing import *
from advkit.testing.strategies import attacks, broken_classifiers, classifiers, images, labels, quadratic_classifiers

@given(x=images((1, 2, 2), dtype=torch.float64, bounds=(0, 2)), model=classifiers((1, 2, 2)), y=labels(2, 3),
       broken=broken_classifiers((1, 2, 2)), attack=attacks("pgd", steps=3), curved=quadratic_classifiers())
@settings(max_examples=30, deadline=None, database=None, phases=[Phase.generate, Phase.shrink], derandomize=True)
def test_one(x, model, y, broken, attack, curved):
    assert not x.any()
"""


def test_a_counterexample_is_small_and_runs_as_it_is_printed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(COUNTEREXAMPLE)
    out = pytester.runpytest_inprocess(*INSIDE).stdout.str()
    printed = re.search(r"^E +\w[\w ]*: test_one\((.*?)^E +\)$", out, re.MULTILINE | re.DOTALL)
    assert printed is not None, out
    code = "dict(" + re.sub(r"^E +", "", printed[1], flags=re.MULTILINE) + ")"
    names: dict[str, object] = {}
    exec("import torch\nfrom torch import tensor\nfrom advkit.testing import *\nfrom advkit.attacks import *", names)
    drawn = eval(code, names)
    assert drawn.keys() == {"x", "model", "y", "broken", "attack", "curved"}
    assert bool(drawn["x"].any())
    assert len(drawn["x"]) == 1
    assert drawn["x"].dtype == drawn["model"].weight.dtype
    assert drawn["attack"].steps == 3
    assert "nan_logits" in repr(drawn["broken"])
    assert "QuadraticClassifier.random(" in code
