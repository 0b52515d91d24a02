"""The verbs below `segue data`: count, audit, merge, split, scale and convert data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from segue.errors import show

data = App(
    name="data",
    help="Data sets: what is in them, what is wrong with them, and merging, splitting, scaling "
    "and converting them.",
)
Group = Annotated[str | None, Parameter(help="Regular expression: its first group names what belongs together; "
                                             "without one, what it matches is no part of the name.")]  # fmt: skip
Link = Annotated[
    bool, Parameter(negative="", help="Give image files a second name instead of copying them.")
]


@data.command
def info(folder: Path, *, group: Group = None, json: bool = False) -> None:
    """Count images, objects of each class and source, sizes, and groups that lie in several parts.

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
    """Find everything that is wrong with a data set, in all images and all objects; change nothing.

    Parameters
    ----------
    folder
        A data set folder, or an annotation file.
    out
        A new folder for findings.json, quarantine.json (for data.quarantine of a plan) and
        audit.html.
    quick
        Annotations and the headers of images only: no image is decoded, no two pictures are
        compared.
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
    """Write one data set from two: classes united by name, sources kept.

    Parameters
    ----------
    out
        A new folder.
    same
        Of an image that is in both: keep the objects made by hand (else the first's), or those of
        both.
    sources
        What the objects of the two are, such as algorithm,manual; as their files say if left out.
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
    """Write a data set in train, valid and test; views of one field of view stay in one part.

    Parameters
    ----------
    out
        A new folder.
    shares
        Of train, valid and perhaps test.
    seed
        Another seed is another split.
    """
    from segue.cli.commands.data.change import split_data
    from segue.data.writing import folders

    show(split_data(folder, out, shares, seed, group, folders.link if link else folders.copy))


@data.command
def scale(folder: Path, *, out: Path, factor: float | None = None, side: int | None = None) -> None:
    """Write a data set with its images and objects at another size.

    Parameters
    ----------
    out
        A new folder.
    factor
        0.5 for half the width and height.
    side
        Pixels of the longer side, instead of a factor.
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
    """Write a data set in another format, with its images and their partners.

    Parameters
    ----------
    to
        voc and yolo have boxes, yolo-seg outlines, masks label images (TIFF); the others both.
    out
        A new folder.
    quarantine
        A list that segue data audit wrote: what it names is left out.
    """
    from segue.cli.commands.data.change import convert_data
    from segue.data.writing import folders

    show(convert_data(folder, out, to, folders.link if link else folders.copy, quarantine))
