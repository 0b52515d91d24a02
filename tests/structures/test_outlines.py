from __future__ import annotations

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from matplotlib.path import Path as Outline
from scipy import ndimage

from segue.structures.outlines import ring_area, rings_of


def filled(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Pixels whose centre is within an odd number of rings."""
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    centres = np.stack([xs.ravel(), ys.ravel()], 1)
    inside = np.zeros(height * width, dtype=bool)
    for ring in rings:
        inside ^= Outline(np.vstack([ring, ring[:1]]), closed=True).contains_points(centres)
    return inside.reshape(height, width)


@pytest.mark.parametrize("seed", range(12))
def test_filling_the_outline_gives_the_raster_back(seed):
    rng = np.random.default_rng(seed)
    bits = rng.random((17, 23)) < 0.5 if seed % 2 else ndimage.gaussian_filter(rng.normal(0, 1, (40, 50)), 3) > 0.02
    height, width = bits.shape
    rings = rings_of(bits, 5, 7)
    assert np.array_equal(filled(rings, height + 10, width + 10)[7 : 7 + height, 5 : 5 + width], bits)
    assert sum(ring_area(ring) for ring in rings) == bits.sum()


def test_a_rectangle_has_four_corners_and_a_hole_runs_the_other_way():
    bits = np.ones((6, 9), dtype=bool)
    (ring,) = rings_of(bits, 2, 3)
    assert sorted(ring.tolist()) == [[2, 3], [2, 9], [11, 3], [11, 9]] and ring_area(ring) == 54
    bits[2:4, 2:5] = False
    assert sorted(ring_area(ring) for ring in rings_of(bits)) == [-6, 54]


def test_pixels_that_meet_at_a_corner_are_in_one_ring_and_nothing_has_none():
    assert len(rings_of(np.eye(5, dtype=bool))) == 1
    assert rings_of(np.zeros((4, 4), dtype=bool)) == []


def test_the_coco_raster_of_an_outline_is_the_mask():
    bits = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, (90, 120)), 9) > 0.005
    rings = [ring for ring in rings_of(bits) if ring_area(ring) > 0]
    parts = [coco_mask.fr_poly(ring.ravel().tolist(), 90, 120) for ring in rings]
    drawn = coco_mask.decode(coco_mask.merge(parts)).astype(bool)
    whole = ndimage.binary_fill_holes(bits)
    assert (drawn & whole).sum() / (drawn | whole).sum() > 0.99
