"""The digests of the user's own code: an edit is seen if it can change an answer, and others are not."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from advkit import evaluate
from advkit.attacks import FGSM
from advkit.core.errors import InputError
from advkit.core.own_code import code_digests
from advkit.models import create_model

SOURCE = '''
import functools
import torch
from torch import nn
import torch.nn.functional as F
import helper

MEAN = [0.5, 0.25]
SCALE = 2.0
UNUSED = 1
SIGN = torch.tensor([1.0])


def activation(x):
    return F.relu(x) * SCALE


@functools.lru_cache
def table(n):
    return n * 17.0


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign() * 1.5

    @staticmethod
    def backward(ctx, g):
        return g * 3


class Settings:
    gain = 1.25

    def __init__(self):
        self.shift, self.title = 0.125, "title"

    def shifted(self, x):
        return x + self.shift


SETTINGS = Settings()


class Base(nn.Module):
    offset = 0.75

    def forward(self, x):
        """Return the logits."""
        return self.head(x) - MEAN[0]


class Net(Base):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    @property
    def factor(self):
        return 5.0

    @staticmethod
    def squashed(x):
        return x.tanh() / 7

    @functools.cached_property
    def power(self):
        return 9

    @torch.no_grad()
    def known(self):
        return 11.0

    def head(self, x):
        x = SETTINGS.shifted(x) * SETTINGS.gain + self.known()
        inner = lambda z: z ** self.power
        x = Sign.apply(inner(activation(helper.twice(self.linear(x)))) * self.factor)
        return self.squashed(x) + self.offset * SIGN + table(1)

    def forward(self, x):
        return super().forward(x.flatten(1))

    def plotted(self):
        return 13
'''
HELPER = "def twice(x):\n    return x * FACTOR\n\n\nFACTOR = 2\n"

SEEN = [
    "0.5, 0.25",
    "SCALE = 2.0",
    "1.5",
    "g * 3",
    "gain = 1.25",
    "0.125",
    "x + self.shift",
    "0.75",
    "- MEAN[0]",
    "5.0",
]
SEEN += ["/ 7", "return 9", "11.0", "** self.power", "F.relu", "[1.0]", "x.flatten(1)"]
UNSEEN = ["UNUSED = 1", "13", '"title"', "Return the logits", "class Settings", "\nSETTINGS = "]


def edited(text: str) -> str:
    """The text with another number or name, or with a comment in front."""
    others = {"F.relu": "F.elu", "x.flatten(1)": "x.flatten(-1)", '"title"': '"other"', "- MEAN[0]": "+ MEAN[0]"}
    others |= {"x + self.shift": "x - self.shift", "** self.power": "* self.power"}
    others |= {"Return the logits": "Return other words", "class Settings": "# Seven\nclass Settings"}
    others |= {"\nSETTINGS = ": "\n\n\nSETTINGS = "}
    return others.get(text, text.translate(str.maketrans("0123456789", "1234567891")))


def written(place: Path, name: str, source: str) -> ModuleType:
    """The module in a file of the user's, read from there."""
    made = ModuleType(name)
    made.__file__ = str(place / f"{name}.py")
    sys.modules[name] = made
    exec(compile(source, made.__file__, "exec"), vars(made))
    return made


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    for name in ("helper", "own"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))

    def digests(source: str = SOURCE, helper: str = HELPER) -> dict[str, str]:
        written(tmp_path, "helper", helper)
        net = written(tmp_path, "own", source).Net()
        net.linear.weight.data.fill_(0.5)
        net(torch.rand(2, 4))
        return code_digests(net)

    return digests


@pytest.mark.parametrize("text", SEEN)
def test_an_edit_that_changes_answers_is_seen(text: str, loaded: Callable[..., dict[str, str]]) -> None:
    assert SOURCE.count(text) == 1
    first = loaded()
    assert set(first) == {"Net"}
    assert loaded() == first != loaded(SOURCE.replace(text, edited(text)))


def test_an_edit_of_another_file_is_seen(loaded: Callable[..., dict[str, str]]) -> None:
    first = loaded()
    assert loaded(helper=HELPER.replace("2", "3")) != first
    assert loaded(helper=HELPER.replace("* FACTOR", "+ FACTOR")) != first
    assert loaded(helper="OTHER = 1\n" + HELPER) == first


@pytest.mark.parametrize("text", UNSEEN)
def test_an_edit_that_changes_no_answer_is_none(text: str, loaded: Callable[..., dict[str, str]]) -> None:
    assert SOURCE.count(text) == 1
    assert loaded() == loaded(SOURCE.replace(text, edited(text)))


def test_a_file_that_is_called_like_one_of_pythons_is_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statistics", ModuleType("statistics"))
    source = "import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x * 2\n"
    first = code_digests(written(tmp_path, "statistics", source).Net())
    assert set(first) == {"Net"}
    assert code_digests(written(tmp_path, "statistics", source.replace("2", "3")).Net()) != first


def test_libraries_have_no_code() -> None:
    assert code_digests(nn.Sequential(nn.Flatten(), nn.Linear(4, 3))) == {}
    assert code_digests(create_model("googlenet", width=0.25)) == {}


def test_a_function_is_read_with_the_network_behind_it() -> None:
    nets = [nn.Linear(4, 3) for _ in range(2)]
    for i, net in enumerate(nets):
        nn.init.constant_(net.weight, i + 1.0)
        nn.init.zeros_(net.bias)

    def made(net: nn.Module, by: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda x: by * net(x)

    first = code_digests(made(nets[0], 2.0))
    assert len(first) == 1
    assert first == code_digests(made(nets[0], 2.0))
    assert first not in (code_digests(made(nets[1], 2.0)), code_digests(made(nets[0], 3.0)))
    assert code_digests(partial(torch.mul, other=2)) != code_digests(partial(torch.mul, other=3))


def test_the_code_of_a_network_behind_a_function_is_read(tmp_path: Path, loaded: Callable[..., dict[str, str]]) -> None:
    def behind(source: str) -> dict[str, str]:
        written(tmp_path, "helper", HELPER)
        net = written(tmp_path, "own", source).Net()
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.5)
        return code_digests(lambda x: net(x))

    first = behind(SOURCE)
    assert behind(SOURCE) == first != behind(SOURCE.replace("SCALE = 2.0", "SCALE = 3.0"))


class Caller:
    """A model that is an object."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.by * x.flatten(1)[:, :3]


def test_an_object_is_read_with_its_numbers() -> None:
    assert code_digests(Caller(1.0)) == code_digests(Caller(1.0)) != code_digests(Caller(2.0))
    assert code_digests(Caller(1.0).__call__) != code_digests(Caller(2.0).__call__)


def test_digests_are_equal_in_another_process(tmp_path: Path, loaded: Callable[..., dict[str, str]]) -> None:
    for name, source in (("own", SOURCE), ("helper", HELPER)):
        (tmp_path / f"{name}.py").write_text(source)
    work = "import own, json; from advkit.core.own_code import code_digests; print(json.dumps(code_digests(own.Net())))"
    words, hashes = [sys.executable, "-c", work], {**os.environ, "PYTHONHASHSEED": "5"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path, env=hashes)
    assert done.stdout.strip() == str(loaded()).replace("'", '"')


COUNT = [0]


def counting(x: torch.Tensor) -> torch.Tensor:
    COUNT[0] += 1
    return x.flatten(1)[:, :3] + 0.0 * len(COUNT)


def test_a_run_goes_on_with_the_code_that_it_began_with_alone(tmp_path: Path) -> None:
    x, y = torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 2, 0])

    def run(place: str, model: Callable[..., torch.Tensor], *, resume: bool = True) -> None:
        evaluate(model, (x, y), [FGSM(eps=0.1)], output=tmp_path / place, checks=False, resume=resume)

    def net(by: float) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda z: by * z.flatten(1)[:, :3]

    run("a", net(2.0), resume=False)
    run("a", net(2.0))
    with pytest.raises(InputError, match=r"its model is \{'code': "):
        run("a", net(3.0))
    run("b", counting, resume=False)
    run("b", counting)  # it counts its calls, which is no other code
