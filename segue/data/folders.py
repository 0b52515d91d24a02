"""Data sets as whole folders: read, with every defect refused, and written anew, complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segue.data import exchange
from segue.data.coco_writer import coco, write_json
from segue.data.dataset import Data, read_splits
from segue.data.formats import WHOLE
from segue.data.formats.coco import ROBOFLOW
from segue.data.records import Record, Split, names_in, refuse_errors
from segue.errors import DataError, PlanError

Kind = Literal["coco", "labelme", "cvat"]
Put = Callable[[Path, Path], Path]
Named = tuple[Record, str]


def read_folder(root: Path) -> dict[str, Split]:
    """The parts of a data set folder (or annotation file), which must be without errors.

    Raises:
        DataError: the first error there is.
    """
    splits = read_splits(Data(root=root))
    refuse_errors((p for split in splits.values() for p in split.problems), f"segue check {root}")
    return splits


def named(records: Sequence[Record]) -> list[Named]:
    """Records with the names of their images."""
    return list(zip(records, names_in(records), strict=True))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that gets the name `out` when everything is in it.

    Raises:
        PlanError: if `out` exists: nothing of anybody's is replaced.
    """
    if out.exists():
        raise PlanError(out, "exists", "a name that is free")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=out.name + ".writing-", dir=out.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)
        os.rename(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def copy(image: Path, target: Path) -> Path:
    shutil.copyfile(image, target)
    return target


def link(image: Path, target: Path) -> Path:
    """A second name of the same file, or a copy where the disk is another."""
    try:
        os.link(image.resolve(), target)
    except OSError:
        shutil.copyfile(image, target)
    return target


def write_folder(
    out: Path, parts: Mapping[str, Sequence[Named]], ids: Mapping[str, int], kind: Kind = "coco", put: Put = copy
) -> str:
    """Write a data set: for each part (WHOLE: the folder itself) images and annotations; says what it wrote.

    parts: records with the names their images get; folders in them become part of the name. ids: of the classes, for
    COCO. put: brings an image to a place; returns where it is, which may have another suffix.

    Raises:
        PlanError: if `out` exists.
    """
    said = []
    with new_folder(out) as unfinished:
        for part, records in parts.items():
            folder = unfinished if part == WHOLE else unfinished / part
            _write_part(folder, records, ids, kind, put)
            objects = sum(len(record.annotations) for record, _ in records)
            said.append(f"{part} {len(records)} images, {objects} objects")
    return f"{out}: " + "; ".join(said)


def _write_part(folder: Path, records: Sequence[Named], ids: Mapping[str, int], kind: Kind, put: Put) -> None:
    place = folder / "images" if kind == "cvat" else folder
    place.mkdir(parents=True, exist_ok=True)
    written, taken = [], set()
    for number, (record, name) in enumerate(records, 1):
        target = place / _free(name.replace("/", "_"), taken)
        written.append(replace(record, image=put(record.image, target), id=number))
    if kind == "coco":
        write_json(folder / ROBOFLOW, coco(written, ids, lambda record: record.image.name))
    elif kind == "cvat":
        text = exchange.to_cvat((record, record.image.name) for record in written)
        (folder / "annotations.xml").write_text(text, encoding="utf-8")
    else:
        for record in written:
            path = record.image.with_suffix(".json")
            if path.exists():
                raise DataError(record.image.name, f"a second image for {path.name}", "names that differ in more")
            write_json(path, exchange.to_labelme(record, record.image.name))


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if another image of another folder has it."""
    path, number = Path(name), 1
    while name.casefold() in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    taken.add(name.casefold())
    return name
