"""One object from the pieces that overlapping tiles saw of it.

Two pieces of neighbouring tiles belong to one object if they agree where both tiles looked. So each
piece is cut to the overlap of the two tiles and taken apart into connected parts; parts of one
class are paired best first, each with one other, where their IoU is at least AGREEMENT. Links hold
over any number of tiles. Hence

- two tubes that cross do not become one: in the overlap a tube agrees with itself better than with
the other one;
- a tube that leaves a tile and comes back is one object, though the tile saw two: each of its ends
has its pair.

An object's pixels are decided by the tile in whose middle they lie (its core), if that tile saw the
object. An object that only pieces at tile borders speak for is dropped if another tile had all of
it in view and did not find it, or found something fuller there: that tile saw more of it. A piece
that no border cuts stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from segue.structures.detections import Detections
from segue.structures.regions import Region, Window, intersection, is_empty, overlap, union

AGREEMENT = 0.5
# A part must be this much of what one of the two pieces has in the overlap: specks do not link
# objects.
LEAST_PART = 0.1
# As near as this share of its side to a tile's border, a mask is taken as cut: coarse masks end
# early.
NEAR_BORDER = 1 / 64
TOUCHING = np.ones((3, 3), dtype=int)  # pixels that meet at a corner are connected


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile's window, its core (the cores of all tiles part the image), and the image's height and
    width.
    """

    window: Window
    core: Window
    size: tuple[int, int]

    def cuts(self, region: Region) -> bool:
        """Whether a region ends at a border of the tile that is none of the image."""
        near = max(
            2.0, NEAR_BORDER * min(self.window[2] - self.window[0], self.window[3] - self.window[1])
        )
        height, width = self.size
        x0, y0, x1, y1 = region.window
        left, top, right, bottom = self.window
        return (
            (left > 0 and x0 - left < near)
            or (top > 0 and y0 - top < near)
            or (right < width and right - x1 < near)
            or (bottom < height and bottom - y1 < near)
        )

    def sees(self, region: Region) -> bool:
        """Whether all of a region lies in the tile."""
        return intersection(self.window, region.window) == region.window


@dataclass(frozen=True, slots=True)
class _Piece:
    tile: int
    index: int  # among the tile's detections
    label: int
    region: Region


@dataclass(frozen=True, slots=True)
class _Part:
    """A connected part of a piece in an overlap; share: of the piece's pixels there."""

    piece: int
    region: Region
    area: int
    share: float


@dataclass(frozen=True, slots=True)
class _Whole:
    box_xyxy: list[float]
    score: float
    label: int
    region: Region


def join(tiles: list[Tile], found: list[Detections]) -> Detections:
    """The objects of an image from those of its tiles (at the image's coordinates), best score
    first.

    Scores are averaged over an object's pieces, weighted by area. Models without masks are joined
    by their boxes.
    """
    pieces = [
        _Piece(number, i, int(detections.labels[i]), region)
        for number, detections in enumerate(found)
        for i in range(len(detections))
        if (region := detections.region(i)).area
    ]
    groups = [[pieces[i] for i in group] for group in _groups(len(pieces), _links(tiles, pieces))]
    objects = [_whole(tiles, found, group) for group in groups if not _doubtful(tiles, group)]
    objects = sorted((one for one in objects if one.region.area), key=lambda one: -one.score)
    return Detections(
        torch.tensor([one.box_xyxy for one in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([one.score for one in objects], dtype=torch.float32),
        torch.tensor([one.label for one in objects], dtype=torch.int64),
        found[0].class_names,
        tiles[0].size,
        regions=tuple(one.region for one in objects) if found[0].has_masks else None,
    )


def _links(tiles: list[Tile], pieces: list[_Piece]) -> list[tuple[int, int]]:
    """Pairs of pieces that are one object."""
    links = []
    for a, b in combinations(range(len(tiles)), 2):
        common = intersection(tiles[a].window, tiles[b].window)
        if not is_empty(common):
            of_a, of_b = (_parts(pieces, tile, common) for tile in (a, b))
            links += _agreeing(of_a, of_b, [piece.label for piece in pieces])
    return links


def _parts(pieces: list[_Piece], tile: int, common: Window) -> list[_Part]:
    """What a tile's pieces have within the overlap with another tile, in connected parts."""
    parts = []
    for number, piece in enumerate(pieces):
        seen = intersection(piece.region.window, common)
        if piece.tile != tile or is_empty(seen):
            continue
        bits = piece.region.within(seen)
        numbered, _ = ndimage.label(bits, TOUCHING)
        total = int(bits.sum())
        for i, box in enumerate(ndimage.find_objects(numbered), 1):
            region = Region.of(numbered[box] == i, seen[0] + box[1].start, seen[1] + box[0].start)
            parts.append(_Part(number, region, region.area, region.area / total))
    return parts


def _agreeing(of_a: list[_Part], of_b: list[_Part], labels: list[int]) -> list[tuple[int, int]]:
    """Pairs of pieces whose parts agree; each part is in one pair at most, and better pairs come
    first.
    """
    agreements = []
    for i, a in enumerate(of_a):
        for j, b in enumerate(of_b):
            if labels[a.piece] != labels[b.piece] or max(a.share, b.share) < LEAST_PART:
                continue
            if min(a.area, b.area) < AGREEMENT * max(a.area, b.area):  # no IoU can reach it
                continue
            shared = overlap(a.region, b.region)
            iou = shared / (a.area + b.area - shared)
            if iou >= AGREEMENT:
                agreements.append((-iou, i, j))
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    links = []
    for _, i, j in sorted(agreements):
        if i not in taken_a and j not in taken_b:
            taken_a.add(i)
            taken_b.add(j)
            links.append((of_a[i].piece, of_b[j].piece))
    return links


def _groups(count: int, links: list[tuple[int, int]]) -> list[list[int]]:
    """Numbers 0..count-1 in groups that links hold together."""
    if not count:
        return []
    ends = np.array(links, dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    _, group_of = connected_components(graph, directed=False)
    groups: list[list[int]] = [[] for _ in range(int(group_of.max()) + 1)]
    for number, group in enumerate(group_of.tolist()):
        groups[group].append(number)
    return groups


def _doubtful(tiles: list[Tile], group: list[_Piece]) -> bool:
    """Whether only pieces at tile borders speak for an object, and a tile that had all of it in
    view does not.
    """
    if not all(tiles[piece.tile].cuts(piece.region) for piece in group):
        return False
    speaking = {piece.tile for piece in group}
    silent = [tile for number, tile in enumerate(tiles) if number not in speaking]
    return any(
        all(tile.sees(piece.region) and not tile.cuts(piece.region) for piece in group)
        for tile in silent
    )


def _whole(tiles: list[Tile], found: list[Detections], group: list[_Piece]) -> _Whole:
    """The object that a group of pieces is."""
    cores = {piece.tile: tiles[piece.tile].core for piece in group}
    kept = []
    for piece in group:
        bits, window = piece.region.bits, piece.region.window
        for tile, core in cores.items():
            common = intersection(core, window)
            if tile != piece.tile and not is_empty(common):
                x0, y0, x1, y1 = common
                bits[y0 - window[1] : y1 - window[1], x0 - window[0] : x1 - window[0]] = False
        kept.append(Region.of(bits, *window[:2]))
    boxes = torch.stack([found[piece.tile].boxes_xyxy[piece.index] for piece in group])
    scores = torch.stack([found[piece.tile].scores[piece.index] for piece in group]).double()
    areas = torch.tensor([piece.region.area for piece in group], dtype=torch.float64)
    box_xyxy = [*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist()]
    return _Whole(
        box_xyxy, float((scores * areas).sum() / areas.sum()), group[0].label, union(kept)
    )
