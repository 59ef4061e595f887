"""Every training loss on two processes: the gradients are the mean of the plain formula's over both halves."""

import pytest
import torch
from helpers.children import ranks
from helpers.training_losses import LOSSES
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from advkit.testing._defense import batch, gradients_of, networks
from advkit.testing._formulas import FORMULAS


def farthest(name: str, rank: int) -> float:
    """The largest difference of an entry of this rank's averaged gradients from the formula's mean over both halves."""
    loss, (x, y) = LOSSES[name], batch(8)
    model = DistributedDataParallel(networks()["a convolutional network"])
    torch.manual_seed(7)
    found = gradients_of(loss(model, x[rank::2], y[rank::2]), model)
    expected: dict[str, Tensor] = {}
    for half in range(2):
        rival = networks()["a convolutional network"]
        torch.manual_seed(7)
        value = FORMULAS[loss.name](loss)(rival, x[half::2], y[half::2])
        for key, g in (value[1] if isinstance(value, tuple) else gradients_of(value, rival)).items():
            expected[key] = expected.get(key, torch.zeros_like(g)) + g / 2
    return max(float((found[f"module.{key}"] - g).abs().max()) for key, g in expected.items())


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """Those differences of every loss, by rank."""
    home = tmp_path_factory.mktemp("two")
    work = lambda rank: torch.save({name: farthest(name, rank) for name in LOSSES}, home / f"{rank}.pt")  # noqa: E731
    assert ranks(work, home) == [0, 0]
    return [torch.load(home / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_has_the_plain_formulas_gradients_on_two_processes(name: str, far: list[dict[str, float]]) -> None:
    assert max(found[name] for found in far) <= 1e-10
