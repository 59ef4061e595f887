"""One pixel and Sparse-RS beside exhaustive searches on tiny images, and what counts as one pixel."""

from itertools import combinations, product

import pytest
import torch
from torch import Tensor, nn

from advkit.attacks import PGD, OnePixel, SparseRS, create_attack
from advkit.core.errors import InputError
from advkit.core.goals import untargeted
from advkit.core.losses import loss_values
from advkit.core.threat import Threat
from advkit.testing import AffineClassifier

CORNERS = [list(colour) for colour in product([0.0, 1.0], repeat=2)]


def network(seed: int, channels: int = 2, side: int = 3) -> nn.Module:
    """A small curved network on images (channels, side, side), float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, 12), nn.Tanh(), nn.Linear(12, 3))
    return net.double()


def images(count: int, channels: int = 2, side: int = 3, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, side, side, generator=source, dtype=torch.float64)


def lead(model: nn.Module, x: Tensor, y: Tensor, loss: str = "margin") -> Tensor:
    with torch.no_grad():
        logits = model(x)
    return loss_values(loss, untargeted(y), logits, logits)


def with_pixels(x: Tensor, places: tuple[int, ...], colours: tuple[list[float], ...]) -> Tensor:
    """x (C, H, W) with these pixels."""
    changed = x.flatten(1).clone()
    for place, colour in zip(places, colours, strict=True):
        changed[:, place] = torch.tensor(colour, dtype=x.dtype)
    return changed.view_as(x)


def exhaustive(model: nn.Module, x: Tensor, y: Tensor, pixels: int, colours: list[list[float]]) -> Tensor:
    """(N,): the largest margin over all sets of pixels and all colours of a list."""
    best = []
    for i in range(len(x)):
        all_of_them = [
            with_pixels(x[i], places, chosen)
            for places in combinations(range(x[0, 0].numel()), pixels)
            for chosen in product(colours, repeat=pixels)
        ]
        found = torch.stack(all_of_them)
        best.append(lead(model, found, y[i].expand(len(found))).max())
    return torch.stack(best)


@pytest.mark.parametrize("seed", range(2))
def test_one_pixel_equals_an_exhaustive_search(seed: int) -> None:
    model, x = network(seed), images(5, seed=seed)
    y = model(x).argmax(1)
    grid = [[a, b] for a in torch.linspace(0, 1, 31).tolist() for b in torch.linspace(0, 1, 31).tolist()]
    best = exhaustive(model, x, y, 1, grid)
    attack = OnePixel(population=60, generations=25, loss="margin")
    found = attack(model, x, y, stop="never")
    reached = lead(model, found.x_adv, y)
    assert (reached >= best - 1e-3).all(), reached - best  # the grid misses the best colour by a little, or evolution
    assert ((found.x_adv != x).any(1).flatten(1).sum(1) <= 1).all()
    assert torch.equal(found.distance, torch.ones_like(found.distance))


@pytest.mark.parametrize("seed", range(2))
def test_sparse_rs_equals_an_exhaustive_search_of_corners(seed: int) -> None:
    model, x = network(seed), images(5, seed=seed)
    y = model(x).argmax(1)
    best = exhaustive(model, x, y, 1, CORNERS)
    found = SparseRS(queries=1000)(model, x, y, eps=1.0, stop="never")
    torch.testing.assert_close(lead(model, found.x_adv, y), best)


def test_sparse_rs_ends_where_no_other_pixel_or_colour_is_better() -> None:
    """One pixel gives way at a time, so that of two the best pair may be out of reach, but not a better neighbour."""
    model, x = network(1), images(5, seed=1)
    y = model(x).argmax(1)
    found = SparseRS(queries=1500)(model, x, y, eps=2.0, stop="never").x_adv
    reached = lead(model, found, y)
    for i in range(len(x)):
        changed = (found[i] != x[i]).any(0).flatten().nonzero().flatten().tolist()
        assert len(changed) == 2
        for place in changed:
            kept = torch.where(torch.arange(9).view(3, 3) == place, found[i], x[i])
            others = [with_pixels(kept, (p,), (c,)) for p in range(9) if p != place for c in CORNERS]
            beside = torch.stack(others)
            assert lead(model, beside, y[i].expand(len(beside))).max() <= reached[i] + 1e-12


def test_where_all_pixels_may_change_colours_still_do() -> None:
    model, x = network(3, side=2), images(4, side=2, seed=3)
    y = model(x).argmax(1)
    best = exhaustive(model, x, y, 4, CORNERS)
    found = SparseRS(queries=1200)(model, x, y, eps=4.0, stop="never")
    torch.testing.assert_close(lead(model, found.x_adv, y), best)


@pytest.mark.parametrize("norm", ["l0", "l0_pixels"])
def test_pgd_changes_the_entries_or_pixels_that_gain_most(norm: str) -> None:
    model = AffineClassifier.random((3, 3, 4), 2, seed=5)
    x = images(6, channels=3, side=4, seed=5)[:, :, :3]
    y = model(x).argmax(1)
    found = PGD(norm=norm, loss="margin", step_size=1e3)(model, x, y, eps=3.0, stop="never")
    g = (model.weight[1 - y] - model.weight[y]).view(x.shape).detach()
    best = Threat(norm, 3.0).around(x).maximise(g)
    torch.testing.assert_close(lead(model, found.x_adv, y), lead(model, best, y))
    assert (found.distance == 3).all()


@pytest.mark.parametrize("name", ["one_pixel", "sparse_rs"])
def test_over_pixels_both_channels_are_free_and_over_entries_one_of_them(name: str) -> None:
    model, x = network(1), images(6, seed=1)
    y = model(x).argmax(1)
    options = {"population": 20, "generations": 10} if name == "one_pixel" else {"queries": 200}
    for norm, channels in (("l0_pixels", 2), ("l0", 1)):
        found = create_attack(name, norm=norm, loss="margin", **options)(model, x, y, eps=1.0, stop="never")
        changed = (found.x_adv != x).flatten(2)
        assert changed.flatten(1).sum(1).max() == channels
        assert changed.any(1).sum(1).max() == 1
        assert found.distance.max() == 1


@pytest.mark.parametrize("attack", [OnePixel(population=8, generations=3), SparseRS(queries=40)], ids=["one", "rs"])
def test_queries_are_as_documented(attack: OnePixel | SparseRS) -> None:
    model, x = network(2), images(4, seed=2)
    y = model(x).argmax(1)
    asked: list[int] = []

    def counted(z: Tensor) -> Tensor:
        asked.append(len(z))
        return model(z)

    found = attack(counted, x, y, eps=1.0, stop="never")
    most = 8 * 4 + 2 if isinstance(attack, OnePixel) else 41
    assert (found.queries <= most).all()
    assert found.gradients.sum() == 0


def test_a_radius_above_the_number_of_pixels_is_no_fault() -> None:
    model, x = network(2), images(2, seed=2)
    y = model(x).argmax(1)
    for attack in (OnePixel(population=8, generations=2), SparseRS(queries=30)):
        found = attack(model, x, y, eps=1e6, stop="never")
        assert (found.distance <= 9).all()
        assert (found.x_adv != x).any()


def test_wrong_options_are_refused() -> None:
    for spec in (
        "one_pixel(population=3)",
        "one_pixel(scale=0)",
        "one_pixel(norm=l2)",
        "sparse_rs(share=0)",
        "sparse_rs(share=1.5)",
        "sparse_rs(queries=2)",
    ):
        with pytest.raises(InputError):
            create_attack(spec)
