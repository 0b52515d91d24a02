"""Data sets as folders: read, refusing every defect, and written, complete or not at all."""

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
from segue.data.formats._coco_files import ROBOFLOW
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
# brings an image file to a place; returns where it is, which may have another suffix
PlaceFile = Callable[[Path, Path], Path]
NamedRecord = tuple[Record, str]  # with the name of its image: a path with /
PairedFiles = Mapping[str, Mapping[Path, Sequence[Path]]]  # by folder, then by image


def read_folder(root: Path, without: Path | None = None) -> dict[str, Split]:
    """Read the splits of a data set folder (or annotation file), which must be free of errors.

    without: a quarantine list that `segue data audit --out` wrote; what it names is left out.

    Raises:
        DataError: the first error there is, or if there is no such list.
    """
    splits = quarantine.applied(read_splits(Data(root=root)), without)
    refuse_errors((p for split in splits.values() for p in split.problems), f"segue check {root}")
    return splits


def named(records: Sequence[Record]) -> list[NamedRecord]:
    """Records with the names of their images: paths with `/` below the folder that holds all."""
    return list(zip(records, names_in(records), strict=True))


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that gets the name `out` when everything is in it.

    Whatever fails before, nothing is left behind.

    Raises:
        PlanError: if `out` exists: nobody's files are replaced.
    """
    if out.exists():
        raise PlanError(out, "exists", "a name that is free")
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=out.name + ".writing-", dir=out.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp's is for the user alone
        os.rename(unfinished, out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def copy(image: Path, target: Path) -> Path:
    """Copy a file; returns where it is."""
    shutil.copyfile(image, target)
    return target


def link(image: Path, target: Path) -> Path:
    """Hard-link a file, or copy it where the target is on another disk; returns where it is."""
    try:
        os.link(image.resolve(), target)
    except OSError:
        shutil.copyfile(image, target)
    return target


def paired_files_of(root: Path, splits: Mapping[str, Split]) -> PairedFiles:
    """The files that a data set's images are paired with, by the name of their folder, then by
    image (see `find_paired_files`).
    """
    pictures = [record.image for split in splits.values() for record in split.records]
    return find_paired_files(pictures, root)


def write_folder(
    out: Path,
    splits: Mapping[str, Sequence[NamedRecord]],
    ids: Mapping[str, int],
    kind: OutputFormat = "coco",
    put: PlaceFile = copy,
    paired: PairedFiles | None = None,
) -> str:
    """Write a data set: images and annotations of each split; returns a text that says what.

    splits: by name, WHOLE for the folder itself; records with the names their images get, in which
    folders become part of the name. ids: of the classes, for COCO, and their order for YOLO. put:
    brings an image to its place. paired: files paired with the images, which go along.

    Raises:
        PlanError: if `out` exists. DataError: if a name cannot be used in a format.
    """
    summary: list[str] = []
    count, paired = Counter[str](), paired or {}
    with new_folder(out) as unfinished:
        for split, records in splits.items():
            folder = unfinished if split == WHOLE else unfinished / split
            written = _write_images(folder, records, kind, put, paired, count)
            _write_annotations(folder, written, ids, kind, count)
            objects = sum(len(record.annotations) for record, _ in records)
            summary.append(f"{split} {len(records)} images, {objects} objects")
        if kind in YOLO:
            keys = {"train": "train", "valid": "val", "test": "test"}
            places = {keys[split]: f"{split}/images" for split in splits if split != WHOLE}
            text = yaml.safe_dump(
                {**places, "names": sorted(ids, key=lambda name: ids[name])}, sort_keys=False
            )
            (unfinished / "data.yaml").write_text(text, encoding="utf-8")
    lines = [f"{out}: " + "; ".join(summary)]
    if count[SEVERAL]:
        lines.append(f"{count[SEVERAL]} masks have several pages, because objects overlap")
    images = sum(map(len, splits.values()))
    lines += [f"{name}: {count[name]} partners of {images} images go along" for name in paired]
    return "\n".join(lines)


def _write_images(
    folder: Path,
    records: Sequence[NamedRecord],
    kind: OutputFormat,
    put: PlaceFile,
    paired: PairedFiles,
    count: Counter[str],
) -> list[Record]:
    """Bring the images of a split, and the files paired with them, to their places.

    Returns the records of the images where they are now, numbered from 1. count: how many images
    have paired files in each folder; added to.
    """
    place = folder / "images" if kind in ("cvat", "masks", *YOLO) else folder
    place.mkdir(parents=True, exist_ok=True)
    written: list[Record] = []
    taken: set[str] = set()
    placed: dict[Path, Path] = {}  # where each source went
    for number, (record, name) in enumerate(records, 1):
        target = place / _free(name.replace("/", "_"), taken)
        image = put(record.image, target)
        _claim(image, record.image, placed, folder)
        written.append(replace(record, image=image, id=number))
        for other, files_of in paired.items():
            count[other] += record.image in files_of
            for file in files_of.get(record.image, ()):
                # next to the image's new name, so that it is found there again
                goal = folder / other / (target.stem + file.suffix)
                if goal in placed and _same_bytes(placed[goal], file):
                    continue  # shared by two images, as x.png and x.tif
                # before it is put there, and after, because `put` may choose another suffix
                _claim(goal, file, placed, folder)
                goal.parent.mkdir(exist_ok=True)
                _claim(put(file, goal), file, placed, folder)
    return written


def _same_bytes(first: Path, second: Path) -> bool:
    return first == second or first.read_bytes() == second.read_bytes()


def _claim(place: Path, source: Path, placed: dict[Path, Path], folder: Path) -> None:
    """Note in `placed` that a source went to a place of `folder`.

    Raises:
        DataError: if another source is there: two names may become one when suffixes change.
    """
    first = placed.setdefault(place, source)
    if first != source:
        name = place.relative_to(folder).as_posix()
        raise DataError(source, f"a second {name}; the first is {first}", "other names of images")


def _write_annotations(
    folder: Path,
    records: Sequence[Record],
    ids: Mapping[str, int],
    kind: OutputFormat,
    count: Counter[str],
) -> None:
    """Write the annotation files of images that are in their places.

    count: of masks with several pages; added to.

    Raises:
        DataError: if two images, or an image and a class, would share a file's name.
    """
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
        clash = "called like an image, so that its folder of masks could be that image's"
        raise DataError(f"class {min(alike)}", clash, "another name, or another format")
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
            names = sorted(ids, key=lambda name: ids[name])
            labels = {name: number for number, name in enumerate(names)}
            (folder / "labels").mkdir(exist_ok=True)
            text = annotation_files.to_yolo(record, labels, kind == "yolo-seg")
            (folder / "labels" / f"{record.image.stem}.txt").write_text(text, encoding="utf-8")


def _write_masks(folder: Path, record: Record, ids: Mapping[str, int]) -> int:
    """Write the label image of each class of a record; returns how many have several pages.

    A record without objects gets an empty one: a missing file would mean that it is not labelled.
    """
    several = 0
    names = {annotation.class_name for annotation in record.annotations}
    for name in names or {next(iter(ids), OBJECT)}:
        if name.startswith(".") or any(letter in name for letter in '/\\:*?"<>|'):
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
    """The name, with a number if an image of another folder has it; added to `taken`.

    Case is ignored, because some disks ignore it.
    """
    path, number = Path(name), 1
    while name.casefold() in taken:
        number += 1
        name = f"{path.stem}-{number}{path.suffix}"
    taken.add(name.casefold())
    return name
