"""Centre lines: from a skeleton to ordered pieces between junctions, and pieces joined across gaps
and crossings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

AROUND = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])


def near_junctions(skeleton: np.ndarray, margin: float) -> np.ndarray:
    """Pixels within `margin` pixels of where lines of a skeleton (H, W) meet, bool (H, W)."""
    junctions = skeleton & (
        ndimage.convolve(skeleton.astype(np.int32), AROUND, mode="constant") > 2
    )
    if not junctions.any():
        return junctions
    return np.asarray(ndimage.distance_transform_edt(~junctions)) <= margin


def pieces(lines: np.ndarray) -> list[np.ndarray]:
    """Lines, bool (H, W) without junctions, as points (P, 2: x, y) in order, P at least 2."""
    labels, _ = ndimage.label(lines, structure=np.ones((3, 3)))
    lines_of_points = []
    for number, window in enumerate(ndimage.find_objects(labels), 1):
        points = np.argwhere(labels[window] == number) + [window[0].start, window[1].start]
        if len(points) >= 2:
            lines_of_points.append(_in_order(points)[:, ::-1].astype(np.float64))
    return lines_of_points


def _in_order(points: np.ndarray) -> np.ndarray:
    """Points of a thin line (P, 2) from one end to the other; a ring starts anywhere."""
    remaining = {(int(y), int(x)) for y, x in points}

    def neighbours(point: tuple[int, int]) -> list[tuple[int, int]]:
        """Points next to it; those that share a side first, so that no corner is cut."""
        y, x = point
        near = [
            (y + dy, x + dx)
            for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        return [other for other in near if other in remaining]

    here = next(
        (point for point in sorted(remaining) if len(neighbours(point)) == 1), min(remaining)
    )
    line = [here]
    remaining.remove(here)
    while following := neighbours(here):
        here = following[0]
        line.append(here)
        remaining.remove(here)
    return np.array(line)


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a piece: where it is and the unit vector that points out of the piece."""

    piece: int
    last: bool
    at: np.ndarray
    outward: np.ndarray


def joined(
    lines: list[np.ndarray], gap: float, degrees: float, reach: float
) -> list[list[np.ndarray]]:
    """Pieces that go on in each other, as chains of lines (P, 2) in order and turned to follow one
    another.

    gap: largest distance of two ends, in pixels. degrees: largest angle between an end's direction
    and the way to the other end, and between the directions of both ends. reach: length of a piece,
    in pixels, that its direction is measured on. All pairs compete, best first; an end is joined
    once, and no chain becomes a ring.
    """
    ends = [
        _end(lines, number, last, reach) for number in range(len(lines)) for last in (False, True)
    ]
    pairs = _pairs(ends, gap, np.deg2rad(degrees), reach)
    partner: dict[int, int] = {}
    chain_of = list(range(len(lines)))
    for _, first, second in sorted(pairs):
        # chains are a union-find forest: equal roots would close a ring
        chain, other = _root(chain_of, ends[first].piece), _root(chain_of, ends[second].piece)
        if first not in partner and second not in partner and chain != other:
            partner |= {first: second, second: first}
            chain_of[chain] = other
    return _chains(lines, partner)


def _end(lines: list[np.ndarray], number: int, last: bool, reach: float) -> _End:
    """The first or last end of a line; its direction is the first principal axis near the end."""
    line = lines[number][::-1] if last else lines[number]
    back = line[np.linalg.norm(line - line[0], axis=1) <= reach]
    centred = back - back.mean(0)
    direction = (
        np.linalg.svd(centred, full_matrices=False)[2][0] if len(back) > 2 else line[0] - line[-1]
    )
    direction = direction * (1 if direction @ (back[0] - back[-1]) >= 0 else -1)
    return _End(number, last, line[0], direction / max(float(np.linalg.norm(direction)), 1e-9))


def _pairs(
    ends: list[_End], gap: float, largest: float, reach: float
) -> list[tuple[float, int, int]]:
    """Pairs of ends that could go on in each other: (cost of bend and distance, end, end)."""
    if len(ends) < 2:
        return []
    pairs = []
    for first, second in KDTree([end.at for end in ends]).query_pairs(gap):
        line_end, other = ends[first], ends[second]
        way = other.at - line_end.at
        distance = float(np.linalg.norm(way))
        bend = _angle(line_end.outward, -other.outward)
        # The way between two ends close to each other says little: their skeletons bend into the
        # junction.
        sure = min(1.0, distance / reach)
        swerve = (
            sure * max(_angle(line_end.outward, way), _angle(-other.outward, way))
            if distance
            else 0.0
        )
        if line_end.piece != other.piece and bend <= largest and swerve <= largest:
            pairs.append(((bend + swerve) / largest + distance / gap, first, second))
    return pairs


def _angle(vector: np.ndarray, other: np.ndarray) -> float:
    size = float(np.linalg.norm(vector) * np.linalg.norm(other))
    return float(np.arccos(np.clip(vector @ other / max(size, 1e-9), -1, 1)))


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        number = parents[number]
    return number


def _chains(lines: list[np.ndarray], partner: dict[int, int]) -> list[list[np.ndarray]]:
    """Walk from each end that is joined to nothing.

    End 2n is the beginning of line n, 2n + 1 its end.
    """
    chains: list[list[np.ndarray]] = []
    done: set[int] = set()
    for start in range(2 * len(lines)):
        if start in partner or start // 2 in done:
            continue
        chain: list[np.ndarray] = []
        here = start
        while True:
            number, reverse = divmod(here, 2)
            done.add(number)
            chain.append(lines[number][::-1] if reverse else lines[number])
            leaving = here ^ 1
            if leaving not in partner:
                break
            here = partner[leaving]
        chains.append(chain)
    return chains
