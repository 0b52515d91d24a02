"""Masks of pixels as polygons, for programs in which people move points."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from segue.structures.masks import Polygon, Rle, bitmap, raster_polygon

TOLERANCE = 0.4  # pixels that a simplified outline may be away from the traced one
LEAST_IOU = 0.95  # of the polygon, drawn again, with the mask; where it is less, the polygon follows every pixel


def traced(mask: Rle, tolerance: float = TOLERANCE) -> Polygon:
    """The polygon around a mask's pixels, a ring for each piece; a hole is joined to its piece by a slit.

    Drawn again it has an IoU of at least LEAST_IOU with the mask; with tolerance 0 it is the same mask exactly.
    """
    bits, x, y = bitmap(mask)
    height, width = bits.shape
    pieces, count = ndimage.label(bits, np.ones((3, 3)))
    corner = np.array([x, y], dtype=np.float64)
    outlines = [_loops(pieces == number) for number in range(1, count + 1)]
    if tolerance > 0 and count:
        rings = [_joined([_simplified(_midpoints(loop), tolerance) for loop in loops]) for loops in outlines]
        again = raster_polygon(rings, (0, 0, width, height))
        if (again & bits).sum() >= LEAST_IOU * (again | bits).sum():
            return Polygon(tuple(ring + corner for ring in rings))
    return Polygon(tuple(_joined([_corners(loop) for loop in loops]) + corner for loops in outlines))


def _loops(bits: np.ndarray) -> list[np.ndarray]:
    """Closed paths (V, 2) along the edges of one piece's pixels, a vertex for each unit; the outer one first."""
    inside = np.pad(bits, 1)
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # every edge of a pixel that has nothing beyond it, with the pixel to its right
    for beyond, (x0, y0), (x1, y1) in (
        ((1, 0), (0, 0), (1, 0)), ((0, -1), (1, 0), (1, 1)), ((-1, 0), (1, 1), (0, 1)), ((0, 1), (0, 1), (0, 0)),
    ):  # fmt: skip
        for row, column in (np.argwhere(inside & ~np.roll(inside, beyond, (0, 1))) - 1).tolist():
            ends.setdefault((column + x0, row + y0), []).append((column + x1, row + y1))
    left = {(start, end) for start, found in ends.items() for end in found}
    loops = []
    while left:
        edge, path = min(left), []
        while edge in left:
            left.discard(edge)
            (x0, y0), here = edge
            path.append(here)
            onward = (here[0] + here[1] - y0, here[1] - here[0] + x0)  # to the left: pixels that touch are one piece
            edge = (here, onward if onward in ends[here] and len(ends[here]) > 1 else ends[here][0])
        loops.append(np.array(path, dtype=np.float64))
    return sorted(loops, key=_area, reverse=True)


def _area(loop: np.ndarray) -> float:
    """Positive for an outer path, negative for one around a hole."""
    x, y = loop.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _corners(loop: np.ndarray) -> np.ndarray:
    """The vertices where a path turns."""
    return loop[(np.roll(loop, -1, 0) - loop != loop - np.roll(loop, 1, 0)).any(1)]


def _midpoints(loop: np.ndarray) -> np.ndarray:
    """The middles of a path's edges: a staircase becomes the straight line it stands for."""
    return (loop + np.roll(loop, -1, 0)) / 2


def _simplified(loop: np.ndarray, tolerance: float) -> np.ndarray:
    """Fewer vertices, none of those left out farther than `tolerance` from the path (Douglas and Peucker 1973)."""
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


def _joined(loops: list[np.ndarray]) -> np.ndarray:
    """One ring of an outer path and its holes, each joined where it is nearest."""
    ring = loops[0]
    for hole in loops[1:]:
        apart = np.hypot(*(ring[:, None] - hole[None]).transpose(2, 0, 1))
        here, there = np.unravel_index(apart.argmin(), apart.shape)
        around = np.concatenate([np.roll(hole, -there, 0), hole[there : there + 1]])
        ring = np.concatenate([ring[: here + 1], around, ring[here:]])
    return ring
