"""Outlines of rasters, along the edges of their pixels: what CVAT, LabelMe and ImageJ draw.

An outline's corners are whole pixels (0, 0 is the image's corner), so that filling it by the rule "a pixel belongs
where its centre is inside" gives the raster back, exactly. Contours through pixel centres or between them would make
objects a pixel thinner.
"""

from __future__ import annotations

import numpy as np

# Right, down, left, up: the object is on the right hand of who follows an edge, so outer rings run clockwise.
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])


def rings_of(bits: np.ndarray, x: int = 0, y: int = 0) -> list[np.ndarray]:
    """The outlines (V, 2) float64 x, y of a bool raster (h, w) whose corner is at x, y, longest first.

    Outer rings run clockwise as seen on the screen, rings around holes the other way. Pixels that meet at a corner
    are in one ring. Vertices are corners only; a ring is not closed by repeating its first one.
    """
    starts, directions = _edges(np.pad(bits.astype(bool), 1))
    following = _following(starts, directions)
    rings, seen = [], [False] * len(starts)
    for first in range(len(starts)):
        ring, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            ring.append(edge)
            edge = following[edge]
        if not ring:
            continue
        corner = directions[ring] != directions[np.roll(ring, 1)]
        rings.append(starts[ring][corner] + np.array([x - 1.0, y - 1.0]))
    return sorted(rings, key=lambda ring: -len(ring))


def ring_area(ring: np.ndarray) -> float:
    """What a ring (V, 2) encloses, in pixels; negative for the ring of a hole."""
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum() / 2)


def _edges(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge between a pixel of the object and one outside starts (E, 2) as x, y, and its direction (E,)."""
    inside = padded[1:-1, 1:-1]
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])  # above, right, below, left
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))  # of the pixel, where the edge on that side starts
    starts, directions = [], []
    for direction, (outside, corner) in enumerate(zip(beyond, corners, strict=True)):
        rows, columns = np.nonzero(inside & ~outside)
        starts.append(np.stack([columns + 1 + corner[0], rows + 1 + corner[1]], 1))
        directions.append(np.full(len(rows), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _following(starts: np.ndarray, directions: np.ndarray) -> list[int]:
    """The edge that goes on where each edge ends; of two, the left one, which keeps pixels that touch together."""
    edge_at = {key: i for i, key in enumerate(zip(*starts.T.tolist(), directions.tolist(), strict=True))}
    ends = starts + STEPS[directions]
    following = []
    for end_x, end_y, direction in zip(*ends.T.tolist(), directions.tolist(), strict=True):
        turns = ((direction + 3) % 4, direction, (direction + 1) % 4)  # left, straight on, right
        following.append(next(edge_at[end_x, end_y, turn] for turn in turns if (end_x, end_y, turn) in edge_at))
    return following
