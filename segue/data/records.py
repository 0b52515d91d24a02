"""What a dataset format hands to the rest of segue: records, and the problems met while reading
them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from segue.data.problems import Problem
from segue.errors import DataError
from segue.structures.masks import Mask

# The names of a data set's splits, and the words that folders and files use for them.
SPLIT_WORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated object.

    box_xyxy in pixels of the image; `source`: manual, algorithm or model; quality 0..1.
    """

    box_xyxy: tuple[float, float, float, float]
    class_name: str
    mask: Mask | None = None
    crowd: bool = False
    id: int | str = ""
    source: str = "manual"
    quality: float = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """One image and its objects. id: the image's id in its annotation file."""

    image: Path
    height: int
    width: int
    id: int
    annotations: tuple[Annotation, ...] = ()


@dataclass(slots=True)
class Split:
    """One split of a data set: train, valid or test (or all), read from one annotation file or
    folder.

    categories: class name -> id in the file, in order of id. files: the annotation files, where
    `source` is a folder. channels: what the data set's own description calls those of its files,
    where it does.
    """

    name: str
    source: Path
    records: list[Record]
    categories: dict[str, int]
    problems: list[Problem] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    channels: tuple[str, ...] = ()

    def class_counts(self) -> Counter[str]:
        """Objects of each class, crowds left out."""
        return Counter(a.class_name for r in self.records for a in r.annotations if not a.crowd)

    def most_objects(self) -> int:
        """The largest number of (non-crowd) objects in one image."""
        return max(
            (sum(not a.crowd for a in record.annotations) for record in self.records), default=0
        )


def names_in(records: Sequence[Record]) -> list[str]:
    """Each image's path, with `/`, from the folder that holds them all."""
    folders = {str(record.image.parent.absolute()) for record in records}
    common = os.path.commonpath(folders) if folders else ""
    return [record.image.absolute().relative_to(common).as_posix() for record in records]


def refuse_errors(problems: Iterable[Problem], run: str) -> None:
    """Raise the first error among problems, saying how many there are.

    Raises:
        DataError: if any problem is an error.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        first = errors[0]
        more = f" ({len(errors) - 1} more errors)" if len(errors) > 1 else ""
        raise DataError(first.where, first.found + more, first.expected, run)
