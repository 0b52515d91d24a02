"""Random numbers as functions of what they are for, never of what was drawn before.

Sample order, augmentation and the points of mask losses follow from names (run seed, stage, epoch,
sample), so that worker count, batch split, resume and the number of processes change nothing.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_for(*parts: int | str) -> int:
    """A 63-bit seed, 0 or above, that follows from `parts` alone, on every machine and Python
    version; each part counts with its type, so that 1 and "1" differ.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def order(count: int, *parts: int | str) -> list[int]:
    """A permutation of range(count) that follows from `parts` alone."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_for(*parts))).tolist()


def uniform(keys: Tensor, count: int) -> Tensor:
    """Float32 numbers (T, count) in [0, 1); row t is a function of keys[t], int64 (T,), alone.

    Counter based: two rounds of the 64-bit finaliser of SplitMix64 (Steele et al., OOPSLA 2014)
    over key + counter, in wrapping int64 arithmetic. The same bits on CPU and GPU, whatever else is
    in the batch.
    """
    # SplitMix64's step 0x9E3779B97F4A7C15 as a signed number: torch has no uint64 arithmetic.
    counters = torch.arange(count, device=keys.device, dtype=torch.int64) * -7046029254386353131
    bits = _finalise(_finalise(keys)[:, None] + counters)
    return _shift(bits, 40).float() * 2.0**-24  # a float32 holds 24 bits; the highest are best


def points(keys: Tensor, count: int) -> Tensor:
    """Points (T, count, 2) float32, x and y in [0, 1); row t is a function of keys[t], int64 (T,),
    alone.

    The R2 low-discrepancy lattice (Roberts 2018, "The unreasonable effectiveness of quasirandom
    sequences"), moved on the torus by a random shift for each key (Cranley and Patterson 1976):
    unbiased as independent draws are, more even, and twenty times cheaper than hashing every
    coordinate.
    """
    # The two steps are 1 / g and 1 / g^2 of the plastic number g (g^3 = g + 1): with them, points
    # stay apart however many are taken. In float64, because the products grow with count and only
    # their fractions matter.
    steps = torch.arange(1, count + 1, dtype=torch.float64)[:, None]
    lattice = (
        steps * torch.tensor([0.7548776662466927, 0.5698402909980532], dtype=torch.float64)
    ) % 1
    moved = lattice.float().to(keys.device) + uniform(keys, 2)[:, None, :]  # (T, count, 2)
    return moved - moved.floor()


def _finalise(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * -4658895280553007687  # 0xBF58476D1CE4E5B9
    z = (z ^ _shift(z, 27)) * -7723592293110705685  # 0x94D049BB133111EB
    return z ^ _shift(z, 31)


def _shift(z: Tensor, places: int) -> Tensor:
    """Logical right shift of int64: the sign is shifted in as zeros."""
    return (z >> places) & ((1 << (64 - places)) - 1)
