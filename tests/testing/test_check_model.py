"""check_model: registered networks and strangers' pass; each mistake is caught by the check that is meant for it."""

import copy

import pytest
import torch
from torch import Tensor, nn

from advkit.core.errors import InputError, UnknownNameError
from advkit.models import Classifier, create_model, list_models
from advkit.testing import BrokenPromiseError, check_model

SHAPE, CLASSES = (1, 20, 20), 4


class Block(nn.Module):
    """A residual block of a ResNet: strides, batch norm, a shortcut."""

    def __init__(self, inputs: int, maps: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, maps, 3, stride, 1, bias=False), nn.BatchNorm2d(maps), nn.ReLU(),
            nn.Conv2d(maps, maps, 3, 1, 1, bias=False), nn.BatchNorm2d(maps),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(*, input_shape=SHAPE, num_classes=CLASSES, width=1.0) -> nn.Module:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(Block(input_shape[0], 6, 1), Block(6, 8, 2), pool, nn.Linear(8, num_classes))


@pytest.mark.parametrize("name", list_models())
def test_every_registered_network_keeps_every_promise(name):
    report = check_model(name, width=1 / 16)
    assert {outcome.verdict for outcome in report.outcomes} == {"kept"}


def test_a_module_with_a_card_is_asked_about_the_images_that_it_was_built_for():
    """`check_model(load_model("mlp"))` said that all promises are broken, since the images were of another size."""
    assert check_model(create_model("mlp", input_shape=(3, 8, 8), num_classes=7, width=1 / 16)).ok
    assert check_model(Classifier(resnet()).eval()).ok  # its card does not know
    report = check_model(create_model("mlp", input_shape=(3, 8, 8), width=1 / 16), input_shape=(1, 8, 8), raises=False)
    assert not report.ok


def test_a_resnet_with_batch_norm_keeps_every_promise_as_a_factory_and_as_a_module():
    assert check_model(resnet).ok
    report = check_model(resnet(), input_shape=SHAPE, num_classes=CLASSES)
    skipped = [outcome.name for outcome in report.outcomes if outcome.verdict == "skipped"]
    assert skipped == ["takes_other_sizes", "a_seed_gives_the_same_network"]


@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=pytest.mark.slow), "mobilenet_v3_small"])
def test_networks_of_torchvision_keep_every_promise(name):
    from torchvision import models

    net = getattr(models, name)(num_classes=5)
    state = copy.deepcopy(net.state_dict())
    assert check_model(net, input_shape=(3, 32, 32), num_classes=5).ok
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


class Around(nn.Module):
    """A network that keeps its promises, with one mistake around it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = resnet()
        self.scale = torch.rand(())  # no buffer

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Probabilities(Around):
    def forward(self, x):
        return self.net(x).softmax(1)


class Forgetful(Around):
    """Its answers drift with every call."""

    def forward(self, x):
        self.net[3].bias.data += 0.01
        return self.net(x)


class Together(Around):
    """Batch statistics in eval mode."""

    def forward(self, x):
        return self.net((x - x.mean()) / x.std())


class Straight(Around):
    """Rounds the image and passes the gradient as if it had not."""

    def forward(self, x):
        return self.net(x * 2 - x.detach())


class Blind(Around):
    """One image of the batch has no gradient."""

    def forward(self, x):
        return self.net(torch.cat([x[:1].detach(), x[1:]]))


class Writing(Around):
    def forward(self, x):
        return self.net(x.detach().mul_(0.5) if not x.requires_grad else x)


class ByStride(Around):
    """Reads the memory in the order in which it lies."""

    def forward(self, x):
        return self.net(x if x.is_contiguous() else x.flip(2))


class Hidden(Around):
    """A weight that the state dict does not hold."""

    def forward(self, x):
        return self.net(x) * (1 + self.scale)


class Two(Around):
    """Two outputs in train mode."""

    def forward(self, x):
        return (self.net(x), self.net(x)) if self.training else self.net(x)


class Frozen(Around):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Narrow(Around):
    """Overflows where float64 does not."""

    def forward(self, x):
        return (
            self.net(x) + (x.mean((1, 2, 3)) * 1e39 * 1e-39)[:, None].to(x.dtype)
            if x.dtype == torch.float64
            else self.net(x) * torch.inf
        )


def fixed_size(*, input_shape, num_classes, width=1.0):
    return resnet(num_classes=4)


def seedless(*, input_shape, num_classes, width=1.0):
    net = resnet(input_shape=input_shape, num_classes=num_classes)
    nn.init.constant_(net[3].weight, 0.1)
    with torch.random.fork_rng(devices=[]):
        torch.seed()
        nn.init.normal_(net[3].bias)
    return net


MISTAKES = [
    (Probabilities, "answers_logits"),
    (Forgetful, "eval_mode_is_a_function"),
    (Together, "an_image_alone_is_answered_as_in_a_batch"),
    (Straight, "its_gradient_is_the_derivative"),
    (Blind, "its_gradient_reaches_every_image"),
    (Forgetful, "attacks_leave_no_trace"),
    (ByStride, "layouts_of_the_images_do_not_matter"),
    (Writing, "it_does_not_write_on_its_input"),
    (Frozen, "a_step_down_the_gradient_lowers_the_loss"),
    (Two, "train_mode_gives_logits_and_gradients"),
    (Hidden, "its_state_is_its_state_dict"),
    (Narrow, "it_takes_float32_and_autocast"),
    (fixed_size, "takes_other_sizes"),
    (seedless, "a_seed_gives_the_same_network"),
]


@pytest.mark.parametrize(("mistake", "check"), MISTAKES, ids=[f"{m.__name__}-{c}" for m, c in MISTAKES])
def test_each_mistake_is_caught_by_its_check(mistake, check):
    def build(**size):
        return mistake(**size) if not isinstance(mistake, type) else mistake()

    broken = check_model(build, raises=False).broken
    assert check in broken


def test_every_check_catches_a_mistake():
    report = check_model(resnet)
    assert {check for _, check in MISTAKES} == {outcome.name for outcome in report.outcomes}


def test_a_broken_promise_is_raised_with_what_was_seen():
    with pytest.raises(BrokenPromiseError, match="probabilities, not logits"):
        check_model(Probabilities(), only="answers_logits")
    with pytest.raises(UnknownNameError, match="did you mean 'answers_logits'"):
        check_model(resnet(), only="answer_logits")
    assert check_model(Probabilities(), skip="answers_logits", only="answers_logits").outcomes[0].verdict == "skipped"


def test_a_module_without_a_card_is_asked_for_its_classes():
    net = nn.Sequential(nn.Flatten(), nn.Linear(400, 7))
    assert check_model(net, only="answers_logits").outcomes[0].verdict == "kept"
    assert check_model(net, num_classes=4, raises=False).broken == ["answers_logits"]


def test_a_module_that_takes_other_images_says_so_in_one_line():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    with pytest.raises(InputError, match=r"does not take images \(1, 20, 20\), the default .*: give input_shape="):
        check_model(net)
    check_model(net, input_shape=(3, 8, 8))
    assert check_model(net, input_shape=(1, 8, 8), raises=False).broken


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_script_says_that_it_cannot_be_copied():
    with pytest.raises(InputError, match="check what was scripted"):
        check_model(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(400, 4))))
