"""Masks as COCO writes them: polygons, and run lengths plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np

from segue.data.formats import _shapes
from segue.data.formats._shapes import BadAnnotation, numbers
from segue.data.images.image_io import MOST_PIXELS
from segue.data.problems import Place, Problem
from segue.data.records import Record
from segue.structures.masks import Mask, Polygon, Rle

BAD_RLE = "RLE that is none"


def mask(segmentation: Any, image: Record, place: Place, problems: list[Problem]) -> Mask | None:
    """An object's mask; None where there is none or nothing of it can be drawn.

    Raises:
        BadAnnotation: if it is neither polygons nor run lengths of the image's size.
    """
    if segmentation is None or segmentation in ([], {}):
        return None
    if isinstance(segmentation, dict):
        return _rle(segmentation, image)
    if not isinstance(segmentation, list):
        raise BadAnnotation(
            "number that is none",
            f"segmentation of type {type(segmentation).__name__}",
            "polygons or run lengths",
        )
    # some tools write the only polygon of an object without the list around it
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    rings = []
    for polygon in polygons:
        values = numbers(polygon, "polygon")
        if len(values) % 2:
            raise BadAnnotation(
                "polygon that is none", f"polygon of {len(values)} numbers", "x, y pairs"
            )
        ring = _shapes.ring(np.asarray(values, dtype=np.float64).reshape(-1, 2), image)
        if ring is None:
            flat = f"polygon part of {len(values) // 2} points without area"
            problems.append(Problem("polygon without area", place, flat))
        else:
            rings.append(ring)
    return Polygon(tuple(rings)) if rings else None


def _rle(segmentation: dict[str, Any], image: Record) -> Rle:
    """Run lengths, compressed or not, of exactly this image's size."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [image.height, image.width]:
        raise BadAnnotation(
            "RLE bomb" if _is_bomb(size) else "RLE of another size",
            f"run lengths for size {size}",
            f"{[image.height, image.width]}, the image's",
        )
    if isinstance(counts, list):
        runs = numbers(counts, "run lengths")
    elif isinstance(counts, str) and counts.isascii():
        runs = list(_runs(counts))
    else:
        raise BadAnnotation(
            BAD_RLE, f"run lengths of type {type(counts).__name__}", "a list or a string"
        )
    if any(run < 0 or run != int(run) for run in runs) or sum(runs) != image.height * image.width:
        raise BadAnnotation(
            "RLE of a wrong sum",
            f"run lengths that cover {sum(runs)} pixels",
            f"{image.height * image.width}",
        )
    if isinstance(counts, list):
        counts = coco_mask.rle_to_string({"size": size, "counts": [int(run) for run in runs]})
    return Rle(image.height, image.width, counts.encode("ascii"))


def _is_bomb(size: Any) -> bool:
    """Whether a written size, were it believed, would take more memory than any image may."""
    sides = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
    return sides and size[0] * size[1] > MOST_PIXELS


def _runs(counts: str) -> Iterator[int]:
    """The run lengths in a compressed string: 5 bits a character from '0', difference to the last
    but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
        if not 0 <= bits < 64 or shift > 60:
            raise BadAnnotation(
                BAD_RLE, f"run lengths with the character {character!r}", "a compressed COCO string"
            )
    if shift:
        raise BadAnnotation(
            BAD_RLE, "run lengths that end in the middle of a number", "a compressed COCO string"
        )
    return iter(runs)
