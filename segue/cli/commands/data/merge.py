"""`segue data merge`: one data set from two, such as labels of an algorithm and labels by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from segue.data.dataset import class_ids
from segue.data.formats import WHOLE
from segue.data.records import Record, Split
from segue.data.scene_groups import group_of
from segue.data.writing.folders import (
    NamedRecord,
    PlaceFile,
    named,
    paired_files_of,
    read_folder,
    write_folder,
)
from segue.errors import DataError, PlanError

Same = Literal["manual", "both"]
PairedFiles = dict[str, dict[Path, Sequence[Path]]]
SOURCES = ("manual", "algorithm", "model")


def merge_data(
    first: Path, second: Path, out: Path, same: Same, sources: Sequence[str], put: PlaceFile
) -> str:
    """Write the union of two data sets, part by part; classes are united by name and sources kept.

    same: of an image (equal bytes) in both, `manual` keeps the objects of the one that is labelled
    by hand (the first's, if both or neither are), `both` those of both. sources: if given, what the
    objects of each are from now.

    Raises:
        DataError: if one is divided into parts and the other not, or an image is in different parts
        of the two.
        PlanError: if `out` exists.
    """
    a, b = read_folder(first), read_folder(second)
    if sources:
        if len(sources) != 2 or any(source not in SOURCES for source in sources):
            raise PlanError("--sources", ", ".join(sources), f"two of {', '.join(SOURCES)}")
        a, b = _sourced(a, sources[0]), _sourced(b, sources[1])
    if (WHOLE in a) != (WHOLE in b):
        whole, parts = (first, b) if WHOLE in a else (second, a)
        message = f"{whole} has no parts, the other has {', '.join(parts)}"
        raise DataError(
            "merge", message, "both divided or neither", f"segue data split {whole} --out FOLDER"
        )
    _refuse_leaks(a, b)
    records_of: dict[str, list[NamedRecord]] = {}
    lines: list[str] = []
    paired = _paired_files_of((first, a), (second, b))
    for name in [*a, *(name for name in b if name not in a)]:
        mine, theirs = (named(splits[name].records) if name in splits else [] for splits in (a, b))
        records_of[name], remarks = _united(mine, theirs, same, paired)
        lines += [f"{name}: {line}" for line in remarks]
    ids = class_ids([*a.values(), *b.values()])
    lines += _alike(list(ids)) + _shared_groups(records_of)
    return "\n".join([write_folder(out, records_of, ids, "coco", put, paired), *lines])


def _paired_files_of(*roots: tuple[Path, dict[str, Split]]) -> PairedFiles:
    """The partners of the images of both, by folder."""
    united: PairedFiles = {}
    for root, splits in roots:
        for name, files in paired_files_of(root, splits).items():
            united.setdefault(name, {}).update(files)
    return united


def _sourced(splits: dict[str, Split], source: str) -> dict[str, Split]:
    def changed(record: Record) -> Record:
        return replace(
            record, annotations=tuple(replace(a, source=source) for a in record.annotations)
        )

    return {
        name: replace(split, records=[changed(r) for r in split.records])
        for name, split in splits.items()
    }


def _digest(record: Record) -> str:
    with record.image.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_leaks(a: dict[str, Split], b: dict[str, Split]) -> None:
    """Refuse an image that is in different splits of the two: it would be trained on and tested."""
    homes = {
        _digest(record): (name, record) for name, split in a.items() for record in split.records
    }
    for name, split in b.items():
        for record in split.records:
            home = homes.get(_digest(record))
            if home and home[0] != name:
                message = (
                    f"the same image as {home[1].image}, which is in {home[0]}; this is in {name}"
                )
                raise DataError(record.image, message, "an image in the same part of both")


def _united(
    mine: Sequence[NamedRecord], theirs: Sequence[NamedRecord], same: Same, paired: PairedFiles
) -> tuple[list[NamedRecord], list[str]]:
    """The records of both, an image that both have only once, and remarks about those.

    paired: paired files of either; extended, as a file paired with one copy of an image is paired
    with the other, too.
    """
    known = {_digest(record): number for number, (record, _) in enumerate(mine)}
    united, kept = list(mine), {"both": 0, "first": 0, "second": 0}
    for record, name in theirs:
        number = known.get(_digest(record))
        if number is None:
            united.append((record, name))
            continue
        first, name = united[number]
        for files_of in paired.values():
            for image, other in ((first.image, record.image), (record.image, first.image)):
                if image in files_of:
                    files_of.setdefault(other, files_of[image])
        if same == "both":
            united[number] = (
                replace(first, annotations=first.annotations + record.annotations),
                name,
            )
            kept["both"] += 1
        elif _by_hand(record) and not _by_hand(first):
            united[number] = record, name
            kept["second"] += 1
        else:
            kept["first"] += 1
    count = sum(kept.values())
    how = ", ".join(
        f"{number} with the objects of {which}" for which, number in kept.items() if number
    )
    return united, [f"{count} images are in both data sets: {how}"] if count else []


def _by_hand(record: Record) -> bool:
    return any(annotation.source == "manual" for annotation in record.annotations)


def _alike(names: list[str]) -> list[str]:
    """Remarks on class names that are probably one class, which is for a person to decide."""
    plain: dict[str, list[str]] = {}
    for name in names:
        plain.setdefault(name.casefold().strip().rstrip("s"), []).append(name)
    return [
        f"classes that look alike stay apart: {', '.join(spellings)}"
        for spellings in plain.values()
        if len(spellings) > 1
    ]


def _shared_groups(parts: dict[str, list[NamedRecord]]) -> list[str]:
    homes: dict[str, set[str]] = {}
    for part, records in parts.items():
        for _, name in records:
            homes.setdefault(group_of(name), set()).add(part)
    shared = [group for group, homes_of_group in homes.items() if len(homes_of_group) > 1]
    return (
        [f"{len(shared)} groups are in several splits (first: {shared[0]}); segue data split"]
        if shared
        else []
    )
