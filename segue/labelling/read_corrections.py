"""Labels that a person corrected, read back and checked: of which image, and what was changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segue.base.plugins import nearest
from segue.data import formats
from segue.data.formats import SplitSource
from segue.data.formats import coco as coco_format
from segue.data.images import image_io as image_files
from segue.data.records import Annotation, Problem, Record, Split, refuse_errors
from segue.errors import DataError
from segue.labelling.auto import place_image
from segue.labelling.export_for_annotators import AS_PICKED, LIST, PROGRAMS, read_list
from segue.labelling.sources import flat, image_name
from segue.structures.masks import Polygon, coco_rle

Key = tuple[str, object]


@dataclass(frozen=True, slots=True)
class CorrectedImage:
    """One image with labels by hand.

    name: its path with `/` below the data set's images. untouched: how many objects equal, to the
    point, those that `segue label pick` wrote. unreviewed: all do, and none was removed.
    """

    name: str
    record: Record
    untouched: int = 0
    unreviewed: bool = False


@dataclass(frozen=True, slots=True)
class PickFolder:
    """What `segue label pick` wrote to `folder`: the image of each file, and its objects then.

    images: the folder that was picked from.
    """

    folder: Path
    images: Path
    names: Mapping[str, str]  # stem of a file -> name of the image
    objects: Mapping[str, Counter[Key]]

    @classmethod
    def find(cls, path: Path) -> PickFolder | None:
        """The pick folder that `path` lies in; None if it lies in none."""
        folder = next((f for f in (path, *path.absolute().parents) if (f / LIST).is_file()), None)
        return cls.read(folder) if folder else None

    @classmethod
    def read(cls, folder: Path) -> PickFolder:
        """Read a folder.

        Raises:
            DataError: if it is not what `segue label pick` wrote.
        """
        content = read_list(folder)
        names = {entry["file"]: entry["image"] for entry in content["picked"]}
        before = coco_format.read(SplitSource(folder / AS_PICKED, shown_in(folder)), AS_PICKED)
        objects = {record.image.stem: _keys(record) for record in before.records}
        return cls(folder, Path(content["images"]), names, objects)


def shown_in(folder: Path) -> tuple[Path, ...]:
    """Where a pick folder keeps its images, the same ones for each program."""
    places = (folder / "labelme", folder / "coco", folder / "cvat" / "images")
    return tuple(place for place in places if place.is_dir())


def read_corrected(
    path: Path, into: Path, pick_folder: PickFolder | None
) -> tuple[list[Record], list[Problem]]:
    """Records of a file or folder of any format, of all its splits, and the problems met.

    Images are looked for next to the file, in the pick folder, and in the data set `into`.

    Raises:
        DataError: if it is of no known format, or has an error.
    """
    if (path / LIST).is_file():
        raise DataError(
            path, "files of several programs", " or ".join(f"{path}/{name}" for name in PROGRAMS)
        )
    more = [into / "images", into]
    if pick_folder:
        more += [*shown_in(pick_folder.folder), pick_folder.images]
    splits = _read(path, tuple(folder for folder in more if folder.is_dir()))
    problems = [problem for split in splits for problem in split.problems]
    refuse_errors(
        problems,
        "correct it" + ("" if pick_folder else ", or give --picked the folder of segue label pick"),
    )
    records = [record for split in splits for record in split.records]
    if not records:
        raise DataError(path, "not a single image", "images with labels")
    return records, problems


def _read(path: Path, more: tuple[Path, ...]) -> list[Split]:
    format = formats.detect(path)
    return [
        format.read(SplitSource(source.annotations, (*source.image_folders, *more)), name)
        for name, source in format.splits(path).items()
    ]


def checked(
    records: Sequence[Record], into: Path, pick_folder: PickFolder | None, classes: Collection[str]
) -> list[CorrectedImage]:
    """Records matched to the data set's images, sorted by name; labels by hand, of full quality.

    classes: the known ones; if empty, all are.

    Raises:
        DataError: if an image is not found, has another size than its labels say or comes twice, or
        a class is unknown.
    """
    _refuse_classes(records, classes)
    images: dict[str, CorrectedImage] = {}
    for record in records:
        name, path = _image_of(record, into, pick_folder)
        height, width = image_files.size(path)
        if (height, width) != (record.height, record.width):
            sides = (
                f"labelled as {record.width} x {record.height} pixels, the image has {width} "
                f"x {height}"
            )
            raise DataError(record.image.name, sides, "labels of this image")
        if name in images:
            raise DataError(
                record.image.name, f"a second image that stands for {name}", "each image once"
            )
        by_hand = tuple(replace(a, source="manual", quality=1.0) for a in record.annotations)
        before = pick_folder.objects.get(record.image.stem) if pick_folder else None
        now = _keys(record)
        untouched = sum((now & before).values()) if before else 0
        kept = replace(record, image=path, annotations=by_hand)
        images[name] = CorrectedImage(name, kept, untouched, before is not None and now == before)
    return [images[name] for name in sorted(images)]


def put(corrected: CorrectedImage, into: Path) -> CorrectedImage:
    """Link its image into the data set, where it is not there yet.

    Raises:
        DataError: if another image has its place.
    """
    target = into / "images" / corrected.name
    image = corrected.record.image
    inside = image.resolve().is_relative_to((into / "images").resolve())
    return replace(
        corrected,
        record=replace(corrected.record, image=image if inside else place_image(image, target)),
    )


def _refuse_classes(records: Sequence[Record], classes: Collection[str]) -> None:
    counts = Counter(a.class_name for record in records for a in record.annotations)
    for name, count in sorted(counts.items()):
        if classes and name not in classes:
            first = next(r for r in records if any(a.class_name == name for a in r.annotations))
            unknown = f"unknown class '{name}' of {count} objects"
            raise DataError(
                first.image.name, unknown, nearest(name, classes), f"--class {name}, if it is right"
            )


def _image_of(record: Record, into: Path, pick_folder: PickFolder | None) -> tuple[str, Path]:
    """Name and file of the image in the data set, or of the one that is to be linked into it."""
    name = pick_folder.names.get(record.image.stem) if pick_folder else None
    if pick_folder and name:
        places = (into / "images" / name, into / "images" / flat(name), pick_folder.images / name)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise DataError(
                record.image.name,
                f"no image {name}",
                f"it in {into / 'images'} or {pick_folder.images}",
            )
        return (image_name(path, into) if path != places[2] else name), path
    name = image_name(record.image, into)
    path = into / "images" / name
    same = path.is_file() and path.read_bytes() == record.image.read_bytes()
    # a different image of that name is refused by `put`
    return name, path if same else record.image


def _keys(record: Record) -> Counter[Key]:
    """Objects as keys to compare: class and points, to a hundredth of a pixel.

    Programs write coordinates with different numbers of digits, even of what nobody touched.
    """
    return Counter((a.class_name, _shape(a, record)) for a in record.annotations)


def _shape(annotation: Annotation, record: Record) -> object:
    if annotation.mask is None:
        return tuple(round(value, 1) for value in annotation.box_xyxy)
    if isinstance(annotation.mask, Polygon):
        return frozenset(
            tuple(map(tuple, np.round(ring, 2).tolist())) for ring in annotation.mask.rings
        )
    return coco_rle(annotation.mask, record.height, record.width)["counts"]
