from __future__ import annotations

from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.structures.regions import Region, overlap, union


def noise(seed: int, height: int = 23, width: int = 31, share: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width)) < share


def dense(region: Region, height: int, width: int) -> np.ndarray:
    return region.within((0, 0, width, height))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from([0.0, 0.02, 0.4, 1.0]),
)
def test_run_lengths_of_the_whole_image_are_those_of_the_dense_mask(
    seed: int, x: Any, y: Any, share: Any
) -> None:
    bits = noise(seed, share=share)
    full = np.zeros((y + 23, x + 31), dtype=np.uint8, order="F")
    full[y:, x:] = bits
    region = Region.of(bits, x, y)
    assert region.rle(*full.shape) == coco_mask.encode(full)
    assert region.area == bits.sum() and np.array_equal(
        dense(region, *full.shape), full.astype(bool)
    )


def test_the_box_is_tight_and_an_empty_region_has_none() -> None:
    bits = np.zeros((20, 30), dtype=bool)
    assert Region.of(bits, 5, 5).window == (5, 5, 5, 5) and not Region.of(bits).bits.size
    bits[3:7, 11:25] = True
    assert Region.of(bits, 100, 200).window == (111, 203, 125, 207)


def test_overlap_and_union_are_those_of_the_pixels() -> None:
    for seed in range(20):
        a, b = Region.of(noise(seed), 3, 9), Region.of(noise(seed + 100), 20 - seed, seed)
        both = [dense(region, 60, 60) for region in (a, b)]
        assert overlap(a, b) == (both[0] & both[1]).sum()
        assert np.array_equal(dense(union([a, b]), 60, 60), both[0] | both[1])
    assert overlap(a, a.moved(100, 0)) == 0 and union([Region.of(np.zeros((2, 2), bool)), a]) == a
