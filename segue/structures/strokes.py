"""Thick curved lines as rasters, exact to a fraction of a pixel; where lines cross, both keep their
pixels.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

STEP = 0.5  # pixels between the points that distances are measured from


def resampled(line_xy: np.ndarray, step: float = STEP) -> np.ndarray:
    """Points (P, 2) x, y about `step` pixels apart along a line (V, 2), at least two of them; both
    ends are kept.
    """
    lengths = np.linalg.norm(np.diff(line_xy, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    positions = np.linspace(0, along[-1], max(2, int(along[-1] / step) + 1))
    return np.stack([np.interp(positions, along, line_xy[:, axis]) for axis in (0, 1)], axis=1)


def around(
    points_xy: np.ndarray, reach: float, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of an image that lie within `reach` of any of the points.

    points_xy: (P, 2), at most about a pixel apart. reach: in pixels. Here, unlike elsewhere, a
    pixel's centre is at whole numbers. Returns the pixels (M, 2) int x, y, their distances (M,) in
    pixels, and the positions (M,) of their nearest points.
    """
    # A cheap superset first: every pixel in a disc around a rounded point. Only these are measured
    # exactly, by the tree; a distance map of the whole image would cost far more for one line.
    size = int(np.ceil(reach)) + 1
    offsets = np.mgrid[-size : size + 1, -size : size + 1].reshape(2, -1).T
    offsets = offsets[(offsets**2).sum(1) <= (size + 1) ** 2]
    near_points = np.rint(points_xy).astype(int)
    corner = near_points.min(0) - size
    window = np.zeros(near_points.max(0) - corner + size + 1, dtype=bool)
    for offset in offsets:
        window[tuple((near_points + offset - corner).T)] = True
    pixels = np.argwhere(window) + corner
    pixels = pixels[((pixels >= 0) & (pixels < (width, height))).all(1)]
    if not len(pixels):
        return pixels, np.zeros(0), np.zeros(0, dtype=int)
    distances, nearest = KDTree(points_xy).query(pixels)
    near = distances <= reach
    return pixels[near], distances[near], nearest[near]


def raster(pixels_xy: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Pixels (M, 2) int x, y, at least one, as the x, y of a corner and a bool raster (h, w)."""
    low, high = pixels_xy.min(0), pixels_xy.max(0)
    mask = np.zeros((high - low + 1)[::-1], dtype=bool)
    mask[pixels_xy[:, 1] - low[1], pixels_xy[:, 0] - low[0]] = True
    return int(low[0]), int(low[1]), mask
