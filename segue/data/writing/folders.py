"""Data sets as whole folders: read, with every defect refused, and written anew, complete or not at
all.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import yaml

from segue.base.files import write_json
from segue.data import quarantine
from segue.data.dataset import Data, read_splits
from segue.data.formats import WHOLE
from segue.data.formats.coco import ROBOFLOW
from segue.data.formats.masks import OBJECT
from segue.data.images import label_images
from segue.data.images.paired_files import find_paired_files
from segue.data.records import Record, Split, names_in, refuse_errors
from segue.data.writing import annotation_files
from segue.data.writing.coco import coco
from segue.errors import DataError, PlanError

OutputFormat = Literal["coco", "labelme", "cvat", "voc", "yolo", "yolo-seg", "masks"]
YOLO = ("yolo", "yolo-seg")
WITH_CROWDS = ("coco", "voc")
ONLY_BOXES, ONLY_MASKS = ("voc", "yolo"), ("yolo-seg", "masks")
SEVERAL = "pages of masks"  # which is counted
PlaceFile = Callable[[Path, Path], Path]
NamedRecord = tuple[Record, str]
PairedFiles = Mapping[str, Mapping[Path, Sequence[Path]]]


def read_folder(root: Path, without: Path | None = None) -> dict[str, Split]:
    """The parts of a data set folder (or annotation file), which must be without errors.

    without: a list that `segue data audit --out` wrote; what it names is left out.

    Raises:
        DataError: the first error there is, or if there is no such list.
    """
    splits = quarantine.applied(read_splits(Data(root=root)), without)
    refuse_errors((p for split in splits.values() for p in split.problems), f"segue check {root}")
    return splits


def named(records: Sequence[Record]) -> list[NamedRecord]:
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


def paired_files_of(root: Path, splits: Mapping[str, Split]) -> PairedFiles:
    """Pictures of other cameras that lie beside a data set's images, by the name of their folder
    and the image.
    """
    pictures = [record.image for split in splits.values() for record in split.records]
    return find_paired_files(pictures, root)


def write_folder(
    out: Path,
    parts: Mapping[str, Sequence[NamedRecord]],
    ids: Mapping[str, int],
    kind: OutputFormat = "coco",
    put: PlaceFile = copy,
    beside: PairedFiles | None = None,
) -> str:
    """Write a data set: for each part (WHOLE: the folder itself) images and annotations; says what
    it wrote.

    parts: records with the names their images get; folders in them become part of the name. ids: of
    the classes, for COCO, and their order for YOLO. put: brings an image to a place; returns where
    it is, which may have another suffix. beside: partners of the images, which go along.

    Raises:
        PlanError: if `out` exists. DataError: if a name cannot be used in a format.
    """
    said, count, beside = [], Counter[str](), beside or {}
    with new_folder(out) as unfinished:
        for part, records in parts.items():
            folder = unfinished if part == WHOLE else unfinished / part
            written = _put_part(folder, records, kind, put, beside, count)
            _annotate(folder, written, ids, kind, count)
            objects = sum(len(record.annotations) for record, _ in records)
            said.append(f"{part} {len(records)} images, {objects} objects")
        if kind in YOLO:
            keys = {"train": "train", "valid": "val", "test": "test"}
            places = {keys[part]: f"{part}/images" for part in parts if part != WHOLE}
            text = yaml.safe_dump(
                {**places, "names": sorted(ids, key=lambda name: ids[name])}, sort_keys=False
            )
            (unfinished / "data.yaml").write_text(text, encoding="utf-8")
    lines = [f"{out}: " + "; ".join(said)]
    if count[SEVERAL]:
        lines.append(f"{count[SEVERAL]} masks have several pages, because objects overlap")
    images = sum(map(len, parts.values()))
    lines += [f"{name}: {count[name]} partners of {images} images go along" for name in beside]
    return "\n".join(lines)


def _put_part(
    folder: Path,
    records: Sequence[NamedRecord],
    kind: OutputFormat,
    put: PlaceFile,
    beside: PairedFiles,
    count: Counter[str],
) -> list[Record]:
    """The images of a part, and their partners, in their places; count: of partners, by folder."""
    place = folder / "images" if kind in ("cvat", "masks", *YOLO) else folder
    place.mkdir(parents=True, exist_ok=True)
    written, taken = [], set()
    placed: dict[Path, Path] = {}
    for number, (record, name) in enumerate(records, 1):
        target = place / _free(name.replace("/", "_"), taken)
        image = put(record.image, target)
        _claim(image, record.image, placed, folder)
        written.append(replace(record, image=image, id=number))
        for other, partners in beside.items():
            count[other] += record.image in partners
            for partner in partners.get(record.image, ()):
                goal = folder / other / (target.stem + partner.suffix)
                if goal in placed and (
                    placed[goal] == partner or placed[goal].read_bytes() == partner.read_bytes()
                ):
                    continue
                _claim(goal, partner, placed, folder)
                goal.parent.mkdir(exist_ok=True)
                _claim(put(partner, goal), partner, placed, folder)
    return written


def _claim(place: Path, source: Path, placed: dict[Path, Path], folder: Path) -> None:
    """Note which file is in a place of `folder`; two may be meant for one because both get another
    suffix.

    Raises:
        DataError: if another file is there.
    """
    first = placed.setdefault(place, source)
    if first != source:
        name = place.relative_to(folder).as_posix()
        raise DataError(source, f"a second {name}; the first is {first}", "other names of images")


def _annotate(
    folder: Path,
    records: Sequence[Record],
    ids: Mapping[str, int],
    kind: OutputFormat,
    count: Counter[str],
) -> None:
    """The annotation files of images that are in their places."""
    if kind == "coco":
        write_json(folder / ROBOFLOW, coco(records, ids, lambda record: record.image.name))
        return
    if kind == "cvat":
        text = annotation_files.to_cvat((record, record.image.name) for record in records)
        (folder / "annotations.xml").write_text(text, encoding="utf-8")
        return
    stems: set[str] = set()
    alike = set(ids) & {record.image.stem for record in records} - {OBJECT}
    if kind == "masks" and alike:
        found = "called like an image, so that its folder of masks could be that image's"
        raise DataError(f"class {min(alike)}", found, "another name, or another format")
    for record in records:
        name = record.image.name
        if record.image.stem in stems:
            raise DataError(
                name, f"a second image called {record.image.stem}", "names that differ in more"
            )
        stems.add(record.image.stem)
        if kind == "labelme":
            write_json(record.image.with_suffix(".json"), annotation_files.to_labelme(record, name))
        elif kind == "voc":
            record.image.with_suffix(".xml").write_text(
                annotation_files.to_voc(record, name), encoding="utf-8"
            )
        elif kind == "masks":
            count[SEVERAL] += _write_masks(folder / "masks", record, ids)
        else:
            labels = {
                name: number for number, name in enumerate(sorted(ids, key=lambda name: ids[name]))
            }
            (folder / "labels").mkdir(exist_ok=True)
            text = annotation_files.to_yolo(record, labels, kind == "yolo-seg")
            (folder / "labels" / f"{record.image.stem}.txt").write_text(text, encoding="utf-8")


def _write_masks(folder: Path, record: Record, ids: Mapping[str, int]) -> int:
    """The label image of each class of a record, or an empty one; returns how many have several
    pages.
    """
    several = 0
    shown = {annotation.class_name for annotation in record.annotations} or {
        next(iter(ids), OBJECT)
    }
    for name in shown:
        if (
            name in (".", "..")
            or name.startswith(".")
            or any(letter in name for letter in '/\\:*?"<>|')
        ):
            raise DataError(
                f"class {name}", "a name that no folder can have", "another name, or another format"
            )
        place = folder if set(ids) <= {OBJECT} else folder / name
        place.mkdir(parents=True, exist_ok=True)
        pages = annotation_files.pages(record, name)
        label_images.write(
            place / f"{record.image.stem}.tif", pages if len(pages) > 1 else pages[0]
        )
        several += len(pages) > 1
    return several


def _free(name: str, taken: set[str]) -> str:
    """The name, with a number if another image of another folder has it."""
    path, number = Path(name), 1
    while name.casefold() in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    taken.add(name.casefold())
    return name
