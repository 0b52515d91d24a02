"""A raster's outline, filled again, is the raster; simplified for people, it nearly is."""

from __future__ import annotations

from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Outline
from scipy import ndimage

from segue.data.synthetic import render_image
from segue.structures.masks import Rle, encoded, raster_polygon
from segue.structures.outlines import ring_area, rings_of, traced

Y, X = np.mgrid[:80, :90]
SHAPES = {
    "disc": (Y - 40) ** 2 + (X - 45) ** 2 < 30**2,
    "ring": np.abs(np.hypot(Y - 40, X - 45) - 25) < 6,
    "two": ((Y - 20) ** 2 + (X - 20) ** 2 < 100) | ((Y - 60) ** 2 + (X - 60) ** 2 < 150),
    "line": np.abs(Y - 0.7 * X) < 2,
    "thin line": np.abs(Y - 0.7 * X) < 0.6,
    "sieve": (Y % 9 > 2) | (X % 11 > 3),
    "at the border": Y + X < 60,
    "one pixel": (Y == 7) & (X == 9),
    "touching pixels": (Y == X) & (Y < 12),
}


def filled(rings: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """Pixels whose centre is within an odd number of rings."""
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    centres = np.stack([xs.ravel(), ys.ravel()], 1)
    inside = np.zeros(height * width, dtype=bool)
    for ring in rings:
        inside ^= Outline(np.vstack([ring, ring[:1]]), closed=True).contains_points(centres)
    return inside.reshape(height, width)


@pytest.mark.parametrize("seed", range(12))
def test_filling_the_outline_gives_the_raster_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = (
        rng.random((17, 23)) < 0.5
        if seed % 2
        else ndimage.gaussian_filter(rng.normal(0, 1, (40, 50)), 3) > 0.02
    )
    height, width = bits.shape
    rings = rings_of(bits, 5, 7)
    assert np.array_equal(
        filled(rings, height + 10, width + 10)[7 : 7 + height, 5 : 5 + width], bits
    )
    assert sum(ring_area(ring) for ring in rings) == bits.sum()


def test_a_rectangle_has_four_corners_and_a_hole_runs_the_other_way() -> None:
    bits = np.ones((6, 9), dtype=bool)
    (ring,) = rings_of(bits, 2, 3)
    assert sorted(ring.tolist()) == [[2, 3], [2, 9], [11, 3], [11, 9]] and ring_area(ring) == 54
    bits[2:4, 2:5] = False
    assert sorted(ring_area(ring) for ring in rings_of(bits)) == [-6, 54]


def test_pixels_that_meet_at_a_corner_are_in_one_ring_and_nothing_has_none() -> None:
    assert len(rings_of(np.eye(5, dtype=bool))) == 1
    assert rings_of(np.zeros((4, 4), dtype=bool)) == []


def test_the_coco_raster_of_an_outline_is_the_mask() -> None:
    bits = ndimage.gaussian_filter(np.random.default_rng(1).normal(0, 1, (90, 120)), 9) > 0.005
    rings = [ring for ring in rings_of(bits) if ring_area(ring) > 0]
    parts = [coco_mask.fr_poly(ring.ravel().tolist(), 90, 120) for ring in rings]
    drawn = coco_mask.decode(coco_mask.merge(parts)).astype(bool)
    whole = ndimage.binary_fill_holes(bits)
    assert (drawn & whole).sum() / (drawn | whole).sum() > 0.99


def whole(bits: np.ndarray) -> Rle:
    return encoded(bits, 0, 0, *bits.shape)


def iou(bits: np.ndarray, tolerance: float) -> float:
    rings = traced(whole(bits), tolerance).rings
    again = raster_polygon(rings, (0, 0, bits.shape[1], bits.shape[0]))
    return (again & bits).sum() / (again | bits).sum()


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_keep_their_pixels(name: str) -> None:
    assert iou(SHAPES[name], 0) == 1 and iou(SHAPES[name], 0.4) >= 0.95


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_any_mask_is_exact_without_tolerance(bits: Any) -> None:
    if bits.any():
        assert iou(bits, 0) == 1


def test_drawn_objects_lose_two_percent_at_most_on_average_and_most_points() -> None:
    rng, exact, simple = np.random.default_rng(0), 0, 0
    ious: list[Any] = []
    for _ in range(6):
        for _, polygon in render_image(rng, 192, 6)[1]:
            bits = raster_polygon([polygon], (0, 0, 192, 192))
            ious.append(iou(bits, 0.4))
            exact += sum(len(ring) for ring in traced(whole(bits), 0).rings)
            simple += sum(len(ring) for ring in traced(whole(bits)).rings)
    print(
        f"{len(ious)} objects: IoU mean {np.mean(ious):.4f}, least {min(ious):.4f}; {exact} "
        f"-> {simple} points"
    )
    assert len(ious) > 25 and np.mean(ious) >= 0.98 and min(ious) >= 0.95 and simple < exact / 2
