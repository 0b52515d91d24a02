"""Join two COCO files: categories by name, images by file name, objects of both."""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.base.files import write_json
from segue.data.formats import _shapes
from segue.data.records import Problem, refuse_errors
from segue.data.writing.coco_merge import Content, combined
from segue.errors import DataError, PlanError, show

KEYS = ("images", "annotations", "categories")


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-f1", "--file1", type=Path, required=True)
    parser.add_argument("-f2", "--file2", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new file")
    parser.add_argument("--dry_run", action="store_true", help="say what would be written")
    args = parser.parse_args()
    if args.output.exists():
        raise PlanError(args.output, "exists", "a name that is free")
    both = [_read(path) for path in (args.file1, args.file2)]
    content = combined(*both)
    paths = (args.file1, args.file2, args.output)
    for path, entries in zip(paths, (*both, content), strict=True):
        show(f"{path}: " + ", ".join(f"{len(entries[key])} {key}" for key in KEYS))
    if args.dry_run:
        show("nothing written: --dry_run")
    else:
        write_json(args.output, content)


def _read(path: Path) -> Content:
    problems: list[Problem] = []
    content = _shapes.read_json(path, "a COCO instances JSON", problems)
    refuse_errors(problems, "")
    lists = [content.get(key) for key in KEYS] if isinstance(content, dict) else [None]
    if not all(_is_list_of_entries(entries) for entries in lists):
        raise DataError(path, "not all of them lists of entries", ", ".join(KEYS))
    return content


def _is_list_of_entries(content: object) -> bool:
    return isinstance(content, list) and all(isinstance(entry, dict) for entry in content)
