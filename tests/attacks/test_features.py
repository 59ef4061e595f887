"""Features: the representation comes near the guide's, the guide is of another class, nothing stays on the model."""

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import Features, create_attack, limited
from advkit.core.errors import InputError


def case() -> tuple[nn.Module, Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 2)).double()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=g, dtype=torch.float64) / 2
    x = torch.rand(12, 1, 4, 4, generator=g, dtype=torch.float64)
    net[3].bias.data[1] -= net(x).detach().diff(dim=1).median() - 1e-3  # half of the images each
    return net, x, net(x).argmax(1).detach()


def hidden(net: nn.Module, x: Tensor) -> Tensor:
    return net[2](net[1](x.flatten(1))).detach()


def test_the_size_is_the_distance_of_the_representations() -> None:
    net, x, y = case()
    guides = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    found = Features(guides=guides, steps=40)(net, x, y, eps=0.2, stop="never")
    far = (hidden(net, x) - hidden(net, guides)).norm(dim=1)
    near = (hidden(net, found.x_adv) - hidden(net, guides)).norm(dim=1)
    assert found.size is not None
    torch.testing.assert_close(found.size, near / far)
    assert float(found.size.min()) < 0.7


def test_with_room_enough_the_image_has_the_guides_representation() -> None:
    net, x, y = case()
    guide = x[y == 1][:1]
    attack = Features(guides=guide, steps=300, step_size=0.01)
    found = attack(net, x[y == 0], y[y == 0], target=1, eps=1.0, stop="never")
    assert found.size is not None
    assert float(found.size.median()) < 0.6
    assert found.success.double().mean() > 0.7


def test_the_guide_is_of_the_class_to_reach() -> None:
    net, x, y = case()
    assert y.sum() in (5, 6, 7)
    found = Features(steps=100, step_size=0.02)(net, x, y, target=1 - y, eps=1.0)
    assert found.success.double().mean() > 0.7
    assert torch.equal(found.success, Features(steps=100, step_size=0.02)(net, x, y, eps=1.0).success)


def test_guides_make_a_sample_independent_of_its_batch() -> None:
    net, x, y = case()
    attack = Features(guides=x[:4].flip(2), steps=10)
    assert attack.per_sample
    assert not Features().per_sample
    whole = attack(net, x, y, eps=0.1)
    alone = attack(net, x[5:6], y[5:6], eps=0.1)
    torch.testing.assert_close(alone.x_adv, whole.x_adv[5:6])


def test_any_layer_can_be_the_representation_and_no_hook_stays() -> None:
    net, x, y = case()
    results = {layer: Features(layer=layer, steps=10)(net, x, y, eps=0.1, stop="never") for layer in (None, "2", "3")}
    assert torch.equal(results[None].x_adv, results["2"].x_adv)  # the input of the last linear layer
    assert not torch.equal(results[None].x_adv, results["3"].x_adv)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert limited(Features(steps=10), 6)(net, x, y, eps=1e-4).queries.max() <= 7
    cost = Features(steps=10)(net, x, y, eps=1e-4)
    assert cost.gradients.max() == 10
    assert cost.queries.max() <= 14


def test_wrong_options_are_refused() -> None:
    net, x, y = case()
    for spec in ("features(steps=0)", "features(step_size=-1)"):
        with pytest.raises(InputError):
            create_attack(spec)
    with pytest.raises(InputError, match="did you mean"):
        Features(layer="22")(net, x, y, eps=0.1)
    with pytest.raises(InputError, match="shape of the images"):
        Features(guides=torch.rand(2, 1, 5, 5))(net, x, y, eps=0.1)
    with pytest.raises(InputError, match="guides"):
        Features(guides="images")  # type: ignore[arg-type]


def test_a_layer_that_is_called_for_a_part_of_the_batch_is_refused() -> None:
    class InParts(nn.Module):  # as nn.DataParallel over two devices
        def __init__(self, net: nn.Module) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.net(part) for part in x.split(2)])

    net, x, y = case()
    with pytest.raises(InputError, match=r"for 2 of 12 images, as nn.DataParallel"):
        Features(guides=x[:1])(InParts(net), x, y, eps=0.2)
