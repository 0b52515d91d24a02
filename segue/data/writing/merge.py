"""One folder with the labels of an algorithm and those made by hand: `images/` and four COCO files.

images/*   annotations/{algorithmic,manual}_{train,test}_annotations.json     (the test files may be missing)
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
PARTS = ("train", "test")
TEST_SHARE = 0.1
FEWEST = 5  # hand-labelled groups of which one is kept for testing; of fewer all are for training


def read(root: Path) -> dict[str, Split]:
    """The files there are, as algorithmic_train and so on, with their problems.

    Raises:
        DataError: if a file for training is missing.
    """
    found = coco_format.files(root)
    missing = [
        f"{source}_train_annotations.json" for source in SOURCES if f"{source}_train" not in found
    ]
    if missing:
        run = f"organize_unified_dataset.py --output_dataset {root}"
        raise DataError(
            root / "annotations",
            f"no {', '.join(missing)}",
            "algorithmic and manual labels to train",
            run,
        )
    names = [f"{source}_{part}" for source in SOURCES for part in PARTS]
    return {name: coco_format.read(found[name], name) for name in names if name in found}


def organise(
    algorithmic: Path, manual: Path | None, out: Path, seed: int = 42, pattern: str | None = None
) -> list[str]:
    """Write the folder from one data set or two; returns a line with the exact counts for each
    file.

    Both are divided together: all images of a field of view, of either source, are in one part, and
    what is for testing by hand is nowhere trained on. A division that a data set has already is
    kept as far as groups allow.

    Raises:
        DataError: if a data set has errors, or there are too few groups.
        PlanError: if `out` exists.
    """
    given = {"algorithmic": read_folder(algorithmic)} | (
        {"manual": read_folder(manual)} if manual else {}
    )
    parts = _parts_of_groups(given, seed, pattern)
    ids = class_ids(split for splits in given.values() for split in splits.values())
    lines = []
    with new_folder(out) as folder:
        images = _Images(folder / "images")
        for word, splits in given.items():
            pooled = [each for split in splits.values() for each in named(split.records)]
            for part in PARTS:
                chosen = [each for each in pooled if parts[group_of(each[1], pattern)] == part]
                if chosen:
                    records = [_of_source(images.put(each), SOURCES[word]) for each in chosen]
                    path = folder / "annotations" / f"{word}_{part}_annotations.json"
                    write_json(path, coco(records, ids, lambda record: record.image.name))
                    lines.append(
                        f"{word}_{part}: {len(records)} images, {_objects(records)} objects"
                    )
        lines.append(f"images: {len(images.names)} files")
    return lines


def _objects(records: list[Record]) -> int:
    return sum(not annotation.crowd for record in records for annotation in record.annotations)


def _of_source(record: Record, source: str) -> Record:
    return replace(record, annotations=tuple(replace(a, source=source) for a in record.annotations))


def _parts_of_groups(
    given: Mapping[str, dict[str, Split]], seed: int, pattern: str | None
) -> dict[str, str]:
    """train or test for every group.

    What is said for hand-made labels counts before what is said for others.
    """
    parts: dict[str, str] = {}
    for word in ("manual", "algorithmic"):
        splits = given.get(word, {})
        names: list[str] = []
        for part, split in splits.items():
            for _, name in named(split.records):
                names.append(name)
                if len(splits) > 1:
                    parts.setdefault(
                        group_of(name, pattern), "train" if part == "train" else "test"
                    )
        unsaid = {g: members for g, members in groups(names, pattern).items() if g not in parts}
        members = [name for listed in unsaid.values() for name in listed]
        if len(unsaid) < (FEWEST if word == "manual" else 2):
            parts |= dict.fromkeys(unsaid, "train")
        else:
            dealt = split_groups(
                members, {"train": 1 - TEST_SHARE, "test": TEST_SHARE}, seed, pattern
            )
            parts |= {
                group_of(name, pattern): part for part, listed in dealt.items() for name in listed
            }
    return parts


@dataclass(slots=True)
class _Images:
    """Image files put into one folder; the same bytes once, other bytes of a name under another
    name.
    """

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
