"""Middle lines of shapes whose lengths, ends and branches are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from segue.inference.measure import shape
from tests.inference.test_measure import XS, YS, tube


def ring(inner: float, outer: float) -> np.ndarray:
    distance = np.hypot(XS - 80, YS - 80)
    return (distance > inner) & (distance < outer)


def test_a_bar_with_square_ends_has_no_branches_and_its_full_length():
    bits = np.zeros((30, 120), dtype=bool)
    bits[10:21, 10:111] = True
    measures = shape(bits, 1000, 2000)
    assert measures["length"] == pytest.approx(101, abs=1.5) and measures["branch_points"] == 0
    assert (measures["centroid_x"], measures["centroid_y"]) == (1060.5, 2015.5)
    # around the outer pixels' centres
    assert measures["perimeter"] == pytest.approx(2 * (100 + 10), abs=1)
    assert measures["aspect"] == pytest.approx(101 / 11)


def test_a_ring_has_no_ends_and_the_length_of_its_middle_line():
    measures = shape(ring(40, 50))
    assert (measures["branch_points"], measures["end_points"]) == (0, 0)
    assert measures["length"] == pytest.approx(2 * math.pi * 45 * 1.055, rel=0.02)
    assert measures["width_mean"] == pytest.approx(10, abs=0.7)
    assert measures["perimeter"] == pytest.approx(2 * math.pi * (40 + 50), rel=0.06)


def test_a_y_has_one_branch_point_and_three_ends():
    arms = [tube((80, 80), end, 11) for end in ((80, 140), (30, 30), (130, 30))]
    measures = shape(arms[0] | arms[1] | arms[2])
    assert (measures["branch_points"], measures["end_points"]) == (1, 3)
    assert measures["length"] == pytest.approx(60 + 2 * math.hypot(50, 50) + 3 * 5.5, rel=0.02)


def test_two_crossing_tubes_have_one_branch_point_and_four_ends():
    measures = shape(tube((30, 30), (130, 120), 12) | tube((30, 120), (130, 40), 12))
    assert (measures["branch_points"], measures["end_points"]) == (1, 4)


def test_a_rough_outline_makes_no_branches():
    rng = np.random.default_rng(0)
    bits = tube((20, 80), (140, 80), 14)
    edge = bits ^ np.roll(bits, 1, 0) | bits ^ np.roll(bits, -1, 0)
    measures = shape(ndimage.binary_fill_holes(bits ^ (edge & (rng.random(bits.shape) < 0.3))))
    assert (measures["branch_points"], measures["end_points"]) == (0, 2)
