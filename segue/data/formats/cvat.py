"""CVAT's XML 1.1 for images: one .xml file, alone or in train/, valid/, test/.

Polygons, masks and ellipses are masks, boxes boxes; points, lines, skeletons, cuboids and tags are
left out. Shapes of one `group_id` and label are one object. A shape that CVAT made by itself
(`source="auto"`) has the source model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from segue.data.formats import SplitSource, _shapes, _xml, only_file, parts
from segue.data.formats._image_files import ImageFinder
from segue.data.formats._shapes import BadAnnotation, Shape
from segue.data.problems import Place, Problem
from segue.data.records import Record, Split
from segue.structures.masks import Rle, encoded

DRAWN = ("polygon", "box", "mask", "ellipse")
BAD_RLE = "RLE that is none"
WITHOUT_AREA = ("polyline", "points", "skeleton", "cuboid", "tag")


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`, or the folder (or file) as a whole; empty if not CVAT's."""
    return parts(root, lambda place: only_file(place, _looks_like_cvat))


def _looks_like_cvat(path: Path) -> bool:
    return path.suffix == ".xml" and b"<annotations" in _shapes.head(path)


def read(source: SplitSource, name: str) -> Split:
    """Records of one file. Images are found, not opened."""
    split = Split(name, source.annotations, [], {})
    root = _xml.parsed(source.annotations, "a CVAT XML 1.1 file", split.problems)
    finder = ImageFinder(source.image_folders)
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    for number, element in enumerate(root.iter("image") if root is not None else (), 1):
        record = _record(element, number, finder, split)
        if record is None:
            continue
        if element.get("name", "") in seen:
            place = _place_of_image(split, number, element.get("name", ""))
            second = f"a second {element.get('name')}"
            split.problems.append(Problem("image name twice", place, second))
            continue
        seen.add(element.get("name", ""))
        shapes = [
            _shape(child, position, record, split, skipped)
            for position, child in enumerate(element, 1)
        ]
        split.records.append(_shapes.with_shapes(record, filter(None, shapes), split.problems))
    split.categories = _shapes.categories(split.records)
    split.problems += _shapes.skipped(source.annotations, skipped)
    return split


def _record(element: Element, number: int, finder: ImageFinder, split: Split) -> Record | None:
    name = element.get("name", "")
    place = _place_of_image(split, number, name)
    sides = [element.get(key, "") for key in ("height", "width")]
    size = _shapes.believable(
        *(int(side) if re.fullmatch("[0-9]{1,9}", side) else 0 for side in sides)
    )
    if size is None:
        written = f"height {sides[0]!r}, width {sides[1]!r} of {name}"
        split.problems.append(Problem("impossible size", place, written, "pixels"))
        return None
    path = finder.find(name) if name else None
    if path is None:
        expected = f"it in {split.source.parent} or images/"
        split.problems.append(Problem("missing image", place, f"no file {name}", expected))
        return None
    return Record(path, *size, number)


def _place_of_image(split: Split, number: int, name: str) -> Place:
    return Place(str(split.source), f"image {number}", image_id=number, name=name)


def _shape(
    element: Element, position: int, image: Record, split: Split, skipped: Counter[str]
) -> Shape | None:
    """One shape of an image; None, with a problem or counted as skipped, if it is no object."""
    place = Place(
        str(split.source),
        f"{image.image.name}: {element.tag} {position}",
        image_id=image.id,
        annotation_id=f"{element.tag} {position}",
        image=str(image.image),
    )
    if element.tag not in DRAWN:
        skipped[element.tag if element.tag in WITHOUT_AREA else "unknown"] += 1
        return None
    label = element.get("label", "")
    group, source = (
        element.get("group_id", "0"),
        "model" if element.get("source") == "auto" else "manual",
    )
    try:
        if not label.strip():
            raise BadAnnotation("unknown category", "no label", "a shape with a label")
        if element.tag == "box":
            corners = np.array([_numbers(element, "xtl", "ytl"), _numbers(element, "xbr", "ybr")])
            turned = math.radians(_numbers(element, "rotation")[0])
            box = _shapes.box(_turned(corners, turned), image)
            return Shape(label, None, place, box, "", source)
        mask = {"polygon": _polygon, "mask": _mask, "ellipse": _ellipse}[element.tag](
            element, image
        )
        return Shape(label, mask, place, None, "" if group == "0" else group, source)
    except BadAnnotation as error:
        split.problems.append(error.at(place))
        return None


def _numbers(element: Element, *keys: str) -> list[float]:
    """Attributes as finite numbers; `rotation` is 0 where it is left out."""
    texts = [element.get(key, "0" if key == "rotation" else "") for key in keys]
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise BadAnnotation(
            "shape that is none", f"{', '.join(keys)}: {', '.join(texts)[:60]!r}", "numbers"
        ) from None
    return _shapes.numbers(values, ", ".join(keys))


def _turned(corners: np.ndarray, angle: float) -> np.ndarray:
    """The four corners (4, 2) of a box (2, 2) turned around its centre, clockwise in radians."""
    (x0, y0), (x1, y1) = corners
    centre = corners.mean(0)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]) - centre) @ turn + centre


def _polygon(element: Element, image: Record) -> _shapes.Polygon:
    try:
        points = [
            [float(value) for value in pair.split(",")]
            for pair in element.get("points", "").split(";")
        ]
    except ValueError:
        raise BadAnnotation(
            "polygon that is none", f"points {element.get('points', '')[:60]!r}", "x,y;x,y;..."
        ) from None
    if any(len(point) != 2 for point in points):
        raise BadAnnotation("polygon that is none", "points that are not pairs", "x,y;x,y;...")
    return _shapes.polygon(np.array(points), image)


def _ellipse(element: Element, image: Record) -> _shapes.Polygon:
    turned = math.radians(_numbers(element, "rotation")[0])
    return _shapes.ellipse(_numbers(element, "cx", "cy", "rx", "ry"), turned, image)


def _mask(element: Element, image: Record) -> Rle:
    """Runs of 0 and 1 in turn along the rows of a box that lies in the image."""
    left, top, width, height = (
        int(value) for value in _numbers(element, "left", "top", "width", "height")
    )
    if (
        min(left, top) < 0
        or min(width, height) < 1
        or left + width > image.width
        or top + height > image.height
    ):
        raise BadAnnotation(
            BAD_RLE,
            f"mask of {width} x {height} at {left}, {top}",
            f"inside {image.width} x {image.height}",
        )
    texts = [text.strip() for text in element.get("rle", "").split(",")]
    if not all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        raise BadAnnotation(BAD_RLE, f"rle {element.get('rle', '')[:60]!r}", "whole numbers")
    runs = np.array([int(text) for text in texts])
    if runs.sum() != width * height:
        raise BadAnnotation(
            "RLE of a wrong sum", f"rle that covers {runs.sum()} pixels", f"{width * height}"
        )
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return encoded(bits, left, top, image.height, image.width)
