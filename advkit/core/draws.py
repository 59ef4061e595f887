"""Random numbers that depend on (seed, sample, step) only, not on the batch, the order of the samples or the device.

A counter-based generator in the manner of Salmon et al. 2011 ("Parallel random numbers: as easy as 1, 2, 3"), with the
finaliser of SplitMix64 (Steele, Lea, Flood 2014) as the hash. It uses int64 tensor operations only, so every device
gives the same bits.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from advkit.core.blocks import blockwise
from advkit.core.float64 import in_float64


def _signed(bits: int) -> int:
    """The int64 with the lowest 64 of these bits."""
    bits &= (1 << 64) - 1
    return bits - (1 << 64) if bits >> 63 else bits


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Logical right shift; torch's is arithmetic."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _hash(z: Tensor) -> Tensor:
    """SplitMix64's finaliser: a bijection of int64 in which every input bit reaches every output bit."""
    z = (z ^ _shifted(z, 30)) * _MIX[0]
    z = (z ^ _shifted(z, 27)) * _MIX[1]
    return z ^ _shifted(z, 31)


class Draws(NamedTuple):
    """The random numbers of a batch of samples.

    `sample_ids` (N,) int64 names the samples; two batches that hold the same id draw the same numbers for it.
    """

    seed: int
    sample_ids: Tensor

    def branch(self, number: int, family: int = 0) -> "Draws":
        """Return independent draws for repetition `number` of the same samples; 0 returns these draws."""
        return self._replace(seed=self.seed + number * (0x632BE59BD9B4E019 + 2 * family * 0x9E6C63D0876A9A35))

    def bits(self, step: int, shape: tuple[int, ...], stream: int = 0) -> Tensor:
        """Return (N, *shape) int64 with uniform bits; each `step` and `stream` gives an independent draw."""
        key = _hash(self.sample_ids + _signed(self.seed * _GOLDEN))
        key = _hash(key + _signed((step + 1) * _MIX[0] + stream * _MIX[1]))
        counter = torch.arange(math.prod(shape), device=key.device) * _GOLDEN
        keys = key[:, None].expand(-1, len(counter))
        return blockwise(lambda keys: _hash(_hash(keys + counter)), keys).view(-1, *shape)

    def uniform(self, step: int, shape: tuple[int, ...], stream: int = 0) -> Tensor:
        """Return (N, *shape) float64, uniform on the multiples of 2^-53 in [0, 1); see `in_float64`."""
        return in_float64(_shifted(self.bits(step, shape, stream), 11)) * 2.0**-53

    def normal(self, step: int, shape: tuple[int, ...], stream: int = 0) -> Tensor:
        """Return (N, *shape) float64, standard normal, by the transform of Box and Muller (1958)."""
        u, v = self.uniform(step, shape, 2 * stream + 1), self.uniform(step, shape, 2 * stream + 2)
        return torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(2 * math.pi * v)
