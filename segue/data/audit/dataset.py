"""What is wrong with a data set as a whole: pictures and scenes in two splits, stray files, counts,
class names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from segue.data.audit.images import Pictures, best_match, small_pictures
from segue.data.images import image_io
from segue.data.problems import SIDED, Place, Problem
from segue.data.records import Annotation, Record, Split
from segue.data.scene_groups import groups

ALIKE = 0.995  # likeness of small pictures from which two are the same
MOST_COMPARED = 20_000
COCO_COUNTED = 100
SIDES = (("left", "right"), ("links", "rechts"), ("gauche", "droite"), ("l", "r"), ("sx", "dx"))


def same_pictures(pictures: Pictures) -> list[Problem]:
    """Images that show what an earlier one shows: the same bytes, the same picture, or a copy
    turned or mirrored.
    """
    copies: dict[int, Problem] = {}
    seen: dict[tuple[int, bytes], int] = {}
    for number, (_, record) in enumerate(pictures.records):
        key = _bytes_of(record.image)
        first = number if key is None else seen.setdefault(key, number)
        if first != number and pictures.records[first][1].image != record.image:
            copies[number] = _same(pictures, number, first, "the same bytes as", False)
    values, owners = small_pictures(pictures)
    if len(values) > MOST_COMPARED:
        split = pictures.records[0][0]
        text = f"{len(values)} images; up to {MOST_COMPARED} are compared"
        place = Place(str(split.source))
        many = Problem("too many pictures to compare", place, text, split=split.name)
        return [*copies.values(), many]
    for position, (likeness, which, turned) in enumerate(zip(*best_match(values), strict=True)):
        number, first = int(owners[position]), int(owners[which])
        apart = pictures.records[number][1].image != pictures.records[first][1].image
        if likeness >= ALIKE and number not in copies and apart:
            how = "turned or mirrored, the same picture as" if turned else "the same picture as"
            copies[number] = _same(pictures, number, first, how, bool(turned))
    return list(copies.values())


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


def _same(pictures: Pictures, number: int, first: int, how: str, changed: bool) -> Problem:
    """One problem of a pair; of two splits, the training image is the one that can be left out."""
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
    return _of_image(kind, split, record, text)


def _of_image(kind: str, split: Split, record: Record, finding: str) -> Problem:
    place = Place(str(split.source), image_id=record.id, image=str(record.image))
    return Problem(kind, place, finding, split=split.name)


def shared_scenes(splits: dict[str, Split], known: Iterable[Problem]) -> list[Problem]:
    """Groups of file names (views of one scene) that lie in several splits.

    known: problems so far; a scene of which an image has one is not reported as well.
    """
    reported = {problem.place.image for problem in known}
    homes: dict[str, dict[str, Record]] = {}
    for name, split in splits.items():
        by_name = {record.image.name: record for record in split.records}
        for group, members in groups(by_name).items():
            homes.setdefault(group, {})[name] = by_name[members[0]]
    problems = []
    for group, views in homes.items():
        first, *others = views
        if others and not any(str(record.image) in reported for record in views.values()):
            named = ", ".join(f"{name}: {record.image.name}" for name, record in views.items())
            # the image stays unnamed: it is as good as the others of its scene
            place = Place(str(splits[first].source), image_id=views[first].id)
            text = f"scene {group!r} ({named})"
            problems.append(Problem("one scene in two parts", place, text, split=first))
    return problems


def strays(splits: dict[str, Split]) -> Iterator[Problem]:
    """Files in the images' folders that no annotation names, and macOS's companions of files."""
    used = {
        path.resolve()
        for split in splits.values()
        for path in (*split.files, *(record.image for record in split.records))
    }
    # files of which reading has reported something, and images that it was asked for
    places = [problem.place for split in splits.values() for problem in split.problems]
    reported = {Path(place.file).name for place in places}
    reported |= {Path(place.name).name for place in places if place.name}
    seen: set[Path] = set()
    for split in (split for split in splits.values() if split.records):
        source = split.source if split.source.is_dir() else split.source.parent
        for folder in sorted({source, *(record.image.parent for record in split.records)}):
            if folder in seen or not folder.is_dir():
                continue
            seen.add(folder)
            for path in sorted(folder.iterdir()):
                if path.name.startswith("._"):
                    place = Place(str(path))
                    yield Problem("macOS companion file", place, path.name, split=split.name)
                elif (
                    path.suffix.lower() in image_io.SUFFIXES
                    and path.resolve() not in used
                    and path.name not in reported
                    and path.is_file()
                ):
                    place = Place(str(path), image=str(path))
                    yield Problem("unlabelled image", place, path.name, split=split.name)


def counts(splits: dict[str, Split]) -> Iterator[Problem]:
    """Images without objects, and images with more than COCO counts."""
    for split in splits.values():
        for record in split.records:
            objects = sum(not a.crowd for a in record.annotations)
            if not record.annotations:
                yield _of_image("image without objects", split, record, record.image.name)
            elif objects > COCO_COUNTED:
                text = (
                    f"{record.image.name}: {objects} objects; COCO counts {COCO_COUNTED} "
                    "detections of an image"
                )
                yield _of_image("more objects than COCO counts", split, record, text)


def classes(splits: dict[str, Split]) -> Iterator[Problem]:
    """What is unusual about the categories, once for all splits."""
    split = next(iter(splits.values()))
    used = {annotation.class_name for other in splits.values() for annotation in _objects(other)}
    ids = {
        name: number
        for other in reversed(splits.values())
        for name, number in other.categories.items()
    }
    for kind, text in (*_unusual_ids(ids, used), *_unusual_names(ids, used)):
        yield Problem(kind, Place(str(split.source)), text, split=split.name)


def _unusual_ids(ids: dict[str, int], used: set[str]) -> Iterator[tuple[str, str]]:
    numbers = sorted(set(ids.values()))
    if numbers and numbers[-1] - numbers[0] + 1 != len(numbers):
        text = f"{len(numbers)} ids from {numbers[0]} to {numbers[-1]}"
        yield "sparse category ids", text
    unused = [name for name in ids if name not in used]
    if unused and used:
        yield "category without objects", f"{len(unused)}: {', '.join(unused)}"
    for name in ids:
        if ids[name] == 0 and name in used:
            yield "category id 0 is a class", name


def _unusual_names(ids: dict[str, int], used: set[str]) -> Iterator[tuple[str, str]]:
    spelled: dict[str, list[str]] = {}
    for name in ids:
        spelled.setdefault(re.sub(r"[\W_]+", "", name.casefold()), []).append(name)
    for names in spelled.values():
        if len(names) > 1:
            yield "category names alike", ", ".join(map(repr, names))
    for left, right in _sided(used):
        yield SIDED, f"{left!r} and {right!r}, and training mirrors images unless told otherwise"


def _objects(split: Split) -> Iterator[Annotation]:
    return (annotation for record in split.records for annotation in record.annotations)


def _sided(names: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of names that differ in left and right."""
    words = {name: re.split(r"[\W_]+", name.casefold()) for name in names}
    for left, right in SIDES:
        for name in sorted(name for name in names if left in words[name]):
            swapped = [right if word == left else word for word in words[name]]
            yield from ((name, other) for other in sorted(names) if words[other] == swapped)
