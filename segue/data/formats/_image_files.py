"""Finding the image files that annotations are about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from segue.data.images.image_io import SUFFIXES
from segue.data.problems import Place, Problem


class ImageFinder:
    """Finds files by the name an annotation file gives them: as a path, or by base name up to two
    folders below.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self._below: dict[str, set[Path]] | None = None

    def find(self, name: str) -> Path | None:
        """The file called `name`; None if there is none, several, or only one outside the folders,
        which `..` or a link may lead to.
        """
        for folder in self.folders:
            path = folder / name
            if os.path.isfile(path) and path.resolve().is_relative_to(folder.resolve()):
                return path
        if self._below is None:
            self._below = {}
            for folder in self.folders:
                for path in (*folder.glob("*/*"), *folder.glob("*/*/*")):
                    if path.resolve().is_relative_to(folder.resolve()):
                        self._below.setdefault(path.name, set()).add(path.resolve())
        same = self._below.get(Path(name.replace("\\", "/")).name, set())
        # of several with this name, none is surely the one that is meant
        return next(iter(same)) if len(same) == 1 else None


def pictures(
    folders: Iterable[Path],
    problems: list[Problem],
    is_meant: Callable[[Path], bool] = lambda folder: True,
) -> dict[str, Path]:
    """Images by their path, with `/`, from one of the folders, without suffix; of two of a name the
    first.

    is_meant: whether images of a folder, as a path from one of the folders, are meant.
    """
    by_name: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
            name = path.relative_to(folder)
            if path.name[0] == "." or not is_meant(name.parent):
                continue
            first = by_name.setdefault(name.with_suffix("").as_posix(), path)
            if first != path:
                same = f"the same name as {first.name}"
                problems.append(
                    Problem("image name twice", Place(str(path)), same, "one image for a label")
                )
    return by_name
