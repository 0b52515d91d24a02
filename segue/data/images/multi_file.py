"""Images whose channels lie in several files: a picture, and its partners of another camera in
other folders.

A channel with a `folder` has its values from the image of the same name, with any suffix, in that
folder. It is looked for in this order, here for the folder thermal:

    train/thermal/x.png            beside train/x.jpg
    thermal/train/x.png            beside images/train/x.jpg: thermal stands for images, what is below stays
    thermal/train/x.png            beside train/x.jpg, one folder up
    thermal/x.png                  beside rgb/x.jpg, one folder up

Channels that name one folder are the channels of its file, in their order. A grey partner is one
channel, or three equal ones; three equal channels become one. Whatever reads the pixels of a model
reads them here.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.records import SPLIT_WORDS
from segue.errors import DataError
from segue.structures.channels import Channel

# Folders beside images that hold something else than another camera's pictures.
OTHERS = {
    "images",
    "masks",
    "labels",
    "annotations",
    "segmentationobject",
    "segmentationclass",
    "jpegimages",
}
OTHERS |= {word for words in SPLIT_WORDS.values() for word in words}

_SUFFIXES = [*sorted(image_io.SUFFIXES), *sorted(suffix.upper() for suffix in image_io.SUFFIXES)]


def read(image: Path, channels: Sequence[Channel]) -> Tensor:
    """The image (C, H, W) with these channels, from all its files.

    As `images.read` gives it: uint8 or uint16 as stored where all files have one type; else float32
    in 0..1, each channel by its scale (percentiles are left to `images.scaled`), so that no file's
    levels are lost in another's.

    Raises:
        DataError: if a partner is missing, or has another height, width or number of channels; it
        names both files.
    """
    sources = files(image, channels)
    if list(sources) == [image]:
        return image_io.read(image, channels)
    parts = {
        path: _part(path, image, [channels[row] for row in rows]) for path, rows in sources.items()
    }
    height, width = parts[image].shape[1:] if image in parts else image_io.size(image)
    for path, part in parts.items():
        if part.shape[1:] != (height, width):
            found = f"a partner of {part.shape[1]} x {part.shape[2]} pixels (height x width)"
            raise ImageError(
                "partner of another size",
                path,
                found,
                f"{height} x {width}, as its partner {image}",
            )
    if len({part.dtype for part in parts.values()}) > 1:
        parts = {
            path: _as_shares(part, [channels[row] for row in sources[path]])
            for path, part in parts.items()
        }
    rows = {row: part[n] for path, part in parts.items() for n, row in enumerate(sources[path])}
    return torch.stack([rows[row] for row in range(len(channels))])


def files(image: Path, channels: Sequence[Channel]) -> dict[Path, list[int]]:
    """Each file that holds channels of an image, with their positions.

    Raises:
        DataError: if a partner is missing, or there are several.
    """
    found: dict[Path, list[int]] = {}
    for folder in dict.fromkeys(channel.folder for channel in channels):
        rows = [row for row, channel in enumerate(channels) if channel.folder == folder]
        found[image if folder is None else _partner(image, folder, channels[rows[0]].name)] = rows
    return found


def refuse_unknown_folders(
    pictures: Sequence[Path], channels: Sequence[Channel], root: Path
) -> None:
    """A folder in which no image at all has a partner is called otherwise, and said once instead of
    for each image.

    Raises:
        DataError: naming the folders of the data set `root` (see `companions`) that have some.
    """
    for folder, name in {
        channel.folder: channel.name for channel in channels if channel.folder is not None
    }.items():
        if pictures and not any(_has_partner(picture, folder) for picture in pictures):
            near = find_paired_files(pictures, root)
            having = ", ".join(
                f"{known} ({len(pairs)} images)" for known, pairs in sorted(near.items())
            )
            expected = (
                f"folder: one of {having}"
                if having
                else f"{folder}/ beside the images or their folder"
            )
            raise DataError(
                root, f"no image has a partner in a folder {folder}, for channel {name}", expected
            )


def _has_partner(picture: Path, folder: str) -> bool:
    places = _places(picture.absolute().parent, folder)
    return any(
        (place / (picture.stem + suffix)).is_file() for place in places for suffix in _SUFFIXES
    )


def without_paired_files(
    paths: Iterable[Path], root: Path, channels: Sequence[Channel]
) -> list[Path]:
    """Of the images below `root` those that are no other's partner: none of their folders is that
    of a channel.
    """
    folders = [Path(channel.folder).parts for channel in channels if channel.folder is not None]

    def is_partner(path: Path) -> bool:
        steps = path.relative_to(root).parts[:-1]
        return any(steps[at : at + len(f)] == f for f in folders for at in range(len(steps)))

    return [path for path in paths if not is_partner(path)]


def find_paired_files(pictures: Sequence[Path], root: Path) -> dict[str, dict[Path, list[Path]]]:
    """The partners that images may have for a plan that names them, without one: by folder name,
    then by image.

    A partner is a picture of an image's name in one of the places where it is looked for, inside
    the data set, that is no copy of it, and in no folder for annotations or a part, or that holds
    images of the data set itself. A folder in which none has the height and width of its image
    holds something else. root: the data set's folder, or its annotations: then what holds these and
    the images.
    """
    own, inside = {path.resolve() for path in pictures}, _holding(pictures, root)
    own_folders, below = {picture.absolute().parent for picture in pictures}, dict[Path, set[str]]()
    names: dict[Path, list[str]] = {}
    listed: dict[Path, dict[str, list[Path]]] = {}
    found: dict[str, dict[Path, list[Path]]] = {}
    for picture in pictures:
        folder = picture.absolute().parent
        if folder not in names:
            names[folder] = sorted(_folder_names(folder, inside, own_folders, below))
        for name in names[folder]:
            for place in _places(folder, name):
                if place not in listed:
                    listed[place] = _by_stem(place, own)
                partners = [
                    path
                    for path in listed[place].get(picture.stem, ())
                    if not _same_bytes(path, picture)
                ]
                if partners:
                    found.setdefault(name, {})[picture] = partners
                    break
    return {
        name: pairs
        for name, pairs in found.items()
        if any(_fits(picture, pairs[picture][0]) for picture in pairs)
    }


def _holding(pictures: Sequence[Path], root: Path) -> Path:
    """The folder of a data set whose `root` may be a file, or a folder of annotations beside that
    of the images.
    """
    folders = {path.absolute().parent for path in pictures}
    if root.is_dir() and all(folder.resolve().is_relative_to(root.resolve()) for folder in folders):
        return root.resolve()
    return Path(os.path.commonpath([root.absolute().parent, *folders])).resolve()


def _folder_names(
    folder: Path, inside: Path, own: set[Path], below: dict[Path, set[str]]
) -> set[str]:
    """Names of folders that lie where partners of a folder's images are looked for.

    own: folders of the data set's images, which are nobody's partners. below: the names in every
    folder that was listed before, as thousands of folders of images may lie side by side.
    """
    bases = {place.parent for place in _places(folder, "any")} | {folder.parent}
    for base in bases - below.keys():
        there = base.iterdir() if base.is_dir() and base.resolve().is_relative_to(inside) else ()
        folders = (
            path for path in there if path.is_dir() and path not in own and path.name[0] != "."
        )
        below[base] = {path.name for path in folders if path.name.lower() not in OTHERS}
    return {name for base in bases for name in below[base]}


def _fits(picture: Path, partner: Path) -> bool:
    try:
        return image_io.size(picture) == image_io.size(partner)
    except DataError:
        return False


def _same_bytes(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and filecmp.cmp(one, other, shallow=False)


def _by_stem(place: Path, own: set[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.suffix.lower() in image_io.SUFFIXES and path.resolve() not in own:
            found.setdefault(path.stem, []).append(path)
    return found


def _partner(image: Path, folder: str, name: str) -> Path:
    places = _places(image.absolute().parent, folder)
    for place in places:
        found = [
            path
            for path in (place / (image.stem + suffix) for suffix in _SUFFIXES)
            if path.is_file()
        ]
        # which may itself lie in a folder of this name
        found = [path for path in found if path != image.absolute()]
        if len(found) > 1 and not found[0].samefile(found[1]):
            raise ImageError(
                "several partners",
                image,
                f"several partners for channel {name}: {found[0]}, {found[1].name}",
                "one",
            )
        if found:
            return found[0]
    missing = next((place for place in places if place.is_dir()), places[0]) / f"{image.stem}.*"
    expected = f"an image in a folder {folder} beside it, or beside the folder of images"
    raise ImageError("missing partner", image, f"no partner {missing} for channel {name}", expected)


def _places(folder: Path, name: str) -> list[Path]:
    """Where the partners of a folder's images may be, in the order in which they are looked for."""
    places = [folder / name]
    if "images" in folder.parts:
        at = len(folder.parts) - 1 - folder.parts[::-1].index("images")
        places.append(Path(*folder.parts[:at], name, *folder.parts[at + 1 :]))
    return [*places, folder.parent / name / folder.name, folder.parent / name]


def _part(path: Path, image: Path, channels: Sequence[Channel]) -> Tensor:
    try:
        return image_io.read(path, channels)
    except ImageError as error:
        if path == image:
            raise
        names = ", ".join(channel.name for channel in channels)
        raise ImageError(
            error.kind,
            path,
            error.found,
            f"{error.expected} for {names}, as partner of {image}",
            error.next_step,
        ) from None


def _as_shares(part: Tensor, channels: Sequence[Channel]) -> Tensor:
    """Values in 0..1 by the scale of each channel, or the largest of the type where percentiles are
    still to come.
    """
    plain = [
        c.model_copy(update={"scale": None if c.scale == "percentile" else c.scale})
        for c in channels
    ]
    return image_io.scaled(part, plain)
