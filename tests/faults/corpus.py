"""Bad data sets: what is planted into a rendered one, by the kind of finding it must become."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from segue.structures.channels import RGB, Channel
from tests.faults.planting import (
    CROSSED,
    LOOSE,
    NAN,
    PIXELS,
    SIDE,
    WARM,
    Plant,
    areas,
    as_corners,
    bomb,
    category,
    crowded,
    deep,
    edit,
    image,
    into,
    linked,
    linked_below,
    only_box,
    oriented,
    partners,
    picture,
    renamed,
    resized,
    rle,
    scene,
    sides,
    text,
    thing,
    twice,
)

CASES: list[tuple[str, Plant] | tuple[str, Plant, tuple[Channel, ...]]] = [
    ("unreadable annotations", text('{"images": [')),
    ("unreadable annotations", text('{"images": ' + "[" * 100_000)),
    ("two JSON texts in one file", text(b'{"images": []}')),
    ("missing list", edit(lambda content: content.pop("categories"))),
    ("missing list", edit(lambda content: content.update(images={}))),
    ("non-standard key", renamed({"annotations": "annotation", "file_name": "filename"})),
    ("non-standard key", renamed({"file_name": "filename"})),
    ("entry that is no object", edit(lambda content: content["annotations"].append("cell"))),
    ("unknown category", thing(category_id=77)),
    ("unknown category", thing(category_id="1")),
    ("category without a name", category(1, name=" ")),
    ("category id twice", category(1, id=1)),
    ("category name twice", category(1, name="cell")),
    ("category names alike", category(1, name="Cell ")),
    ("control characters in a name", category(1, name="cell\x1b[2J")),
    ("control characters in a name", category(1, name="cell\u202e")),
    ("sparse category ids", edit(lambda c: c["categories"].append({"id": 90, "name": "book"}))),
    (
        "category without objects",
        edit(lambda c: c["categories"].insert(0, {"id": 0, "name": "things"})),
    ),
    (
        "category id 0 is a class",
        edit(
            lambda c: (
                c["categories"][0].update(id=0),
                [
                    entry.update(category_id=0)
                    for entry in c["annotations"]
                    if entry["category_id"] == 1
                ],
            )
        ),
    ),
    ("sided classes under a flip", edit(sides)),
    ("missing image", picture(Path.unlink)),
    ("missing image", image(file_name="never.png")),
    ("image outside the folder", linked),
    ("image outside the folder", linked_below),
    ("path in a file name", image(file_name="../train/train_0001.png")),
    ("path in a file name", image(file_name="/etc/train_0001.png")),
    ("path in a file name", image(file_name="C:\\pictures\\train_0001.png")),
    ("image id twice", image(id=0)),
    ("image listed twice", image(file_name="train_0000.png")),
    ("impossible size", image(height=0)),
    ("impossible size", image(height=10**7, width=10**7)),
    ("missing size", image(height=None, width=None)),
    ("image entry without id or name", image(file_name=None)),
    ("image without objects", edit(lambda c: c.update(annotations=c["annotations"][:1]))),
    (
        "unlabelled image",
        lambda data: shutil.copy(data / "test" / "test_0000.png", data / "train" / "new.png"),
    ),
    (
        "macOS companion file",
        lambda data: (data / "train" / "._train_0001.png").write_bytes(b"\0\5\26\7"),
    ),
    ("empty image file", picture(lambda path: path.write_bytes(b""))),
    ("damaged image", picture(lambda path: path.write_bytes(path.read_bytes()[:400]))),
    ("damaged image", picture(lambda path: path.write_text("<html>not found</html>"))),
    ("image too large", picture(bomb)),
    ("size off by one", resized(96, 95)),
    ("size other than annotated", resized(96, 90)),
    ("annotated before turning", oriented(6, (96, 64))),
    ("turned by EXIF", oriented(6, (64, 96))),
    (
        "other channels",
        picture(
            lambda path: (
                np.save(path.with_suffix(".npy"), np.zeros((96, 96, 5), np.uint8))
                or (path.unlink(), image(file_name="train_0001.npy")(path.parent.parent))
            )
        ),
        RGB,
    ),
    ("mixed kinds of images", picture(lambda path: Image.open(path).convert("L").save(path))),
    ("wide values without a scale", deep(4095)),
    ("values beyond the scale", deep(4095), LOOSE),
    ("number that is none", thing(bbox=[1, 2, NAN, 4])),
    ("number that is none", thing(segmentation=[[1, 2, float("inf"), 4, 5, 6]])),
    ("number that is none", thing(segmentation=[[1, 2, "3", 4, 5, 6]])),
    ("number that is none", thing(bbox=[1, 2, 3])),
    ("coordinates far outside", thing(segmentation=[[1, 2, 1e8, 4, 5, 6]])),
    ("polygon without area", thing(segmentation=[[1, 2, 30, 40]])),
    ("polygon outside its list", thing(segmentation=[10, 10, 40, 10, 40, 40])),
    ("polygon that is none", thing(segmentation=[[1, 2, 30, 40, 50]])),
    ("polygon that is none", thing(segmentation=[[1, 2] * 60_000])),
    ("polygon that crosses itself", thing(segmentation=[CROSSED])),
    ("RLE of another size", rle([96, 90], [0, 8640])),
    ("RLE of a wrong sum", rle(SIDE, [10, 5])),
    ("RLE of a wrong sum", rle(SIDE, [-10, PIXELS + 10])),
    ("RLE that is none", rle(SIDE, "o\u00e9")),
    ("RLE that is none", rle(SIDE, "~~~")),
    ("missing partner", partners(Path.unlink), WARM),
    ("several partners", partners(lambda path: shutil.copy(path, path.with_suffix(".bmp"))), WARM),
    ("partner of another size", partners(lambda path: Image.new("L", (96, 48)).save(path)), WARM),
    (
        "several formats",
        lambda data: (data / "train" / "x.json").write_text('{"shapes": [], "imagePath": "x.png"}'),
    ),
    ("RLE bomb", rle([10**6, 10**6], [0, 10**12])),
    ("box without a mask", edit(only_box)),
    ("mask without a box", thing(bbox=None)),
    ("neither box nor mask", thing(bbox=None, segmentation=None)),
    ("box outside the image", thing(bbox=[200, 200, 10, 10])),
    ("box partly outside", thing(bbox=[80, 80, 50, 50])),
    ("box without area", thing(bbox=[10, 10, 0, 20])),
    ("corners written as width and height", as_corners(masks=True)),
    ("corners written as width and height", as_corners(masks=False)),
    ("box that does not match its mask", thing(bbox=[1, 1, 3, 3])),
    ("area of the box, not the mask", edit(areas)),
    ("object of an unknown image", thing(image_id=999)),
    ("object id twice", thing(id=1)),
    ("object twice", edit(twice)),
    ("same picture twice", into("train", "train_0003.png")),
    ("same picture in two parts", into("valid", "valid_0001.png")),
    (
        "same picture in two parts",
        into("valid", "valid_0001.png", lambda p: (p * 0.8 + 20).astype(np.uint8)),
    ),
    ("changed copy of a picture", into("train", "train_0003.png", lambda pixels: pixels[:, ::-1])),
    ("changed copy of a picture", into("train", "train_0003.png", lambda pixels: np.rot90(pixels))),
    ("one scene in two parts", scene),
    ("more objects than COCO counts", edit(crowded)),
]
