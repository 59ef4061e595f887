"""The closed form of adversarial training: what it is equal to."""

import torch

from advkit.attacks import FGSM
from advkit.defenses import AdversarialLoss
from advkit.models import Classifier, create_model
from advkit.reproduction.papers.goodfellow_logistic import binary_weights, closed_form, worst_case


def logistic() -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    model = create_model(
        "mlp", hidden=(), num_classes=2, input_shape=(1, 4, 4), dropout=0.0, mean=0.2, std=0.5, seed=3
    ).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, 4, 4, generator=generator, dtype=torch.float64)
    return model, x, torch.randint(0, 2, (40,), generator=generator)


def test_the_closed_form_is_adversarial_training_by_fgsm() -> None:
    """With a box so wide that it takes nothing away; value and gradients to 1e-12."""
    model, x, y = logistic()
    by_steps = AdversarialLoss(attack=FGSM(eps=0.25), alpha=0.0, bounds=(-1, 2))
    slow, fast = by_steps(model, x, y), closed_form(model, x, y, eps=0.25)
    assert abs((slow - fast).item()) < 1e-12
    parameters = list(model.parameters())
    for a, b in zip(torch.autograd.grad(slow, parameters), torch.autograd.grad(fast, parameters), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


def test_no_corner_of_the_box_is_worse_than_the_closed_form() -> None:
    """All 2^D corners of a small box, where a convex loss has its maximum."""
    model = create_model("mlp", hidden=(), num_classes=2, input_shape=(1, 2, 3), dropout=0.0, seed=1).double()
    x, y = torch.rand(5, 1, 2, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    corners = torch.cartesian_prod(*[torch.tensor([-0.25, 0.25], dtype=torch.float64)] * 6).view(-1, 1, 1, 2, 3)
    loss = torch.nn.CrossEntropyLoss(reduction="none")
    worst = torch.stack([loss(model(x + corner), y) for corner in corners]).amax(0)
    assert abs((worst.mean() - closed_form(model, x, y, eps=0.25)).item()) < 1e-12


def test_the_worst_case_is_what_the_signed_gradient_reaches() -> None:
    model, x, y = logistic()
    step = 0.25 * binary_weights(model).detach().sign().view(1, 4, 4)
    x_adv = x - (2 * y - 1)[:, None, None, None] * step
    wrong = (model(x_adv).argmax(1) != y).double()
    assert worst_case(model, x, y).samples == wrong.tolist()
