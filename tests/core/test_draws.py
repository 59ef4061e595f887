"""Random numbers belong to (seed, sample, step): the same bits in any company, and independent otherwise."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from advkit.core.draws import Draws

PINNED = [[-3563569006262852125, -3109986168367339576], [-7098649558908166884, -4053898635052275003]]
PINNED_UNIFORM = [0.6363936400310741, 0.14815566193816598]
IDS = st.lists(st.integers(0, 2**40), min_size=1, max_size=6, unique=True)


def draws(seed: int, ids: list[int]) -> Draws:
    return Draws(seed, torch.tensor(ids, dtype=torch.int64))


@given(IDS, st.integers(-5, 2**70), st.randoms())
def test_a_sample_draws_the_same_numbers_in_any_batch_and_order(ids: list[int], seed: int, random: object) -> None:
    whole = draws(seed, ids).bits(3, (2, 5))
    order = list(range(len(ids)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert torch.equal(draws(seed, [ids[i] for i in order]).bits(3, (2, 5)), whole[order])
    for row, name in enumerate(ids):
        assert torch.equal(draws(seed, [name]).bits(3, (2, 5))[0], whole[row])


def test_the_first_values_never_change() -> None:
    bits = draws(0, [0, 1]).bits(0, (2,))
    assert bits.tolist() == PINNED
    assert draws(7, [41]).uniform(2, (2,)).flatten().tolist() == PINNED_UNIFORM


def reference(seed: int, sample: int, step: int, stream: int, place: int) -> int:
    """The same generator in Python's integers."""
    mask, golden, mix = 2**64 - 1, 0x9E3779B97F4A7C15, (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)

    def hashed(z: int) -> int:
        z &= mask
        z = ((z ^ (z >> 30)) * mix[0]) & mask
        z = ((z ^ (z >> 27)) * mix[1]) & mask
        return z ^ (z >> 31)

    key = hashed(hashed(sample + seed * golden) + (step + 1) * mix[0] + stream * mix[1])
    bits = hashed(hashed(key + place * golden))
    return bits - 2**64 if bits >> 63 else bits


@given(st.integers(0, 2**62), st.integers(-3, 2**66), st.integers(-1, 1000), st.integers(0, 9))
def test_the_bits_are_those_of_integer_arithmetic(sample: int, seed: int, step: int, stream: int) -> None:
    expected = [reference(seed, sample, step, stream, place) for place in range(3)]
    assert draws(seed, [sample]).bits(step, (3,), stream).flatten().tolist() == expected


@pytest.mark.parametrize("step", [0, 1, 100])
def test_uniform_numbers_pass_a_chi_square_and_lie_in_the_unit_interval(step: int) -> None:
    u = draws(1, list(range(100))).uniform(step, (200,))
    assert u.dtype == torch.float64
    assert bool(((u >= 0) & (u < 1)).all())
    counts = torch.histc(u, 50, 0, 1)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_every_bit_is_set_half_of_the_time() -> None:
    bits = draws(2, list(range(200))).bits(0, (100,))
    for place in range(64):
        share = float(((bits >> place) & 1).double().mean())
        assert share == pytest.approx(0.5, abs=0.02)


def test_normal_numbers_are_normal() -> None:
    z = draws(3, list(range(100))).normal(0, (100,)).flatten()
    assert bool(z.isfinite().all())
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    "other", [{"step": 1}, {"stream": 1}, {"seed": 1}, {"shift": 1}], ids=["step", "stream", "seed", "sample"]
)
def test_another_step_stream_seed_or_sample_is_another_draw(other: dict[str, int]) -> None:
    ids = list(range(50))
    first = draws(0, ids).uniform(0, (200,)).flatten()
    shifted = [i + 1000 * other.get("shift", 0) for i in ids]
    second = (
        draws(other.get("seed", 0), shifted).uniform(other.get("step", 0), (200,), other.get("stream", 0)).flatten()
    )
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.04
    assert len(set(first.tolist()) & set(second.tolist())) == 0


def test_neighbours_within_a_draw_are_uncorrelated() -> None:
    u = draws(4, list(range(50))).uniform(0, (400,))
    for lag in (1, 2, 28):
        pair = torch.stack([u[:, :-lag].flatten(), u[:, lag:].flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.03


def test_a_longer_draw_begins_with_the_shorter() -> None:
    short, long = draws(5, [3]).bits(1, (4,)), draws(5, [3]).bits(1, (9,))
    assert torch.equal(long[:, :4], short)


def test_torchs_random_state_is_not_used() -> None:
    before = torch.random.get_rng_state()
    draws(6, [1]).normal(0, (5,))
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_samples_draw_nothing() -> None:
    assert draws(0, []).uniform(0, (3,)).shape == (0, 3)
