"""Devices without float64: the model runs there and the attack on the host. The CPU stands in for one."""

import torch

from advkit.attacks import DDN, PGD
from advkit.core import attack as attack_module
from advkit.core import host
from advkit.goals import confident


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.linear, self.seen = (
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.Linear(144, 5),
            [],
        )

    def forward(self, x):
        self.seen.append((x.is_contiguous(), self.training))
        return {"logits": self.linear(self.norm(self.conv(x)).flatten(1))}


def as_if_without_float64(monkeypatch):
    """The images of the caller's call count as lying there; those of the call on the host do not."""
    first = []
    monkeypatch.setattr(attack_module, "lacks_float64", lambda x: not first and not first.append(x))
    monkeypatch.setattr(host, "WITHOUT_FLOAT64", ("cpu",))


def test_the_result_is_the_same_and_no_part_of_it_is_float64(monkeypatch):
    model, x = Plain(), torch.rand(6, 3, 8, 8)
    y = torch.arange(6) % 5
    calls = [
        (PGD(steps=4), {"eps": torch.full((6,), 0.1, dtype=torch.float64)}),
        (DDN(steps=10), {"goal": confident(lead=0.1)}),
    ]
    for attack, call in calls:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        plain = attack(model, x, y, sample_ids=torch.arange(6) + 7, **call)
        with monkeypatch.context() as patched:
            as_if_without_float64(patched)
            there = attack(model, x, y, sample_ids=torch.arange(6) + 7, **call)
        torch.testing.assert_close(there.x_adv, plain.x_adv)
        assert there.success.equal(plain.success)
        assert there.queries.equal(plain.queries)
        assert plain.distance.dtype == torch.float64
        assert there.distance.dtype == torch.float32
        assert model.training
        assert not any(training for _, training in model.seen)
        assert all(map(torch.equal, before.values(), model.state_dict().values()))


def test_a_gradient_goes_the_way_back():
    model = host.AsFromHost(lambda x: x.flatten(1) * 2, torch.device("cpu"))
    x = torch.rand(2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    assert gradient.equal(torch.full_like(x, 2.0))
