"""Lists of images and objects that a data set is to be used without.

The data set's own files stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from segue.base.parsing import read_json
from segue.data.problems import LISTED, Finding, plain
from segue.data.records import Annotation, Problem, Record, Split
from segue.errors import DataError

EXPECTED = "a quarantine.json that segue data audit wrote"
LATER_ONLY = "object twice"  # whose first is kept, whatever their ids


def listed(findings: Iterable[Finding]) -> dict[str, list[dict[str, Any]]]:
    """The content of a list: images and objects that cannot be used or are doubtful, each with the
    reason.
    """
    content: dict[str, list[dict[str, Any]]] = {"images": [], "objects": []}
    for finding in findings:
        if finding.action in LISTED:
            keys = ("action", "kind", "file", "image", "annotation", "path", "where", "found")
            entry = finding.as_dict()
            kind = "images" if finding.annotation is None else "objects"
            content[kind].append({key: entry[key] for key in keys})
    return content


def applied(splits: dict[str, Split], path: Path | None) -> dict[str, Split]:
    """The parts without what a list names; errors that it names are none any more.

    Raises:
        DataError: if there is no such list.
    """
    if path is None:
        return splits
    content = _read(path)
    said = {(_key(entry["where"]), entry["found"]) for some in content.values() for entry in some}
    whole = {_key(entry["path"]) for entry in content["images"] if entry["path"]}
    objects = {
        (_key(entry["path"]), str(entry["annotation"])): entry["kind"]
        for entry in content["objects"]
        if entry["path"]
    }
    return {name: _without(split, path, said, whole, objects) for name, split in splits.items()}


def _without(
    split: Split,
    path: Path,
    said: set[tuple[str, str]],
    whole: set[str],
    objects: dict[tuple[str, str], str],
) -> Split:
    kept = [_kept(record, objects) for record in split.records if _key(record.image) not in whole]
    before = sum(
        len(record.annotations) for record in split.records if _key(record.image) not in whole
    )
    gone = before - sum(len(record.annotations) for record in kept)
    problems = [
        replace(problem, severity="dropped")
        if (_key(problem.where), plain(problem.found)) in said
        else problem
        for problem in split.problems
    ]
    if gone or len(kept) < len(split.records):
        text = f"{len(split.records) - len(kept)} images and {gone} objects are left out"
        problems.append(Problem("note", f"{path}: {split.name}", text))
    sources = split.files or ((split.source,) if split.source.is_file() else ())
    # the list is part of the data
    return replace(split, records=kept, problems=problems, files=(*sources, path))


def _kept(record: Record, objects: dict[tuple[str, str], str]) -> Record:
    key = _key(record.image)
    kept: list[Annotation] = []
    for annotation in record.annotations:
        kind = objects.get((key, str(annotation.id)))
        if kind is None or (kind == LATER_ONLY and not _again(annotation, kept)):
            kept.append(annotation)
    return (
        record if len(kept) == len(record.annotations) else replace(record, annotations=tuple(kept))
    )


def _again(annotation: Annotation, kept: list[Annotation]) -> bool:
    return any(
        (other.class_name, other.box_xyxy) == (annotation.class_name, annotation.box_xyxy)
        for other in kept
    )


def _key(path: str | Path) -> str:
    return str(Path(path).absolute())


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(path, f"not readable ({error})", EXPECTED) from None
    texts = ("path", "where", "found", "kind")
    for key in ("images", "objects"):
        some = content.get(key) if isinstance(content, dict) else None
        if not isinstance(some, list) or not all(
            isinstance(entry, dict)
            and "annotation" in entry
            and all(isinstance(entry.get(t), str) for t in texts)
            for entry in some
        ):
            raise DataError(path, f"no list {key}, or entries that are none of ours", EXPECTED)
    return content
