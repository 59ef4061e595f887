"""SimBA: its bases, what it takes and leaves, and the best that it can do on an affine network."""

import pytest
import torch

from advkit.attacks import SimBA, create_attack
from advkit.attacks.simba import DIRECTIONS, rings
from advkit.core.errors import InputError
from advkit.testing import AffineClassifier


@pytest.mark.parametrize("basis", ["pixel", "dct"])
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 5, 5), (7,)])
def test_the_directions_are_an_orthonormal_basis(basis: str, shape: tuple[int, ...]) -> None:
    entries = torch.Size(shape).numel()
    q = DIRECTIONS[basis](torch.arange(entries), shape).flatten(1)
    torch.testing.assert_close(q @ q.T, torch.eye(entries, dtype=torch.float64))


def test_the_waves_are_the_cosine_transform() -> None:
    numpy, fft = pytest.importorskip("numpy"), pytest.importorskip("scipy.fft")
    for number in (0, 1, 7, 23):
        spectrum = numpy.zeros((4, 6))
        spectrum.flat[number] = 1
        wave = DIRECTIONS["dct"](torch.tensor([number + 24]), (3, 4, 6))[0]
        torch.testing.assert_close(wave[1], torch.from_numpy(fft.idctn(spectrum, norm="ortho")))
        assert not wave[[0, 2]].any()


def test_rings_lie_around_the_lowest_frequencies_along_each_side() -> None:
    assert rings((2, 3, 4), 0.5).tolist() == 2 * [0, 0, 1, 2, 0, 0, 1, 2, 1, 1, 1, 2]
    assert rings((9,), 0.01).tolist() == list(range(9))
    assert not rings((1, 4, 4), 1.0).any()


def test_waves_are_tried_ring_by_ring_each_in_an_order_of_its_own() -> None:
    x = torch.full((5, 1, 6, 6), 0.5, dtype=torch.float64)
    asked: list[torch.Tensor] = []

    def flat(z: torch.Tensor) -> torch.Tensor:
        asked.append(z - 0.5)
        return torch.cat([3 + 0 * z[:, 0, 0, :1], 0 * z[:, 0, 0, :1]], 1)

    attack = SimBA(basis="dct", frequencies=0.4, step_size=0.05, queries=2 * 36 + 2)
    attack(flat, x, torch.zeros(5, dtype=torch.int64), eps=1.0, stop="never")
    steps = torch.stack([step for step in asked if len(step) == 5 and step.flatten(1).any(1).all()][:72])
    q = DIRECTIONS["dct"](torch.arange(36), (1, 6, 6)).flatten(1)
    order = (steps.flatten(2) @ q.T).abs().argmax(2)[::2].T  # (5, 36): each is tried forwards, then back
    assert (order.sort(1).values == torch.arange(36)).all()
    assert (rings((1, 6, 6), 0.4)[order].diff(dim=1) >= 0).all()
    assert len(order.unique(dim=0)) == 5


def affine(seed: int) -> tuple[AffineClassifier, torch.Tensor, torch.Tensor]:
    model = AffineClassifier.random((1, 4, 4), 2, seed=seed)
    x = 0.4 + 0.2 * torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_one_round_moves_an_affine_network_along_the_sign_of_every_coefficient(basis: str, seed: int) -> None:
    model, x, y = affine(seed)
    found = SimBA(basis=basis, step_size=0.05, queries=2 * 16 + 2)(model, x, y, eps=10.0, stop="never")
    q = DIRECTIONS[basis](torch.arange(16), (1, 4, 4)).flatten(1)
    w = (model.weight[1] - model.weight[0]).detach()
    sign = torch.where(y == 0, 1.0, -1.0)[:, None] * (q @ w).sign()
    done = ((found.x_adv - x).flatten(1) @ q.T) / 0.05 * sign
    twice = (2 * done).round()
    torch.testing.assert_close(2 * done, twice, atol=1e-4, rtol=0)
    assert ((twice == 2) | (twice == 3)).all(), done  # a whole step, and perhaps half of one in the second round


def test_the_largest_step_of_linf_is_the_exact_maximum() -> None:
    model, x, y = affine(5)
    found = SimBA(norm="linf", step_size=1.0, queries=40)(model, x, y, eps=0.1, stop="never")
    w = (model.weight[1] - model.weight[0]).detach().view(1, 1, 4, 4)
    best = x + 0.1 * torch.where(y == 0, 1.0, -1.0)[:, None, None, None] * w.sign()
    torch.testing.assert_close(found.x_adv, best)


def test_a_query_is_never_wasted_on_the_start() -> None:
    model, x, y = affine(1)
    asked: list[int] = []

    def counted(z: torch.Tensor) -> torch.Tensor:
        asked.append(len(z))
        return model(z)

    found = SimBA(queries=12)(counted, x, y, eps=1e-6, stop="never")
    assert (found.queries <= 13).all()
    assert found.gradients.sum() == 0
    assert len(asked) <= 15  # the two looks that every attack has, too


def test_no_query_is_spent_on_a_step_that_the_range_holds_back() -> None:
    model, x, y = affine(2)
    asked: list[torch.Tensor] = []

    def spy(z: torch.Tensor) -> torch.Tensor:
        asked.append(z.clone())
        return model(z)

    SimBA(queries=34)(spy, x.round(), y, eps=10.0, stop="never")
    proposals = [z for z in asked if len(z) == len(x)][1:-2]
    assert len(proposals) > 20
    assert all((z != x.round()).flatten(1).any(1).all() for z in proposals[:1])
    best, wasted = x.round(), 0
    for z in proposals:
        wasted += int((z == best).flatten(1).all(1).sum())
        lead = torch.where(y == 0, 1.0, -1.0) * (model(z) - model(best)).detach().diff(dim=1).squeeze(1)
        best = torch.where((lead > 0)[:, None, None, None], z, best)
    assert wasted == 0


def test_wrong_options_are_refused() -> None:
    for spec in ("simba(basis=wavelet)", "simba(frequencies=1.5)", "simba(step_size=0)", "simba(queries=2)"):
        with pytest.raises(InputError):
            create_attack(spec)
