"""What a COCO file says that records no longer tell: ids, names, areas, and boxes as they were
written.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segue.base.parsing import read_json
from segue.data.audit.outlines import Rings
from segue.data.problems import Place, Problem
from segue.data.records import Record, Split

IDS = ("id", "image_id", "category_id")
LARGEST = 1e12
NEAR = 2.0  # pixels that an edge of a box may be off
LEAST_OVERLAP = 0.5  # of a box and its mask's
STANDARD = {
    "image": "images",
    "annotation": "annotations",
    "category": "categories",
    "classes": "categories",
}
NAMES = ("filename", "fileName", "file", "path", "image")  # that others give to file_name
USUAL = 0.5  # share of boxes that must look like corners, where there are no masks to compare with
Entry = dict[str, Any]


class File:
    """One COCO file as written, of which only what is in order is looked at: the rest is a problem
    already.
    """

    def __init__(self, split: Split, content: dict[str, Any]) -> None:
        self.split, self.name = split, str(split.source)
        self.keys = set(content)
        self.images, self.annotations, self.categories = (
            [_with_plain_ids(entry) for entry in content.get(key) or [] if isinstance(entry, dict)]
            for key in ("images", "annotations", "categories")
        )
        self.records = {record.id: record for record in split.records}

    def problem(
        self, kind: str, finding: str, image: Any = None, annotation: Any = None
    ) -> Problem:
        """A problem with the ids of an image and an annotation, as written."""
        record = self.records.get(image) if isinstance(image, int) else None
        path = str(record.image) if record else ""
        place = Place(self.name, image_id=image, annotation_id=annotation, image=path)
        return Problem(kind, place, finding, split=self.split.name)


def _with_plain_ids(entry: Entry) -> Entry:
    """The entry with ids that are numbers or texts, whatever was written."""
    strange = {
        key: str(entry[key]) for key in IDS if not isinstance(entry.get(key, ""), int | str | None)
    }
    return {**entry, **strange} if strange else entry


def open_file(split: Split) -> File | None:
    """The file of a split, if it is a COCO file that can be read."""
    if split.source.suffix != ".json" or not split.source.is_file():
        return None
    try:
        content = read_json(split.source)
    except (OSError, ValueError):
        return None
    listed = isinstance(content, dict) and all(
        isinstance(content.get(key, []), list) for key in ("images", "annotations", "categories")
    )
    return File(split, content) if listed else None


def audit_file(file: File, outlines: Rings) -> list[Problem]:
    """All problems of one file. outlines: of the whole data set."""
    return [
        *_keys(file),
        *_categories(file),
        *_images(file),
        *_ids(file),
        *_written(file),
        *_boxes(file, outlines),
    ]


def _keys(file: File) -> Iterator[Problem]:
    """What is there under another name than COCO's."""
    for key, standard in STANDARD.items():
        if key in file.keys and standard not in file.keys:
            yield file.problem("non-standard key", f"key {key!r} where COCO has {standard!r}")
    unnamed = [entry for entry in file.images if "file_name" not in entry]
    others = Counter(key for entry in unnamed for key in NAMES if isinstance(entry.get(key), str))
    for key, count in others.items():
        yield file.problem(
            "non-standard key", f"key {key!r} in {count} images where COCO has 'file_name'"
        )


def _categories(file: File) -> Iterator[Problem]:
    named = [entry for entry in file.categories if isinstance(entry.get("name"), str)]
    for entry in named:
        if not entry["name"].isprintable():
            yield file.problem(
                "control characters in a name", f"category {entry.get('id')}: {entry['name']!r}"
            )


def _images(file: File) -> Iterator[Problem]:
    folders: list[Path] = sorted(
        {file.split.source.parent, *(r.image.parent for r in file.split.records)}
    )
    listed: dict[str, Any] = {}
    for entry in file.images:
        name, number = entry.get("file_name"), entry.get("id")
        if not isinstance(name, str):
            continue
        first = listed.setdefault(name, number)
        if first != number:
            yield file.problem("image listed twice", f"{name}, also image {first}", number)
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", name):
            yield file.problem("path in a file name", name, number)
        elif number not in file.records and any(_leads_out(folder, path) for folder in folders):
            yield file.problem("image outside the folder", f"{name} is a link out of it", number)


def _leads_out(folder: Path, name: PurePosixPath) -> bool:
    """Whether a link of this name lies where images are looked for."""
    below = (
        path for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{glob.escape(name.name)}")
    )
    return any(os.path.islink(path) for path in (folder / name, *below))


def _ids(file: File) -> Iterator[Problem]:
    seen: set[str] = set()
    for entry in file.annotations:
        number = entry.get("id")
        if number is not None and str(number) in seen:
            yield file.problem("object id twice", f"id {number}", entry.get("image_id"), number)
        seen.add(str(number))


def _boxes(file: File, outlines: Rings) -> Iterator[Problem]:
    """Boxes and areas against the masks of the same objects."""
    entries = list(_sound(file.annotations, file.records))
    if not entries:
        return
    own_boxes: dict[tuple[Any, Any], int] = {
        (record.id, annotation.id): number
        for number, (split, record, annotation) in enumerate(outlines.objects)
        if split is file.split
    }
    number_of = np.array(
        [own_boxes.get((entry["image_id"], entry.get("id")), -1) for entry in entries]
    )
    boxes = np.array([entry["bbox"] for entry in entries], dtype=np.float64)
    areas = np.array([_area(entry) for entry in entries])
    # -1 is this last row
    masks = np.append(outlines.bounds(), np.full((1, 4), np.nan), 0)[number_of]
    covered = np.append(outlines.areas(), np.nan)[number_of]
    sides = np.array([_sides(file.records[entry["image_id"]]) for entry in entries])
    corners = _are_corners(boxes, masks, sides)
    differs = ~corners & _differ(boxes, masks)
    of_the_box = (
        np.isclose(areas, boxes[:, 2] * boxes[:, 3], rtol=1e-3)
        & (covered < 0.95 * areas)
        & (covered > 0)
    )
    for kind, chosen in (
        ("corners written as width and height", corners),
        ("box that does not match its mask", differs),
    ):
        for position in np.flatnonzero(chosen):
            entry = entries[position]
            written = f"bbox {np.round(boxes[position], 2).tolist()}"
            if np.isfinite(masks[position]).all():
                written += f", but the mask's corners are {np.round(masks[position], 1).tolist()}"
            yield file.problem(kind, written, entry["image_id"], entry.get("id"))
    for position in np.flatnonzero(of_the_box):
        entry = entries[position]
        written = f"area {areas[position]:g}, but the mask has about {covered[position]:.0f}"
        yield file.problem(
            "area of the box, not the mask", written, entry["image_id"], entry.get("id")
        )


def _written(file: File) -> Iterator[Problem]:
    """What is left out or written in another way than COCO's, and understood."""
    for entry in file.annotations:
        outline = entry.get("segmentation")
        if isinstance(outline, list) and outline and isinstance(outline[0], int | float):
            written = f"segmentation {outline[:4]}, not a list of lists"
            yield file.problem(
                "polygon outside its list", written, entry.get("image_id"), entry.get("id")
            )
        if entry.get("bbox") is None and entry.get("segmentation"):
            yield file.problem(
                "mask without a box", "no bbox", entry.get("image_id"), entry.get("id")
            )


def _sound(entries: Iterable[Entry], records: dict[int, Record]) -> Iterator[Entry]:
    """Entries of known images whose box is four finite numbers."""
    for entry in entries:
        box, image = entry.get("bbox"), entry.get("image_id")
        known = (
            type(image) is int and image in records and isinstance(entry.get("id", ""), int | str)
        )
        if known and isinstance(box, list) and len(box) == 4 and all(_near(v) for v in box):
            yield entry


def _near(value: object) -> bool:
    """Whether something is a number, and one that can be counted with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _area(entry: Entry) -> float:
    area = entry.get("area")
    return float(area) if area is not None and _near(area) else np.nan


def _sides(record: Record) -> tuple[int, int]:
    return record.width, record.height


def _are_corners(boxes: np.ndarray, masks: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Which boxes (N, 4), read as x, y, width, height, are x0, y0, x1, y1, bool (N,).

    With masks (N, 4; NaN without) the mask says so. Without, a box that would leave the image and
    does not as corners, where half of all boxes are like that. sides (N, 2): width and height of
    the images.
    """
    as_corners = np.all(np.abs(boxes - masks) <= NEAR, axis=1)
    as_written = np.all(np.abs(boxes[:, :2] + boxes[:, 2:] - masks[:, 2:]) <= NEAR, axis=1)
    leaves = np.any(boxes[:, :2] + boxes[:, 2:] > sides + NEAR, axis=1)
    fits = np.all((boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides + NEAR), axis=1)
    unsure = np.any(np.isnan(masks), axis=1)
    likely = leaves & fits & unsure
    if (unsure & ~fits).any() or likely.sum() < max(2, USUAL * unsure.sum()):
        likely[:] = False
    return likely | (as_corners & ~as_written)


def _differ(boxes: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Which boxes x, y, w, h (N, 4) are not those around their masks x0, y0, x1, y1 (N, 4; NaN
    without), bool (N,).
    """
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    common = np.clip(np.minimum(high, masks[:, 2:]) - np.maximum(low, masks[:, :2]), 0, None).prod(
        1
    )
    union = boxes[:, 2:].clip(0).prod(1) + (masks[:, 2:] - masks[:, :2]).prod(1) - common
    far = np.any(np.abs(np.concatenate([low, high], 1) - masks) > NEAR, axis=1)
    return far & (common < LEAST_OVERLAP * union)
