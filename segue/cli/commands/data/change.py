"""`segue data split`, `scale` and `convert`: write a data set in other splits, at another size, or
in another format.
"""

from __future__ import annotations

from contextlib import suppress
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

SPLITS = ("train", "valid", "test")


def split_data(
    root: Path, out: Path, shares: str, seed: int, pattern: str | None, put: PlaceFile
) -> str:
    """Write a data set in splits; views of one field of view, by their names, go to one split.

    Existing splits are pooled first. pattern: see `scene_groups.group_of`. Returns what was
    written.

    Raises:
        DataError: if the data set has errors, or fewer groups than splits.
        PlanError: if `shares` are no numbers, or `out` exists.
    """
    splits = read_folder(root)
    pooled: dict[str, list[NamedRecord]] = {}
    for split in splits.values():
        for record, name in named(split.records):
            pooled.setdefault(name, []).append((record, name))
    dealt = split_groups(pooled, _shares(shares), seed, pattern)
    chosen: dict[str, list[NamedRecord]] = {}
    for split_name, names in dealt.items():
        chosen[split_name] = []
        for name in names:
            chosen[split_name] += pooled[name]
    together = groups(pooled, pattern)
    summary = write_folder(
        out, chosen, class_ids(splits.values()), "coco", put, paired_files_of(root, splits)
    )
    largest = max(together, key=lambda group: len(together[group]))
    return (
        f"{summary}\n{len(together)} groups stayed together; the largest, {largest}, has "
        f"{len(together[largest])} images"
    )


def _shares(text: str) -> dict[str, float]:
    """0.8,0.1,0.1 -> the shares of train, valid and test; two are train and valid."""
    values: list[float] = []
    with suppress(ValueError):  # what is no number is refused below
        values = [float(value) for value in text.split(",")]
    if not 2 <= len(values) <= 3:
        raise PlanError("--shares", text, "two or three numbers, such as 0.8,0.1,0.1")
    return dict(zip(SPLITS, values, strict=False))


def scale_data(root: Path, out: Path, factor: float | None, side: int | None) -> str:
    """Write a data set with resized images and objects; returns what was written.

    factor: for width and height. side: of the longer side, in pixels; one of the two is given.

    Raises:
        DataError: if the data set has errors. PlanError: if not one of the two is given, or `out`
        exists.
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

    paired = paired_files_of(root, splits)
    for files_of in paired.values():
        for image_file, files in files_of.items():
            sizes |= dict.fromkeys(files, sizes[image_file])

    def put(image: Path, target: Path) -> Path:
        return write_resized(image, target, *sizes[image])

    return write_folder(out, parts, class_ids(splits.values()), "coco", put, paired)


def convert_data(
    root: Path, out: Path, kind: OutputFormat, put: PlaceFile, quarantined: Path | None = None
) -> str:
    """Write a data set in another format; returns what was written, and what was left out and why.

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
        missing = (
            f"{count} of {len(objects) - crowds} objects have no mask (first: one of "
            f"{without.image.name})"
        )
        raise DataError(
            root,
            missing,
            f"masks, which are all that {kind} has",
            "--to coco, labelme or cvat, or yolo or voc",
        )
    parts = {name: named(split.records) for name, split in splits.items()}
    blank = 0
    for name, records in parts.items() if kind in ONLY_MASKS else ():
        parts[name] = [(_with_pixels(record), image) for record, image in records]
        blank += sum(
            len(r.annotations) - len(s.annotations)
            for (r, _), (s, _) in zip(records, parts[name], strict=True)
        )
    lines = [
        write_folder(
            out, parts, class_ids(splits.values()), kind, put, paired_files_of(root, splits)
        )
    ]
    if blank:
        lines.append(
            f"{blank} objects are left out: their masks have no pixel, and {kind} has nothing else"
        )
    if crowds and kind not in WITH_CROWDS:
        lines.append(f"{crowds} crowd regions are left out: {kind} has none")
    if masks and kind in ONLY_BOXES:
        lines.append(f"{masks} masks are left out, their boxes stay: {kind} has boxes only")
    dropped = [
        problem
        for split in splits.values()
        for problem in split.problems
        if problem.severity == "dropped"
    ]
    if dropped:
        first = f"{dropped[0].where}: {dropped[0].found}"
        lines.append(f"{len(dropped)} things that are wrong are left out (first: {first})")
    return "\n".join(lines)


def _with_pixels(record: Record) -> Record:
    """The record without objects whose masks have no pixel, such as slivers between two."""
    height, width = record.height, record.width
    kept = [
        a
        for a in record.annotations
        if a.crowd or a.mask is None or coco_mask.area(coco_rle(a.mask, height, width))
    ]
    return replace(record, annotations=tuple(kept))
