"""Pictures of masks: images/ and masks/ with files of the same names, or train/images/ and
train/masks/ and so on.

    masks/NAME.tif               a label image: every number above 0 is an object
                                 (PNG, TIFF, npy; 8, 16 or 32 bits)
    masks/CLASS/NAME.tif         the same for each class, where images/ has no folder of
                                 this name; else `object`
    masks/NAME/ANYTHING.png      a picture for each object, in which all above 0 is one
    ID/images/ANYTHING.png + ID/masks/*.png
                                 the same with a folder for each image (Data Science Bowl 2018)

A TIFF may have several pages, for objects that overlap: a number is an object of its own on each. A
name may end in `.labels` (segue's own), `_masks`, `_cp_masks` (Cellpose) or `_mask`. An empty mask
says that nothing is there; an image without a mask is not labelled, and no part of the data. Where
folders and files are both called like images (1/2.png), the reading that fits all files of a part
is meant; if both do, it is an error.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from segue.data.formats import WHOLE, SplitSource, _image_files, _shapes, paired
from segue.data.formats._shapes import Shape
from segue.data.images import image_io, label_images
from segue.data.problems import Place, Problem
from segue.data.records import SPLIT_WORDS, Record, Split
from segue.structures.masks import encoded

FOLDER, PICTURES = "masks", "images"
OBJECT = "object"  # the class of masks that say none
ENDINGS = (".labels", "_cp_masks", "_masks", "_mask")
MOST_PIECES = 2.0  # of an object, on average: with more, numbers tell something else than objects


@dataclass(frozen=True, slots=True)
class MaskFile:
    path: Path
    class_name: str
    single: bool  # whether all of it is one object


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`; undivided data are the part `all`."""
    if not root.is_dir():
        return {}
    sources = paired(root, FOLDER)
    if not sources:
        folders = {name: root / word for name, words in SPLIT_WORDS.items() for word in words}
        sources = {
            name: SplitSource(folder, (folder,))
            for name, folder in folders.items()
            if _folders_of_images(folder)
        }
    if not sources and ((root / FOLDER).is_dir() and (root / PICTURES).is_dir()):
        sources = {WHOLE: SplitSource(root / FOLDER, (root / PICTURES,))}
    if not sources and _folders_of_images(root):
        sources = {WHOLE: SplitSource(root, (root,))}
    return {name: source for name, source in sources.items() if _mask_files(source)}


def _folders_of_images(root: Path) -> list[Path]:
    """The folders below `root` that hold one image each, with its masks."""
    there = [
        path.parent
        for path in sorted(root.glob(f"*/{FOLDER}"))
        if (path.parent / PICTURES).is_dir()
    ]
    return there if all(len(_pictures_in(folder)) == 1 for folder in there) else []


def _pictures_in(folder: Path) -> list[Path]:
    return [
        path
        for path in (folder / PICTURES).glob("[!.]*.*")
        if path.suffix.lower() in image_io.SUFFIXES
    ]


def _mask_files(source: SplitSource) -> list[Path]:
    folders = _folders_of_images(source.annotations)
    paths = [path for folder in folders for path in (folder / FOLDER).glob("[!.]*")]
    paths = paths or [path for path in source.annotations.rglob("[!.]*")]
    return sorted(path for path in paths if path.suffix.lower() in image_io.SUFFIXES)


def read(source: SplitSource, name: str) -> Split:
    """Records of all images that have masks, which are decoded."""
    split = Split(name, source.annotations, [], {})
    files = _mask_files(source)
    pictures, owned = _owned(source, files, split.problems)
    pieces: Counter[str] = Counter()
    for key, path in sorted((key, path) for key, path in pictures.items() if key in owned):
        record = _shapes.record(path, len(split.records) + 1, split.problems)
        shapes = None if record is None else _shapes_of(owned[key], record, split.problems, pieces)
        if record is not None and shapes is not None:
            split.records.append(_shapes.with_shapes(record, shapes, split.problems))
    split.files = tuple(files)
    split.categories = _shapes.categories(split.records)
    split.problems += _in_pieces(source.annotations, pieces)
    without = [pictures[key].name for key in sorted(pictures) if key not in owned]
    if without:
        place = Place(str(source.annotations))
        counted = f"{len(without)} images without a mask (first: {without[0]})"
        split.problems.append(Problem("images without masks", place, counted))
    return split


def _owned(
    source: SplitSource, files: list[Path], problems: list[Problem]
) -> tuple[dict[str, Path], dict[str, list[MaskFile]]]:
    """Images by name, and the mask files of each."""
    folders = _folders_of_images(source.annotations)
    owned: dict[str, list[MaskFile]] = {}
    if folders:
        pictures = {folder.name: path for folder in folders for path in _pictures_in(folder)}
        for path in files:
            owned.setdefault(path.parent.parent.name, []).append(MaskFile(path, OBJECT, True))
        return pictures, owned
    pictures = _image_files.pictures(source.image_folders, problems)
    places = {path: path.relative_to(source.annotations) for path in files}
    of_image, of_object, of_class = _readings(places, pictures)
    for path in files:
        if path in of_image:
            owned.setdefault(of_image[path], []).append(MaskFile(path, OBJECT, False))
        elif path in of_object and path not in of_class:
            owned.setdefault(of_object[path], []).append(MaskFile(path, OBJECT, True))
        elif path in of_class and path not in of_object:
            owned.setdefault(of_class[path], []).append(
                MaskFile(path, places[path].parts[0], False)
            )
        elif path not in of_class:
            expected = "one in " + ", ".join(map(str, source.image_folders))
            place = Place(str(path))
            problems.append(Problem("missing image", place, "no image of this name", expected))
    both = [places[path].as_posix() for path in files if path in of_object and path in of_class]
    if both:
        problems.append(
            Problem(
                "folder of a class or an image",
                Place(str(source.annotations)),
                f"folders and files that are both called like images (first: {both[0]}): "
                "classes or images?",
                "other names of the folders, or of the files",
            )
        )
    return pictures, owned


def _readings(places: dict[Path, Path], pictures: dict[str, Path]) -> tuple[dict[Path, str], ...]:
    """The images of masks: as label images, as objects in a folder called like the image, and in a
    class's folder.

    Names that are numbers may fit the last two. What fits all files of a part is meant; a file is
    in both if both do.
    """
    # a.png.labels.tif beside a.jpg.labels.tif
    whole = {f"{key}{path.suffix}": key for key, path in pictures.items()}
    of_image: dict[Path, str] = {}
    of_object: dict[Path, str] = {}
    of_class: dict[Path, str] = {}
    for path, place in places.items():
        image_key, folder = _named(place.as_posix(), pictures, whole), place.parent.as_posix()
        below = _named("/".join(place.parts[1:]), pictures, whole)
        if image_key is not None:
            of_image[path] = image_key
            continue
        of_object |= {path: folder} if folder in pictures else {}
        of_class |= {path: below} if below is not None else {}
    all_objects, all_classes = (
        len(of_image) + len(reading) == len(places) for reading in (of_object, of_class)
    )
    if all_classes:
        return of_image, of_object if all_objects else {}, of_class
    return (
        of_image,
        of_object,
        {path: key for path, key in of_class.items() if path not in of_object},
    )


def _named(name: str, pictures: dict[str, Path], whole: dict[str, str]) -> str | None:
    """The image that a mask's name is for."""
    stem = name.rpartition(".")[0]
    for ending in ("", *ENDINGS):
        plain = stem.removesuffix(ending)
        if plain in pictures or plain in whole:
            return plain if plain in pictures else whole[plain]
    return None


def _shapes_of(
    files: list[MaskFile], image: Record, problems: list[Problem], pieces: Counter[str]
) -> list[Shape] | None:
    """The objects of an image; None, with a problem, if one of its masks cannot be read: its
    objects are missing.
    """
    shapes: list[Shape] = []
    for file in files:
        pages = label_images.pages_of(image, file.path, problems)
        if pages is None:
            return None
        if file.single:
            bits = pages.max(0) > 0
            if bits.any():
                mask = encoded(bits, 0, 0, image.height, image.width)
                shapes.append(Shape(file.class_name, mask, _place(file, image, "")))
            continue
        for number, page in enumerate(pages):
            for value, mask, count in label_images.objects(page):
                item = f"{f'page {number + 1}, ' if len(pages) > 1 else ''}number {value}"
                shapes.append(Shape(file.class_name, mask, _place(file, image, item)))
                pieces.update(objects=1, pieces=count, several=int(count > 1))
    return shapes


def _place(file: MaskFile, image: Record, item: str) -> Place:
    """The place of an object in its mask; item: empty if all of the mask is one object."""
    image_path, mask_path = str(image.image), str(file.path)
    if not item:
        return Place(mask_path, image=image_path)
    return Place(mask_path, item, annotation_id=item, image=image_path)


def _in_pieces(folder: Path, counted: Counter[str]) -> list[Problem]:
    """What is to be said of objects in several pieces: some are, all of them hardly."""
    if not counted["several"]:
        return []
    place = Place(str(folder))
    average = counted["pieces"] / counted["objects"]
    if average >= MOST_PIECES:
        return [
            Problem(
                "foreground, not objects",
                place,
                f"{average:.1f} pieces of each number: one value for all objects?",
                "a number for each object (connected pieces can be numbered)",
            )
        ]
    pieces = f"{counted['several']} objects lie in several pieces"
    return [Problem("object in several pieces", place, pieces)]
