"""YOLO: a text file for each image and in it a line for each object, in shares (0..1) of the
image's width and height.

    images/ + labels/                                    not divided
    images/{train,val,test}/ + labels/{train,val,test}/
    {train,valid,test}/images/ + {train,valid,test}/labels/    (Roboflow)

or the folders that train:, val: and test: of data.yaml name. `class cx cy w h` is a box, `class x1
y1 x2 y2 x3 y3 ...` an outline. Classes are called as in data.yaml (or classes.txt), else class 0,
class 1, ... An image without a label file, or with an empty one, shows none of them and stays.
`channels: [r, g, b, thermal]` in data.yaml says what those of the files are called.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from segue.data.formats import WHOLE, SplitSource, _image_files, _shapes, _yolo_names, paired
from segue.data.formats._shapes import NOT_A_NUMBER, UNREADABLE, BadAnnotation, Shape
from segue.data.problems import Place, Problem
from segue.data.records import SPLIT_WORDS, Record, Split
from segue.errors import DataError

KEYS = {"train": ("train",), "valid": ("val", "valid"), "test": ("test",)}
BAD_SHAPE = "shape that is none"
MOST_CLASSES = 10_000
# how far rounding may carry a number out of 0..1; the object is cut off at the image's edge
SLACK = 0.001


def detect(root: Path) -> bool:
    if not root.is_dir():
        return False
    folders = [
        root / "labels",
        *(root / word / "labels" for words in SPLIT_WORDS.values() for word in words),
    ]
    return (
        any(next(folder.rglob("*.txt"), None) for folder in folders)
        or {"names", "train"} <= _yolo_names.described(root).keys()
    )


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`; undivided data are the split `all`. A folder named for two
    splits is the first's.

    Raises:
        DataError: if data.yaml names a part that is no folder inside `root`.
    """
    if not root.is_dir():
        return {}
    content = _yolo_names.described(root)
    sources: dict[str, SplitSource] = {}
    laid_out = {name: source.image_folders[0] for name, source in paired(root, "labels").items()}
    for name in SPLIT_WORDS:
        named = next((content[key] for key in KEYS[name] if content.get(key)), None)
        folder = _inside(root, content.get("path"), named) or laid_out.get(name)
        if named and (folder is None or str(named).endswith(".txt")):
            raise DataError(
                root,
                f"{name} is {named} in its data.yaml",
                "a folder of images inside the data set",
            )
        if folder and all(folder not in source.image_folders for source in sources.values()):
            sources[name] = SplitSource(_labels_of(root, folder), (folder,))
    whole = SplitSource(root / "labels", (root / "images",))
    return sources or ({WHOLE: whole} if whole.annotations.is_dir() else {})


def _inside(root: Path, base: Any, folder_name: Any) -> Path | None:
    """The folder that data.yaml names, which may be relative to its `path`, or to a folder next
    to it (Roboflow).
    """
    if not isinstance(folder_name, str):
        return None
    named = [root / str(base or ""), root]
    for folder in [
        *(place / folder_name for place in named),
        root / folder_name.removeprefix("../"),
    ]:
        if folder.is_dir() and folder.resolve().is_relative_to(root.resolve()):
            folder = root / folder.resolve().relative_to(root.resolve())
            return folder / "images" if (folder / "images").is_dir() else folder
    return None


def _labels_of(root: Path, folder: Path) -> Path:
    """labels/train for images/train, train/labels for train/images; else labels lie next to
    their images.
    """
    steps = list(folder.relative_to(root).parts)
    if "images" in steps:
        steps[len(steps) - 1 - steps[::-1].index("images")] = "labels"
    return root.joinpath(*steps)


def read(source: SplitSource, name: str) -> Split:
    """Records of all images of a part. Their headers are read, for their size."""
    split = Split(name, source.annotations, [], {})
    if not source.annotations.is_dir():
        place, expected = Place(str(source.annotations)), "a text file for each image"
        split.problems.append(Problem(UNREADABLE, place, "no such folder", expected))
    names, described = _names(source, split.problems)
    paths = (
        path
        for path in sorted(source.annotations.rglob("*.txt"))
        if path.name != _yolo_names.CLASSES
    )
    labels = {
        path.relative_to(source.annotations).with_suffix("").as_posix(): path for path in paths
    }
    # Folders without a counterpart in the labels hold something else.
    pictures = _image_files.pictures(
        source.image_folders, split.problems, lambda name: (source.annotations / name).is_dir()
    )
    for key in sorted(labels.keys() - pictures.keys()):
        place = Place(str(labels[key]))
        missing = Problem("missing image", place, "no image of this name", _places(source))
        split.problems.append(missing)
    for key, path in sorted(pictures.items()):
        record = _shapes.record(path, len(split.records) + 1, split.problems)
        if record is not None:
            shapes = _shapes_of(labels[key], record, names, split.problems) if key in labels else []
            split.records.append(_shapes.with_shapes(record, shapes, split.problems))
    split.files, split.channels = (*described, *labels.values()), _yolo_names.channels(described)
    used = (
        [int(name.removeprefix("class ")) for name in split.class_counts()] if names is None else []
    )
    known = (
        {number: f"class {number}" for number in range(max(used, default=-1) + 1)}
        if names is None
        else names
    )
    split.categories = {name: number for number, name in sorted(known.items())}
    return split


def _names(
    source: SplitSource, problems: list[Problem]
) -> tuple[dict[int, str] | None, list[Path]]:
    """Class names by id and the file that says them; None if no file does."""
    for folder in _homes(source):
        for path in (
            folder / name
            for name in (*_yolo_names.DESCRIPTIONS, _yolo_names.CLASSES)
            if (folder / name).is_file()
        ):
            try:
                names = _yolo_names.named_in(path)
                if names is None:
                    continue
                return names, [path]
            except (OSError, ValueError) as error:
                unreadable = f"not readable ({str(error)[:80]})"
                problems.append(
                    Problem(UNREADABLE, Place(str(path)), unreadable, "YAML with names")
                )
            except BadAnnotation as error:
                problems.append(error.at(Place(str(path))))
            return None, [path]
    return None, []


def _homes(source: SplitSource) -> Iterator[Path]:
    """The folders that hold both labels and images of a part, and that of the data set: not one
    above it.
    """
    labels = source.annotations.absolute()
    both = os.path.commonpath([labels, *(folder.absolute() for folder in source.image_folders)])
    for folder in (labels, *labels.parents[:4]):
        if folder.is_relative_to(both) or _has_part(folder, labels):
            yield folder


def _has_part(root: Path, labels: Path) -> bool:
    try:
        return any(part.annotations == labels for part in splits(root).values())
    except DataError:
        return False


def _shapes_of(
    path: Path, image: Record, names: dict[int, str] | None, problems: list[Problem]
) -> list[Shape]:
    """The objects of a label file."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        unreadable = f"not readable ({str(error)[:80]})"
        problems.append(Problem(UNREADABLE, Place(str(path)), unreadable, "a text file"))
        return []
    shapes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = Place(
            str(path),
            line=number,
            annotation_id=f"line {number}",
            image=str(image.image),
        )
        try:
            shapes.append(_shape(line.split(), image, names, place))
        except BadAnnotation as error:
            problems.append(error.at(place))
    return shapes


def _shape(words: list[str], image: Record, names: dict[int, str] | None, place: Place) -> Shape:
    if len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        raise BadAnnotation(
            BAD_SHAPE,
            f"{len(words)} columns",
            "class cx cy w h, or class and at least three points x y",
        )
    name = _class_name(words[0], names)
    values = [_number(word) for word in words[1:]]
    if not all(-SLACK <= value <= 1 + SLACK for value in values):  # false for NaN, too
        raise BadAnnotation(
            NOT_A_NUMBER,
            f"coordinates {' '.join(words[1:9])}",
            "shares of width and height, 0 to 1",
        )
    if len(values) > 4:
        points = np.array(values).reshape(-1, 2) * (image.width, image.height)
        return Shape(name, _shapes.polygon(points, image), place)
    x, y, w, h = (
        values[0] * image.width,
        values[1] * image.height,
        values[2] * image.width,
        values[3] * image.height,
    )
    return Shape(name, None, place, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))


def _class_name(word: str, names: dict[int, str] | None) -> str:
    number = _number(word)
    if not (math.isfinite(number) and number == int(number) and 0 <= number < MOST_CLASSES):
        raise BadAnnotation("unknown category", f"class {word[:20]}", "a whole number from 0")
    if names is not None and int(number) not in names:
        raise BadAnnotation(
            "unknown category",
            f"class {int(number)}",
            f"one of the {len(names)} classes, {min(names)} to {max(names)}",
        )
    return f"class {int(number)}" if names is None else names[int(number)]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise BadAnnotation(BAD_SHAPE, f"'{word[:20]}'", "numbers") from None


def _places(source: SplitSource) -> str:
    return "one in " + ", ".join(str(folder) for folder in source.image_folders)
