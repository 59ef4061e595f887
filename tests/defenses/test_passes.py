"""What an example to train on costs: the passes of the network, counted forwards and backwards."""

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import BIM, FGSM, MIFGSM, PGD, Attack, create_attack
from advkit.defenses import create_defense


class Counted(nn.Module):
    """A network that counts images forwards, and those through which a gradient comes back to the images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        logits: Tensor = self.net(x)
        if logits.requires_grad:
            logits.register_hook(self.count)
        return logits

    def count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(5, 1, 6, 6, generator=torch.Generator().manual_seed(0)).double(), torch.arange(5) % 3


@pytest.mark.parametrize(
    ("spec", "forwards", "backwards"),
    [
        ("pgd(eps=0.1, steps=7, alpha=0)", 8, 8),
        ("pgd(eps=0.1, steps=7, random_start=False, alpha=0)", 8, 8),
        ("pgd(eps=0.1, steps=7)", 9, 9),  # the clean images are trained on, too
        ("bim(eps=0.1, steps=4, alpha=0)", 5, 5),
        ("trades(eps=0.1, steps=7)", 10, 9),  # the clean answer once for all steps
        ("mart(eps=0.1, steps=7)", 9, 9),
        ("awp(eps=0.1, steps=7)", 9, 9),
        ("fast(eps=0.1)", 2, 2),
        ("nfgsm(eps=0.1)", 2, 2),
        ("free(eps=0.1)", 1, 1),
        ("fgsm(eps=0.1)", 2, 2),
        ("noise(eps=0.1)", 1, 1),
    ],
)
def test_passes_are_at_their_floor(spec: str, forwards: int, backwards: int) -> None:
    model, (x, y) = Counted(), batch()
    loss = create_defense(spec)
    loss(model, x, y)  # the layout is looked for once
    model.forwards = model.backwards = 0
    torch.autograd.backward(loss(model, x, y))
    assert (model.forwards / len(x), model.backwards / len(x)) == (forwards, backwards)


@pytest.mark.parametrize("attack", [PGD(eps=0.1, steps=3), MIFGSM(eps=0.1, steps=3), BIM(eps=0.1, steps=2)], ids=repr)
def test_the_example_is_the_last_point(attack: Attack) -> None:
    seen: list[Tensor] = []
    model, (x, y) = Counted(), batch()

    def watching(points: Tensor) -> Tensor:
        seen.append(points.detach().clone())
        logits: Tensor = model(points)
        return logits

    attack(watching, x, y, seed=3, stop="never")
    x_adv = attack.examples(model, x, y, seed=3)
    assert any(torch.equal(x_adv, points) for points in seen[-2:])  # the last iterate, which the verdict looked at
    assert float((x_adv - x).abs().max()) <= 0.1 + 1e-15


def test_attacks_of_another_kind_give_their_strongest_point() -> None:
    model, (x, y) = Counted(), batch()
    for spec in (
        "apgd(eps=0.1, steps=5)",
        "pgd(eps=0.1, steps=3, restarts=2)",
        "pgd(eps=0.1, steps=3, target=runner_up)",
    ):
        attack = create_attack(spec)
        assert torch.equal(attack.examples(model, x, y), attack(model, x, y, stop="never").x_adv)


def test_examples_leave_no_trace_and_wrong_labels_are_refused() -> None:
    model, (x, y) = Counted().train(), batch()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    PGD(eps=0.1, steps=2).examples(model, x, y)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="labels out of range"):
        FGSM(eps=0.1).examples(model, x, y + 2)
