"""Outlines of rasters, along the edges of their pixels: what CVAT, LabelMe and ImageJ draw.

The vertices lie on pixel corners, so that filling an outline by the rule "a pixel belongs where its
centre is inside" gives exactly the raster back; contours through pixel centres would make objects a
pixel thinner. For people who move vertices, `traced` gives fewer of them, and no staircases.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from segue.structures.masks import Polygon, Rle, bitmap, raster_polygon

# Directions of an edge: right, down, left, up. Edges keep the object on their right hand, so outer
# rings run clockwise on the screen, and rings of holes counter-clockwise.
STEPS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
TOLERANCE = 0.4  # pixels that a simplified outline may lie away from the traced one
# IoU of a simplified polygon, rasterised again, with its mask; below it the polygon follows every
# pixel instead. Thin objects get there first: they lose a large share with each pixel.
LEAST_IOU = 0.95


def rings_of(bits: np.ndarray, x: int = 0, y: int = 0) -> list[np.ndarray]:
    """The rings (V, 2) float64 x, y around a bool raster (h, w) whose corner is at x, y, most
    vertices first; [] for an empty raster.

    Outer rings run clockwise as seen on the screen, rings around holes the other way. Pixels that
    meet only at a corner share a ring. There is a vertex only where the outline turns, and the
    first one is not repeated at the end.
    """
    rings = [_corners(loop) + np.array([x, y]) for loop in _loops(bits)]
    return sorted(rings, key=lambda ring: -len(ring))


def ring_area(ring: np.ndarray) -> float:
    """The area in square pixels inside a ring (V, 2), by the shoelace formula; negative for the
    ring of a hole, which runs the other way.
    """
    following = np.roll(ring, -1, axis=0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum() / 2)


def traced(mask: Rle, tolerance: float = TOLERANCE) -> Polygon:
    """The polygon around a mask's pixels, a ring for each connected piece; a hole is joined to its
    piece by a slit.

    tolerance: pixels by which vertices may leave the traced outline. Rasterised again, the polygon
    has an IoU of at least LEAST_IOU with the mask; with tolerance 0 it is exactly the mask.
    """
    bits, x, y = bitmap(mask)
    height, width = bits.shape
    pieces, count = ndimage.label(bits, np.ones((3, 3)))
    corner = np.array([x, y], dtype=np.float64)
    outlines = [_outer_first(_loops(pieces == number)) for number in range(1, count + 1)]
    if tolerance > 0 and count:
        rings = []
        for loops in outlines:
            rings.append(joined([_simplified(_midpoints(loop), tolerance) for loop in loops]))
        # Simplifying is kept only if the mask survives it.
        again = raster_polygon(rings, (0, 0, width, height))
        if (again & bits).sum() >= LEAST_IOU * (again | bits).sum():
            return Polygon(tuple(ring + corner for ring in rings))
    exact = [joined([_corners(loop) for loop in loops]) for loops in outlines]
    return Polygon(tuple(ring + corner for ring in exact))


def _loops(bits: np.ndarray) -> list[np.ndarray]:
    """Closed paths (V, 2) float64 along the edges of a raster's pixels, a vertex for each edge."""
    # Every edge leads to exactly one next edge, so the edges fall into cycles; each is walked once.
    starts, directions = _edges(np.pad(bits.astype(bool), 1))
    following = _following(starts, directions)
    loops: list[np.ndarray] = []
    seen = [False] * len(starts)
    for first in range(len(starts)):
        path: list[int] = []
        edge = first
        while not seen[edge]:
            seen[edge] = True
            path.append(edge)
            edge = following[edge]
        if path:
            loops.append(starts[path] - 1.0)  # takes the padding off again
    return loops


def _edges(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each edge between a pixel of the object and one outside starts (E, 2) as x, y, and its
    direction (E,).
    """
    inside = padded[1:-1, 1:-1]
    # A pixel's neighbours above, right, below and left of it: the edge above it runs right, the one
    # on its right runs down, and so on, in the order of STEPS.
    beyond = (padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2])
    corners = ((0, 0), (1, 0), (1, 1), (0, 1))  # the pixel's corner at which that edge starts
    starts: list[np.ndarray] = []
    directions: list[np.ndarray] = []
    for direction, (outside, corner) in enumerate(zip(beyond, corners, strict=True)):
        rows, columns = np.nonzero(inside & ~outside)
        starts.append(np.stack([columns + 1 + corner[0], rows + 1 + corner[1]], 1))
        directions.append(np.full(len(rows), direction))
    return np.concatenate(starts), np.concatenate(directions)


def _following(starts: np.ndarray, directions: np.ndarray) -> list[int]:
    """For each edge (E,), the position of the edge that goes on where it ends."""
    places = zip(*starts.T.tolist(), directions.tolist(), strict=True)
    edge_at = {place: position for position, place in enumerate(places)}  # (x, y, direction) ->
    ends = starts + STEPS[directions]
    following: list[int] = []
    for end_x, end_y, direction in zip(*ends.T.tolist(), directions.tolist(), strict=True):
        # Two edges start where pixels meet at a corner only. Turning left first keeps these pixels
        # in one ring; turning right first would cut them apart.
        turns = ((direction + 3) % 4, direction, (direction + 1) % 4)  # left, straight on, right
        for turn in turns:
            if (end_x, end_y, turn) in edge_at:
                following.append(edge_at[end_x, end_y, turn])
                break
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
    """Fewer of a loop's vertices (V, 2): those left out lie at most `tolerance` from the new path
    (Douglas and Peucker 1973).
    """
    # The method needs two fixed ends, which a closed path does not have: the first vertex and the
    # one farthest from it cut the loop into two open paths.
    far = int(np.hypot(*(loop - loop[0]).T).argmax())
    closed = np.concatenate([loop, loop[:1]])
    # a stack instead of recursion, which long outlines would exhaust
    kept, spans = {0, far}, [(0, far), (far, len(loop))]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        along = closed[last] - closed[first]
        apart = closed[first + 1 : last] - closed[first]
        length = max(float(np.hypot(*along)), 1e-9)  # both ends may be the same place
        distance = np.abs(along[0] * apart[:, 1] - along[1] * apart[:, 0]) / length
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return loop[sorted(kept)]


def joined(loops: Sequence[np.ndarray]) -> np.ndarray:
    """One ring (V, 2) of an outer path and its holes, or of separate pieces, each joined by a slit
    of no width at the place where it is nearest.

    Most annotation tools have one ring for an object and no holes. loops: at least one.
    """
    ring = loops[0]
    for hole in loops[1:]:
        # Walk to the vertex nearest to the hole, around the hole back to where it was entered, and
        # on: both vertices occur twice.
        apart = np.hypot(*(ring[:, None] - hole[None]).transpose(2, 0, 1))
        here, there = np.unravel_index(apart.argmin(), apart.shape)
        around = np.concatenate([np.roll(hole, -there, 0), hole[there : there + 1]])
        ring = np.concatenate([ring[: here + 1], around, ring[here:]])
    return ring
