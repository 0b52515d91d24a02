"""Where a data set's labels come from: which images were labelled by hand, which by an algorithm,
and in which split they are.

The data set is what `segue label auto` or organize_unified_dataset.py wrote
(annotations/SOURCE_SPLIT_annotations.json), or any other one whose objects have a source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segue.base.parsing import read_json
from segue.data.dataset import Data, class_ids, read_splits
from segue.data.formats import coco as coco_format
from segue.data.records import Record, Split, refuse_errors
from segue.errors import DataError

MANUAL, ALGORITHMIC, DOUBTFUL = "manual", "algorithmic", "doubtful"


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a data set at `root`, by their names, such as manual_train; empty for a folder
    without any.
    """

    root: Path
    splits: dict[str, Split]

    @property
    def ids(self) -> dict[str, int]:
        """The id of each class, in order."""
        return class_ids(self.splits.values())

    def named(self) -> Iterator[tuple[str, str, Record]]:
        """Each image's file, name (a path with `/` below `images`) and record."""
        for split_name, split in self.splits.items():
            for record in split.records:
                yield split_name, image_name(record.image, self.root), record

    def manual(self) -> dict[str, Record]:
        """Images labelled by hand: in a file called so, or with an object of that source."""
        return {name: record for split, name, record in self.named() if _by_hand(split, record)}

    def algorithmic(self) -> dict[str, Record]:
        """Images labelled by an algorithm or a model."""
        return {name: record for split, name, record in self.named() if not _by_hand(split, record)}


def _by_hand(split: str, record: Record) -> bool:
    if split.startswith((MANUAL, ALGORITHMIC)):
        return split.startswith(MANUAL)
    return any(annotation.source == "manual" for annotation in record.annotations)


def read_sources(root: Path) -> Sources:
    """The data set at `root`.

    Raises:
        DataError: if there is none, or it has errors.
    """
    if not root.is_dir():
        raise DataError(
            root, "no such folder", "a data set", "segue label auto IMAGES --kind tubes|blobs"
        )
    files = coco_format.files(root)
    splits = {name: coco_format.read(source, name) for name, source in files.items()}
    splits = splits or read_splits(Data(root=root))
    refuse_errors(
        (p for split in splits.values() for p in split.problems), f"segue data info {root}"
    )
    return Sources(root, splits)


def doubts(root: Path) -> dict[str, str]:
    """Why `segue label auto` did not trust an image, by its name; of doubtful images only."""
    doubt_of: dict[str, str] = {}
    for path in sorted((root / "annotations").glob(f"{ALGORITHMIC}_*_annotations.json")):
        images = read_json(path)["images"]
        doubt_of |= {
            image["file_name"]: str(image["doubt"]) for image in images if image.get("doubt")
        }
    return doubt_of


def image_name(image: Path, root: Path) -> str:
    """An image's path with `/` below root/images, or below root, or its name alone."""
    for folder in (root / "images", root):
        for path, base in ((image, folder), (image.resolve(), folder.resolve())):
            if path.is_relative_to(base):
                return path.relative_to(base).as_posix()
    return image.name


def flat(name: str) -> str:
    """A path with `/` as one file name, as programs want it that know no folders."""
    return name.replace("/", "_")
