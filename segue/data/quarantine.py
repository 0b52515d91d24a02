"""Lists of images and objects that a data set is to be used without.

The data set's own files stay as they are. A list of version 2 names problems by kind and ids; lists
of version 1, which matched by wording, are still read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.base.parsing import read_json
from segue.data import quarantine_v1
from segue.data.problems import LISTED, Place, Problem
from segue.data.records import Annotation, Record, Split
from segue.errors import DataError

VERSION = 2
EXPECTED = "a quarantine.json that segue data audit wrote"
KEYS = ("action", "kind", "file", "image", "annotation", "path", "where", "found")
# keys that an entry has to have: those whose values are text, and those that may be anything
TEXTS = {1: ("kind", "path", "where", "found"), 2: ("kind", "path", "file")}
IDS = {1: ("annotation",), 2: ("annotation", "image")}
LATER_ONLY = "object twice"  # whose first is kept, whatever their ids
Content = dict[str, list[dict[str, Any]]]


def listed(problems: Iterable[Problem]) -> dict[str, Any]:
    """The content of a list: images and objects that cannot be used or are doubtful, each with the
    reason.
    """
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for problem in problems:
        if problem.action in LISTED:
            entry = problem.as_dict()
            entries = images if problem.place.annotation_id is None else objects
            entries.append({key: entry[key] for key in KEYS})
    return {"version": VERSION, "images": images, "objects": objects}


def applied(splits: dict[str, Split], path: Path | None) -> dict[str, Split]:
    """The splits without what a list names; problems that it names refuse nothing any more.

    Raises:
        DataError: if there is no such list.
    """
    if path is None:
        return splits
    version, content = _read(path)
    is_listed = quarantine_v1.matcher(content) if version == 1 else _matcher(content)
    images = {_absolute(entry["path"]) for entry in content["images"] if entry["path"]}
    objects = {
        (_absolute(entry["path"]), str(entry["annotation"])): entry["kind"]
        for entry in content["objects"]
        if entry["path"]
    }
    return {
        name: _without(split, path, is_listed, images, objects) for name, split in splits.items()
    }


def _matcher(content: Content) -> Callable[[Problem], bool]:
    """Whether a problem is in a list: of the same kind, in the same file, with the same ids."""
    entries = {
        (entry["kind"], _absolute(entry["file"]), str(entry["image"]), str(entry["annotation"]))
        for group in content.values()
        for entry in group
    }

    def is_listed(problem: Problem) -> bool:
        place = problem.place
        ids = str(place.image_id), str(place.annotation_id)
        return (problem.kind, _absolute(place.file), *ids) in entries

    return is_listed


def _without(
    split: Split,
    path: Path,
    is_listed: Callable[[Problem], bool],
    images: set[str],
    objects: dict[tuple[str, str], str],
) -> Split:
    chosen = [record for record in split.records if _absolute(record.image) not in images]
    kept = [_kept(record, objects) for record in chosen]
    gone = sum(len(r.annotations) for r in chosen) - sum(len(r.annotations) for r in kept)
    problems = [
        replace(problem, listed=True) if is_listed(problem) else problem
        for problem in split.problems
    ]
    if gone or len(kept) < len(split.records):
        text = f"{len(split.records) - len(kept)} images and {gone} objects are left out"
        problems.append(Problem("quarantine list", Place(str(path), split.name), text))
    sources = split.files or ((split.source,) if split.source.is_file() else ())
    # the list is part of the data, so that another list is another manifest
    return replace(split, records=kept, problems=problems, files=(*sources, path))


def _kept(record: Record, objects: dict[tuple[str, str], str]) -> Record:
    image = _absolute(record.image)
    kept: list[Annotation] = []
    for annotation in record.annotations:
        kind = objects.get((image, str(annotation.id)))
        if kind is None or (kind == LATER_ONLY and not _repeats(annotation, kept)):
            kept.append(annotation)
    if len(kept) == len(record.annotations):
        return record
    return replace(record, annotations=tuple(kept))


def _repeats(annotation: Annotation, kept: list[Annotation]) -> bool:
    return any(
        (other.class_name, other.box_xyxy) == (annotation.class_name, annotation.box_xyxy)
        for other in kept
    )


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())


def _read(path: Path) -> tuple[int, Content]:
    """Version and entries of a list; version 1 had no key that says so.

    Raises:
        DataError: if there is none, or it is not laid out like one.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(path, f"not readable ({error})", EXPECTED) from None
    version = content.get("version", 1) if isinstance(content, dict) else 1
    if type(version) is not int or version not in TEXTS:
        raise DataError(path, f"a list of version {version!r:.20}", f"{EXPECTED}, version 1 or 2")
    entries: Content = {}
    for key in ("images", "objects"):
        group = content.get(key) if isinstance(content, dict) else None
        if not isinstance(group, list) or not all(_is_entry(entry, version) for entry in group):
            raise DataError(path, f"no list {key}, or entries of another form", EXPECTED)
        entries[key] = group
    return version, entries


def _is_entry(entry: Any, version: int) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() >= set(IDS[version])
        and all(isinstance(entry.get(key), str) for key in TEXTS[version])
    )
