"""Where the other files of an image lie: pictures of the same name that another camera took.

Plans and messages call them partners. For a picture x and the folder thermal they are looked for in
this order:

    train/thermal/x.png            next to train/x.jpg
    thermal/train/x.png            next to images/train/x.jpg: thermal replaces images
    thermal/train/x.png            next to train/x.jpg, one folder up
    thermal/x.png                  next to rgb/x.jpg, one folder up
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.records import SPLIT_WORDS
from segue.errors import DataError
from segue.structures.channels import Channel

# Folders next to images that hold something else than another camera's pictures.
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


def paired_file(image: Path, folder: str, channel_name: str) -> Path:
    """The file of an image in the folder called `folder` that holds the channel `channel_name`.

    Raises:
        DataError: if there is none, or if two different files in one place could be meant.
    """
    places = _places(image.absolute().parent, folder)
    for place in places:
        candidates = [place / (image.stem + suffix) for suffix in _SUFFIXES]
        # the image itself may lie in a folder of this name
        files = [path for path in candidates if path.is_file() and path != image.absolute()]
        # on a disk that ignores case, x.png and x.PNG are one file
        if len(files) > 1 and not files[0].samefile(files[1]):
            raise ImageError(
                "several partners",
                image,
                f"several partners for channel {channel_name}: {files[0]}, {files[1].name}",
                "one",
            )
        if files:
            return files[0]
    missing = next((place for place in places if place.is_dir()), places[0]) / f"{image.stem}.*"
    expected = f"an image in a folder {folder} next to it, or next to the folder of images"
    raise ImageError(
        "missing partner", image, f"no partner {missing} for channel {channel_name}", expected
    )


def refuse_unknown_folders(
    pictures: Sequence[Path], channels: Sequence[Channel], root: Path
) -> None:
    """Refuse a channel's folder in which not a single image has a file: its name is wrong.

    One error for the folder replaces one for each image.

    Raises:
        DataError: naming the folders of the data set `root` (see `find_paired_files`) that have
        files.
    """
    folders = {c.folder: c.name for c in channels if c.folder is not None}
    for folder, name in folders.items():
        if not pictures or any(_has_paired_file(picture, folder) for picture in pictures):
            continue
        known = sorted(find_paired_files(pictures, root).items())
        listed = ", ".join(f"{other} ({len(pairs)} images)" for other, pairs in known)
        expected = f"folder: one of {listed}"
        if not known:
            expected = f"{folder}/ next to the images or their folder"
        raise DataError(
            root, f"no image has a partner in a folder {folder}, for channel {name}", expected
        )


def _has_paired_file(picture: Path, folder: str) -> bool:
    for place in _places(picture.absolute().parent, folder):
        if any((place / (picture.stem + suffix)).is_file() for suffix in _SUFFIXES):
            return True
    return False


def without_paired_files(
    paths: Iterable[Path], root: Path, channels: Sequence[Channel]
) -> list[Path]:
    """Those of the images below `root` that do not lie in a channel's folder."""
    folders = [Path(channel.folder).parts for channel in channels if channel.folder is not None]

    def lies_in(path: Path, folder: tuple[str, ...]) -> bool:
        """A folder may be several steps long, as left/thermal."""
        steps = path.relative_to(root).parts[:-1]
        return any(steps[at : at + len(folder)] == folder for at in range(len(steps)))

    return [path for path in paths if not any(lies_in(path, folder) for folder in folders)]


def find_paired_files(pictures: Sequence[Path], root: Path) -> dict[str, dict[Path, list[Path]]]:
    """Files that images may be paired with, without a plan that says so: by folder, then by image.

    Such a file is a picture of an image's name in one of the places above, inside the data set. It
    is no copy of the image, and lies in no folder that holds annotations, a split, or images of the
    data set itself. A folder none of whose files has the height and width of its image holds
    something else, and is left out. root: the data set's folder, or its annotations: then what
    holds these and the images.
    """
    images = {path.resolve() for path in pictures}
    image_folders = {picture.absolute().parent for picture in pictures}
    inside = _common_folder(pictures, root)
    # Thousands of folders of images may lie side by side: each folder is listed once.
    below: dict[Path, set[str]] = {}
    names: dict[Path, list[str]] = {}
    listed: dict[Path, dict[str, list[Path]]] = {}
    pairs_of: dict[str, dict[Path, list[Path]]] = {}
    for picture in pictures:
        folder = picture.absolute().parent
        if folder not in names:
            names[folder] = sorted(_folder_names(folder, inside, image_folders, below))
        for name in names[folder]:
            for place in _places(folder, name):
                if place not in listed:
                    listed[place] = _by_stem(place, images)
                same_name = listed[place].get(picture.stem, ())
                files = [path for path in same_name if not _same_bytes(path, picture)]
                if files:
                    pairs_of.setdefault(name, {})[picture] = files
                    break
    return {
        name: pairs
        for name, pairs in pairs_of.items()
        if any(_same_size(picture, files[0]) for picture, files in pairs.items())
    }


def _common_folder(pictures: Sequence[Path], root: Path) -> Path:
    """The folder of a data set whose `root` may be a file, or a folder of annotations next to that
    of the images.
    """
    folders = {path.absolute().parent for path in pictures}
    if root.is_dir() and all(folder.resolve().is_relative_to(root.resolve()) for folder in folders):
        return root.resolve()
    return Path(os.path.commonpath([root.absolute().parent, *folders])).resolve()


def _folder_names(
    folder: Path, inside: Path, image_folders: set[Path], below: dict[Path, set[str]]
) -> set[str]:
    """Names of folders that lie where files paired with a folder's images are looked for.

    image_folders: those of the data set's images, which are paired with nothing. below: the names
    in every folder that was listed before; extended here.
    """
    bases = {place.parent for place in _places(folder, "any")} | {folder.parent}
    for base in bases - below.keys():
        below[base] = set()
        if not base.is_dir() or not base.resolve().is_relative_to(inside):
            continue
        for path in base.iterdir():
            usable = path.is_dir() and path not in image_folders and path.name[0] != "."
            if usable and path.name.lower() not in OTHERS:
                below[base].add(path.name)
    names: set[str] = set()
    return names.union(*(below[base] for base in bases))


def _same_size(picture: Path, other: Path) -> bool:
    try:
        return image_io.size(picture) == image_io.size(other)
    except DataError:
        return False


def _same_bytes(first: Path, second: Path) -> bool:
    same_length = first.stat().st_size == second.stat().st_size
    return same_length and filecmp.cmp(first, second, shallow=False)


def _by_stem(place: Path, images: set[Path]) -> dict[str, list[Path]]:
    """Image files of a folder by name without suffix; images of the data set itself left out."""
    files: dict[str, list[Path]] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.suffix.lower() in image_io.SUFFIXES and path.resolve() not in images:
            files.setdefault(path.stem, []).append(path)
    return files


def _places(folder: Path, name: str) -> list[Path]:
    """Where files paired with a folder's images may be, in the order of the search."""
    places = [folder / name]
    if "images" in folder.parts:
        # the last folder of that name: the data set may itself lie below another one called images
        at = len(folder.parts) - 1 - folder.parts[::-1].index("images")
        places.append(Path(*folder.parts[:at], name, *folder.parts[at + 1 :]))
    return [*places, folder.parent / name / folder.name, folder.parent / name]
