"""Dataset formats: one module each, found by its file name.

A format module has

    detect(root: Path) -> bool                         does this folder look like mine?
    splits(root: Path) -> dict[str, SplitSource]            where its train, valid and test parts are
    read(source: SplitSource, name: str) -> Split           records and problems of one part

Reading never raises for bad content: what is wrong comes back as problems, with file and annotation id.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from segue.errors import DataError


@dataclass(frozen=True, slots=True)
class SplitSource:
    """One part of a data set on disk: its annotation file and the folders its images are looked for in."""

    annotations: Path
    image_folders: tuple[Path, ...]


def names() -> list[str]:
    """All formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> ModuleType:
    """The format module called `name`.

    Raises:
        DataError: if there is none.
    """
    if name not in names():
        raise DataError(f"data.format {name}", "unknown", "one of " + ", ".join(names()))
    return importlib.import_module(f"{__name__}.{name}")


def detect(root: Path) -> ModuleType:
    """The one format whose layout the folder `root` has.

    Raises:
        DataError: if the folder does not exist or no format recognises it.
    """
    if not root.is_dir():
        raise DataError(root, "no such folder", "a data set folder")
    for name in names():
        if get(name).detect(root):
            return get(name)
    raise DataError(
        root,
        "no known data set layout (formats: " + ", ".join(names()) + ")",
        "train/_annotations.coco.json, or images/ with annotations/*.json",
    )
