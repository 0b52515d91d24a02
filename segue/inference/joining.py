"""One object from the pieces that overlapping tiles saw of it.

Sliced inference (SAHI, arXiv 2202.06934) suppresses duplicates by the IoU of whole boxes or masks,
which fails for an object longer than a tile: its pieces hardly overlap. Here two pieces of
neighbouring tiles belong to one object if they agree where both tiles looked. Each piece is cut to
the overlap of the two tiles and taken apart into connected fragments; fragments of one class are
paired best first, each with one other, where their IoU is at least AGREEMENT. Links hold over any
number of tiles. Hence

- two tubes that cross do not become one: in the overlap a tube agrees with itself better than with
  the other one;
- a tube that leaves a tile and comes back is one object, though the tile saw two: each of its ends
  has its pair.

An object's pixels are decided by the tile in whose middle they lie (its core), if that tile saw the
object. An object that is known only from pieces cut by tile borders is dropped if another tile had
all of it in view and did not detect it, or detected something fuller there: that tile saw more of
it. A piece that no border cuts stays.
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

AGREEMENT = 0.5  # IoU
# A fragment must be this share of what one of the two pieces has in the overlap: specks do not link
# objects.
LEAST_FRAGMENT = 0.1
# A mask that ends within this share of a tile's shorter side from the border counts as cut by it:
# masks of coarse cells end early.
NEAR_BORDER = 1 / 64
TOUCHING = np.ones((3, 3), dtype=int)  # pixels that meet at a corner are connected


@dataclass(frozen=True, slots=True)
class Tile:
    """window, core: x0, y0, x1, y1 in pixels of the image; the cores of all tiles divide the image
    among them. size: the image's height and width.
    """

    window: Window
    core: Window
    size: tuple[int, int]

    def cuts(self, region: Region) -> bool:
        """Whether a region ends at a border of the tile that is not a border of the image."""
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
    """A detection of one tile.

    tile: the tile's number. index: its position in the tile's detections.
    """

    tile: int
    index: int
    label: int
    region: Region


@dataclass(frozen=True, slots=True)
class _Fragment:
    """A connected fragment of a piece in the overlap of two tiles.

    piece: the piece's number. area: in pixels. share: of the piece's pixels in the overlap, 0..1.
    """

    piece: int
    region: Region
    area: int
    share: float


@dataclass(frozen=True, slots=True)
class _Object:
    """What linked pieces become; box_xyxy in pixels of the image."""

    box_xyxy: list[float]
    score: float
    label: int
    region: Region


def join(tiles: list[Tile], by_tile: list[Detections]) -> Detections:
    """The objects of an image from the detections of its tiles, best score first.

    by_tile: one Detections for each tile, at least one, in pixels of the image (`tiles.moved`).
    An object's score is the average over its pieces, weighted by area. Models without masks are
    joined by their boxes.
    """
    pieces = []
    for number, detections in enumerate(by_tile):
        for i in range(len(detections)):
            region = detections.region(i)
            if region.area:
                pieces.append(_Piece(number, i, int(detections.labels[i]), region))
    groups = [[pieces[i] for i in group] for group in _groups(len(pieces), _links(tiles, pieces))]
    objects = [_whole(tiles, by_tile, group) for group in groups if not _doubtful(tiles, group)]
    # Nothing is left of an object whose every pixel lies in the core of another tile.
    objects = sorted((o for o in objects if o.region.area), key=lambda o: -o.score)
    return Detections(
        torch.tensor([o.box_xyxy for o in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([o.score for o in objects], dtype=torch.float32),
        torch.tensor([o.label for o in objects], dtype=torch.int64),
        by_tile[0].class_names,
        tiles[0].size,
        regions=tuple(o.region for o in objects) if by_tile[0].has_masks else None,
    )


def _links(tiles: list[Tile], pieces: list[_Piece]) -> list[tuple[int, int]]:
    """Pairs of pieces, by number, that belong to one object."""
    links: list[tuple[int, int]] = []
    for a, b in combinations(range(len(tiles)), 2):
        common = intersection(tiles[a].window, tiles[b].window)
        if not is_empty(common):
            of_a, of_b = (_fragments(pieces, tile, common) for tile in (a, b))
            links += _agreeing(of_a, of_b, [piece.label for piece in pieces])
    return links


def _fragments(pieces: list[_Piece], tile: int, common: Window) -> list[_Fragment]:
    """The connected fragments of a tile's pieces within its overlap with another tile."""
    fragments = []
    for number, piece in enumerate(pieces):
        seen = intersection(piece.region.window, common)
        if piece.tile != tile or is_empty(seen):
            continue
        bits = piece.region.within(seen)
        numbered, _ = ndimage.label(bits, TOUCHING)
        total = int(bits.sum())
        # A piece that leaves the overlap and comes back has several fragments, each of which must
        # find its own partner; as one, neither would agree with what the other tile saw.
        for i, box in enumerate(ndimage.find_objects(numbered), 1):
            region = Region.of(numbered[box] == i, seen[0] + box[1].start, seen[1] + box[0].start)
            fragments.append(_Fragment(number, region, region.area, region.area / total))
    return fragments


def _agreeing(
    of_a: list[_Fragment], of_b: list[_Fragment], labels: list[int]
) -> list[tuple[int, int]]:
    """Pairs of pieces, by number, whose fragments agree: greedily, better pairs first, and each
    fragment in one pair at most.

    labels: of all pieces.
    """
    agreements = []
    for i, a in enumerate(of_a):
        for j, b in enumerate(of_b):
            if labels[a.piece] != labels[b.piece] or max(a.share, b.share) < LEAST_FRAGMENT:
                continue
            if min(a.area, b.area) < AGREEMENT * max(a.area, b.area):  # no IoU can reach it
                continue
            shared = overlap(a.region, b.region)
            iou = shared / (a.area + b.area - shared)
            if iou >= AGREEMENT:
                agreements.append((-iou, i, j))
    # Best first, so that where tubes cross each takes its own continuation before a worse one.
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
    """The numbers 0..count-1 in groups that links connect, over any number of steps."""
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
    """Whether an object is known only from pieces cut by tile borders, and a tile that had all of
    it in view did not detect it.
    """
    if not all(tiles[piece.tile].cuts(piece.region) for piece in group):
        return False
    detecting = {piece.tile for piece in group}
    for number, tile in enumerate(tiles):
        if number in detecting:
            continue
        if all(tile.sees(piece.region) and not tile.cuts(piece.region) for piece in group):
            return True
    return False


def _whole(tiles: list[Tile], by_tile: list[Detections], group: list[_Piece]) -> _Object:
    """The object that a group of pieces is."""
    # A pixel near a tile's border is seen with little of its surroundings, so the tile in whose
    # core it lies decides about it: each piece loses its pixels in the cores of the other tiles
    # that saw the object. Cores of tiles that did not see it take nothing away.
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
    # The box comes from the pieces' predicted boxes, not from the mask: a model without masks has
    # nothing else, and one box rule serves both.
    boxes = torch.stack([by_tile[piece.tile].boxes_xyxy[piece.index] for piece in group])
    box_xyxy = [*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist()]
    # By area: a sliver at a border says little about the score of the whole.
    scores = torch.stack([by_tile[piece.tile].scores[piece.index] for piece in group]).double()
    areas = torch.tensor([piece.region.area for piece in group], dtype=torch.float64)
    score = float((scores * areas).sum() / areas.sum())
    return _Object(box_xyxy, score, group[0].label, union(kept))
