"""VGG Image Annotator 2: a project or its annotations as JSON, or as CSV; alone or in train/,
valid/, test/.

Polygons, circles and ellipses are masks, rectangles boxes; lines and points are left out. Images
have no size in these files, so that their headers are read.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segue.base.parsing import parse_json
from segue.data.formats import SplitSource, _shapes, only_file, parts
from segue.data.formats._image_files import ImageFinder
from segue.data.formats._shapes import UNREADABLE, BadAnnotation, Shape, numbers
from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.problems import Place, Problem
from segue.data.records import Record, Split

CLASS_KEYS = ("class", "label", "name", "type", "category")
NO_CLASS = "object"
BAD_SHAPE = "shape that is none"
WITHOUT_AREA = ("polyline", "point")
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
EXPECTED = "a VIA 2 project, or its annotations as JSON or CSV"


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`, or the folder (or file) as a whole; empty if not VIA's."""
    return parts(root, lambda place: only_file(place, _looks_like_via))


def _looks_like_via(path: Path) -> bool:
    if path.suffix == ".csv":
        return all(column.encode() in _shapes.head(path, 1000) for column in COLUMNS)
    head = _shapes.head(path) if path.suffix == ".json" else b""
    return b'"_via_' in head or (b'"regions"' in head and b'"filename"' in head)


def read(source: SplitSource, name: str) -> Split:
    """Records of one file."""
    split = Split(name, source.annotations, [], {})
    finder = ImageFinder(source.image_folders)
    skipped: Counter[str] = Counter()
    nameless, seen = 0, set()
    for image, regions in _images(source.annotations, split.problems):
        record = _record(image, finder, len(split.records) + 1, split)
        if record is None:
            continue
        if record.image in seen:
            place = Place(str(split.source), image, image_id=image, name=image)
            split.problems.append(
                Problem("image name twice", place, "a second entry for it", "one")
            )
            continue
        seen.add(record.image)
        shapes = [
            _shape(region, f"region {number}", image, record, split, skipped)
            for number, region in regions
        ]
        nameless += sum(shape is not None and shape.class_name == NO_CLASS for shape in shapes)
        split.records.append(_shapes.with_shapes(record, filter(None, shapes), split.problems))
    if nameless:
        counted = f"{nameless} regions without a class are called {NO_CLASS}"
        place = Place(str(split.source))
        split.problems.append(Problem("region without a class", place, counted))
    split.categories = _shapes.categories(split.records)
    split.problems += _shapes.skipped(source.annotations, skipped)
    return split


def _images(path: Path, problems: list[Problem]) -> Iterator[tuple[str, list[tuple[object, Any]]]]:
    """File name and numbered regions of every image."""
    if path.suffix == ".csv":
        yield from _rows(path, problems)
        return
    content = _shapes.read_json(path, EXPECTED, problems)
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    if not isinstance(content, dict):
        if content is not None:
            kind = f"a {type(content).__name__}"
            problems.append(Problem(UNREADABLE, Place(str(path)), kind, EXPECTED))
        return
    for key, entry in content.items():
        regions = entry.get("regions") if isinstance(entry, dict) else None
        if isinstance(regions, dict):  # VIA 1
            regions = list(regions.values())
        if not isinstance(regions, list) or not isinstance(entry.get("filename"), str):
            place = Place(str(path), key[:80], image_id=key)
            missing = "no filename or list of regions"
            problems.append(Problem("image entry without id or name", place, missing, EXPECTED))
            continue
        yield entry["filename"], list(enumerate(regions))


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, list[tuple[object, Any]]]]:
    """The same from a CSV file, which has a row for each region."""
    images: dict[str, list[tuple[object, Any]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                regions = images.setdefault(row.get("filename") or "", [])
                shape = _parsed(row.get("region_shape_attributes"))
                if shape != {}:  # an image without regions has one row
                    attributes = _parsed(row.get("region_attributes"))
                    regions.append(
                        (
                            f"of row {number}",
                            {"shape_attributes": shape, "region_attributes": attributes},
                        )
                    )
    except (OSError, ValueError, csv.Error) as error:
        problems.append(
            Problem(UNREADABLE, Place(str(path)), f"not readable as CSV ({error})", EXPECTED)
        )
    yield from images.items()


def _parsed(text: object) -> Any:
    try:
        return parse_json(str(text or "{}"))
    except ValueError:
        return None


def _record(name: str, finder: ImageFinder, number: int, split: Split) -> Record | None:
    path = finder.find(name) if name else None
    if path is None:
        # the item stays empty, because what was found says the name
        place = Place(str(split.source), image_id=name, name=name)
        expected = f"it in {split.source.parent} or images/"
        split.problems.append(Problem("missing image", place, f"no file {name[:80]}", expected))
        return None
    try:
        height, width = image_io.size(path)
    except ImageError as error:
        split.problems.append(error.problem())
        return None
    return Record(path, height, width, number)


def _shape(
    region: Any, item: str, name: str, image: Record, split: Split, skipped: Counter[str]
) -> Shape | None:
    """One region of the image that the file calls `name`; None, with a problem or counted as
    skipped, if it cannot be an object.
    """
    place = Place(
        str(split.source),
        f"{name}: {item}",
        image_id=name,
        annotation_id=item,
        image=str(image.image),
    )
    try:
        values = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(values, dict):
            raise BadAnnotation(BAD_SHAPE, "no shape_attributes", "a region with a shape")
        kind = values.get("name")
        if kind in WITHOUT_AREA:
            skipped[kind] += 1
            return None
        class_name = _class_name(region.get("region_attributes"))
        if kind == "rect":
            x, y, width, height = _of(values, "x", "y", "width", "height")
            corners = np.array([[x, y], [x + width, y + height]])
            return Shape(class_name, None, place, _shapes.box(corners, image))
        if kind == "polygon":
            xs, ys = (numbers(values.get(key), key) for key in ("all_points_x", "all_points_y"))
            if len(xs) != len(ys):
                raise BadAnnotation(BAD_SHAPE, f"{len(xs)} x and {len(ys)} y", "as many")
            outline = _shapes.polygon(np.array([xs, ys], dtype=np.float64).T, image)
            return Shape(class_name, outline, place)
        if kind == "circle":
            x, y, radius = _of(values, "cx", "cy", "r")
            circle = _shapes.ellipse([x, y, radius, radius], 0.0, image)
            return Shape(class_name, circle, place)
        if kind == "ellipse":
            turned = _of({"theta": 0, **values}, "theta")[0]
            ellipse = _shapes.ellipse(_of(values, "cx", "cy", "rx", "ry"), turned, image)
            return Shape(class_name, ellipse, place)
        raise BadAnnotation(
            BAD_SHAPE, f"shape {str(kind)[:40]!r}", "polygon, rect, circle or ellipse"
        )
    except BadAnnotation as error:
        split.problems.append(error.at(place))
        return None


def _of(values: dict[str, Any], *keys: str) -> list[float]:
    return numbers([values.get(key) for key in keys], ", ".join(keys), len(keys))


def _class_name(attributes: Any) -> str:
    """The class among a region's attributes: the one that is called so, or the only one."""
    given = (
        {k: v for k, v in attributes.items() if v not in ("", {}, None)}
        if isinstance(attributes, dict)
        else {}
    )
    if not given:
        return NO_CLASS
    keys = [key for key in CLASS_KEYS if key in given] or list(given)
    value = given[keys[0]]
    if isinstance(value, dict):  # a checkbox: {"tube": true}
        chosen = [str(key) for key, on in value.items() if on]
        value = chosen[0] if len(chosen) == 1 else None
    if (
        (len(keys) > 1 and keys[0] not in CLASS_KEYS)
        or not isinstance(value, str)
        or not value.strip()
    ):
        attributes = f"attributes {', '.join(map(str, given))[:80]}"
        raise BadAnnotation(
            "unknown category", attributes, f"one text, or one called {', '.join(CLASS_KEYS)}"
        )
    return value.strip()
