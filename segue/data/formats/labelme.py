"""LabelMe: a JSON file for each image, next to it or in a folder of its own; with train/, valid/,
test/ or without.

Polygons, circles and masks are masks, rectangles boxes; points, lines and strips have no area and
are left out. Shapes of one `group_id` and label are one object.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segue.data.formats import SplitSource, _shapes, parts
from segue.data.formats._image_files import ImageFinder
from segue.data.formats._shapes import BadAnnotation, Shape, numbers
from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.problems import Place, Problem
from segue.data.records import Record, Split
from segue.structures.masks import Mask, encoded

BAD_SHAPE = "shape that is none"
WITHOUT_AREA = ("point", "points", "line", "linestrip", "lines")
LOOKED_AT = 20  # files of a folder, to see whether it is LabelMe's


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`, or the folder (or one file) as a whole; empty if it is not
    LabelMe's.
    """
    return parts(root, _annotations)


def _annotations(place: Path) -> Path | None:
    files = [place] if place.is_file() else sorted(place.glob("*.json"))[:LOOKED_AT]
    return place if any(_looks_like_labelme(path) for path in files) else None


def _looks_like_labelme(path: Path) -> bool:
    head = _shapes.head(path)
    return path.suffix == ".json" and b'"shapes"' in head and b'"images"' not in head


def read(source: SplitSource, name: str) -> Split:
    """Records of all JSON files of a folder, or of one.

    An image without such a file is not in the data.
    """
    split = Split(name, source.annotations, [], {})
    finder = ImageFinder(source.image_folders)
    files = (
        [source.annotations]
        if source.annotations.is_file()
        else sorted(source.annotations.glob("*.json"))
    )
    skipped: Counter[str] = Counter()
    seen: dict[Path, Path] = {}
    for path in files:
        content = _shapes.read_json(path, "a LabelMe file", split.problems)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            if content is not None:
                split.problems.append(
                    Problem("missing list", Place(str(path)), "no list shapes", "a LabelMe file")
                )
            continue
        record = _record(path, content, finder, len(split.records) + 1, split.problems)
        if record is not None and seen.setdefault(record.image, path) != path:
            second = f"a second file for {record.image.name}"
            expected = f"one (the first is {seen[record.image].name})"
            split.problems.append(Problem("image name twice", Place(str(path)), second, expected))
        elif record is not None:
            shapes = [
                _shape(entry, record, path, number, split, skipped)
                for number, entry in enumerate(content["shapes"])
            ]
            split.records.append(_shapes.with_shapes(record, filter(None, shapes), split.problems))
    split.files = tuple(files)
    split.categories = _shapes.categories(split.records)
    split.problems += _shapes.skipped(source.annotations, skipped)
    return split


def _record(
    path: Path, content: dict[str, Any], finder: ImageFinder, number: int, problems: list[Problem]
) -> Record | None:
    """The image of a file, by its imagePath or else by the file's own name."""
    written = content.get("imagePath")
    named = [path.stem + suffix for suffix in sorted(image_io.SUFFIXES)]
    candidates = [written, *named] if isinstance(written, str) and written else named
    image = next((image for image in map(finder.find, candidates) if image), None)
    if image is None:
        place = Place(str(path), name=str(written))
        missing = f"no image {str(written)[:80]}"
        problems.append(Problem("missing image", place, missing, f"it next to {path.name}"))
        return None
    size = _shapes.believable(content.get("imageHeight"), content.get("imageWidth"))
    if size is None:
        try:
            size = image_io.size(image)
        except ImageError as error:
            problems.append(error.problem())
            return None
    return Record(image, *size, number)


def _shape(
    entry: Any, image: Record, path: Path, number: int, split: Split, skipped: Counter[str]
) -> Shape | None:
    """One entry of `shapes`, the `number`th from 0; None, with a problem or counted as skipped, if
    it cannot be an object.
    """
    item = f"shape {number}"
    place = Place(str(path), item, annotation_id=item, image=str(image.image))
    try:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("label"), str)
            or not entry["label"].strip()
        ):
            raise BadAnnotation("unknown category", "no label", "a shape with a label")
        place = replace(place, item=f"{item} ({entry['label']})")
        kind = entry.get("shape_type") or "polygon"
        if kind in WITHOUT_AREA:
            skipped[kind] += 1
            return None
        listed = entry.get("points")
        if not isinstance(listed, list):
            raise BadAnnotation(
                "polygon that is none", f"points of type {type(listed).__name__}", "a list of x, y"
            )
        points = np.array(
            [numbers(point, "point", 2) for point in listed], dtype=np.float64
        ).reshape(-1, 2)
        group = "" if entry.get("group_id") is None else str(entry["group_id"])
        if kind == "rectangle":
            box = _shapes.box(points, image)
            return Shape(entry["label"], None, place, box, group)
        mask = _mask(kind, points, entry, image)
        return Shape(entry["label"], mask, place, group=group)
    except BadAnnotation as error:
        split.problems.append(error.at(place))
        return None


def _mask(kind: object, points: np.ndarray, entry: dict[str, Any], image: Record) -> Mask:
    if kind == "polygon":
        return _shapes.polygon(points, image)
    if kind in ("circle", "mask") and len(points) != 2:
        raise BadAnnotation(BAD_SHAPE, f"{kind} of {len(points)} points", "two")
    if kind == "circle":  # its centre and a point on it
        radius = math.dist(*points)
        return _shapes.ellipse([*points[0], radius, radius], 0.0, image)
    if kind == "mask":
        return _bitmap(points, entry.get("mask"), image)
    raise BadAnnotation(
        BAD_SHAPE, f"shape_type {str(kind)[:40]!r}", "polygon, rectangle, circle or mask"
    )


def _bitmap(points: np.ndarray, text: object, image: Record) -> Mask:
    """A PNG in base64 that fills the rectangle between two points, both included."""
    _shapes.box(points, image)
    (x, y), (right, bottom) = np.rint(points.min(0)).astype(int), np.rint(points.max(0)).astype(int)
    if x < 0 or y < 0 or right >= image.width or bottom >= image.height:
        raise BadAnnotation("RLE that is none", "mask that reaches out of the image", "one inside")
    try:
        with Image.open(
            io.BytesIO(base64.b64decode(str(text), validate=True)), formats=image_io.FORMATS
        ) as picture:
            if picture.size != (right - x + 1, bottom - y + 1):
                raise BadAnnotation(
                    "RLE that is none",
                    f"mask of {picture.size[0]} x {picture.size[1]} pixels",
                    "as its two points say",
                )
            bits = np.array(picture.convert("L")) > 0
    except (binascii.Error, *image_io.UNREADABLE, Image.DecompressionBombError):
        raise BadAnnotation(
            "RLE that is none", "mask that is no picture", "a PNG in base64"
        ) from None
    return encoded(bits, x, y, image.height, image.width)
