"""Labels by hand added to a data set, without measuring on a field of view that was trained on.

An image goes where others of its field are: to the training split, or to the one that is held back.
What is held back by hand leaves the algorithm's training split, too. A file that changes is kept as
NAME.bak.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.records import Record
from segue.data.scene_groups import group_of, groups, split_groups
from segue.data.writing.coco import coco
from segue.data.writing.coco_merge import Content, combined
from segue.data.writing.folders import link
from segue.errors import DataError
from segue.labelling.read_corrections import CorrectedImage
from segue.labelling.sources import ALGORITHMIC, MANUAL, Sources, image_name

TRAIN = "train"
HELD = ("valid", "test")
SEED = 0


@dataclass(frozen=True, slots=True)
class SplitAssignment:
    """Which split each image goes to.

    held: the split that is held back, valid or test. split_of: by name of the image. leaving:
    fields whose labels of the algorithm must leave its training split. pattern: see
    `scene_groups.group_of`. free: how many fields could be held back: neither trained on by hand
    nor held back before.
    """

    held: str
    split_of: dict[str, str]
    leaving: frozenset[str]
    pattern: str | None = None
    free: int = 0

    def group(self, name: str) -> str:
        return group_of(name, self.pattern)


def assign_splits(
    names: Sequence[str], sources: Sources, share: float, pattern: str | None
) -> SplitAssignment:
    """Assign images, by name, to training or to the split that is held back.

    share: of the free fields to hold back, 0 to 1; of a single free field nothing is held back.
    """
    # the split that the data set holds back already, by hand or by the algorithm
    known: list[str] = []
    for source in (MANUAL, ALGORITHMIC):
        known += [split for split in HELD if f"{source}_{split}" in sources.splits]
    held = known[0] if known else HELD[-1]
    homes: dict[str, str] = {}
    settled: set[str] = set()
    # labels by hand first: where they are decides for their field
    named = sorted(sources.named(), key=lambda entry: not entry[0].startswith(MANUAL))
    for file, name, _ in named:
        source, _, split = file.partition("_")
        group = group_of(name, pattern)
        if split in (TRAIN, *HELD):
            home = homes.setdefault(group, TRAIN if split == TRAIN else held)
            if source == MANUAL or home != TRAIN:
                settled.add(group)
    split_of = {name: homes.get(group_of(name, pattern), TRAIN) for name in names}
    free = [name for name in names if group_of(name, pattern) not in settled]
    fields = len(groups(free, pattern))
    if share and fields > 1:
        dealt = split_groups(free, {TRAIN: 1 - share, held: share}, SEED, pattern)
        for split, members in dealt.items():
            split_of |= dict.fromkeys(members, split)
    kept = {group_of(name, pattern) for name, split in split_of.items() if split != TRAIN}
    return SplitAssignment(
        held,
        split_of,
        frozenset(group for group in kept if homes.get(group) == TRAIN),
        pattern,
        fields,
    )


def add_corrections(
    into: Path,
    images: Sequence[CorrectedImage],
    sources: Sources,
    assignment: SplitAssignment,
    ids: Mapping[str, int],
) -> list[str]:
    """Write the manual file of each split, and the algorithm's files that change; returns a line
    for each.

    An image that was in such a file before gets its new objects. ids: of the classes.

    Raises:
        DataError: if the algorithm would have nothing left to train on.
    """
    lines = []
    for split in (TRAIN, assignment.held):
        chosen = [image.record for image in images if assignment.split_of[image.name] == split]
        if chosen:
            numbered = [replace(record, id=number) for number, record in enumerate(chosen, 1)]
            content = coco(numbered, ids, lambda record: image_name(record.image, into))
            path = file_of(into, MANUAL, split)
            names = {entry["file_name"] for entry in content["images"]}
            kept = _parted(_content(path), names)[0] if path.exists() else None
            before = f"{len(kept['images'])} images kept, " if kept and kept["images"] else ""
            bak = _write(path, combined(kept, content) if kept else content)
            lines.append(
                f"{path}: {before}{len(chosen)} new or corrected, {_objects(chosen)} objects{bak}"
            )
    return lines + (_moved(into, sources, assignment) if assignment.leaving else [])


def _moved(into: Path, sources: Sources, assignment: SplitAssignment) -> list[str]:
    """Move fields that are held back by hand out of the algorithm's training split.

    Stage 1 would otherwise train on what the second stage is measured on.
    """
    path, target = file_of(into, ALGORITHMIC, TRAIN), file_of(into, ALGORITHMIC, assignment.held)
    names = {
        image_name(record.image, into)
        for record in sources.splits[f"{ALGORITHMIC}_{TRAIN}"].records
        if assignment.group(image_name(record.image, into)) in assignment.leaving
    }
    left, gone = _parted(_content(path), names)
    if not left["images"]:
        message = (
            "all its images are of fields that are held back "
            f"({', '.join(sorted(assignment.leaving)[:3])})"
        )
        raise DataError(
            path, message, "some to train on", "a smaller --held, or more labels from label auto"
        )
    _write(target, combined(_content(target), gone) if target.exists() else gone)
    bak = _write(path, left)
    count = len(gone["images"])
    return [
        f"{path}: {count} images of fields held back by hand moved to {target.name}{bak}; stage 1 "
        "has to be trained again"
    ]


def file_of(into: Path, source: str, split: str) -> Path:
    """The annotation file of a source and split."""
    return into / "annotations" / f"{source}_{split}_annotations.json"


def _content(path: Path) -> Content:
    """A file that `read_sources` has checked."""
    return read_json(path)


def _parted(content: Content, names: Collection[str]) -> tuple[Content, Content]:
    """A file without the images called `names`, and with those only."""
    ids = {image["id"] for image in content["images"] if image["file_name"] in names}
    parts = []
    for inside in (False, True):
        images = [image for image in content["images"] if (image["id"] in ids) == inside]
        annotations = [
            entry for entry in content["annotations"] if (entry["image_id"] in ids) == inside
        ]
        parts.append({**content, "images": images, "annotations": annotations})
    return parts[0], parts[1]


def _write(path: Path, content: Content) -> str:
    """Write a file and keep the one that was there, unless it is the same; returns a remark."""
    if not path.exists() or _content(path) == content:
        write_json(path, content)
        return ""
    number, bak = 1, path.with_name(path.name + ".bak")
    while bak.exists():
        number += 1
        bak = path.with_name(f"{path.name}.bak-{number}")
    link(path, bak)
    write_json(path, content)
    return f" (before: {bak.name})"


def _objects(records: Sequence[Record]) -> int:
    return sum(len(record.annotations) for record in records)
