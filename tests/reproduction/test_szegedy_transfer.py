"""Amplified examples, noise of a given distortion, and who counts in a table of transfers."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from advkit.models import Classifier, create_model
from advkit.reproduction.looking_at import digits_of
from advkit.reproduction.papers.szegedy_distortion import NETWORKS, distortion, nearest
from advkit.reproduction.papers.szegedy_transfer import CROSSED, amplified, crossed, like_row, noise_row, noisy
from advkit.reproduction.study import Cell, Measured

X, Y = digits_of("mnist5k(pad=0)", 12)


class Always(nn.Module):
    """Says one class, whatever it sees, and does not notice any change but by a tiny slope."""

    def __init__(self, said: int) -> None:
        super().__init__()
        self.said, self.slope = said, nn.Parameter(torch.tensor(1e-3))

    def forward(self, x: Tensor) -> Tensor:
        lead = torch.zeros(len(x), 10, dtype=x.dtype)
        lead[:, self.said] = 100.0
        return lead + self.slope * x.flatten(1)[:, 400:410]


def linear(seed: int) -> Classifier:
    return create_model("mlp", hidden=(), dropout=0.0, input_shape=(1, 28, 28), mean=0.0, std=1.0, seed=seed)


def table_of(networks: Mapping[str, nn.Module], **options: bool) -> tuple[dict[Cell, Measured], dict[str, Measured]]:
    return crossed(CROSSED, networks, X, Y, 0, (0.1, 0.3), **options)  # type: ignore[arg-type]


def test_noise_belongs_to_the_image_and_has_exactly_its_distortion() -> None:
    whole = noisy(X, 0.3, 1)
    assert torch.equal(noisy(X[:2], 0.3, 1), whole[:2])
    assert not torch.equal(noisy(X, 0.3, 2), whole)
    assert distortion(whole, X).tolist() == pytest.approx([0.3] * len(X), rel=1e-5)
    sizes = torch.linspace(0, 0.2, len(X))
    assert distortion(noisy(X, sizes, 1), X).tolist() == pytest.approx(sizes.tolist(), abs=1e-6)
    r = (whole - X).flatten()
    assert abs(r.mean()) < 0.01
    assert ((r / 0.3) ** 4).mean().item() == pytest.approx(3, abs=0.3)  # a normal's fourth moment; of signs it is 1


def test_amplified_examples_keep_their_direction_and_have_the_distortion() -> None:
    x_adv = X + torch.linspace(0, 0.02, len(X))[:, None, None, None] * (X > 0)
    far = amplified(x_adv, X, 0.1)
    assert torch.equal(far[0], X[0])  # not moved: nothing to amplify
    assert distortion(far, X)[1:].tolist() == pytest.approx([0.1] * (len(X) - 1), rel=1e-4)
    cosine = torch.cosine_similarity((far - X).flatten(1), (x_adv - X).flatten(1))
    assert cosine[1:].tolist() == pytest.approx([1.0] * (len(X) - 1), abs=1e-4)


def test_all_images_are_the_denominator() -> None:
    """A network that says 3 to everything is wrong on all but the threes, on whatever it is shown."""
    names = list(NETWORKS)[:2]
    cells, _ = table_of({names[0]: linear(0), names[1]: Always(3)})
    share = (Y != 3).double().mean().item()
    for row in (names[0], like_row(names[0]), noise_row(0.1), noise_row(0.3)):
        found = cells[CROSSED.cell(row, names[1])]
        assert found.value == pytest.approx(share)
        assert found.samples == (Y != 3).double().tolist()


class Recorder(Always):
    """Remembers the images that it is shown."""

    def forward(self, x: Tensor) -> Tensor:
        self.shown = [*getattr(self, "shown", []), x.detach().clone()]
        return super().forward(x)


def test_the_control_is_as_large_as_the_examples_image_by_image() -> None:
    name, other = list(NETWORKS)[:2]
    model, recorder = linear(0), Recorder(3)
    x_adv, found = nearest(model, X, Y, target="random", seed=0)
    _, lengths = table_of({name: model, other: recorder})
    assert lengths[name].samples == pytest.approx(found.samples, nan_ok=True)
    control = noisy(X, distortion(x_adv, X), 0)
    assert distortion(control, X).tolist() == pytest.approx(distortion(x_adv, X).tolist(), rel=1e-4, abs=1e-7)
    for images in (x_adv, control, noisy(X, 0.1, 0), noisy(X, 0.3, 0)):
        assert any(torch.equal(shown, images) for shown in recorder.shown if shown.shape == images.shape)


def test_a_drawn_class_is_never_nearer_than_the_nearest() -> None:
    """And the example fools its own network; both up to the search's accuracy."""
    model = linear(0)
    _, aimed = nearest(model, X[:6], Y[:6], target="random", seed=0)
    x_adv, near = nearest(model, X[:6], Y[:6])
    pairs = [(a, n) for a, n in zip(aimed.samples, near.samples, strict=True) if not math.isnan(a + n)]
    assert all(n <= a * 1.02 for a, n in pairs)
    assert (model(x_adv).argmax(1) != Y[:6]).all()
