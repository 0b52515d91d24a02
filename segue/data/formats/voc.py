"""Pascal VOC: an XML file for each image and in it a box for each object, in pixels.

    Annotations/*.xml + JPEGImages/ + ImageSets/Main/{train,val,test}.txt     as published
    {train,valid,test}/*.xml next to the images                               (Roboflow)
    *.xml next to the images, or annotations/ and images/                     not divided (labelImg)

Where a file says that it is of VOC (`<database>The VOC2007 Database`), its boxes are first and last
pixels counted from 1, so that the left edge is at xmin - 1. labelImg, Roboflow and CVAT write edges
counted from 0 into the same fields; theirs, and those of files that do not say, are taken as they
are. Difficult objects are ignored, as VOC does: crowds. Of ImageSets/Segmentation, objects have the
masks of SegmentationObject/*.png, where there are any.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree.ElementTree import Element

from segue.data.formats import SplitSource, _shapes, _xml, parts
from segue.data.formats._image_files import ImageFinder
from segue.data.formats._shapes import UNREADABLE, BadAnnotation
from segue.data.images import label_images
from segue.data.images.image_io import SUFFIXES
from segue.data.problems import Place, Problem
from segue.data.records import Annotation, Record, Split
from segue.structures.masks import Rle

EXPECTED = "a Pascal VOC annotation"
FOLDERS = ("Annotations", "annotations")
PICTURES = ("JPEGImages", "images")
LISTS = {"train": ("train", "trainval"), "valid": ("val", "valid"), "test": ("test",)}
LOOKED_AT = 20  # files of a folder, to see whether it is VOC's
VOID = 255  # in pictures of masks: the seam between objects
LEAST_OVERLAP = 0.5  # of a box and its mask's


def detect(root: Path) -> bool:
    return bool(splits(root))


def splits(root: Path) -> dict[str, SplitSource]:
    """The splits found below `root`, the one of a list in ImageSets, or the folder as a whole;
    empty if not VOC's.
    """
    if root.is_file():
        return parts(
            root, lambda place: place if _is_list(place) or _looks_like_voc(place) else None
        )
    sources: dict[str, SplitSource] = {}
    for name, words in LISTS.items() if _annotations(root) else ():
        paths = [
            root / "ImageSets" / kind / f"{word}.txt"
            for kind in ("Main", "Segmentation")
            for word in words
        ]
        path = next((path for path in paths if path.is_file()), None)
        sources |= {name: SplitSource(path, (root,))} if path else {}
    sources = sources or parts(root, _annotations)
    pictures = [
        tuple(source.annotations.parent / name for name in PICTURES) for source in sources.values()
    ]
    return {
        name: source
        if source.annotations.is_file()
        else SplitSource(source.annotations, (*source.image_folders, *more))
        for (name, source), more in zip(sources.items(), pictures, strict=True)
    }


def _annotations(place: Path) -> Path | None:
    """The folder that holds the XML files of `place`."""
    for folder in (*(place / name for name in FOLDERS), place):
        if any(_looks_like_voc(path) for path in sorted(folder.glob("*.xml"))[:LOOKED_AT]):
            return folder
    return None


def _looks_like_voc(path: Path) -> bool:
    head = _shapes.head(path)
    return path.suffix == ".xml" and b"<annotation" in head and b"<annotations" not in head


def _is_list(path: Path) -> bool:
    return path.suffix == ".txt" and path.parent.parent.name == "ImageSets"


def read(source: SplitSource, name: str) -> Split:
    """Records of all files of a folder, or of a list.

    Images are found, not opened, unless a file says no size.
    """
    split = Split(name, source.annotations, [], {})
    folders = source.image_folders
    files: dict[str, Path] = {}
    if _is_list(source.annotations):
        root = source.annotations.parents[2]
        folders = (*(root / word for word in PICTURES if (root / word).is_dir()), *folders)
        files = _listed(source.annotations, _annotations(root) or root / FOLDERS[0], split.problems)
    elif source.annotations.is_dir():
        files = {path.stem: path for path in sorted(source.annotations.glob("[!.]*.xml"))}
    else:
        files = {source.annotations.stem: source.annotations}
    pictures = _beside(folders)
    finder, marks = ImageFinder(folders), Counter[str]()
    for key, path in files.items():
        root = _xml.parsed(path, EXPECTED, split.problems)
        record = None if root is None else _record(root, path, pictures.get(key, []), finder, split)
        masks = None if record is None else _masks(path, record, split.problems)
        if root is not None and record is not None and masks is not None:
            objects = _objects(root, record, path, masks, split.problems, marks)
            split.records.append(
                Record(record.image, record.height, record.width, record.id, tuple(objects))
            )
    listed = (source.annotations,) if source.annotations.is_file() and files else ()
    split.files = tuple(dict.fromkeys((*listed, *files.values())))
    split.categories = _shapes.categories(split.records)
    if marks["difficult"]:
        place = Place(str(source.annotations))
        counted = f"{marks['difficult']} objects are difficult"
        split.problems.append(Problem("difficult object", place, counted))
    return split


def _beside(folders: tuple[Path, ...]) -> dict[str, list[Path]]:
    """Images by name: a file's own name is surer than the one written in it, which stays when files
    are renamed.
    """
    images: dict[str, list[Path]] = {}
    for folder in folders:
        here: dict[str, list[Path]] = {}
        for path in sorted(folder.glob("[!.]*.*")):
            if path.suffix.lower() in SUFFIXES:
                here.setdefault(path.stem, []).append(path)
        images = here | images
    return images


def _listed(path: Path, annotations: Path, problems: list[Problem]) -> dict[str, Path]:
    """The files of the images that a list names, one on each line, perhaps followed by a number."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        unreadable = f"not readable ({str(error)[:80]})"
        problems.append(Problem(UNREADABLE, Place(str(path)), unreadable, "a text file"))
        return {}
    files = {}
    for number, words in enumerate((line.split() for line in lines), 1):
        # of one class, which this image does not show
        if not words or (len(words) > 1 and words[1] == "-1"):
            continue
        file = annotations / f"{Path(words[0]).name}.xml"
        if file.is_file():
            files[file.stem] = file
        else:
            place = Place(str(path), line=number, image_id=file.stem)
            missing = f"no annotation file {file.name}"
            problems.append(
                Problem("missing annotation file", place, missing, f"it in {annotations}")
            )
    return files


def _record(
    root: Element, path: Path, candidates: list[Path], finder: ImageFinder, split: Split
) -> Record | None:
    """The image of a file; None, with a problem, if there is none or its size cannot be.

    candidates: images of the file's own name, which is surer than the name written in it.
    """
    written = (root.findtext("filename") or "").strip()
    place = Place(str(path), name=written)
    number = len(split.records) + 1
    if len(candidates) > 1:
        last = Path(written.replace("\\", "/")).name
        named = [image for image in candidates if image.name == last]
        if not named:
            names = ", ".join(image.name for image in candidates)
            second = f"a second image of this name: {names}"
            split.problems.append(
                Problem("image name twice", place, second, "one, or <filename> that says which")
            )
            return None
        candidates = named
    image = candidates[0] if candidates else finder.find(written) if written else None
    if image is None:
        missing = f"no image {written[:80]}"
        split.problems.append(Problem("missing image", place, missing, f"it next to {path.name}"))
        return None
    texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("height", "width")]
    if texts in (["", ""], ["0", "0"]):  # as some versions of labelImg write them
        record = _shapes.record(image, number, split.problems)
        if record is not None:
            sides = f"height and width missing; {record.height} and {record.width} in {image.name}"
            split.problems.append(Problem("missing size", place, sides))
        return record
    size = _shapes.believable(
        *(int(side) if re.fullmatch("[0-9]{1,9}", side) else 0 for side in texts)
    )
    if size is None:
        written_size = f"height {texts[0]!r}, width {texts[1]!r} of {image.name}"
        split.problems.append(Problem("impossible size", place, written_size, "pixels"))
        return None
    return Record(image, *size, number)


def _objects(
    root: Element,
    image: Record,
    path: Path,
    masks: dict[int, Rle],
    problems: list[Problem],
    marks: Counter[str],
) -> list[Annotation]:
    first = 1.0 if "VOC" in (root.findtext("source/database") or "") else 0.0
    objects = []
    for number, element in enumerate(root.findall("object"), 1):
        item = f"object {number}"
        place = Place(str(path), item, annotation_id=item, image=str(image.image))
        try:
            box = _shapes.clipped(_box(element, first), image, place, problems)
            name = (element.findtext("name") or "").strip()
            if not name:
                raise BadAnnotation("unknown category", "no label", "a name")
        except BadAnnotation as error:
            problems.append(error.at(place))
            continue
        if box is None:
            continue
        difficult = (element.findtext("difficult") or "").strip() == "1"
        marks["difficult"] += difficult
        mask = masks.get(number)
        if mask is not None:
            _compare(box, _shapes.mask_box(mask, image), place, problems)
        objects.append(Annotation(box, name, mask, difficult, number))
    return objects


def _box(element: Element, first: float) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in pixels from the image's corner.

    first: the number of the first pixel, or 0 for edges.
    """
    box = element.find("bndbox")
    if box is None:
        raise BadAnnotation("neither box nor mask", "no bndbox", "an object with a box")
    keys = ("xmin", "ymin", "xmax", "ymax")
    texts = [(box.findtext(key) or "").strip() for key in keys]
    try:
        x0, y0, x1, y1 = _shapes.numbers([float(text) for text in texts], "box", 4)
    except ValueError:
        raise BadAnnotation(
            "number that is none", f"box {texts!s:.60}", "xmin, ymin, xmax and ymax as numbers"
        ) from None
    if x0 > x1 or y0 > y1:
        raise BadAnnotation(
            "corners in the wrong order",
            f"corners {x0:g}, {y0:g} and {x1:g}, {y1:g}",
            "xmin below xmax, and ymin below ymax",
        )
    return x0 - first, y0 - first, x1, y1


def _masks(path: Path, image: Record, problems: list[Problem]) -> dict[int, Rle] | None:
    """The masks of an image's objects by their number, if there is a picture of them; None, with a
    problem, if it is not this image's.
    """
    picture = path.parent.parent / "SegmentationObject" / f"{path.stem}.png"
    if not picture.is_file():
        return {}
    pages = label_images.pages_of(image, picture, problems)
    if pages is None:
        return None
    page = pages[0]
    page[page == VOID] = 0
    return {number: mask for number, mask, _ in label_images.objects(page)}


def _compare(
    box: tuple[float, float, float, float],
    around: tuple[float, float, float, float],
    place: Place,
    problems: list[Problem],
) -> None:
    """Report a mask that is not where its object's box is. box, around: x0, y0, x1, y1."""
    width, height = (
        max(min(box[i + 2], around[i + 2]) - max(box[i], around[i]), 0.0) for i in (0, 1)
    )
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, around)]
    if width * height < LEAST_OVERLAP * (sum(areas) - width * height):
        differs = f"box {list(box)}, but its mask's is {list(around)}"
        problems.append(Problem("box that does not match its mask", place, differs))
