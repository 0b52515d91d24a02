"""Outlines and boxes of all objects at once: what they measure, and what is wrong with them. Numpy
alone.

Numbers have passed the format's checks before: they are finite and near the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from segue.data.problems import Place, Problem
from segue.data.records import Annotation, Record, Split
from segue.structures.masks import Polygon, Rle

PAIRS_AT_ONCE = 4_000_000
MOST_PAIRS = 30_000_000  # of edges of one outline that are compared: more are too tangled
OwnedObject = tuple[Split, Record, Annotation]


@dataclass(frozen=True, slots=True)
class Rings:
    """All polygons' rings end to end.

    points (P, 2); starts (R,) into points; owner (R,) into objects.
    """

    points: np.ndarray
    starts: np.ndarray
    owner: np.ndarray
    objects: list[OwnedObject]

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.starts, append=len(self.points))

    @property
    def following(self) -> np.ndarray:
        """The index of the point after each, around its ring."""
        after = np.arange(1, len(self.points) + 1)
        after[self.starts + self.lengths - 1] = self.starts
        return after

    def bounds(self) -> np.ndarray:
        """x0, y0, x1, y1 around each object's rings (N, 4); NaN for an object without any."""
        out = np.full((len(self.objects), 4), np.nan)
        if len(self.starts):
            np.fmin.at(out[:, :2], self.owner, np.minimum.reduceat(self.points, self.starts))
            np.fmax.at(out[:, 2:], self.owner, np.maximum.reduceat(self.points, self.starts))
        return out

    def areas(self) -> np.ndarray:
        """The sum of the areas of each object's rings (N,), in pixels."""
        out = np.zeros(len(self.objects))
        if len(self.starts):
            here, after = self.points, self.points[self.following]
            twice = np.add.reduceat(
                here[:, 0] * after[:, 1] - here[:, 1] * after[:, 0], self.starts
            )
            np.add.at(out, self.owner, np.abs(twice) / 2)
        return out


def rings(splits: dict[str, Split]) -> Rings:
    """Every object of a data set, with the outlines of those that have any."""
    objects = [
        (split, record, a)
        for split in splits.values()
        for record in split.records
        for a in record.annotations
    ]
    parts = [np.zeros((0, 2))]
    owner: list[int] = []
    for number, (_, _, annotation) in enumerate(objects):
        if isinstance(annotation.mask, Polygon):
            parts += annotation.mask.rings
            owner += [number] * len(annotation.mask.rings)
    starts = np.cumsum([len(part) for part in parts])[:-1] if owner else np.zeros(0)
    return Rings(
        np.concatenate(parts), starts.astype(np.int64), np.array(owner, dtype=np.int64), objects
    )


def crossing(outlines: Rings) -> tuple[np.ndarray, np.ndarray]:
    """Which rings cross themselves, and which are too tangled to tell, each bool (R,).

    Edges that touch or lie on each other do not cross. Edges are sorted by where they begin along
    x, all rings side by side, and each is compared with those that begin before it ends.
    """
    count = len(outlines.starts)
    crosses, tangled = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    if not count:
        return crosses, tangled
    ring = np.repeat(np.arange(count), outlines.lengths)
    a, b = outlines.points, outlines.points[outlines.following]
    aside = ring * (np.ptp(outlines.points[:, 0]) + 1)
    begins, ends = np.minimum(a[:, 0], b[:, 0]) + aside, np.maximum(a[:, 0], b[:, 0]) + aside
    order = np.argsort(begins, kind="stable")
    partners = np.searchsorted(begins[order], ends[order], side="right") - np.arange(len(order)) - 1
    tangled = np.bincount(ring[order], weights=partners, minlength=count) > MOST_PAIRS
    partners[tangled[ring[order]]] = 0
    for first, second in _pairs(partners):
        left, right = order[first], order[second]
        size = outlines.lengths[ring[left]]
        apart = np.abs(left - right)
        candidates = (apart != 1) & (apart != size - 1)
        low, high = np.minimum(a[:, 1], b[:, 1]), np.maximum(a[:, 1], b[:, 1])
        candidates &= (low[left] < high[right]) & (low[right] < high[left])
        left, right = left[candidates], right[candidates]
        opposite = _turn(a[left], b[left], a[right]) * _turn(a[left], b[left], b[right]) < 0
        opposite &= _turn(a[right], b[right], a[left]) * _turn(a[right], b[right], b[left]) < 0
        crosses[ring[left[opposite]]] = True
    return crosses, tangled


def _pairs(partners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of first and second edge, where each edge is compared with so many behind it; a
    part at a time.
    """
    total = np.cumsum(partners)
    begin = 0
    while begin < len(partners):
        before = int(total[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(total, before + PAIRS_AT_ONCE, side="right")), begin + 1)
        numbers = partners[begin:end]
        first = np.repeat(np.arange(begin, end), numbers)
        within = np.arange(len(first)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        yield first, first + 1 + within
        begin = end


def _turn(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    """On which side of the line from start to end a point lies, all (P, 2): the sign of (P,)."""
    along, off = end - start, point - start
    return np.sign(along[:, 0] * off[:, 1] - along[:, 1] * off[:, 0])


def tangles(outlines: Rings) -> list[Problem]:
    """Polygons that cross themselves."""
    crosses, tangled = crossing(outlines)
    by_object: dict[int, list[int]] = {}
    for ring in np.flatnonzero(crosses | tangled):
        by_object.setdefault(int(outlines.owner[ring]), []).append(int(ring))
    lengths = outlines.lengths
    problems: list[Problem] = []
    for number, mine in by_object.items():
        sizes = ", ".join(str(lengths[ring]) for ring in mine[:3])
        more = ", too tangled to follow" if tangled[mine].any() else ""
        problems.append(
            _of(
                "polygon that crosses itself",
                outlines.objects[number],
                f"outline of {sizes} points{more}",
            )
        )
    return problems


def without_masks(outlines: Rings) -> list[Problem]:
    """Boxes without a mask, in splits where others have one."""
    with_masks = {
        split.name for split, _, annotation in outlines.objects if annotation.mask is not None
    }
    return [
        _of("box without a mask", owned, "no mask, but others of this split have one")
        for owned in outlines.objects
        if owned[0].name in with_masks and owned[2].mask is None and not owned[2].crowd
    ]


def twice(outlines: Rings) -> list[Problem]:
    """Objects that are in an image a second time: same class, same box, same mask."""
    seen: dict[tuple[Any, ...], Annotation] = {}
    problems = []
    for split, record, annotation in outlines.objects:
        mask = annotation.mask
        if isinstance(mask, Polygon):
            outline: object = tuple(ring.tobytes() for ring in mask.rings)
        else:
            outline = mask.counts if isinstance(mask, Rle) else None
        box = tuple(round(edge, 2) for edge in annotation.box_xyxy)
        first = seen.setdefault(
            (split.name, record.image, annotation.class_name, box, outline), annotation
        )
        if first is not annotation:
            problems.append(
                _of(
                    "object twice",
                    (split, record, annotation),
                    f"the same as annotation {first.id}",
                )
            )
    return problems


def _of(kind: str, owned: OwnedObject, finding: str) -> Problem:
    split, record, annotation = owned
    place = Place(
        str(split.source),
        image_id=record.id,
        annotation_id=annotation.id,
        image=str(record.image),
    )
    return Problem(kind, place, finding, split=split.name)
