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
from segue.data.formats._shapes import BadAnnotation, ImageFinder, Shape, numbers
from segue.data.images import image_io
from segue.data.records import Problem, Record, Split
from segue.errors import DataError

CLASS_KEYS = ("class", "label", "name", "type", "category")
NO_CLASS = "object"
WITHOUT_AREA = ("polyline", "point")
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
EXPECTED = "a VIA 2 project, or its annotations as JSON or CSV"


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The parts found below `root`, or the folder (or file) as a whole; empty if it is not VIA's."""
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
            split.problems.append(
                Problem("error", f"{split.source}: {image}", "a second entry for it", "one")
            )
            continue
        seen.add(record.image)
        shapes = [
            _shape(r, f"{split.source}: {image}: region {n}", record, split, skipped)
            for n, r in regions
        ]
        nameless += sum(shape is not None and shape.class_name == NO_CLASS for shape in shapes)
        split.records.append(_shapes.with_shapes(record, filter(None, shapes), split.problems))
    if nameless:
        found = f"{nameless} regions without a class are called {NO_CLASS}"
        split.problems.append(Problem("note", str(split.source), found))
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
            problems.append(Problem("error", str(path), f"a {type(content).__name__}", EXPECTED))
        return
    for key, entry in content.items():
        regions = entry.get("regions") if isinstance(entry, dict) else None
        if isinstance(regions, dict):  # VIA 1
            regions = list(regions.values())
        if not isinstance(regions, list) or not isinstance(entry.get("filename"), str):
            problems.append(
                Problem("error", f"{path}: {key[:80]}", "no filename or list of regions", EXPECTED)
            )
            continue
        yield entry["filename"], list(enumerate(regions))


def _rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, list[tuple[object, Any]]]]:
    """The same from a CSV file, which has a row for each region."""
    found: dict[str, list[tuple[object, Any]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                regions = found.setdefault(row.get("filename") or "", [])
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
        problems.append(Problem("error", str(path), f"not readable as CSV ({error})", EXPECTED))
    yield from found.items()


def _parsed(text: object) -> Any:
    try:
        return parse_json(str(text or "{}"))
    except ValueError:
        return None


def _record(name: str, finder: ImageFinder, number: int, split: Split) -> Record | None:
    path = finder.find(name) if name else None
    if path is None:
        found = f"no file {name[:80]}"
        split.problems.append(
            Problem("error", str(split.source), found, f"it in {split.source.parent} or images/")
        )
        return None
    try:
        height, width = image_io.size(path)
    except DataError as error:
        split.problems.append(Problem("error", error.where, error.found, error.expected))
        return None
    return Record(path, height, width, number)


def _shape(
    region: Any, where: str, image: Record, split: Split, skipped: Counter[str]
) -> Shape | None:
    """One region; None, with a problem or counted as skipped, if it cannot be an object."""
    try:
        values = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(values, dict):
            raise BadAnnotation("no shape_attributes", "a region with a shape")
        kind = values.get("name")
        if kind in WITHOUT_AREA:
            skipped[kind] += 1
            return None
        name = _class_name(region.get("region_attributes"))
        if kind == "rect":
            x, y, width, height = _of(values, "x", "y", "width", "height")
            return Shape(
                name,
                None,
                _shapes.box(np.array([[x, y], [x + width, y + height]]), image),
                where=where,
            )
        if kind == "polygon":
            xs, ys = (numbers(values.get(key), key) for key in ("all_points_x", "all_points_y"))
            if len(xs) != len(ys):
                raise BadAnnotation(f"{len(xs)} x and {len(ys)} y", "as many")
            return Shape(
                name, _shapes.polygon(np.array([xs, ys], dtype=np.float64).T, image), where=where
            )
        if kind == "circle":
            x, y, radius = _of(values, "cx", "cy", "r")
            return Shape(name, _shapes.ellipse([x, y, radius, radius], 0.0, image), where=where)
        if kind == "ellipse":
            turned = _of({"theta": 0, **values}, "theta")[0]
            return Shape(
                name,
                _shapes.ellipse(_of(values, "cx", "cy", "rx", "ry"), turned, image),
                where=where,
            )
        raise BadAnnotation(f"shape {str(kind)[:40]!r}", "polygon, rect, circle or ellipse")
    except BadAnnotation as error:
        split.problems.append(Problem("error", where, *error.args))
        return None


def _of(values: dict, *keys: str) -> list[float]:
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
        found = f"attributes {', '.join(map(str, given))[:80]}"
        raise BadAnnotation(found, f"one text, or one called {', '.join(CLASS_KEYS)}")
    return value.strip()
