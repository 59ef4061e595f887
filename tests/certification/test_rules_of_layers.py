"""Layers that few networks have: no point of the ball lies below the bounds, in every method."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from advkit.attacks import PGD
from advkit.certification import certify
from advkit.core.errors import InputError


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def slopes(*values: float) -> nn.PReLU:
    layer = nn.PReLU(len(values))
    layer.weight.data = torch.tensor(values)
    return layer


def by_running_statistics() -> nn.InstanceNorm2d:
    layer = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    for values in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
        values.uniform_(0.5, 2, generator=torch.Generator().manual_seed(len(values)))
    return layer.eval()


LAYERS = {
    "relu6": nn.ReLU6(),
    "hardtanh": nn.Hardtanh(-0.3, 0.4),
    "hardtanh by keyword": Lambda(lambda z: F.hardtanh(z, min_val=-0.2, max_val=0.5)),
    "clamp": Lambda(lambda z: z.clamp(-0.3, 0.4)),
    "clamp from below": Lambda(lambda z: z.clamp(min=0.1)),
    "clamp from above": Lambda(lambda z: z.clamp(max=0.1)),
    "leaky relu": nn.LeakyReLU(0.2),
    "a steep leaky relu": nn.LeakyReLU(1.7),
    "a falling leaky relu": nn.LeakyReLU(-0.8),
    "adaptive max pooling": nn.AdaptiveMaxPool2d((3, 4)),
    "adaptive max pooling that keeps an axis": nn.AdaptiveMaxPool2d((None, 5)),
    "one learned slope": nn.PReLU(init=0.3),
    "learned slopes": slopes(-0.5, 0.2, 1.7),
    "abs": Lambda(torch.abs),
    "maximum": Lambda(lambda z: torch.maximum(z, 0.5 - z)),
    "transposed convolution": nn.ConvTranspose2d(3, 3, 3, stride=2, padding=1, output_padding=1),
    "ceil mode": nn.MaxPool2d(3, stride=2, ceil_mode=True),
    "average pooling in ceil mode": nn.AvgPool2d(3, stride=2, ceil_mode=True, count_include_pad=False),
    "padding with a value": nn.ConstantPad2d((1, 0, 2, 1), 0.7),
    "nearest upsampling": nn.Upsample(scale_factor=2),
    "instance norm by running statistics": by_running_statistics(),
}


def network(layer: nn.Module) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    front = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), layer, nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten()).double()
    x = torch.rand(3, 1, 7, 7).double()
    with torch.no_grad():
        front[0].weight.mul_(4)
        model = nn.Sequential(*front, nn.Linear(front(x).shape[1], 4)).double().eval()
        return model, x, model(x).argmax(1)


def points(model, x, y, eps):
    """Random points and corners of the ball, and those that attacks with each class as their target end at."""
    draws = torch.Generator().manual_seed(0)
    for k in range(60):
        noise = 2 * torch.rand(x.shape, generator=draws, dtype=x.dtype) - 1
        yield (x + eps * (noise.sign() if k % 2 else noise)).clamp(0, 1)
    for target in range(4):
        yield PGD(eps=eps, steps=15, loss="margin")(model, x, y, target=(y + target) % 4, stop="never").x_adv


@pytest.mark.filterwarnings("ignore::advkit.core.errors.AdvkitWarning")
@pytest.mark.parametrize("method", ["ibp", "crown_ibp", "crown", "alpha_crown"])
@pytest.mark.parametrize("name", LAYERS)
def test_no_point_of_the_ball_lies_below_the_bounds(name, method):
    model, x, y = network(LAYERS[name])
    for eps in (0.01, 0.1):
        margin = certify(model, x, y, eps=eps, method=method).margin
        least = torch.full_like(margin, torch.inf)
        for point in points(model, x, y, eps):
            with torch.no_grad():
                logits = model(point)
            least = torch.minimum(least, logits.gather(1, y[:, None]) - logits)
        assert bool((margin <= least + 1e-12).all())
        if method == "crown" and eps == 0.01:  # and it is a bound that says something
            assert float((least - margin).max()) < 0.5 * float(least.abs().max())


AFFINE = ["transposed convolution", "average pooling in ceil mode", "padding with a value", "nearest upsampling"]
AFFINE += ["instance norm by running statistics"]


@pytest.mark.parametrize("name", AFFINE)
def test_without_a_bend_crown_is_exact(name):
    torch.manual_seed(3)
    x = torch.rand(3, 1, 7, 7).double() * 0.6 + 0.2
    front = nn.Sequential(nn.Conv2d(1, 3, 3), LAYERS[name], nn.Flatten()).double()
    model = nn.Sequential(*front, nn.Linear(front(x).shape[1], 4).double()).eval()
    with torch.no_grad():
        logits = model(x)
    y = logits.argmax(1)
    slopes = torch.autograd.functional.jacobian(lambda z: model(z[None])[0], x[0]).flatten(1)
    reach = (slopes[y][:, None] - slopes).abs().sum(2) * 0.1
    exact = logits.gather(1, y[:, None]) - logits - reach
    torch.testing.assert_close(certify(model, x, y, eps=0.1, method="crown").margin, exact, rtol=1e-9, atol=1e-9)


def test_interpolation_whose_weights_round_is_refused():
    """A weight near 0 on a large neighbour rounds by more than a share of the sum."""
    model, x, y = network(nn.Upsample(scale_factor=2, mode="bilinear"))
    with pytest.raises(InputError, match="no bound is known of upsample_bilinear2d"):
        certify(model, x, y, eps=0.1)
