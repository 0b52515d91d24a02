"""The verbs below `segue data`: count, audit, merge, split, scale and convert data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from segue.errors import show

data = App(
    name="data",
    help="Count, audit, merge, split, scale and convert data sets.",
)
GROUP_HELP = (
    "Regular expression: its first group names what belongs together; without one, what it matches "
    "is removed from the name."
)
Group = Annotated[str | None, Parameter(help=GROUP_HELP)]
Link = Annotated[
    bool, Parameter(negative="", help="Hard-link image files instead of copying them.")
]


@data.command
def info(folder: Path, *, group: Group = None, json: bool = False) -> None:
    """Count images, objects of each class and source, sizes, and groups that are in several splits.

    Parameters
    ----------
    folder
        A data set folder, or an annotation file.
    json
        Print the figures as JSON.
    """
    from segue.cli.commands.data.info import describe_data

    show(describe_data(folder, group, json))


@data.command
def audit(
    folder: Path, *, out: Path | None = None, quick: bool = False, json: bool = False
) -> None:
    """List every defect of a data set, in all images and objects; change nothing.

    Parameters
    ----------
    folder
        A data set folder, or an annotation file.
    out
        A new folder for findings.json, quarantine.json (for data.quarantine of a plan) and
        audit.html.
    quick
        Read only annotations and image headers; do not decode or compare images.
    json
        Print the findings as JSON.
    """
    from segue.cli.commands.data.audit import audit_data

    audit_data(folder, out, quick, json)


@data.command
def merge(
    first: Path,
    second: Path,
    *,
    out: Path,
    same: Literal["manual", "both"] = "manual",
    sources: str = "",
    link: Link = False,
) -> None:
    """Merge two data sets into one: unite classes by name, keep sources.

    Parameters
    ----------
    out
        A new folder.
    same
        For an image that is in both: keep the manual objects (or the first's), or those of
        both.
    sources
        Sources of the objects of each, such as algorithm,manual; default: as their files say.
    """
    from segue.cli.commands.data.merge import merge_data
    from segue.data.writing import folders

    named = tuple(name.strip() for name in sources.split(",")) if sources else ()
    show(merge_data(first, second, out, same, named, folders.link if link else folders.copy))


@data.command
def split(
    folder: Path,
    *,
    out: Path,
    shares: str = "0.8,0.1,0.1",
    seed: int = 0,
    group: Group = None,
    link: Link = False,
) -> None:
    """Split a data set into train, valid and test; keep views of one field in one split.

    Parameters
    ----------
    out
        A new folder.
    shares
        Fractions for train and valid, or for train, valid and test.
    seed
        Seed of the random split.
    """
    from segue.cli.commands.data.change import split_data
    from segue.data.writing import folders

    show(split_data(folder, out, shares, seed, group, folders.link if link else folders.copy))


@data.command
def scale(folder: Path, *, out: Path, factor: float | None = None, side: int | None = None) -> None:
    """Resize the images and objects of a data set.

    Parameters
    ----------
    out
        A new folder.
    factor
        Factor for width and height, such as 0.5.
    side
        Length of the longer side in pixels, instead of a factor.
    """
    from segue.cli.commands.data.change import scale_data

    show(scale_data(folder, out, factor, side))


@data.command
def convert(
    folder: Path,
    *,
    to: Literal["coco", "labelme", "cvat", "voc", "yolo", "yolo-seg", "masks"],
    out: Path,
    quarantine: Path | None = None,
    link: Link = False,
) -> None:
    """Convert a data set to another format, with its images and their partners.

    Parameters
    ----------
    to
        voc and yolo hold boxes, yolo-seg outlines, masks label images (TIFF); the others hold both
        boxes and masks.
    out
        A new folder.
    quarantine
        Leave out everything in this list, written by segue data audit.
    """
    from segue.cli.commands.data.change import convert_data
    from segue.data.writing import folders

    show(convert_data(folder, out, to, folders.link if link else folders.copy, quarantine))
