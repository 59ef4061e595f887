"""Every training loss takes the answers that attacks take, and refuses labels for which the answer has no column."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from helpers.training_losses import LOSSES
from torch import Tensor, nn

from advkit.core.errors import InputError
from advkit.models import Classifier
from advkit.testing._defense import Branched


class WithAuxiliary(NamedTuple):
    """As torchvision's GoogLeNet answers in train mode."""

    logits: Tensor
    aux_logits: Tensor


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "dict": lambda logits: {"loss": None, "logits": logits},
    "object": lambda logits: SimpleNamespace(logits=logits),
    "named tuple": lambda logits: WithAuxiliary(logits, 2 * logits),
}


class Answering(nn.Module):
    """A network whose answer holds the logits of another."""

    def __init__(self, net: nn.Module, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.net(x))


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()


def batch() -> tuple[Tensor, Tensor]:
    return torch.rand(5, 1, 6, 6, dtype=torch.float64), torch.arange(5) % 3


def by_backward(loss: Any, model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    """The value and the parameters' gradients."""
    torch.manual_seed(3)
    value = copy.deepcopy(loss)(model, x, y)
    value.backward()
    return [value.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("name", LOSSES)
def test_the_form_of_the_answer_changes_nothing(name: str) -> None:
    net, (x, y) = plain(), batch()
    expected = by_backward(LOSSES[name], copy.deepcopy(net), x, y)
    for form in FORMS.values():
        found = by_backward(LOSSES[name], Answering(copy.deepcopy(net), form), x, y)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_networks_with_auxiliary_outputs_and_plain_training_take_them_too(form: str) -> None:
    net, (x, y) = Branched().double(), batch()

    def values() -> list[float]:
        torch.manual_seed(3)
        return [float(loss.detach()) for loss in (LOSSES["fast"](net, x, y), Classifier(net).training_loss(x, y))]

    expected = values()
    net.head = Answering(net.head, FORMS[form])  # type: ignore[assignment]
    net.auxiliary = Answering(net.auxiliary, FORMS[form])  # type: ignore[assignment]
    assert values() == expected


@pytest.mark.parametrize("name", LOSSES)
def test_an_answer_without_one_row_of_logits_an_image_is_one_line(name: str) -> None:
    x, y = batch()
    for form, says in (
        (lambda logits: [logits, logits], "models.Output"),
        (lambda logits: logits[:, 0], "expected logits of shape"),
        (lambda logits: logits[:, :, None, None], "expected logits of shape"),
        (lambda logits: logits[:, :1], "K >= 2"),
    ):
        with pytest.raises(InputError, match=says):
            LOSSES[name](Answering(plain(), form), x, y)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("label", [-1, 3, 255])
def test_a_label_without_a_column_is_refused(name: str, label: int) -> None:
    x, y = batch()
    y[2] = label
    with pytest.raises(InputError, match=r"labels out of range: saw .* the model has 3 classes \(0 to 2\)"):
        LOSSES[name](plain(), x, y)
