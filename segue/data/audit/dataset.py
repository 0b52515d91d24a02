"""What is wrong with a data set as a whole: pictures and scenes in two parts, stray files, counts,
class names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from segue.data.audit.images import Pictures, best_match, small_pictures
from segue.data.images import image_io
from segue.data.problems import SIDED, Finding, plain
from segue.data.records import Annotation, Record, Split
from segue.data.scene_groups import groups

ALIKE = 0.995  # likeness of small pictures from which two are the same
MOST_COMPARED = 20_000
COCO_COUNTED = 100
SIDES = (("left", "right"), ("links", "rechts"), ("gauche", "droite"), ("l", "r"), ("sx", "dx"))


def same_pictures(pictures: Pictures) -> list[Finding]:
    """Images that show what an earlier one shows: the same bytes, the same picture, or a copy
    turned or mirrored.
    """
    found: dict[int, Finding] = {}
    seen: dict[tuple[int, bytes], int] = {}
    for number, (_, record) in enumerate(pictures.records):
        key = _bytes_of(record.image)
        first = number if key is None else seen.setdefault(key, number)
        if first != number and pictures.records[first][1].image != record.image:
            found[number] = _same(pictures, number, first, "the same bytes as", False)
    values, owners = small_pictures(pictures)
    if len(values) > MOST_COMPARED:
        split = pictures.records[0][0]
        text = f"{len(values)} images; up to {MOST_COMPARED} are compared"
        return [
            *found.values(),
            Finding("too many pictures to compare", split.name, str(split.source), text),
        ]
    for position, (likeness, which, turned) in enumerate(zip(*best_match(values), strict=True)):
        number, first = int(owners[position]), int(owners[which])
        apart = pictures.records[number][1].image != pictures.records[first][1].image
        if likeness >= ALIKE and number not in found and apart:
            how = "turned or mirrored, the same picture as" if turned else "the same picture as"
            found[number] = _same(pictures, number, first, how, bool(turned))
    return list(found.values())


def _bytes_of(path: Path) -> tuple[int, bytes] | None:
    """Length and digest of a file's beginning and end: equal for equal files, and quick."""
    try:
        with path.open("rb") as file:
            begin = file.read(65_536)
            size = path.stat().st_size
            file.seek(max(size - 65_536, 0))
            return (size, hashlib.sha256(begin + file.read()).digest()) if size else None
    except OSError:
        return None


def _same(pictures: Pictures, number: int, first: int, how: str, changed: bool) -> Finding:
    """One finding about a pair; of two parts, the one in training is the one that can be left out."""
    pair = [pictures.records[number], pictures.records[first]]
    across = pair[0][0].name != pair[1][0].name
    if across and pair[1][0].name == "train":
        pair.reverse()
    (split, record), (other, original) = pair
    kind = (
        "same picture in two parts"
        if across
        else "changed copy of a picture"
        if changed
        else "same picture twice"
    )
    text = f"{record.image.name}: {how} {other.name}'s {original.image.name} (image {original.id})"
    return Finding(
        kind, split.name, str(split.source), plain(text), record.id, None, str(record.image)
    )


def shared_scenes(splits: dict[str, Split], known: Iterable[Finding]) -> list[Finding]:
    """Groups of file names (views of one scene) that lie in several parts.

    known: images that are already told.
    """
    told = {finding.path for finding in known}
    homes: dict[str, dict[str, Record]] = {}
    for name, split in splits.items():
        by_name = {record.image.name: record for record in split.records}
        for group, members in groups(by_name).items():
            homes.setdefault(group, {})[name] = by_name[members[0]]
    found = []
    for group, parts in homes.items():
        first, *others = parts
        if others and not any(str(record.image) in told for record in parts.values()):
            named = ", ".join(f"{part}: {record.image.name}" for part, record in parts.items())
            record, split = parts[first], splits[first]
            text = f"scene {group!r} ({named})"
            found.append(
                Finding("one scene in two parts", first, str(split.source), plain(text), record.id)
            )
    return found


def strays(splits: dict[str, Split]) -> Iterator[Finding]:
    """Files in the images' folders that no annotation names, and macOS's companions of files."""
    used = {
        path.resolve()
        for s in splits.values()
        for path in (*s.files, *(record.image for record in s.records))
    }
    problems = [problem for split in splits.values() for problem in split.problems]
    refused = {Path(problem.found.removeprefix("no file ")).name for problem in problems}
    refused |= {Path(problem.where).name for problem in problems}
    seen: set[Path] = set()
    for split in (split for split in splits.values() if split.records):
        source = split.source if split.source.is_dir() else split.source.parent
        for folder in sorted({source, *(record.image.parent for record in split.records)}):
            if folder in seen or not folder.is_dir():
                continue
            seen.add(folder)
            for path in sorted(folder.iterdir()):
                picture = path.suffix.lower() in image_io.SUFFIXES
                if path.name.startswith("._"):
                    yield Finding("macOS companion file", split.name, str(path), path.name)
                elif (
                    picture
                    and path.resolve() not in used
                    and path.name not in refused
                    and path.is_file()
                ):
                    yield Finding(
                        "unlabelled image", split.name, str(path), plain(path.name), path=str(path)
                    )


def counts(splits: dict[str, Split]) -> Iterator[Finding]:
    """Images without objects, and images with more than COCO counts."""
    for split in splits.values():
        for record in split.records:
            place = (split.name, str(split.source))
            objects = sum(not a.crowd for a in record.annotations)
            if not record.annotations:
                name = plain(record.image.name)
                yield Finding(
                    "image without objects", *place, name, record.id, None, str(record.image)
                )
            elif objects > COCO_COUNTED:
                text = (
                    f"{record.image.name}: {objects} objects; COCO counts {COCO_COUNTED} "
                    "detections of an image"
                )
                yield Finding(
                    "more objects than COCO counts",
                    *place,
                    plain(text),
                    record.id,
                    None,
                    str(record.image),
                )


def classes(splits: dict[str, Split]) -> Iterator[Finding]:
    """What is unusual about the categories, once for all parts."""
    split = next(iter(splits.values()))
    place = (split.name, str(split.source))
    used = {name for other in splits.values() for a in _objects(other) for name in [a.class_name]}
    ids = {
        name: number
        for other in reversed(splits.values())
        for name, number in other.categories.items()
    }
    numbers = sorted(set(ids.values()))
    if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
        text = f"{len(numbers)} ids from {numbers[0]} to {numbers[-1]}"
        yield Finding("sparse category ids", *place, text)
    unused = [name for name in ids if name not in used]
    if unused and used:
        text = f"{len(unused)}: {', '.join(unused)}"
        yield Finding("category without objects", *place, plain(text))
    for name in (name for name in ids if ids[name] == 0 and name in used):
        yield Finding("category id 0 is a class", *place, plain(name))
    spelled: dict[str, list[str]] = {}
    for name in ids:
        spelled.setdefault(re.sub(r"[\W_]+", "", name.casefold()), []).append(name)
    for names in spelled.values():
        if len(names) > 1:
            yield Finding("category names alike", *place, plain(", ".join(map(repr, names))))
    for left, right in _sided(used):
        text = f"{left!r} and {right!r}, and training mirrors images unless told otherwise"
        yield Finding(SIDED, *place, plain(text))


def _objects(split: Split) -> Iterator[Annotation]:
    return (annotation for record in split.records for annotation in record.annotations)


def _sided(names: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of names that differ in left and right."""
    words = {name: re.split(r"[\W_]+", name.casefold()) for name in names}
    for left, right in SIDES:
        for name in sorted(name for name in names if left in words[name]):
            swapped = [right if word == left else word for word in words[name]]
            yield from ((name, other) for other in sorted(names) if words[other] == swapped)
