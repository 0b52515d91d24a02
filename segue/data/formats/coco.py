"""COCO instances JSON, in the layouts people have.

    root/{train,valid,test}/_annotations.coco.json   images next to it or below (Roboflow)
    root/annotations/*.json + root/images/           the file's name has the split's (COCO, CVAT)

and not divided: one file, alone or with its images next to it or in images/.

`category_id` exists in this file only: everywhere else classes have names, and labels 0..K-1.
Everything numeric is checked here, before any C code sees it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.data.formats import WHOLE, SplitSource, _coco_files, _coco_masks, _shapes, folders_beside
from segue.data.formats._image_files import ImageFinder
from segue.data.formats._shapes import BadAnnotation, numbers
from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.problems import Place, Problem
from segue.data.records import Annotation, Record, Split


def detect(root: Path) -> bool:
    if root.is_file():
        return _coco_files.looks_like_coco(root)
    return bool(_coco_files.roboflow(root) or _coco_files.by_name(root) or _coco_files.whole(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`, by name; a file, or a folder with one file, is the split
    `all`.

    Raises:
        SeveralFiles: if several files of `annotations` are for the same split.
    """
    if root.is_file():
        return {WHOLE: SplitSource(root, folders_beside(root))}
    sources = _coco_files.roboflow(root)
    if sources:
        return sources
    images = tuple(path for path in (root / "images", root) if path.is_dir())
    for name, files in _coco_files.by_name(root).items():
        if len(files) > 1:
            _coco_files.refuse_several(root, name, files)
        sources[name] = SplitSource(files[0], images)
    whole: list[Path] = [] if sources else _coco_files.whole(root)
    return {WHOLE: SplitSource(whole[0], images)} if whole else sources


def files(root: Path) -> dict[str, SplitSource]:
    """Every COCO file of `annotations` by the name it has there, such as manual_train."""
    images = tuple(path for path in (root / "images", root) if path.is_dir())
    paths = filter(_coco_files.looks_like_coco, sorted((root / "annotations").glob("*.json")))
    return {path.stem.removesuffix("_annotations"): SplitSource(path, images) for path in paths}


def read_files(root: Path) -> dict[str, Split]:
    """Every file that `files` names, read; none if `root` is no folder."""
    return {name: read(source, name) for name, source in files(root).items()}


def read(source: SplitSource, name: str) -> Split:
    """Records of one annotation file. Images are found, not opened."""
    split = Split(name, source.annotations, [], {})
    content = _parse(source.annotations, split.problems)
    if content is None:
        return split
    names = _categories(content["categories"], split)
    pictures = _images(content["images"], source, split)
    # also those whose file is missing: their objects need no problem of their own
    known = {str(entry.get("id")) for entry in content["images"]}
    objects: dict[str, list[Annotation]] = {image_id: [] for image_id in pictures}
    for number, entry in enumerate(content["annotations"], 1):
        image_id = str(entry.get("image_id"))
        image = pictures.get(image_id)
        place = _place(split, entry, number, image)
        if image is None:
            if image_id not in known:
                unknown = f"image_id {image_id} is not in images"
                split.problems.append(Problem("object of an unknown image", place, unknown))
            continue
        try:
            annotation = _annotation(entry, image, names, place, split.problems)
        except BadAnnotation as error:
            split.problems.append(error.at(place))
            continue
        if annotation is not None:
            objects[image_id].append(annotation)
    split.records = [
        replace(image, annotations=tuple(objects[key])) for key, image in pictures.items()
    ]
    return split


def _place(split: Split, entry: dict[str, Any], number: int, image: Record | None) -> Place:
    """The place of an annotation, the `number`th of its file."""
    item = f"annotation {entry.get('id', '?')}"
    return Place(
        str(split.source),
        item if image is None else f"{item} ({image.image.name})",
        image_id=_plain_id(entry.get("image_id")) if image is None else image.id,
        # objects without an id must not be one object to a quarantine list
        annotation_id=f"number {number}" if entry.get("id") is None else _plain_id(entry["id"]),
        image="" if image is None else str(image.image),
    )


def _plain_id(value: Any) -> int | str | None:
    """An id as written, if JSON and a dictionary can both hold it, or else its text."""
    return value if value is None or type(value) in (int, str) else str(value)


def _parse(path: Path, problems: list[Problem]) -> dict[str, list[Any]] | None:
    """The file's three lists, or None with a problem saying why not."""
    content = _shapes.read_json(path, "a COCO instances JSON", problems)
    if content is None:
        return None
    place = Place(str(path))
    keys = ("images", "annotations", "categories")
    missing = [
        key
        for key in keys
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        expected = "the lists " + ", ".join(keys)
        problems.append(Problem("missing list", place, f"no list {', '.join(missing)}", expected))
        return None
    for key in keys:
        strange = sum(not isinstance(entry, dict) for entry in content[key])
        if strange:
            counted = f"{strange} entries of {key} are not objects"
            problems.append(Problem("entry that is no object", place, counted))
    return {key: [entry for entry in content[key] if isinstance(entry, dict)] for key in keys}


def _categories(entries: list[dict[str, Any]], split: Split) -> dict[int, str]:
    """Category id -> name; fills split.categories in order of id."""
    names: dict[int, str] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get("name")
        place = Place(str(split.source), f"category {number}")
        if not isinstance(number, int) or not isinstance(name, str) or not name.strip():
            problem = Problem(
                "category without a name", place, f"name {name!r}", "an integer id and a name"
            )
            split.problems.append(problem)
        elif number in names:
            both = f"the id of both {names[number]!r} and {name!r}"
            split.problems.append(Problem("category id twice", place, both))
        elif name in names.values():
            second = f"a second category called {name!r}"
            split.problems.append(Problem("category name twice", place, second))
        else:
            names[number] = name
    split.categories = {names[number]: number for number in sorted(names)}
    return names


def _images(entries: list[dict[str, Any]], source: SplitSource, split: Split) -> dict[str, Record]:
    """Image id as text -> record without objects, for every image whose file exists."""
    finder = ImageFinder(source.image_folders)
    records: dict[str, Record] = {}
    for position, entry in enumerate(entries, 1):
        number, name = entry.get("id"), entry.get("file_name")
        height, width = entry.get("height"), entry.get("width")
        place = Place(
            str(split.source),
            f"image {number}",
            image_id=number if type(number) is int else f"number {position}",
            name=name if isinstance(name, str) else "",
        )
        if not isinstance(number, int) or not isinstance(name, str) or not name:
            problem = Problem(
                "image entry without id or name",
                place,
                f"file_name {name!r}",
                "an integer id and a file_name",
            )
        elif str(number) in records:
            both = f"the id of both {records[str(number)].image.name} and {name}"
            problem = Problem("image id twice", place, both)
        elif (path := finder.find(name)) is None:
            problem = Problem(
                "missing image", place, f"no file {name}", f"it in {split.source.parent}"
            )
        elif (size := _size(height, width, path, place, split.problems)) is None:
            sides = f"height {height!r}, width {width!r} of {name}"
            problem = Problem("impossible size", place, sides, "pixels")
        else:
            records[str(number)] = Record(path, *size, number)
            continue
        split.problems.append(problem)
    return records


def _size(
    height: Any, width: Any, path: Path, place: Place, problems: list[Problem]
) -> tuple[int, int] | None:
    """Height and width of an image in pixels, from its file where none are written."""
    if height is None and width is None:
        try:
            height, width = image_io.size(path)
        except ImageError:
            return None
        sides = f"height and width missing; {height} and {width} in {path.name}"
        problems.append(Problem("missing size", place, sides))
    return _shapes.believable(height, width)


def _annotation(
    entry: dict[str, Any],
    image: Record,
    names: dict[int, str],
    place: Place,
    problems: list[Problem],
) -> Annotation | None:
    """One object, or None with a problem if nothing of it is left inside the image.

    Raises:
        BadAnnotation: if it cannot be used.
    """
    category = entry.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise BadAnnotation(
            "unknown category", f"category id {category!r} unknown", f"one of {sorted(names)}"
        )
    mask = _coco_masks.mask(entry.get("segmentation"), image, place, problems)
    if entry.get("bbox") is not None:
        x, y, w, h = numbers(entry["bbox"], "box", 4)
        box_xyxy = (x, y, x + w, y + h)
    elif mask is not None:
        box_xyxy = _shapes.mask_box(mask, image)
    else:
        raise BadAnnotation("neither box nor mask", "neither bbox nor segmentation", "at least one")
    inside = _shapes.clipped(box_xyxy, image, place, problems)
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
