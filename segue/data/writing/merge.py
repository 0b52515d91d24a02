"""One folder with the labels of an algorithm and those made by hand: `images/` and four COCO files.

images/*
annotations/{algorithmic,manual}_{train,test}_annotations.json    (the test files may be missing)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from segue.base.files import write_json
from segue.data.dataset import class_ids
from segue.data.formats import coco as coco_format
from segue.data.records import Record, Split
from segue.data.scene_groups import group_of, groups, split_groups
from segue.data.writing.coco import coco
from segue.data.writing.folders import NamedRecord, copy, named, new_folder, read_folder
from segue.errors import DataError

# the word in file names -> the source of objects
SOURCES = {"algorithmic": "algorithm", "manual": "manual"}
SPLITS = ("train", "test")
TEST_SHARE = 0.1
FEWEST = 5  # hand-labelled groups of which one is kept for testing; of fewer all are for training


def read(root: Path) -> dict[str, Split]:
    """Read the files that exist, as algorithmic_train and so on, with their problems.

    Raises:
        DataError: if a file for training is missing.
    """
    files = coco_format.files(root)
    missing = [
        f"{source}_train_annotations.json" for source in SOURCES if f"{source}_train" not in files
    ]
    if missing:
        run = f"organize_unified_dataset.py --output_dataset {root}"
        raise DataError(
            root / "annotations",
            f"no {', '.join(missing)}",
            "algorithmic and manual labels to train",
            run,
        )
    names = [f"{source}_{split}" for source in SOURCES for split in SPLITS]
    return {name: coco_format.read(files[name], name) for name in names if name in files}


def organise(
    algorithmic: Path, manual: Path | None, out: Path, seed: int = 42, pattern: str | None = None
) -> list[str]:
    """Write the folder from one data set or two; returns a line with exact counts for each file.

    Both are split together: all images of a field of view, of either source, are in one split, so
    that nothing that is tested by hand is trained on anywhere. Splits that a data set already has
    are kept as far as groups allow. pattern: see `scene_groups.group_of`.

    Raises:
        DataError: if a data set has errors, or there are too few groups.
        PlanError: if `out` exists.
    """
    given = {"algorithmic": read_folder(algorithmic)} | (
        {"manual": read_folder(manual)} if manual else {}
    )
    split_of = _split_of_groups(given, seed, pattern)
    ids = class_ids(split for splits in given.values() for split in splits.values())
    lines = []
    with new_folder(out) as folder:
        images = _Images(folder / "images")
        for word, splits in given.items():
            pooled: list[NamedRecord] = []
            for records_of_split in splits.values():
                pooled += named(records_of_split.records)
            for split in SPLITS:
                chosen = [each for each in pooled if split_of[group_of(each[1], pattern)] == split]
                if chosen:
                    records = [_of_source(images.put(each), SOURCES[word]) for each in chosen]
                    path = folder / "annotations" / f"{word}_{split}_annotations.json"
                    write_json(path, coco(records, ids, lambda record: record.image.name))
                    lines.append(
                        f"{word}_{split}: {len(records)} images, {_objects(records)} objects"
                    )
        lines.append(f"images: {len(images.names)} files")
    return lines


def _objects(records: list[Record]) -> int:
    return sum(not annotation.crowd for record in records for annotation in record.annotations)


def _of_source(record: Record, source: str) -> Record:
    return replace(record, annotations=tuple(replace(a, source=source) for a in record.annotations))


def _split_of_groups(
    given: Mapping[str, dict[str, Split]], seed: int, pattern: str | None
) -> dict[str, str]:
    """train or test for every group.

    Splits of hand-made labels take precedence: there are few of them, and their test is the one
    that counts.
    """
    split_of: dict[str, str] = {}
    for word in ("manual", "algorithmic"):
        splits = given.get(word, {})
        names: list[str] = []
        for known_split, split in splits.items():
            for _, name in named(split.records):
                names.append(name)
                if len(splits) > 1:
                    split_of.setdefault(
                        group_of(name, pattern), "train" if known_split == "train" else "test"
                    )
        undecided = {g: m for g, m in groups(names, pattern).items() if g not in split_of}
        members = [name for listed in undecided.values() for name in listed]
        if len(undecided) < (FEWEST if word == "manual" else 2):
            split_of |= dict.fromkeys(undecided, "train")
        else:
            dealt = split_groups(
                members, {"train": 1 - TEST_SHARE, "test": TEST_SHARE}, seed, pattern
            )
            for dealt_split, listed in dealt.items():
                split_of |= {group_of(name, pattern): dealt_split for name in listed}
    return split_of


@dataclass(slots=True)
class _Images:
    """Image files put into one folder: equal bytes once, different bytes of one name under two."""

    folder: Path
    names: dict[str, str] = field(default_factory=dict)  # of the file -> SHA-256
    ids: dict[str, int] = field(default_factory=dict)

    def put(self, given: NamedRecord) -> Record:
        record, name = given
        self.folder.mkdir(exist_ok=True)
        with record.image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        plain = Path(name.replace("/", "_"))
        free, number = plain.name, 1
        while self.names.get(free, digest) != digest:
            number += 1
            free = f"{plain.stem}-{number}{plain.suffix}"
        if free not in self.names:
            self.names[free] = digest
            copy(record.image, self.folder / free)
        return replace(
            record, image=self.folder / free, id=self.ids.setdefault(free, len(self.ids) + 1)
        )
