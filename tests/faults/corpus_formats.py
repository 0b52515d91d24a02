"""Bad data sets of other formats than COCO: what is planted into a converted one, and what it must
be found to be.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

Plant = Callable[[Path], object]
NAME = "train_0001"
BOX = "<bndbox>.*?</bndbox>"


def labels(path: str, pattern: str, text: str) -> Plant:
    """The first match of a pattern in a text file, or all of an empty one, replaced."""

    def plant(data: Path) -> None:
        content = (data / path).read_text()
        changed = re.sub(pattern, text, content, count=1, flags=re.DOTALL) if pattern else text
        assert changed != content
        (data / path).write_text(changed)

    return plant


def voc(pattern: str, text: str) -> Plant:
    return labels(f"train/{NAME}.xml", pattern, text)


def box(*corners: object) -> Plant:
    keys = ("xmin", "ymin", "xmax", "ymax")
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    return voc(BOX, f"<bndbox>{inside}</bndbox>")


def yolo(pattern: str, text: str) -> Plant:
    return labels(f"train/labels/{NAME}.txt", pattern, text)


def cvat(pattern: str, text: str) -> Plant:
    return labels("train/annotations.xml", pattern, text)


def shape(**fields: object) -> Plant:
    """The first shape of a LabelMe file, changed."""

    def plant(data: Path) -> None:
        path = data / "train" / f"{NAME}.json"
        content = json.loads(path.read_text())
        content["shapes"][0] |= fields
        path.write_text(json.dumps(content))

    return plant


def published(data: Path, picture: np.ndarray | None = None) -> None:
    """The training part as VOC is published, with lists; picture: of the masks of one image."""
    for folder in ("Annotations", "JPEGImages", "SegmentationObject", "ImageSets/Main"):
        (data / folder).mkdir(parents=True)
    names = sorted(path.stem for path in (data / "train").glob("*.xml"))
    for part, some in (("train", names[:3]), ("val", names[3:])):
        (data / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(some) + "\n")
    for path in (data / "train").iterdir():
        path.rename(data / ("Annotations" if path.suffix == ".xml" else "JPEGImages") / path.name)
    for part in ("train", "valid", "test"):
        shutil.rmtree(data / part)
    if picture is not None:
        Image.fromarray(picture).save(data / "SegmentationObject" / f"{NAME}.png")


def listed_only(data: Path) -> None:
    published(data)
    (data / "Annotations" / f"{NAME}.xml").unlink()


def mask(values: np.ndarray, suffix: str = ".tif") -> Plant:
    """A mask of an image replaced by another picture, for the first of its classes."""

    def plant(data: Path) -> None:
        old = next((data / "train" / "masks").glob(f"*/{NAME}.tif"))
        old.unlink()
        if suffix == ".tif":
            tifffile.imwrite(old, values)
        else:
            Image.fromarray(values).save(old.with_suffix(suffix))

    return plant


def masks(change: Callable[[Path], object]) -> Plant:
    """Every mask of a training image changed."""
    return lambda data: [change(path) for path in sorted((data / "train" / "masks").rglob("*.tif"))]


def foreground(path: Path) -> None:
    """What thresholding makes: 255 wherever something is."""
    dots = np.zeros((96, 96), np.uint8)
    dots[8::24, 8::24] = dots[9::24, 8::24] = 255
    tifffile.imwrite(path, dots)


def in_two(path: Path) -> None:
    pages = tifffile.imread(path)
    if path.stem == NAME:
        pages[..., :, :] = 0
        pages[..., 5:20, 5:20] = pages[..., 40:60, 40:60] = 7
        tifffile.imwrite(path, pages)


def second_image(data: Path) -> None:
    Image.open(data / "train" / "images" / f"{NAME}.png").convert("RGB").save(
        data / "train" / "images" / f"{NAME}.jpg"
    )


def like_images(data: Path) -> None:
    """Folders of masks called like images, and so are the files in them."""
    for number, folder in enumerate(sorted((data / "train" / "masks").iterdir())):
        folder.rename(folder.with_name(f"train_{number:04d}"))


def no_masks(data: Path) -> None:
    for path in (data / "train" / "masks").glob(f"*/{NAME}.tif"):
        path.unlink()


DTD = '<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><annotation>'
BLANK = np.zeros((96, 96), np.uint8)
DOT = np.pad(np.ones((4, 4), np.uint8), 46)
# kind of finding, format, what is planted
OTHERS: list[tuple[str, str, Plant]] = [
    ("unreadable annotations", "voc", voc("</annotation>", "")),
    ("unreadable annotations", "voc", voc("<annotation>", DTD)),
    ("unreadable annotations", "voc", voc("<object>", "<x>" * 30)),
    ("missing image", "voc", lambda data: (data / "train" / f"{NAME}.png").unlink()),
    ("missing annotation file", "voc", listed_only),
    ("impossible size", "voc", voc("<width>96", "<width>-96")),
    ("impossible size", "voc", voc("<width>96", "<width>960000000")),
    ("missing size", "voc", voc("<width>96</width>.*?<height>96", "<width>0</width><height>0")),
    ("size other than annotated", "voc", voc("<width>96", "<width>80")),
    ("corners in the wrong order", "voc", box(50, 10, 20, 40)),
    ("box outside the image", "voc", box(200, 200, 250, 250)),
    ("box partly outside", "voc", box(50, 50, 150, 90)),
    ("number that is none", "voc", box("nan", 10, 20, 40)),
    ("number that is none", "voc", box("ten", 10, 20, 40)),
    ("neither box nor mask", "voc", voc(BOX, "")),
    ("unknown category", "voc", voc("<name>.*?</name>", "<name> </name>")),
    ("difficult object", "voc", voc("<difficult>0", "<difficult>1")),
    ("mask of another size", "voc", lambda data: published(data, BLANK[:90])),
    (
        "mask that is no label image",
        "voc",
        lambda data: published(data, np.dstack([DOT, DOT * 2, DOT * 3])),
    ),
    ("box that does not match its mask", "voc", lambda data: published(data, DOT)),
    ("mask of another size", "masks", mask(BLANK[:90])),
    ("mask that is no label image", "masks", mask((DOT * 0.5).astype(np.float32))),
    ("mask that is no label image", "masks", mask(DOT.astype(np.float32) * np.nan)),
    ("mask that is no label image", "masks", mask(DOT.astype(np.int16) * -1)),
    ("mask that is no label image", "masks", mask(np.dstack([DOT, DOT * 2, DOT * 3]), ".png")),
    ("mask that is no label image", "masks", mask(DOT * 200, ".jpg")),
    ("damaged image", "masks", masks(lambda path: path.write_bytes(path.read_bytes()[:99]))),
    ("missing image", "masks", lambda data: (data / "train" / "images" / f"{NAME}.png").unlink()),
    ("unlabelled image", "masks", no_masks),
    ("images without masks", "masks", no_masks),
    ("folder of a class or an image", "masks", like_images),
    ("foreground, not objects", "masks", masks(foreground)),
    ("object in several pieces", "masks", masks(in_two)),
    ("image name twice", "masks", second_image),
    ("image name twice", "yolo", second_image),
    ("shape that is none", "yolo", yolo("", "0 0.5 0.5 0.1\n")),
    ("shape that is none", "yolo", yolo("", "cat 0.5 0.5 0.1 0.1\n")),
    ("number that is none", "yolo", yolo("", "0 0.5 nan 0.1 0.1\n")),
    ("unknown category", "yolo", yolo("", "7 0.5 0.5 0.1 0.1\n")),
    ("missing image", "yolo", lambda data: (data / "train" / "images" / f"{NAME}.png").unlink()),
    ("category without a name", "yolo", labels("data.yaml", "names:.*", "names: [a, a]\n")),
    ("number of classes", "yolo", labels("data.yaml", "names:", "nc: 99\nnames:")),
    (
        "image name twice",
        "labelme",
        lambda d: shutil.copy(d / f"train/{NAME}.json", d / "train/x.json"),
    ),
    ("shape that is none", "labelme", shape(shape_type="star")),
    ("shape that is none", "labelme", shape(shape_type="circle")),
    ("unknown category", "labelme", shape(label="")),
    ("image name twice", "cvat", cvat(f"{NAME}.png", "train_0000.png")),
    (
        "unreadable annotations",
        "cvat",
        cvat("<annotations>", "<!DOCTYPE annotations><annotations>"),
    ),
    ("polygon that is none", "cvat", cvat('points="[^"]*"', 'points="1,2;3"')),
]
