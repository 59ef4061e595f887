"""The distortion of the linear networks against an independent solution."""

import math

import numpy as np
import pytest
import torch

from advkit.models import create_model
from advkit.reproduction.looking_at import digits_of
from advkit.reproduction.papers.szegedy_distortion import distortion, nearest

optimize = pytest.importorskip("scipy.optimize")


def exact(w: np.ndarray, b: float, x: np.ndarray) -> float:
    """The distance from x to `w x + b >= 0` within [0, 1]: the multiplier is the root of one increasing function."""

    def reached(multiplier: float) -> float:
        return float(w @ np.clip(x + multiplier * w, 0, 1) + b)

    high = 1.0
    while reached(high) < 0 and high < 1e6:
        high *= 2
    if reached(high) < 0:
        return math.inf
    root = optimize.brentq(reached, 0, high, xtol=1e-14)
    return float(np.linalg.norm(np.clip(x + root * w, 0, 1) - x))


@pytest.mark.slow
def test_the_distortion_of_ten_digits_is_the_exact_one() -> None:
    """To 1 %: for a linear network the nearest adversarial digit is known, rival by rival."""
    x, y = digits_of("mnist5k(pad=0)", 10)
    model = create_model("mlp", hidden=(), dropout=0.0, input_shape=(1, 28, 28), mean=0.0, std=1.0, seed=0)
    many, labels = digits_of("mnist5k(pad=0)", 500)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(many), labels).backward()
        optimizer.step()
    x_adv, measured = nearest(model, x, y)
    layer = model.net.output
    W, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    right = 0
    for i in range(10):
        flat, own = x[i].double().flatten().numpy(), int(y[i])
        if (W @ flat + b).argmax() != own:
            assert math.isnan(measured.samples[i])
            continue
        best = min(exact(W[k] - W[own], b[k] - b[own], flat) for k in range(10) if k != own)
        assert measured.samples[i] == pytest.approx(best / 28, rel=0.01)
        assert measured.samples[i] == pytest.approx(float(distortion(x_adv, x)[i]))
        right += 1
    assert right >= 8
