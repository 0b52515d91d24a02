"""Thick curved lines as rasters: exact to a fraction of a pixel, and overlapping where lines cross."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

STEP = 0.5  # pixels between the points that distances are measured from


def resampled(line_xy: np.ndarray, step: float = STEP) -> np.ndarray:
    """Points (P, 2) `step` pixels apart along a line (V, 2); both ends are kept, and there are at
    least two.
    """
    lengths = np.linalg.norm(np.diff(line_xy, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    wanted = np.linspace(0, along[-1], max(2, int(along[-1] / step) + 1))
    return np.stack([np.interp(wanted, along, line_xy[:, axis]) for axis in (0, 1)], axis=1)


def around(
    points_xy: np.ndarray, reach: float, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels (N, 2: x, y) of an image within `reach` of any of the points, how far, and the
    nearest point's number.

    points_xy: (P, 2), at most about a pixel apart; x, y of a pixel's centre are whole numbers.
    """
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
    """Pixels (N, 2), at least one, as the x, y of a corner and a bool raster (h, w)."""
    low, high = pixels_xy.min(0), pixels_xy.max(0)
    mask = np.zeros((high - low + 1)[::-1], dtype=bool)
    mask[pixels_xy[:, 1] - low[1], pixels_xy[:, 0] - low[0]] = True
    return int(low[0]), int(low[1]), mask
