"""The middle line of a raster as a graph of pixels, for lengths, widths and branches of thin
things.

- The line is Zhang and Suen's thinning (scikit-image). Steps to the side are 1 long, diagonal ones
  sqrt 2; a diagonal past a corner pixel is not a step of its own. A digital line is up to 8 %
  longer than the line it stands for (at 22.5 degrees, and 5 % around a circle); horizontal,
  vertical and diagonal ones are exact.
- Twigs shorter than the object is wide at their fork are cut: they come from rough outlines, not
  from branches.
- Forks nearer to each other than half the width there are one branch point, such as the middle of a
  cross. Where two tubes cross at a small angle, in one object, they run together for a while and
  have two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from segue.base.extras import import_extra

Graph = dict[int, dict[int, float]]  # pixel -> its neighbours and how far they are


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Measures of a skeleton; lengths and widths in pixels.

    length: of the line alone. to_ends: from its ends, which lie about half a width inside, straight
    on to the outline. width_mean, width_max: twice the distance from the line to the outline, right
    to about half a pixel.
    """

    length: float = 0.0
    to_ends: float = 0.0
    width_mean: float = 0.0
    width_max: float = 0.0
    branch_points: int = 0
    end_points: int = 0


def skeleton(bits: np.ndarray) -> Skeleton:
    """The skeleton's measures of a bool raster (h, w); all zero if it is empty.

    Raises:
        PlanError: if scikit-image is not installed.
    """
    padded = np.pad(bits, 1)
    line = import_extra("skimage.morphology", "measurements").skeletonize(padded)
    if not line.any():
        return Skeleton()
    # Distances are measured to the next pixel's centre; the outline is half a pixel nearer.
    depths = (np.asarray(ndimage.distance_transform_edt(padded)) - 0.5)[line]
    places = np.argwhere(line)
    graph = _graph(line)
    _cut_twigs(graph, depths)
    _open_blocks(graph, line)
    kept = list(graph)
    ends = [pixel for pixel in kept if len(graph[pixel]) == 1]
    alone = [pixel for pixel in kept if not graph[pixel]]
    widths = 2 * depths[kept] + 0.5
    return Skeleton(
        length=sum(sum(steps.values()) for steps in graph.values()) / 2,
        to_ends=sum(_to_outline(padded, _end(graph, end, depths), places) for end in ends)
        + 2 * float(depths[alone].sum()),
        width_mean=float(widths.mean()),
        width_max=float(widths.max()),
        branch_points=_branch_points(
            [pixel for pixel in kept if len(graph[pixel]) > 2], places, depths
        ),
        end_points=len(ends),
    )


def _graph(line: np.ndarray) -> Graph:
    """The pixels of a bool line (h, w) with an empty border, numbered by rows, and their steps."""
    number = np.full(line.shape, -1)
    number[line] = np.arange(line.sum())
    graph: Graph = {pixel: {} for pixel in range(int(line.sum()))}
    here = number[1:-1, 1:-1]
    right, below = number[1:-1, 2:], number[2:, 1:-1]
    below_right, below_left, left = number[2:, 2:], number[2:, :-2], number[1:-1, :-2]
    # A diagonal step counts only where neither corner between the two pixels is in the line: else
    # the way around the corner is in the graph already, and a bend would look like a loop.
    nothing = np.full_like(here, -1)
    for other, past, length in (
        (right, (nothing, nothing), 1.0),
        (below, (nothing, nothing), 1.0),
        (below_right, (right, below), math.sqrt(2)),
        (below_left, (left, below), math.sqrt(2)),
    ):
        steps = (here >= 0) & (other >= 0) & (past[0] < 0) & (past[1] < 0)
        for a, b in zip(here[steps].tolist(), other[steps].tolist(), strict=True):
            graph[a][b] = graph[b][a] = length
    return graph


def _cut_twigs(graph: Graph, depths: np.ndarray) -> None:
    """Remove short branches, the shortest first and one at a time: after each, its fork may be part
    of a plain line, and its neighbour no twig any more.
    """
    while True:
        twigs = [twig for end in graph if len(graph[end]) == 1 and (twig := _twig(graph, end))]
        short = [(length, pixels) for length, pixels, fork in twigs if length < 2 * depths[fork]]
        if not short:
            return
        for pixel in min(short)[1]:
            _remove(graph, pixel)


def _open_blocks(graph: Graph, line: np.ndarray) -> None:
    """Remove a corner that leads nowhere from blocks of 2 x 2 pixels, which thinning leaves now and
    then: they are not loops, but would count as branch points.
    """
    number = np.full(line.shape, -1)
    number[line] = np.arange(line.sum())
    corners = np.stack([number[:-1, :-1], number[:-1, 1:], number[1:, :-1], number[1:, 1:]], -1)
    for block in corners[(corners >= 0).all(-1)].tolist():
        if all(pixel in graph for pixel in block):
            # one corner is enough: the other three no longer close
            idle = [pixel for pixel in block if graph[pixel].keys() <= set(block)]
            for pixel in idle[:1]:
                _remove(graph, pixel)


def _remove(graph: Graph, pixel: int) -> None:
    for neighbour in graph.pop(pixel):
        del graph[neighbour][pixel]


def _twig(graph: Graph, end: int) -> tuple[float, list[int], int] | None:
    """From an end to the next fork: the length, the pixels without the fork, and the fork; None if
    the line ends before one.
    """
    pixels, length, here = [end], 0.0, end
    while True:
        steps = [
            (pixel, step)
            for pixel, step in graph[here].items()
            if len(pixels) < 2 or pixel != pixels[-2]
        ]
        if not steps:
            return None
        here, step = steps[0]
        length += step
        if len(graph[here]) > 2:
            return length, pixels, here
        pixels.append(here)


def _end(graph: Graph, end: int, depths: np.ndarray) -> list[int]:
    """The last pixels of a line, as many as half its width, from the end inwards."""
    pixels = [end]
    while len(pixels) <= depths[end] + 1:
        further = [pixel for pixel in graph[pixels[-1]] if pixel not in pixels[-2:]]
        if len(further) != 1:
            break
        pixels += further
    return pixels


def _to_outline(padded: np.ndarray, pixels: list[int], places: np.ndarray) -> float:
    """The distance from a line's end, on in the direction of its last pixels, to the outline."""
    here, inner = places[pixels[0]].astype(float), places[pixels[-1]]
    direction = (here - inner) / np.linalg.norm(here - inner)
    length = 0.0
    # quarters of a pixel, and half a step back: on average exact
    while padded[tuple(np.rint(here + length * direction).astype(int))]:
        length += 0.25
    return length - 0.125


def _branch_points(forks: list[int], places: np.ndarray, depths: np.ndarray) -> int:
    """How many groups of forks there are, where forks within half the width of each other are one:
    a cross thins to two or more forks with short bridges between them.
    """
    if not forks:
        return 0
    apart = np.linalg.norm(places[forks][:, None] - places[forks][None], axis=-1)
    near = apart <= np.maximum(
        np.maximum(depths[forks][:, None], depths[forks][None]), math.sqrt(2)
    )
    return int(connected_components(coo_matrix(near), directed=False)[0])
