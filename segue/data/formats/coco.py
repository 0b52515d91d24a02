"""COCO instances JSON, in the two layouts people have.

    root/{train,valid,test}/_annotations.coco.json     images beside it or in folders below it (Roboflow)
    root/annotations/*.json + root/images/             a split's name is in the file's name (COCO, CVAT)

`category_id` exists in this file only: everywhere else classes have names, and labels 0..K-1.
Everything numeric is checked here, before any C code sees it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np

from segue.data.formats import SplitSource
from segue.data.records import Annotation, Problem, Record, Split
from segue.structures.masks import Mask, Polygon, Rle, coco_rle

ROBOFLOW = "_annotations.coco.json"
MOST_POINTS = 50_000
SPLIT_WORDS = {"train": ("train", "training"), "valid": ("valid", "val", "validation"), "test": ("test", "testing")}


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The parts found below `root`, by name; empty if the layout is not one of COCO's."""
    found: dict[str, SplitSource] = {}
    for name, words in SPLIT_WORDS.items():
        for word in words:
            folder = root / word
            if (folder / ROBOFLOW).is_file():
                found.setdefault(name, SplitSource(folder / ROBOFLOW, (folder,)))
    if found or not (root / "annotations").is_dir():
        return found
    images = tuple(path for path in (root / "images", root) if path.is_dir())
    files = sorted((root / "annotations").glob("*.json"), key=lambda path: ("instances" not in path.stem, path))
    for path in files:  # COCO's own folder also has captions_ and person_keypoints_ files
        spoken = re.findall("[a-z]+", path.stem.lower())
        for name, words in SPLIT_WORDS.items():
            if any(word in spoken for word in words):
                found.setdefault(name, SplitSource(path, images))
    return found


def read(source: SplitSource, name: str) -> Split:
    """Records of one annotation file. Images are found, not opened."""
    split = Split(name, source.annotations, [], {})
    content = _parse(source.annotations, split.problems)
    if content is None:
        return split
    names = _categories(content["categories"], split)
    images = _images(content["images"], source, split)
    known = {str(entry.get("id")) for entry in content["images"]}  # also those whose file is missing
    objects: dict[str, list[Annotation]] = {image_id: [] for image_id in images}
    for entry in content["annotations"]:
        image_id = str(entry.get("image_id"))
        image = images.get(image_id)
        where = f"{source.annotations}: annotation {entry.get('id', '?')}"
        if image is None:
            if image_id not in known:
                split.problems.append(Problem("error", where, f"image_id {image_id} is not in images"))
            continue
        try:
            annotation = _annotation(entry, image, names, f"{where} ({image.image.name})", split.problems)
        except _BadAnnotation as error:
            found, expected = error.args
            split.problems.append(Problem("error", f"{where} ({image.image.name})", found, expected))
            continue
        if annotation is not None:
            objects[image_id].append(annotation)
    split.records = [replace(image, annotations=tuple(objects[key])) for key, image in images.items()]
    return split


class _BadAnnotation(Exception):
    """found, expected: this object cannot be used and nothing can be guessed about it."""


def _parse(path: Path, problems: list[Problem]) -> dict[str, list] | None:
    """The file's three lists, or None with a problem saying why not."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        problems.append(Problem("error", str(path), "no such file", "a COCO instances JSON"))
        return None
    except (ValueError, RecursionError) as error:
        problems.append(Problem("error", str(path), f"not readable as JSON ({error})", "a COCO instances JSON"))
        return None
    keys = ("images", "annotations", "categories")
    wrong = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if wrong:
        found = f"no list {', '.join(wrong)}"
        problems.append(Problem("error", str(path), found, "the lists " + ", ".join(keys)))
        return None
    for key in keys:
        strange = sum(not isinstance(entry, dict) for entry in content[key])
        if strange:
            problems.append(Problem("error", str(path), f"{strange} entries of {key} are not objects"))
    return {key: [entry for entry in content[key] if isinstance(entry, dict)] for key in keys}


def _categories(entries: list[dict], split: Split) -> dict[int, str]:
    """Category id -> name; fills split.categories in order of id."""
    names: dict[int, str] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        where = f"{split.source}: category {number}"
        if not isinstance(number, int) or not isinstance(name, str) or not name.strip():
            split.problems.append(Problem("error", where, f"name {name!r}", "an integer id and a name"))
        elif number in names:
            split.problems.append(Problem("error", where, f"the id of both {names[number]!r} and {name!r}"))
        elif name in names.values():
            split.problems.append(Problem("error", where, f"a second category called {name!r}"))
        else:
            names[number] = name
    split.categories = {names[number]: number for number in sorted(names)}
    return names


def _images(entries: list[dict], source: SplitSource, split: Split) -> dict[str, Record]:
    """Image id as text -> record without objects, for every image whose file exists."""
    finder = _ImageFinder(source.image_folders)
    records: dict[str, Record] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        where = f"{split.source}: image {number}"
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            split.problems.append(Problem("error", where, f"file_name {name!r}", "an integer id and a file_name"))
        elif str(number) in records:
            first = records[str(number)].image.name
            split.problems.append(Problem("error", where, f"the id of both {first} and {name}"))
        elif (path := finder.find(name)) is None:
            split.problems.append(Problem("error", where, f"no file {name}", f"it in {split.source.parent}"))
        elif not (isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0):
            split.problems.append(Problem("error", where, f"height {height!r}, width {width!r} of {name}", "pixels"))
        else:
            records[str(number)] = Record(path, height, width, number)
    return records


class _ImageFinder:
    """Finds files by the name an annotation file gives them: as a path, or by base name up to two folders below."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self._below: dict[str, set[Path]] | None = None

    def find(self, name: str) -> Path | None:
        for folder in self.folders:
            path = folder / name
            if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                return path
        if self._below is None:
            self._below = {}
            for folder in self.folders:
                for path in (*folder.glob("*/*"), *folder.glob("*/*/*")):
                    self._below.setdefault(path.name, set()).add(path.resolve())
        same = self._below.get(Path(name.replace("\\", "/")).name, set())
        return next(iter(same)) if len(same) == 1 else None  # of several, none is surely the one that is meant


def _annotation(
    entry: dict, image: Record, names: dict[int, str], where: str, problems: list[Problem]
) -> Annotation | None:
    """One object, or None with a problem if nothing of it is left inside the image."""
    category = entry.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise _BadAnnotation(f"category id {category!r} unknown", f"one of {sorted(names)}")
    mask = _mask(entry.get("segmentation"), image, where, problems)
    if entry.get("bbox") is not None:
        x, y, w, h = _numbers(entry["bbox"], "box", 4)
        box = (x, y, x + w, y + h)
    elif mask is not None:
        box = mask_box(mask, image)
    else:
        raise _BadAnnotation("neither bbox nor segmentation", "at least one")
    inside = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], image.width), min(box[3], image.height))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        problems.append(Problem("dropped", where, f"box {list(box)} has no area inside the image"))
        return None
    if max(abs(a - b) for a, b in zip(inside, box, strict=True)) > 1:
        problems.append(Problem("fixed", where, f"box {list(box)} reaches out of the image; clipped"))
    return Annotation(
        box_xyxy=inside,
        class_name=names[category],
        mask=mask,
        crowd=bool(entry.get("iscrowd", 0)),
        id=entry.get("id", ""),
        source=str(entry.get("source", "manual")),
        quality=min(max(float(_numbers([entry.get("quality", 1.0)], "quality", 1)[0]), 0.0), 1.0),
    )


def _numbers(values: Any, what: str, count: int | None = None) -> list[float]:
    """Finite numbers, `count` of them if given."""
    numbers = isinstance(values, list) and all(type(v) in (int, float) for v in values)
    if not numbers or (count is not None and len(values) != count):
        raise _BadAnnotation(f"{what} {str(values)[:60]}", f"{count or 'a list of'} numbers")
    if not all(math.isfinite(v) for v in values):
        raise _BadAnnotation(f"{what} {values[:8]} holds NaN or infinity", "finite numbers")
    return values


def _mask(segmentation: Any, image: Record, where: str, problems: list[Problem]) -> Mask | None:
    """The object's mask; None where there is none or nothing of it can be drawn."""
    if segmentation is None or segmentation in ([], {}):
        return None
    if isinstance(segmentation, dict):
        return _rle(segmentation, image)
    if not isinstance(segmentation, list):
        raise _BadAnnotation(f"segmentation of type {type(segmentation).__name__}", "polygons or run lengths")
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    rings = []
    for part in parts:
        values = np.asarray(_numbers(part, "polygon"), dtype=np.float64)
        if len(values) % 2 or len(values) > MOST_POINTS * 2:
            raise _BadAnnotation(f"polygon of {len(values)} numbers", f"x, y pairs, at most {MOST_POINTS}")
        ring = values.reshape(-1, 2)
        if np.abs(ring).max(initial=0) > 4 * max(image.height, image.width):
            raise _BadAnnotation(f"polygon reaching {np.abs(ring).max():.3g} px", "points in or near the image")
        if len(ring) < 3 or np.ptp(ring, axis=0).min() == 0:
            problems.append(Problem("dropped", where, f"polygon part of {len(ring)} points without area"))
        else:
            rings.append(ring)
    return Polygon(tuple(rings)) if rings else None


def _rle(segmentation: dict, image: Record) -> Rle:
    """Run lengths, compressed or not, of exactly this image's size."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [image.height, image.width]:
        raise _BadAnnotation(f"run lengths for size {size}", f"{[image.height, image.width]}, the image's")
    if isinstance(counts, list):
        runs = _numbers(counts, "run lengths")
    elif isinstance(counts, str) and counts.isascii():
        runs = list(_runs(counts))
    else:
        raise _BadAnnotation(f"run lengths of type {type(counts).__name__}", "a list or a string")
    if any(run < 0 or run != int(run) for run in runs) or sum(runs) != image.height * image.width:
        raise _BadAnnotation(f"run lengths that cover {sum(runs)} pixels", f"{image.height * image.width}")
    if isinstance(counts, list):
        counts = coco_mask.rle_to_string({"size": size, "counts": [int(run) for run in runs]})
    return Rle(image.height, image.width, counts.encode("ascii"))


def _runs(counts: str) -> Iterator[int]:
    """The run lengths in a compressed string: 5 bits a character from '0', difference to the last but one."""
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
            raise _BadAnnotation(f"run lengths with the character {character!r}", "a compressed COCO string")
    if shift:
        raise _BadAnnotation("run lengths that end in the middle of a number", "a compressed COCO string")
    return iter(runs)


def mask_box(mask: Mask, image: Record) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 around a mask's pixels."""
    x, y, w, h = (float(v) for v in coco_mask.to_bbox(coco_rle(mask, image.height, image.width)))
    return x, y, x + w, y + h
