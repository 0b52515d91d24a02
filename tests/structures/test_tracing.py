"""A mask's polygon, drawn again, is the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segue.data.rendered import render_image
from segue.structures.masks import Rle, encoded, raster_polygon
from segue.structures.tracing import traced

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


def whole(bits: np.ndarray) -> Rle:
    return encoded(bits, 0, 0, *bits.shape)


def iou(bits: np.ndarray, tolerance: float) -> float:
    rings = traced(whole(bits), tolerance).rings
    again = raster_polygon(rings, (0, 0, bits.shape[1], bits.shape[0]))
    return (again & bits).sum() / (again | bits).sum()


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_keep_their_pixels(name):
    assert iou(SHAPES[name], 0) == 1 and iou(SHAPES[name], 0.4) >= 0.95


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_any_mask_is_exact_without_tolerance(bits):
    if bits.any():
        assert iou(bits, 0) == 1


def test_drawn_objects_lose_two_percent_at_most_on_average_and_most_points():
    rng, found, exact, simple = np.random.default_rng(0), [], 0, 0
    for _ in range(6):
        for _, polygon in render_image(rng, 192, 6)[1]:
            bits = raster_polygon([polygon], (0, 0, 192, 192))
            found.append(iou(bits, 0.4))
            exact += sum(len(ring) for ring in traced(whole(bits), 0).rings)
            simple += sum(len(ring) for ring in traced(whole(bits)).rings)
    print(f"{len(found)} objects: IoU mean {np.mean(found):.4f}, least {min(found):.4f}; {exact} -> {simple} points")
    assert len(found) > 25 and np.mean(found) >= 0.98 and min(found) >= 0.95 and simple < exact / 2
