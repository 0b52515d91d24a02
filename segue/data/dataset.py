"""The data of a stage: read, checked, and boiled down to what a model must fit."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import model_validator

from segue.base.settings import Settings
from segue.data import formats, quarantine
from segue.data.images import multi_file, paired_files
from segue.data.problems import Place, Problem
from segue.data.records import Split, refuse_errors
from segue.data.splitting import SplitShares, split_by_shares
from segue.errors import DataError
from segue.structures.channels import RGB, Channel


class SplitFiles(Settings):
    """One part of a data set, named file by file.

    images: a folder; the annotation file's own if left out.
    """

    annotations: Path
    images: Path | None = None


class Data(Settings):
    """Where images and labels are.

    root: a folder with train/, valid/ and perhaps test/; or the parts by name. format: found out if
    left open. classes: which classes to train, in the order of their labels; all that have objects
    if left open. ignore_classes: annotated classes that are left out on purpose. split: how data
    that is one part is divided. quarantine: a list that `segue data audit --out` wrote: what it
    names is left out, the rest is used.
    """

    root: Path | None = None
    format: str | None = None
    train: SplitFiles | None = None
    valid: SplitFiles | None = None
    test: SplitFiles | None = None
    split: SplitShares | None = None
    classes: tuple[str, ...] | None = None
    ignore_classes: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = RGB
    quarantine: Path | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Data:
        if self.root is not None and (self.train or self.valid or self.test):
            raise ValueError("has root: and parts by name; give one of the two")
        if self.root is None and self.train is None:
            raise ValueError("needs root: FOLDER, or train: and valid: with their annotation files")
        names = [channel.name for channel in self.channels]
        twice = {name for name in names if names.count(name) > 1}
        if not names:
            raise ValueError("channels: none")
        if twice:
            raise ValueError(f"channels: two are called {', '.join(sorted(twice))}")
        for folder in {channel.folder for channel in self.channels}:
            placed = [c.at is not None for c in self.channels if c.folder == folder]
            if any(placed) and not all(placed):
                where = "one file" if folder is None else f"folder {folder}"
                raise ValueError(
                    f"channels: some of {where} say where they are (at:); all of them have to"
                )
        if self.split is not None and self.root is None:
            raise ValueError(
                "has split: and parts by name; split: is for root: a folder that is not divided"
            )
        return self


@dataclass(slots=True)
class DataSet:
    """All parts of a data set, the classes to train in the order of their labels, and what was
    noticed.

    ids: the category id of each class in the user's files, for writing predictions.
    """

    splits: dict[str, Split]
    classes: tuple[str, ...]
    ids: tuple[int, ...]
    notes: list[str]
    manifest: str

    @property
    def most_objects(self) -> int:
        return max(split.most_objects() for split in self.splits.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """Images and objects of each part."""
        return {
            name: {"images": len(split.records), "objects": sum(split.class_counts().values())}
            for name, split in self.splits.items()
        }


def read_dataset(data: Data) -> DataSet:
    """Read every part and decide the classes.

    Raises:
        DataError: if a part is missing, the annotations have errors, or the classes do not fit the
        plan.
    """
    splits = quarantine.applied(read_splits(data), data.quarantine)
    refuse_errors(
        (p for split in splits.values() for p in split.problems),
        f"segue check {data.root or ''}".strip(),
    )
    for name in ("train", "valid"):
        if name not in splits:
            text = f"no {name} part (found {', '.join(splits) or 'none'})"
            ways = (
                f"segue data split {data.root} --out FOLDER, or split: {{valid: 0.15}} under "
                "data: in the plan"
            )
            run = ways if len(splits) == 1 and data.root is not None else ""
            raise DataError(data.root or "data", text, "train and valid; test is optional", run)
        if not splits[name].records:
            raise DataError(splits[name].source, f"the {name} part has no images", "at least one")
    classes, notes = decide_classes(splits, data)
    known = class_ids(splits.values())
    notes += [str(problem) for split in splits.values() for problem in split.problems]
    ids = tuple(known[name] for name in classes)
    return DataSet(splits, classes, ids, notes, manifest(splits, classes, data.channels))


def read_splits(data: Data) -> dict[str, Split]:
    """Every part there is, with its problems.

    Raises:
        DataError: if there is none.
    """
    if data.root is not None:
        format = formats.get(data.format) if data.format else formats.detect(data.root)
        sources = format.splits(data.root)
        splits = {name: format.read(source, name) for name, source in sources.items()}
        if not splits:
            raise DataError(
                data.root,
                f"no data of format {data.format}",
                "what data.format says, or no data.format",
            )
        if data.format is None and (also := formats.others(data.root, format)):
            name = format.__name__.rpartition(".")[2]
            read = f"also looks like {', '.join(also)}; read as {name}"
            several = Problem("several formats", Place(str(data.root)), read)
            next(iter(splits.values())).problems.append(several)
        _compare_channels(splits, data, data.root)
        return splits if data.split is None else split_by_shares(splits, data.split, data.root)
    given = {"train": data.train, "valid": data.valid, "test": data.test}
    splits = {
        name: _named(data.format, files, name) for name, files in given.items() if files is not None
    }
    _compare_channels(splits, data, next(iter(splits.values())).source)
    return splits


def _compare_channels(splits: dict[str, Split], data: Data, place: Path) -> None:
    """Refuse channels that cannot be those of the files; a name that their description does not
    know is noted.

    Raises:
        DataError: if a folder has no partner at all, or channels have another order than the data
        set says.
    """
    pictures = [record.image for split in splits.values() for record in split.records]
    paired_files.refuse_unknown_folders(pictures, data.channels, place)
    in_image = [channel for channel in data.channels if channel.folder is None]
    for split in splits.values() if "channels" in data.model_fields_set else ():
        described = f"its description calls the channels {', '.join(split.channels)}"
        for row, channel in enumerate(in_image if split.channels else ()):
            at = row if channel.at is None else channel.at
            if channel.name in split.channels and split.channels.index(channel.name) != at:
                where, order = (
                    f"channels: {channel.name} of {place}",
                    f"at: {split.channels.index(channel.name)}",
                )
                raise DataError(
                    where, f"taken for number {at}, from 0; {described}", f"that order, or {order}"
                )
            if channel.name not in split.channels:
                text = f"{described}; the plan has {channel.name}"
                source = Place(str(split.source))
                split.problems.append(Problem("channel of another name", source, text))


def _named(format: str | None, files: SplitFiles, name: str) -> Split:
    """One part named file by file; a file of which nothing is said or seen is COCO's."""
    folders = (files.images,) if files.images else formats.folders_beside(files.annotations)
    reader = formats.get(format) if format else formats.of(files.annotations) or formats.get("coco")
    return reader.read(formats.SplitSource(files.annotations, folders), name)


def class_ids(splits: Iterable[Split]) -> dict[str, int]:
    """The id of each class name; new ones, in alphabetical order, if the splits do not agree."""
    known: dict[str, int] = {}
    agree = True
    for split in splits:
        for name, number in split.categories.items():
            agree = (known.setdefault(name, number) == number) and agree
    if agree and len(set(known.values())) == len(known):
        return known
    return {name: number for number, name in enumerate(sorted(known), 1)}


def decide_classes(splits: dict[str, Split], data: Data) -> tuple[tuple[str, ...], list[str]]:
    """Class names in the order of their labels, and what was left out.

    Without data.classes: every class that has objects, in order of category id. A category without
    a single object (Roboflow writes one as a placeholder) is no class.

    Raises:
        DataError: if an annotated class is in neither data.classes nor data.ignore_classes.
    """
    counts: Counter[str] = sum((split.class_counts() for split in splits.values()), Counter())
    ids = class_ids(splits.values())
    ignored = set(data.ignore_classes)
    where = data.root or "data"
    if not counts:
        raise DataError(where, "not a single annotated object", "objects to learn from")
    if data.classes is None:
        classes = tuple(
            sorted((name for name in counts if name not in ignored), key=lambda name: ids[name])
        )
        empty = [name for name in ids if name not in counts]
        note = f"categories without objects are no classes: {', '.join(empty)}"
        return classes, [note] if empty else []
    missing = [
        f"'{name}' ({counts[name]} objects)"
        for name in counts
        if name not in (*data.classes, *ignored)
    ]
    if missing:
        text = f"{len(data.classes)} classes listed, but also annotated: {', '.join(missing)}"
        raise DataError(where, text, "every annotated class in data.classes or data.ignore_classes")
    unknown = [name for name in data.classes if name not in ids]
    if unknown:
        raise DataError(
            where, f"no category called {', '.join(unknown)}", "names from " + ", ".join(ids)
        )
    return data.classes, []


def require_masks(splits: dict[str, Split], names: Sequence[str] = ("train", "valid")) -> None:
    """Refuse data without masks for a stage that trains masks.

    Raises:
        DataError: if no object of a part has one; it counts them and names an image.
    """
    for name in names:
        split = splits[name]
        objects = [(r, a) for r in split.records for a in r.annotations if not a.crowd]
        without = [(r, a) for r, a in objects if a.mask is None]
        if objects and len(without) == len(objects):
            record, annotation = without[0]
            text = (
                f"none of {len(objects)} objects has a mask (first: annotation "
                f"{annotation.id} of {record.image.name})"
            )
            expected = "segmentation polygons or run lengths"
            raise DataError(split.source, text, expected, "task: boxes needs none")


def manifest(
    splits: dict[str, Split], classes: tuple[str, ...], channels: tuple[Channel, ...]
) -> str:
    """SHA-256 over classes, channels, and the bytes of all annotation files and images, whatever
    they are called.

    Partners of images count, too.

    Raises:
        DataError: if an image's partner is missing.
    """
    total = hashlib.sha256(repr((classes, [channel.model_dump() for channel in channels])).encode())
    for name in sorted(splits):
        split = splits[name]
        total.update(repr((name, [len(record.annotations) for record in split.records])).encode())
        files = split.files or [path for path in (split.source,) if path.is_file()]
        pictures = (
            p
            for r in split.records
            for p in dict.fromkeys((r.image, *multi_file.files(r.image, channels)))
        )
        for path in (*files, *pictures):
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
