"""`segue data split`, `scale` and `convert`: a data set written anew, in other parts, at another
size, for others.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import hotcoco.mask as coco_mask

from segue.data.dataset import class_ids
from segue.data.records import Record
from segue.data.scene_groups import groups, split_groups
from segue.data.writing.folders import (
    ONLY_BOXES,
    ONLY_MASKS,
    WITH_CROWDS,
    NamedRecord,
    OutputFormat,
    PlaceFile,
    named,
    paired_files_of,
    read_folder,
    write_folder,
)
from segue.data.writing.resize import resized_record, write_resized
from segue.errors import DataError, PlanError
from segue.structures.masks import coco_rle

PARTS = ("train", "valid", "test")


def split_data(
    root: Path, out: Path, shares: str, seed: int, pattern: str | None, put: PlaceFile
) -> str:
    """Write a data set in parts; views of one field of view, by their names, go to one part.

    Parts that there are already are pooled first.
    """
    splits = read_folder(root)
    pooled: dict[str, list[NamedRecord]] = {}
    for split in splits.values():
        for record, name in named(split.records):
            pooled.setdefault(name, []).append((record, name))
    dealt = split_groups(pooled, _shares(shares), seed, pattern)
    parts = {
        part: [each for name in names for each in pooled[name]] for part, names in dealt.items()
    }
    together = groups(pooled, pattern)
    said = write_folder(
        out, parts, class_ids(splits.values()), "coco", put, paired_files_of(root, splits)
    )
    largest = max(together, key=lambda group: len(together[group]))
    return (
        f"{said}\n{len(together)} groups stayed together; the largest, {largest}, has "
        f"{len(together[largest])} images"
    )


def _shares(text: str) -> dict[str, float]:
    """0.8,0.1,0.1 -> the shares of train, valid and test; two are train and valid."""
    try:
        values = [float(value) for value in text.split(",")]
    except ValueError:
        values = []
    if not 2 <= len(values) <= 3:
        raise PlanError("--shares", text, "two or three numbers, such as 0.8,0.1,0.1")
    return dict(zip(PARTS, values, strict=False))


def scale_data(root: Path, out: Path, factor: float | None, side: int | None) -> str:
    """Write a data set with images and objects at another size: times `factor`, or the longer side
    `side` pixels.
    """
    if (factor is None) == (side is None) or (factor or side or 0) <= 0:
        raise PlanError("scale", f"--factor {factor}, --side {side}", "one of them, above 0")
    splits = read_folder(root)
    sizes: dict[Path, tuple[int, int]] = {}
    parts: dict[str, list[NamedRecord]] = {}
    for name, split in splits.items():
        parts[name] = []
        for record, image in named(split.records):
            by = factor or (side or 0) / max(record.height, record.width)
            size = (max(1, round(record.height * by)), max(1, round(record.width * by)))
            sizes[record.image] = size
            parts[name].append((resized_record(record, *size), image))

    beside = paired_files_of(root, splits)
    for found in beside.values():
        sizes |= {
            partner: sizes[image] for image, partners in found.items() for partner in partners
        }

    def put(image: Path, target: Path) -> Path:
        return write_resized(image, target, *sizes[image])

    return write_folder(out, parts, class_ids(splits.values()), "coco", put, beside)


def convert_data(
    root: Path, out: Path, kind: OutputFormat, put: PlaceFile, quarantined: Path | None = None
) -> str:
    """Write a data set in another format; says what that has no place for, and what was left out as
    wrong.

    quarantined: the list of an audit; what it names is left out.

    Raises:
        DataError: if objects have no mask and the format has nothing else: its images would seem to
        show less.
    """
    splits = read_folder(root, quarantined)
    objects = [
        (record, a)
        for split in splits.values()
        for record in split.records
        for a in record.annotations
    ]
    crowds, masks = (
        sum(a.crowd for _, a in objects),
        sum(a.mask is not None and not a.crowd for _, a in objects),
    )
    without = next((record for record, a in objects if a.mask is None and not a.crowd), None)
    if without is not None and kind in ONLY_MASKS:
        count = len(objects) - crowds - masks
        found = (
            f"{count} of {len(objects) - crowds} objects have no mask (first: one of "
            f"{without.image.name})"
        )
        raise DataError(
            root,
            found,
            f"masks, which are all that {kind} has",
            "--to coco, labelme or cvat, or yolo or voc",
        )
    parts = {name: named(split.records) for name, split in splits.items()}
    blank = 0
    for name, records in parts.items() if kind in ONLY_MASKS else ():
        parts[name] = [(_shown(record), image) for record, image in records]
        blank += sum(
            len(r.annotations) - len(s.annotations)
            for (r, _), (s, _) in zip(records, parts[name], strict=True)
        )
    said = [
        write_folder(
            out, parts, class_ids(splits.values()), kind, put, paired_files_of(root, splits)
        )
    ]
    if blank:
        said.append(
            f"{blank} objects are left out: their masks have no pixel, and {kind} has nothing else"
        )
    if crowds and kind not in WITH_CROWDS:
        said.append(f"{crowds} crowd regions are left out: {kind} has none")
    if masks and kind in ONLY_BOXES:
        said.append(f"{masks} masks are left out, their boxes stay: {kind} has boxes only")
    dropped = [
        problem
        for split in splits.values()
        for problem in split.problems
        if problem.severity == "dropped"
    ]
    if dropped:
        first = f"{dropped[0].where}: {dropped[0].found}"
        said.append(f"{len(dropped)} things that are wrong are left out (first: {first})")
    return "\n".join(said)


def _shown(record: Record) -> Record:
    """The record without objects whose masks have no pixel, such as slivers between two."""
    height, width = record.height, record.width
    kept = [
        a
        for a in record.annotations
        if a.crowd or a.mask is None or coco_mask.area(coco_rle(a.mask, height, width))
    ]
    return replace(record, annotations=tuple(kept))
