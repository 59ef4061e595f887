"""A model that is not what was recorded is refused, by every method; no rule assumes a sign of its options."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advkit.certification import certify
from advkit.certification.certify import METHODS
from advkit.core.errors import InputError


class Branching(nn.Module):
    """A network whose logits change sign where a condition on the images does not hold."""

    def __init__(self, holds):
        super().__init__()
        self.n = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
        self.holds = holds

    def forward(self, x: Tensor) -> Tensor:
        return self.n(x) if self.holds(x) else -self.n(x)


BRANCHES = {
    "entries of a mask": lambda x: x[x > 0.1].numel() == 0,
    "places": lambda x: len((x > 0.1).nonzero()) == 0,
    "distinct values": lambda x: len(x.unique()) == 1,
    "text": lambda x: "0.1" not in repr(x),
    "an array": lambda x: x.detach().numpy().mean() < 0.1,
    "an array made of it": lambda x: np.asarray(x.detach()).max() < 0.1,
    "a capsule": lambda x: torch.from_dlpack(x.detach()).mean() < 0.1,
    "a batch of two": lambda x: len(x) == 2,
    "more than one image": lambda x: len(x) > 1,
}


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_that_the_recording_does_not_show_is_refused(name: str, count: int) -> None:
    torch.manual_seed(0)
    model = Branching(BRANCHES[name])
    x = torch.full((count, 1, 4, 4), 0.1).add_(0.8 * torch.rand(count, 1, 4, 4))
    x[0, 0, 0, 0] = 0.15
    y = model(x).argmax(1)
    for method in METHODS:
        with pytest.raises(InputError, match="cannot be traced"):
            certify(model, x, y, eps=0.001, method=method, norm="l2" if method == "lipschitz" else "linf")


@pytest.mark.filterwarnings("ignore:sums of .* in bfloat16:advkit.core.errors.AdvkitWarning")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rounding_alone_is_no_difference(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    front = [
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.Tanh(),
        nn.AvgPool2d(2),
    ]
    model = nn.Sequential(*front, nn.Flatten(), nn.Linear(72, 5)).to(dtype).eval()
    x = torch.rand(20, 1, 8, 8).to(dtype)
    certify(model, x, model(x).argmax(1), eps=0.001, method="ibp")


def test_a_network_without_numbers_is_refused_as_attacks_do() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.constant_(model[1].bias, torch.nan)
    with pytest.raises(InputError, match="NaN or infinite logits for 2 of 2"):
        certify(model, torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), eps=0.1)


class Front(nn.Module):
    def __init__(self, front):
        super().__init__()
        self.front, self.end = front, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.front(x).flatten(1)[:, :4])


OPTIONS = {
    "an average with a negative divisor": (nn.AvgPool2d(2, divisor_override=-1), "avg_pool2d.*negative weights"),
    "a mean in another type": (lambda x: x.mean((2, 3), dtype=torch.float16).float().expand(-1, 4), "float16"),
    "a sum in another type": (lambda x: x.sum(2, dtype=torch.bfloat16).float(), "bfloat16"),
    "limits of the image": (lambda x: x[:, :, :2].clamp(max=x[:, :, 2:]), "clamp.*depend on the image"),
    "a constant with such limits": (lambda x: torch.tensor(0.5).clamp(max=x), "clamp"),
}


@pytest.mark.parametrize("method", ["ibp", "crown"])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_without_a_bound_are_refused_by_name(name: str, method: str) -> None:
    front, words = OPTIONS[name]
    with pytest.raises(InputError, match=words):
        certify(Front(front), torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), eps=0.1, method=method)
