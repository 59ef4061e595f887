"""A network in another floating-point type: whoever reads a data set gives it images of that type, as attacks do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from advkit.cli import main
from advkit.data import as_dataset
from advkit.insight import activity, directions, top_activations
from advkit.models import Classifier
from advkit.training import measure

X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
DATA = as_dataset((X, torch.arange(6) % 3), "test")
TYPES = [torch.float16, torch.bfloat16, torch.float64]
COMMANDS: dict[str, list[str]] = {
    "certify": ["certify", "--eps", "0.01", "--count", "2"],
    "layers": ["visualize", "layers", "--output", "out.png"],
    "maps": ["visualize", "maps", "--output", "out.png"],
    "filters": ["visualize", "filters", "--output", "out.png"],
    "occlusion": ["visualize", "occlusion", "--size", "4", "--output", "out.png"],
    "deconv": ["visualize", "deconv", "--output", "out.png"],
    "deconv of a unit": ["visualize", "deconv", "--unit", "1", "--output", "out.png"],
    "directions": ["visualize", "directions", "--output", "out.png"],
    "correspondence": ["visualize", "correspondence", "--part", "eye=1,1,4,4", "--output", "out.png"],
}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).eval()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_images_of_a_data_set_are_of_the_networks_type(dtype: torch.dtype, wrapped: bool) -> None:
    """The images of a data set are float32, so no call could have given others."""
    net: Any = network().to(dtype)
    net, layer = (Classifier(net), "net.0") if wrapped else (net, "0")
    assert 0 <= measure(net, DATA) <= 1
    assert activity(net, DATA, layer=layer).largest.dtype == dtype
    assert len(top_activations(net, DATA, layer=layer, units=[0])[0].rows) == 6
    assert len(directions(net, DATA, layer=layer, units=[0])[0].rows) == 6


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_take_a_network_of_another_type(
    command: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"typed_{dtype}_{command.replace(' ', '_')}"
    lines = ["import torch", "from torch import nn", "def net():", "    torch.manual_seed(0)"]
    layers = "nn.Conv2d(1, 4, 3, 4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)"
    Path(f"{name}.py").write_text("\n".join([*lines, f"    return nn.Sequential({layers}).to(torch.{dtype})"]))
    ended = CliRunner().invoke(main, [*COMMANDS[command], "--model", f"{name}:net"])
    assert ended.exit_code == 0, ended.output
