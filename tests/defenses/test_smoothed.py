"""Randomised smoothing: a linear classifier's radius is known, draws belong to samples, the interval is scipy's."""

from collections.abc import Callable

import pytest
import torch
from scipy.stats import beta, binomtest
from torch import Tensor, nn

from advkit.certification import certify
from advkit.core.clopper_pearson import clopper_pearson
from advkit.core.errors import AdvkitWarning, InputError
from advkit.defenses import Smoothed, SmoothedRadii, Transformed, certified_accuracy

SIGMA = 0.5


def linear(seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """Two classes behind one hyperplane, 6 images, and their distances to it: g is the network itself."""
    make = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    nn.init.normal_(net[1].weight, generator=make)
    x = torch.rand(6, 1, 2, 2, generator=make)
    with torch.no_grad():
        net[1].bias.zero_()
        w = (net[1].weight[0] - net[1].weight[1]).double()
        net[1].bias[0] = -(x.double().flatten(1) @ w).mean()
        distance = (x.double().flatten(1) @ w + net[1].bias[0].double()).abs() / w.norm()
    return net, x, distance


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("n", [1, 10, 1000, 100_000])
def test_the_bound_is_that_of_clopper_and_pearson(n: int, alpha: float) -> None:
    k = torch.tensor(sorted({0, 1, n // 3, n // 2, n - n // 10, n - 1, n}))
    ours, theirs = clopper_pearson(k, n, alpha=alpha), torch.from_numpy(beta.ppf(alpha, k, n - k + 1))
    assert torch.allclose(ours, theirs.nan_to_num(0.0), rtol=0, atol=1e-9)
    assert (ours <= theirs.nan_to_num(0.0) + 1e-13).all()


def test_the_bound_is_given_row_by_row() -> None:
    k = torch.tensor([7, 3, 7, 0])
    assert torch.equal(clopper_pearson(k, 10, alpha=0.1), torch.stack([clopper_pearson(v, 10, alpha=0.1) for v in k]))


@pytest.mark.parametrize(("k", "n", "alpha"), [([11], 10, 0.1), ([-1], 10, 0.1), ([1], 0, 0.1), ([1], 10, 1.0)])
def test_counts_that_cannot_be_are_refused(k: list[int], n: int, alpha: float) -> None:
    with pytest.raises(InputError):
        clopper_pearson(torch.tensor(k), n, alpha=alpha)


@pytest.mark.parametrize("alpha", [0.02, 0.2])
def test_the_radius_exceeds_the_true_one_in_alpha_of_the_cases(alpha: float) -> None:
    """600 repetitions of each image; more failures than this come once in a million runs, none would be too careful."""
    net, x, distance = linear()
    times = 600
    found = Smoothed(net, SIGMA).certify(x.repeat_interleave(times, 0), n0=20, n=150, alpha=alpha)
    own = net(x).argmax(1).repeat_interleave(times)
    wrong = (found.classes >= 0) & ((found.classes != own) | (found.radius > distance.repeat_interleave(times)))
    failures = wrong.view(-1, times).sum(1)
    assert all(binomtest(int(f), times, alpha, alternative="greater").pvalue > 1e-6 for f in failures)
    assert float(failures.double().mean()) > 0.2 * alpha * times


def test_the_radius_comes_near_the_true_one_with_many_draws() -> None:
    net, x, distance = linear()
    found = Smoothed(net, SIGMA).certify(x, n0=2000, n=20_000)
    assert (found.radius <= distance).all()
    assert (found.radius >= distance - 0.03).all()
    assert torch.equal(found.classes, net(x).argmax(1))
    assert found.radius.dtype == torch.float64


def test_draws_belong_to_samples() -> None:
    net, x, _ = linear()
    whole = Smoothed(net, SIGMA).certify(x, n=300)
    small = Smoothed(net, SIGMA, batch_size=7).certify(x, n=300)
    halves = [
        Smoothed(net, SIGMA).certify(x[ids], n=300, sample_ids=ids) for ids in (torch.arange(3, 6), torch.arange(3))
    ]
    assert torch.equal(whole.radius, small.radius)
    assert torch.equal(whole.radius, torch.cat([halves[1].radius, halves[0].radius]))
    assert not torch.equal(whole.radius, Smoothed(net, SIGMA).certify(x, n=300, seed=1).radius)
    assert not torch.equal(whole.radius, Smoothed(net, SIGMA).certify(x, n=300, sample_ids=torch.arange(6) + 9).radius)


def test_draws_split_over_processes() -> None:
    net, x, _ = linear()
    smoothed = Smoothed(net, SIGMA, batch_size=64)
    parts = smoothed.counts(x, 60) + smoothed.counts(x, 40, first=60)
    assert torch.equal(parts, smoothed.counts(x, 100))
    assert (parts.sum(1) == 100).all()


def test_the_class_is_chosen_by_other_draws_than_those_that_bound_it() -> None:
    """One that chose by the same draws would certify a fair coin about twice as often as alpha."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    nn.init.constant_(net[1].weight[0], 1.0)
    nn.init.constant_(net[1].weight[1], -1.0)
    found = Smoothed(net, SIGMA).certify(torch.zeros(3000, 1, 1, 1), n0=101, n=101, alpha=0.05)
    assert binomtest(int((found.classes >= 0).sum()), 3000, 0.05, alternative="greater").pvalue > 1e-6


def test_what_may_be_either_class_is_abstained_from() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    x = torch.zeros(50, 1, 1, 1)
    smoothed = Smoothed(net, SIGMA)
    assert (smoothed.predict(x, 200, alpha=1e-6) == -1).all()
    found = smoothed.certify(x, n=200, alpha=1e-6)
    assert (found.classes == -1).all()
    assert (found.radius == 0).all()


def test_what_is_far_from_the_border_is_predicted() -> None:
    net, x, distance = linear()
    far = distance > 0.1 * SIGMA
    assert far.any()
    said = Smoothed(net, SIGMA).predict(x, 5000)
    assert torch.equal(said[far], net(x).argmax(1)[far])


def test_a_broken_answer_counts_for_no_class() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.flatten(1)[:, 0].abs() * 0 + 1, x.flatten(1)[:, 0].sqrt()], 1)

    counts = Smoothed(Broken(), SIGMA).counts(torch.zeros(2, 1, 1, 1), 400)
    assert ((counts.sum(1) > 150) & (counts.sum(1) < 250)).all()


def test_the_model_is_left_as_it_was_and_asked_in_eval_mode() -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 2), nn.Dropout(0.5)).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    x = torch.rand(3, 1, 2, 2)
    found = [Smoothed(net, SIGMA).certify(x, n=100) for _ in range(2)]
    assert torch.equal(found[0].radius, found[1].radius)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_the_logits_are_a_differentiable_function_of_one_image() -> None:
    net, x, _ = linear()
    smoothed = Smoothed(net.double(), SIGMA, samples=8)
    x = x.double().requires_grad_()
    logits = smoothed(x)
    assert torch.allclose(logits.exp().sum(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(smoothed(x[2:3]), logits[2:3])
    assert torch.autograd.gradcheck(smoothed, x[:2].detach().requires_grad_())


def test_no_images_are_no_radii() -> None:
    net, x, _ = linear()
    found = Smoothed(net, SIGMA).certify(x[:0])
    assert found.classes.shape == found.radius.shape == (0,)
    assert Smoothed(net, SIGMA).predict(x[:0]).shape == (0,)


def test_the_curve_counts_true_classes_beyond_each_radius() -> None:
    found = SmoothedRadii(torch.tensor([0, 1, -1, 2]), torch.tensor([0.5, 1.0, 0.0, 0.2], dtype=torch.float64))
    curve = certified_accuracy(found, torch.tensor([0, 1, 1, 0]), torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0]))
    assert curve.tolist() == [0.5, 0.5, 0.25, 0.25, 0.0]


@pytest.mark.parametrize("sigma", [0, -1.0, float("nan"), "x"])
def test_a_sigma_that_is_none_is_refused(sigma: object) -> None:
    with pytest.raises(InputError, match="sigma"):
        Smoothed(linear()[0], sigma)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"alpha": 1}, {"n": 0}, {"n0": 0}])
def test_numbers_out_of_range_are_refused(options: dict[str, float]) -> None:
    net, x, _ = linear()
    with pytest.raises(InputError):
        Smoothed(net, SIGMA).certify(x, **options)


def test_one_series_chooses_and_another_bounds() -> None:
    net, x, _ = linear()
    smoothed = Smoothed(net, SIGMA)
    chosen, hits = smoothed.counts(x, 50, series=0).argmax(1), smoothed.counts(x, 50, series=1)
    assert not torch.equal(hits, smoothed.counts(x, 50, series=0))
    bound = clopper_pearson(hits.gather(1, chosen[:, None]).squeeze(1), 50, alpha=0.1)
    found = smoothed.certify(x, n0=50, n=50, alpha=0.1)
    assert torch.equal(found.radius, (SIGMA * torch.special.ndtri(bound)).clamp(min=0))


def test_no_two_images_and_no_two_draws_share_their_noise() -> None:
    """Equal images with neighbouring ids, more draws than any small stride between the ids would keep apart."""
    seen: list[Tensor] = []

    class Listening(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.flatten(1).clone())
            return x.flatten(1)

    smoothed, x = Smoothed(Listening(), SIGMA), torch.zeros(3, 1, 2, 2)
    smoothed.counts(x, 400, sample_ids=torch.tensor([0, 1, 70]), series=0)
    smoothed.counts(x, 100, sample_ids=torch.tensor([0, 1, 70]), series=0, first=400)
    smoothed.counts(x, 400, sample_ids=torch.tensor([0, 1, 70]), series=1)
    noise = torch.cat([part for part in seen if len(part) > 3])
    assert len(noise) >= 3 * 900
    assert len(noise.unique(dim=0)) == len(noise)
    assert noise.std() == pytest.approx(SIGMA, rel=0.03)
    assert abs(float(noise.mean())) < 0.02


def test_a_call_makes_as_many_passes_as_samples_and_no_batch_is_larger_than_asked() -> None:
    sizes: list[int] = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return x.flatten(1)

    x = torch.rand(5, 1, 2, 2)
    Smoothed(Counting(), SIGMA)(x)
    assert sum(sizes) == 5 * 32
    sizes.clear()
    Smoothed(Counting(), SIGMA, samples=3)(x)
    assert sum(sizes) == 5 * 3
    sizes.clear()
    Smoothed(Counting(), SIGMA, batch_size=7).counts(x, 20)
    assert sum(size for size in sizes if size > 1) >= 100
    assert max(sizes) == 7


def test_the_curve_takes_one_class_an_image_and_a_list_of_radii() -> None:
    found, y = SmoothedRadii(torch.tensor([0, 1, -1]), torch.tensor([0.5, 0.2, 0.0]).double()), torch.tensor([0, 1, 1])
    assert torch.equal(certified_accuracy(found, y, [0.1, 0.3]), torch.tensor([2, 1]).double() / 3)
    for bad in (y[:, None], y[:1], y.float(), y.tolist()):
        with pytest.raises(InputError, match="expected labels"):
            certified_accuracy(found, bad, [0.1])  # type: ignore[arg-type]
    for radii in (0.1, [[0.1]], ["a"], None):
        with pytest.raises(InputError, match="expected radii as numbers"):
            certified_accuracy(found, y, radii)  # type: ignore[arg-type]


ALPHAS = [0.5, 0.25, 0.1, 0.001, 1e-9]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_fewer_draws_than_decide_anything_are_remarked_on(alpha: float) -> None:
    """All draws agree here: one draw less than the warning asks for abstains on every image, and it did so silently."""
    sure, x = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(2, 1, 2, 2)
    nn.init.zeros_(sure[1].weight)
    smoothed = Smoothed(sure, SIGMA)
    for ask in (lambda n: smoothed.certify(x, n0=1, n=n, alpha=alpha).classes, lambda n: smoothed.predict(x, n, alpha)):
        with pytest.warns(AdvkitWarning, match="1 draws decide nothing at alpha=.*it takes n=") as told:
            ask(1)
        fewest = int(str(told[0].message).rpartition("n=")[2].split()[0])
        assert (ask(fewest) >= 0).all()
        with pytest.warns(AdvkitWarning, match=f"it takes n={fewest} or more"):
            assert (ask(fewest - 1) == -1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: s.certify(x, n0=0), "expected n0 as an integer >= 1, got 0"),
        (lambda s, x: s.certify(x, n0=2, n="9"), "expected n as an integer >= 1, got '9'"),
        (lambda s, x: s.counts(x, 5, series="a"), "expected series as an integer"),
        (lambda s, x: s.predict(x, sample_ids="a"), r"expected sample_ids as integers \(N,\), one a sample, got str"),
        (lambda s, x: certified_accuracy(None, x, [0.1]), "expected found as what Smoothed.certify returns, got None"),
        (lambda s, x: certified_accuracy(s.certify(x, n=20), torch.zeros(6).long(), [torch.nan]), "got NaN among them"),
        (
            lambda s, x: certify(s, x, torch.zeros(6).long(), eps=0.1),
            r"Smoothed has a certificate .*model.certify\(x\)",
        ),
        (lambda s, x: Smoothed(lambda x: x, 1), "got function: write a module whose forward calls it"),
        (lambda s, x: Smoothed(nn.ModuleList([s]), 1), r"got ModuleList of 1: give one of them, such as models\[0\]"),
        (lambda s, x: Smoothed(nn.Linear, 1), "the class Linear itself"),
        (lambda s, x: Transformed([s], "jpeg"), r"got list of 1: give one of them, such as models\[0\]"),
    ],
)
def test_what_is_wrong_is_one_line(call: Callable[[Smoothed, Tensor], object], message: str) -> None:
    net, x, _ = linear()
    with pytest.raises(InputError, match=message) as caught:
        call(Smoothed(net, SIGMA), x)
    assert "\n" not in str(caught.value)
