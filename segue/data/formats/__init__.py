"""Dataset formats: one module each, found by its file name.

What a format module has to have is the Protocol `Format`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from segue.base.plugins import check_contract, find_module, modules_in
from segue.data.records import SPLIT_WORDS, Split
from segue.errors import DataError

WHOLE = "all"


@dataclass(frozen=True, slots=True)
class SplitSource:
    """One part of a data set on disk: its annotation file (or folder) and the folders its images
    are looked for in.
    """

    annotations: Path
    image_folders: tuple[Path, ...]


class Format(Protocol):
    """What segue calls to read a dataset of this format. docs/extending.md writes one."""

    __name__: str

    def detect(self, root: Path) -> bool:
        """Whether a folder, or an annotation file, looks like this format. Opens no image."""
        ...

    def splits(self, root: Path) -> dict[str, SplitSource]:
        """Where the splits `train`, `valid` and `test` are, by name.

        A dataset without splits is one called `all` (`segue.data.formats.WHOLE`): enough for `segue
        data`, not for training.

        Raises:
            DataError: if two sources claim the same split.
        """
        ...

    def read(self, source: SplitSource, name: str) -> Split:
        """Records and problems of the split called `name`.

        Bad content raises nothing: what is wrong comes back as problems, with file and annotation
        id. Boxes and outlines are in pixels of the image.
        """
        ...


def names() -> list[str]:
    """All formats, sorted."""
    return modules_in(__path__)


def parts(root: Path, find: Callable[[Path], Path | None]) -> dict[str, SplitSource]:
    """The parts below `root`: folders called train, valid and test, or else `root`, a folder or
    file, as a whole.

    find: the annotations in a folder (or the file itself), or None.
    """
    sources: dict[str, SplitSource] = {}
    for name, words in SPLIT_WORDS.items():
        for folder in (root / word for word in words):
            annotations = find(folder) if folder.is_dir() else None
            if annotations is not None:
                sources.setdefault(
                    name, SplitSource(annotations, (folder, folder / "images", root / "images"))
                )
    whole = None if sources else find(root)
    return sources or ({WHOLE: SplitSource(whole, folders_beside(whole))} if whole else {})


def paired(root: Path, sibling: str) -> dict[str, SplitSource]:
    """The parts whose images lie in images/ and whose annotations in `sibling`: images/train/ or
    train/images/.
    """
    sources: dict[str, SplitSource] = {}
    for name, words in SPLIT_WORDS.items():
        pairs = [(root / sibling / word, root / "images" / word) for word in words]
        pairs += [(root / word / sibling, root / word / "images") for word in words]
        there = [pair for pair in pairs if all(map(Path.is_dir, pair))]
        sources |= {name: SplitSource(there[0][0], (there[0][1],))} if there else {}
    return sources


def only_file(place: Path, looks_right: Callable[[Path], bool]) -> Path | None:
    """The file `place` itself, or of a folder and its `annotations` the one that looks right; None
    of several.
    """
    if place.is_file():
        return place if looks_right(place) else None
    paths = [
        p
        for folder in (place, place / "annotations")
        for p in sorted(folder.glob("*.*"))
        if looks_right(p)
    ]
    return paths[0] if len(paths) == 1 else None


def folders_beside(annotations: Path) -> tuple[Path, ...]:
    """Where images of an annotation file, or folder of such files, may be."""
    here = annotations if annotations.is_dir() else annotations.parent
    above = (here.parent,) if here.name == "annotations" else ()
    return tuple(
        path for path in (here, here / "images", here.parent / "images", *above) if path.is_dir()
    )


def get(name: str) -> Format:
    """The format module called `name`: one of ours, or a dotted path of yours.

    Raises:
        PlanError: if there is none, or it lacks some of what a format has to have.
    """
    module = find_module(__name__, names(), name, f"data.format {name}")
    check_contract(module, Format, f"data.format {name}")
    return cast(Format, module)


def of(root: Path) -> Format | None:
    """The first format that recognises a folder or annotation file."""
    return next((get(name) for name in _ordered() if get(name).detect(root)), None)


def others(root: Path, chosen: Format) -> list[str]:
    """The other formats whose layout a folder has, too; pictures may be anything, so that masks are
    none of them.
    """
    matches = [name for name in _ordered() if name != "masks" and get(name).detect(root)]
    return [name for name in matches if get(name) is not chosen]


def _ordered() -> list[str]:
    """Masks last, as pictures may be anything."""
    return sorted(names(), key=lambda name: name == "masks")


def detect(root: Path) -> Format:
    """The one format whose layout the folder (or annotation file) `root` has.

    Raises:
        DataError: if it does not exist or no format recognises it.
    """
    if not root.exists():
        raise DataError(root, "no such folder", "a data set folder")
    format = of(root)
    if format is not None:
        return format
    raise DataError(
        root,
        "no known data set layout (formats: " + ", ".join(names()) + ")",
        "train/_annotations.coco.json, images/ with annotations/*.json or labels/*.txt, "
        "images/ with masks/, or the files of LabelMe, CVAT, VIA or Pascal VOC",
    )
