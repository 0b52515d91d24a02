"""What every annotation format must settle: whether a shape is one, which box it has, which size
its image has.

Numbers of annotation files are checked here, before any C code sees them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np

from segue.base import parsing
from segue.data.images.image_error import ImageError
from segue.data.images.image_io import MOST_PIXELS, size
from segue.data.problems import Place, Problem
from segue.data.records import Annotation, Record
from segue.structures.masks import Mask, Polygon, Rle, coco_rle

MOST_POINTS = 50_000
LARGEST = 1e15
UNREADABLE = "unreadable annotations"
NOT_A_NUMBER = "number that is none"
ROUND = np.linspace(0, 2 * np.pi, 64, endpoint=False)


class BadAnnotation(Exception):
    """An object that cannot be used, and about which nothing can be guessed.

    kind: a row of KINDS.
    """

    def __init__(self, kind: str, found: str, expected: str) -> None:
        super().__init__(kind, found, expected)
        self.kind, self.found, self.expected = kind, found, expected

    def at(self, place: Place) -> Problem:
        return Problem(self.kind, place, self.found, self.expected)


@dataclass(frozen=True, slots=True)
class Shape:
    """One drawn shape: a mask, or else a box alone.

    Shapes of one group and class are one object. place: for problems that show only when its box
    is cut at the edges of the image.
    """

    class_name: str
    mask: Mask | None
    place: Place
    box_xyxy: tuple[float, float, float, float] | None = None
    group: str = ""
    source: str = "manual"


def record(path: Path, number: int, problems: list[Problem]) -> Record | None:
    """An image whose annotations do not say its size; None, with a problem, if its header does not
    either.
    """
    try:
        height_width = size(path)
    except ImageError as error:
        problems.append(error.problem())
        return None
    if believable(*height_width) is None:
        sides = f"{height_width[1]} x {height_width[0]} pixels"
        problems.append(Problem("impossible size", Place(str(path)), sides, f"1 to {MOST_PIXELS}"))
        return None
    return Record(path, *height_width, number)


def numbers(values: Any, what: str, count: int | None = None) -> list[float]:
    """Finite numbers, `count` of them if given.

    Raises:
        BadAnnotation: if they are anything else; what: how its text calls them.
    """
    listed = isinstance(values, list) and all(type(v) in (int, float) for v in values)
    if not listed or (count is not None and len(values) != count):
        raise BadAnnotation(
            NOT_A_NUMBER, f"{what} {str(values)[:60]}", f"{count or 'a list of'} numbers"
        )
    # false for NaN, and no overflow for 400 digits
    if not all(-LARGEST < v < LARGEST for v in values):
        raise BadAnnotation(
            NOT_A_NUMBER, f"{what} {values[:8]} holds NaN or infinity", "finite numbers"
        )
    return values


def believable(height: Any, width: Any) -> tuple[int, int] | None:
    """The sides of an image, if they are those of one that may be decoded: C code draws masks of
    this size.
    """
    whole = type(height) is int and type(width) is int and min(height, width) > 0
    return (height, width) if whole and height * width <= MOST_PIXELS else None


def ring(points: np.ndarray, image: Record) -> np.ndarray | None:
    """Points (V, 2) as a ring of a polygon; None if it has no area.

    Raises:
        BadAnnotation: if there are too many points, or they are far from the image.
    """
    if len(points) > MOST_POINTS:
        raise BadAnnotation(
            "polygon that is none", f"polygon of {len(points)} points", f"at most {MOST_POINTS}"
        )
    if not np.isfinite(points).all():
        raise BadAnnotation(NOT_A_NUMBER, "polygon with NaN or infinity", "finite numbers")
    if np.abs(points).max(initial=0) > 4 * max(image.height, image.width):
        raise BadAnnotation(
            "coordinates far outside",
            f"polygon reaching {np.abs(points).max():.3g} px",
            "points in or near the image",
        )
    return None if len(points) < 3 or np.ptp(points, axis=0).min() == 0 else points


def polygon(points: np.ndarray, image: Record) -> Polygon:
    """One ring (V, 2) as a mask.

    Raises:
        BadAnnotation: if it has no area, or `ring` refuses it.
    """
    outline = ring(points, image)
    if outline is None:
        raise BadAnnotation(
            "polygon that is none",
            f"polygon of {len(points)} points without area",
            "at least three points around an area",
        )
    return Polygon((outline,))


def box(points: np.ndarray, image: Record) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 between two opposite corners, or around all corners of a rectangle (V, 2).

    Raises:
        BadAnnotation: if it has no area, or `ring` refuses its corners.
    """
    if len(points) not in (2, 4):
        raise BadAnnotation(
            "shape that is none", f"rectangle of {len(points)} points", "two corners"
        )
    (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
    polygon(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), image)
    return x0, y0, x1, y1


def ellipse(values: list[float], turned: float, image: Record) -> Polygon:
    """An ellipse as a polygon of 64 points.

    values: centre x, y and radii along x, y, in pixels; turned: radians, clockwise.

    Raises:
        BadAnnotation: if a radius is not above 0, or `polygon` refuses the outline.
    """
    x, y, along_x, along_y = values
    if along_x <= 0 or along_y <= 0:
        raise BadAnnotation(NOT_A_NUMBER, f"radii {along_x:g}, {along_y:g}", "numbers above 0")
    across = np.stack([np.cos(ROUND) * along_x, np.sin(ROUND) * along_y], 1)
    turn = np.array([[np.cos(turned), np.sin(turned)], [-np.sin(turned), np.cos(turned)]])
    return polygon(across @ turn + (x, y), image)


def clipped(
    box: tuple[float, float, float, float], image: Record, place: Place, problems: list[Problem]
) -> tuple[float, float, float, float] | None:
    """The part of a box inside the image; None, with a problem, if there is none."""
    inside = (
        max(box[0], 0.0),
        max(box[1], 0.0),
        min(box[2], image.width),
        min(box[3], image.height),
    )
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        flat = box[2] <= box[0] or box[3] <= box[1]
        kind = "box without area" if flat else "box outside the image"
        problems.append(Problem(kind, place, f"box {list(box)} has no area inside the image"))
        return None
    if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > 1:
        reaching = f"box {list(box)} reaches out of the image; clipped"
        problems.append(Problem("box partly outside", place, reaching))
    return inside


def with_shapes(image: Record, shapes: Iterable[Shape], problems: list[Problem]) -> Record:
    """The image with its shapes as objects; shapes of one group and class, if all have masks, are
    one object.
    """
    together: dict[tuple[str, str], list[Shape]] = {}
    for number, shape in enumerate(shapes):
        alone = not shape.group or shape.mask is None
        together.setdefault(
            (shape.class_name, f"alone {number}" if alone else shape.group), []
        ).append(shape)
    objects = []
    for number, parts in enumerate(together.values(), 1):
        first = parts[0]
        mask = _united([part.mask for part in parts if part.mask is not None], image)
        box = first.box_xyxy if mask is None else mask_box(mask, image)
        inside = clipped(box, image, first.place, problems) if box else None
        if inside is not None:
            objects.append(
                Annotation(inside, first.class_name, mask, id=number, source=first.source)
            )
    return replace(image, annotations=tuple(objects))


def _united(masks: list[Mask], image: Record) -> Mask | None:
    if len(masks) < 2:
        return masks[0] if masks else None
    if all(isinstance(mask, Polygon) for mask in masks):
        return Polygon(
            tuple(ring for mask in masks if isinstance(mask, Polygon) for ring in mask.rings)
        )
    rles = [coco_rle(mask, image.height, image.width) for mask in masks]
    return Rle(image.height, image.width, coco_mask.merge(rles)["counts"])


def mask_box(mask: Mask, image: Record) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around a mask's pixels."""
    x, y, w, h = (float(v) for v in coco_mask.to_bbox(coco_rle(mask, image.height, image.width)))
    return x, y, x + w, y + h


def skipped(path: Path, kinds: Mapping[str, int]) -> list[Problem]:
    """What was left out because it has no area, as a note."""
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    return (
        [
            Problem(
                "shape without area",
                Place(str(path)),
                f"shapes without area are left out: {listed}",
            )
        ]
        if listed
        else []
    )


def categories(records: Iterable[Record]) -> dict[str, int]:
    """Ids from 1 for the class names of formats that have none, in alphabetical order."""
    names = {annotation.class_name for record in records for annotation in record.annotations}
    return {name: number for number, name in enumerate(sorted(names), 1)}


def head(path: Path, count: int = 65_536) -> bytes:
    """The first bytes of a file, to see what it is; none if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def read_json(path: Path, expected: str, problems: list[Problem]) -> Any:
    """The content of a JSON file; None, with a problem, if it cannot be read."""
    try:
        return parsing.read_json(path)
    except FileNotFoundError:
        problems.append(Problem(UNREADABLE, Place(str(path)), "no such file", expected))
    except (OSError, ValueError) as error:
        # json has no class of its own for this
        two = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        kind = "two JSON texts in one file" if two else UNREADABLE
        problems.append(
            Problem(kind, Place(str(path)), f"not readable as JSON ({error})", expected)
        )
    return None
