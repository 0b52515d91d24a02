"""Thick lines as rasters."""

from __future__ import annotations

import numpy as np

from segue.structures.strokes import around, raster, resampled


def test_a_line_is_cut_into_even_steps_and_keeps_its_ends() -> None:
    points = resampled(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 10.0]]), step=0.5)
    assert points[0].tolist() == [0, 0] and points[-1].tolist() == [3, 10]
    assert np.linalg.norm(np.diff(points, axis=0), axis=1).max() < 0.51


def test_pixels_around_a_line_are_those_within_reach_and_inside_the_image() -> None:
    line = resampled(np.array([[5.3, -4.0], [12.7, 30.0]]))
    pixels, distances, nearest = around(line, 3.2, height=25, width=14)
    ys, xs = np.mgrid[0:25, 0:14]
    every = np.sqrt(((np.stack([xs, ys], -1)[:, :, None] - line) ** 2).sum(-1))
    assert {tuple(p) for p in pixels.tolist()} == {
        (x, y) for y, x in np.argwhere(every.min(-1) <= 3.2).tolist()
    }
    assert np.allclose(distances, every.min(-1)[pixels[:, 1], pixels[:, 0]])
    assert np.allclose(np.linalg.norm(pixels - line[nearest], axis=1), distances)
    x, y, mask = raster(pixels)
    assert mask.sum() == len(pixels) and mask[pixels[0, 1] - y, pixels[0, 0] - x]


def test_a_line_outside_the_image_has_no_pixels() -> None:
    assert len(around(np.array([[-50.0, -50.0]]), 3, 20, 20)[0]) == 0
