"""Outlines of rasters, along the edges of their pixels: what CVAT, LabelMe and ImageJ draw.

An outline's corners are whole pixels (0, 0 is the image's corner), so that filling it by the rule
"a pixel belongs where its centre is inside" gives the raster back, exactly. Contours through pixel
centres or between them would make objects a pixel thinner. For people who move points, `traced` has
fewer of them, and no staircases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from segue.structures.masks import Polygon, Rle, bitmap, raster_polygon

# Right, down, left, up: the object is on the right hand of who follows an edge, so outer rings run
# clockwise.
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
TOLERANCE = 0.4  # pixels that a simplified outline may be away from the traced one
# of the polygon, drawn again, with the mask; where it is less, the polygon follows every pixel
LEAST_IOU = 0.95


def rings_of(bits: np.ndarray, x: int = 0, y: int = 0) -> list[np.ndarray]:
    """The outlines (V, 2) float64 x, y of a bool raster (h, w) whose corner is at x, y, longest
    first.

    Outer rings run clockwise as seen on the screen, rings around holes the other way. Pixels that
    meet at a corner are in one ring. Vertices are corners only; a ring is not closed by repeating
    its first one.
    """
    rings = [_corners(loop) + np.array([x, y]) for loop in _loops(bits)]
    return sorted(rings, key=lambda ring: -len(ring))


def ring_area(ring: np.ndarray) -> float:
    """What a ring (V, 2) encloses, in pixels; negative for the ring of a hole."""
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum() / 2)


def traced(mask: Rle, tolerance: float = TOLERANCE) -> Polygon:
    """The polygon around a mask's pixels, a ring for each piece; a hole is joined to its piece by a
    slit.

    Drawn again it has an IoU of at least LEAST_IOU with the mask; with tolerance 0 it is the same
    mask exactly.
    """
    bits, x, y = bitmap(mask)
    height, width = bits.shape
    pieces, count = ndimage.label(bits, np.ones((3, 3)))
    corner = np.array([x, y], dtype=np.float64)
    outlines = [_outer_first(_loops(pieces == number)) for number in range(1, count + 1)]
    if tolerance > 0 and count:
        rings = [
            joined([_simplified(_midpoints(loop), tolerance) for loop in loops])
            for loops in outlines
        ]
        again = raster_polygon(rings, (0, 0, width, height))
        if (again & bits).sum() >= LEAST_IOU * (again | bits).sum():
            return Polygon(tuple(ring + corner for ring in rings))
    return Polygon(tuple(joined([_corners(loop) for loop in loops]) + corner for loops in outlines))


def _loops(bits: np.ndarray) -> list[np.ndarray]:
    """Closed paths (V, 2) float64 along the edges of a raster's pixels, a vertex for each edge."""
    starts, directions = _edges(np.pad(bits.astype(bool), 1))
    following = _following(starts, directions)
    loops, seen = [], [False] * len(starts)
    for first in range(len(starts)):
        path, edge = [], first
        while not seen[edge]:
            seen[edge] = True
            path.append(edge)
            edge = following[edge]
        if path:
            loops.append(starts[path] - 1.0)  # the padding
    return loops


def _edges(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge between a pixel of the object and one outside starts (E, 2) as x, y, and its
    direction (E,).
    """
    inside = padded[1:-1, 1:-1]
    # above, right, below, left
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))  # of the pixel, where the edge on that side starts
    starts, directions = [], []
    for direction, (outside, corner) in enumerate(zip(beyond, corners, strict=True)):
        rows, columns = np.nonzero(inside & ~outside)
        starts.append(np.stack([columns + 1 + corner[0], rows + 1 + corner[1]], 1))
        directions.append(np.full(len(rows), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _following(starts: np.ndarray, directions: np.ndarray) -> list[int]:
    """The edge that goes on where each edge ends; of two, the left one, which keeps pixels that
    touch together.
    """
    edge_at = {
        key: i for i, key in enumerate(zip(*starts.T.tolist(), directions.tolist(), strict=True))
    }
    ends = starts + STEPS[directions]
    following = []
    for end_x, end_y, direction in zip(*ends.T.tolist(), directions.tolist(), strict=True):
        turns = ((direction + 3) % 4, direction, (direction + 1) % 4)  # left, straight on, right
        following.append(
            next(edge_at[end_x, end_y, turn] for turn in turns if (end_x, end_y, turn) in edge_at)
        )
    return following


def _outer_first(loops: list[np.ndarray]) -> list[np.ndarray]:
    return sorted(loops, key=ring_area, reverse=True)


def _corners(loop: np.ndarray) -> np.ndarray:
    """The vertices where a path turns."""
    return loop[(np.roll(loop, -1, 0) - loop != loop - np.roll(loop, 1, 0)).any(1)]


def _midpoints(loop: np.ndarray) -> np.ndarray:
    """The middles of a path's edges: a staircase becomes the straight line it stands for."""
    return (loop + np.roll(loop, -1, 0)) / 2


def _simplified(loop: np.ndarray, tolerance: float) -> np.ndarray:
    """Fewer vertices, none of those left out farther than `tolerance` from the path (Douglas and
    Peucker 1973).
    """
    far = int(np.hypot(*(loop - loop[0]).T).argmax())
    closed = np.concatenate([loop, loop[:1]])
    kept, spans = {0, far}, [(0, far), (far, len(loop))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        along = closed[last] - closed[first]
        apart = closed[first + 1 : last] - closed[first]
        length = max(float(np.hypot(*along)), 1e-9)
        distance = np.abs(along[0] * apart[:, 1] - along[1] * apart[:, 0]) / length
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return loop[sorted(kept)]


def joined(loops: Sequence[np.ndarray]) -> np.ndarray:
    """One ring of an outer path and its holes, or of pieces apart, each joined by a slit where it
    is nearest.
    """
    ring = loops[0]
    for hole in loops[1:]:
        apart = np.hypot(*(ring[:, None] - hole[None]).transpose(2, 0, 1))
        here, there = np.unravel_index(apart.argmin(), apart.shape)
        around = np.concatenate([np.roll(hole, -there, 0), hole[there : there + 1]])
        ring = np.concatenate([ring[: here + 1], around, ring[here:]])
    return ring
