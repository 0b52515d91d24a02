"""COCO instances JSON, in the layouts people have.

    root/{train,valid,test}/_annotations.coco.json     images beside it or in folders below it (Roboflow)
    root/annotations/*.json + root/images/             a split's name is in the file's name (COCO, CVAT)

and without parts: one file, alone or with its images beside it or in images/.

`category_id` exists in this file only: everywhere else classes have names, and labels 0..K-1.
Everything numeric is checked here, before any C code sees it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np

from segue.data.formats import WHOLE, SplitSource, _shapes, folders_beside
from segue.data.formats._shapes import BadAnnotation, ImageFinder, numbers
from segue.data.images import image_io
from segue.data.records import SPLIT_WORDS, Annotation, Problem, Record, Split
from segue.errors import DataError
from segue.structures.masks import Mask, Polygon, Rle

ROBOFLOW = "_annotations.coco.json"


def detect(root: Path) -> bool:
    if root.is_file():
        return _looks_like_coco(root)
    return bool(_roboflow(root) or _by_name(root) or _whole(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The parts found below `root`, by name; a file, or a folder with one file, is the part `all`.

    Raises:
        DataError: if several files of `annotations` are for the same part.
    """
    if root.is_file():
        return {WHOLE: SplitSource(root, folders_beside(root))}
    found = _roboflow(root)
    if found:
        return found
    images = tuple(path for path in (root / "images", root) if path.is_dir())
    for name, files in _by_name(root).items():
        if len(files) > 1:
            _refuse_several(root, name, files)
        found[name] = SplitSource(files[0], images)
    whole = [] if found else _whole(root)
    return {WHOLE: SplitSource(whole[0], images)} if whole else found


def files(root: Path) -> dict[str, SplitSource]:
    """Every COCO file of `annotations` by the name it has there, such as manual_train."""
    images = tuple(path for path in (root / "images", root) if path.is_dir())
    found = filter(_looks_like_coco, sorted((root / "annotations").glob("*.json")))
    return {path.stem.removesuffix("_annotations"): SplitSource(path, images) for path in found}


def read_files(root: Path) -> dict[str, Split]:
    """Every file that `files` names, read; none if `root` is no folder."""
    return {name: read(source, name) for name, source in files(root).items()}


def _roboflow(root: Path) -> dict[str, SplitSource]:
    folders = {name: [root / word for word in words] for name, words in SPLIT_WORDS.items()}
    there = {
        name: [path for path in paths if (path / ROBOFLOW).is_file()]
        for name, paths in folders.items()
    }
    return {
        name: SplitSource(paths[0] / ROBOFLOW, (paths[0], paths[0] / "images"))
        for name, paths in there.items()
        if paths
    }


def _by_name(root: Path) -> dict[str, list[Path]]:
    """The files of `annotations` for each part, by the words in their names.

    COCO's own folder also has captions_ and person_keypoints_ files, of which only instances_ are
    meant.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted((root / "annotations").glob("*.json")):
        # macOS companions
        spoken = [] if path.name.startswith("._") else re.findall("[a-z]+", path.stem.lower())
        for name, words in SPLIT_WORDS.items():
            if any(word in spoken for word in words):
                found.setdefault(name, []).append(path)
    for name, paths in found.items():
        found[name] = [path for path in paths if "instances" in path.stem] or paths
    return {name: found[name] for name in SPLIT_WORDS if name in found}


def _whole(root: Path) -> list[Path]:
    """The one file of a folder without parts."""
    paths = [
        p
        for folder in (root, root / "annotations")
        for p in sorted(folder.glob("*.json"))
        if _looks_like_coco(p)
    ]
    return paths if len(paths) == 1 else []


def _looks_like_coco(path: Path) -> bool:
    head = _shapes.head(path)
    ours = any(word in head for word in (b'"images"', b'"annotations"', b'"categories"'))
    return (
        path.suffix == ".json"
        and ours
        and not any(word in head for word in (b'"_via_', b'"shapes"'))
    )


def _refuse_several(root: Path, name: str, files: list[Path]) -> None:
    found = f"several files for {name}: " + ", ".join(path.name for path in files)
    plan = (
        f"in the plan, data: {{{name}: {{annotations: {files[0]}, images: "
        f"{root / 'images'}}}, ...}}"
    )
    raise DataError(root / "annotations", found, "one, or the one that is meant by name", plan)


def read(source: SplitSource, name: str) -> Split:
    """Records of one annotation file. Images are found, not opened."""
    split = Split(name, source.annotations, [], {})
    content = _parse(source.annotations, split.problems)
    if content is None:
        return split
    names = _categories(content["categories"], split)
    pictures = _images(content["images"], source, split)
    # also those whose file is missing
    known = {str(entry.get("id")) for entry in content["images"]}
    objects: dict[str, list[Annotation]] = {image_id: [] for image_id in pictures}
    for entry in content["annotations"]:
        image_id = str(entry.get("image_id"))
        image = pictures.get(image_id)
        where = f"{source.annotations}: annotation {entry.get('id', '?')}"
        if image is None:
            if image_id not in known:
                split.problems.append(
                    Problem("error", where, f"image_id {image_id} is not in images")
                )
            continue
        try:
            annotation = _annotation(
                entry, image, names, f"{where} ({image.image.name})", split.problems
            )
        except BadAnnotation as error:
            found, expected = error.args
            split.problems.append(
                Problem("error", f"{where} ({image.image.name})", found, expected)
            )
            continue
        if annotation is not None:
            objects[image_id].append(annotation)
    split.records = [
        replace(image, annotations=tuple(objects[key])) for key, image in pictures.items()
    ]
    return split


def _parse(path: Path, problems: list[Problem]) -> dict[str, list] | None:
    """The file's three lists, or None with a problem saying why not."""
    content = _shapes.read_json(path, "a COCO instances JSON", problems)
    if content is None:
        return None
    keys = ("images", "annotations", "categories")
    wrong = [
        key
        for key in keys
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if wrong:
        found = f"no list {', '.join(wrong)}"
        problems.append(Problem("error", str(path), found, "the lists " + ", ".join(keys)))
        return None
    for key in keys:
        strange = sum(not isinstance(entry, dict) for entry in content[key])
        if strange:
            problems.append(
                Problem("error", str(path), f"{strange} entries of {key} are not objects")
            )
    return {key: [entry for entry in content[key] if isinstance(entry, dict)] for key in keys}


def _categories(entries: list[dict], split: Split) -> dict[int, str]:
    """Category id -> name; fills split.categories in order of id."""
    names: dict[int, str] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        where = f"{split.source}: category {number}"
        if not isinstance(number, int) or not isinstance(name, str) or not name.strip():
            split.problems.append(
                Problem("error", where, f"name {name!r}", "an integer id and a name")
            )
        elif number in names:
            split.problems.append(
                Problem("error", where, f"the id of both {names[number]!r} and {name!r}")
            )
        elif name in names.values():
            split.problems.append(Problem("error", where, f"a second category called {name!r}"))
        else:
            names[number] = name
    split.categories = {names[number]: number for number in sorted(names)}
    return names


def _images(entries: list[dict], source: SplitSource, split: Split) -> dict[str, Record]:
    """Image id as text -> record without objects, for every image whose file exists."""
    finder = ImageFinder(source.image_folders)
    records: dict[str, Record] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        where = f"{split.source}: image {number}"
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            split.problems.append(
                Problem("error", where, f"file_name {name!r}", "an integer id and a file_name")
            )
        elif str(number) in records:
            first = records[str(number)].image.name
            split.problems.append(Problem("error", where, f"the id of both {first} and {name}"))
        elif (path := finder.find(name)) is None:
            split.problems.append(
                Problem("error", where, f"no file {name}", f"it in {split.source.parent}")
            )
        elif (size := _size(height, width, path, where, split.problems)) is None:
            split.problems.append(
                Problem("error", where, f"height {height!r}, width {width!r} of {name}", "pixels")
            )
        else:
            records[str(number)] = Record(path, *size, number)
    return records


def _size(
    height: Any, width: Any, path: Path, where: str, problems: list[Problem]
) -> tuple[int, int] | None:
    """Height and width of an image, from its file where none are written."""
    if height is None and width is None:
        try:
            height, width = image_io.size(path)
        except DataError:
            return None
        problems.append(
            Problem(
                "fixed", where, f"height and width missing; {height} and {width} in {path.name}"
            )
        )
    return _shapes.believable(height, width)


def _annotation(
    entry: dict, image: Record, names: dict[int, str], where: str, problems: list[Problem]
) -> Annotation | None:
    """One object, or None with a problem if nothing of it is left inside the image."""
    category = entry.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise BadAnnotation(f"category id {category!r} unknown", f"one of {sorted(names)}")
    mask = _mask(entry.get("segmentation"), image, where, problems)
    if entry.get("bbox") is not None:
        x, y, w, h = numbers(entry["bbox"], "box", 4)
        box = (x, y, x + w, y + h)
    elif mask is not None:
        box = _shapes.mask_box(mask, image)
    else:
        raise BadAnnotation("neither bbox nor segmentation", "at least one")
    inside = _shapes.clipped(box, image, where, problems)
    if inside is None:
        return None
    return Annotation(
        box_xyxy=inside,
        class_name=names[category],
        mask=mask,
        crowd=bool(entry.get("iscrowd", 0)),
        id=number if isinstance(number := entry.get("id", ""), int | str) else str(number),
        source=str(entry.get("source", "manual")),
        quality=min(max(float(numbers([entry.get("quality", 1.0)], "quality", 1)[0]), 0.0), 1.0),
    )


def _mask(segmentation: Any, image: Record, where: str, problems: list[Problem]) -> Mask | None:
    """The object's mask; None where there is none or nothing of it can be drawn."""
    if segmentation is None or segmentation in ([], {}):
        return None
    if isinstance(segmentation, dict):
        return _rle(segmentation, image)
    if not isinstance(segmentation, list):
        raise BadAnnotation(
            f"segmentation of type {type(segmentation).__name__}", "polygons or run lengths"
        )
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    rings = []
    for part in parts:
        values = numbers(part, "polygon")
        if len(values) % 2:
            raise BadAnnotation(f"polygon of {len(values)} numbers", "x, y pairs")
        ring = _shapes.ring(np.asarray(values, dtype=np.float64).reshape(-1, 2), image)
        if ring is None:
            problems.append(
                Problem("dropped", where, f"polygon part of {len(values) // 2} points without area")
            )
        else:
            rings.append(ring)
    return Polygon(tuple(rings)) if rings else None


def _rle(segmentation: dict, image: Record) -> Rle:
    """Run lengths, compressed or not, of exactly this image's size."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [image.height, image.width]:
        raise BadAnnotation(
            f"run lengths for size {size}", f"{[image.height, image.width]}, the image's"
        )
    if isinstance(counts, list):
        runs = numbers(counts, "run lengths")
    elif isinstance(counts, str) and counts.isascii():
        runs = list(_runs(counts))
    else:
        raise BadAnnotation(f"run lengths of type {type(counts).__name__}", "a list or a string")
    if any(run < 0 or run != int(run) for run in runs) or sum(runs) != image.height * image.width:
        raise BadAnnotation(
            f"run lengths that cover {sum(runs)} pixels", f"{image.height * image.width}"
        )
    if isinstance(counts, list):
        counts = coco_mask.rle_to_string({"size": size, "counts": [int(run) for run in runs]})
    return Rle(image.height, image.width, counts.encode("ascii"))


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
                f"run lengths with the character {character!r}", "a compressed COCO string"
            )
    if shift:
        raise BadAnnotation(
            "run lengths that end in the middle of a number", "a compressed COCO string"
        )
    return iter(runs)
