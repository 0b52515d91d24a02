"""LabelMe, CVAT and VIA files: every shape with an area is read, what is written is read back,
defects have a place.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.base.files import write_json
from segue.data.dataset import Data, read_splits
from segue.data.records import Split
from segue.structures.masks import Mask, coco_rle

HEIGHT, WIDTH = 60, 80
SQUARE = [[10, 5], [30, 5], [30, 25], [10, 25]]
BAR = np.ones((4, 10), bool)


def image(folder: Path, name: str = "a.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / name)


def only(root: Path) -> Split:
    (split,) = read_splits(Data(root=root)).values()
    return split


def areas(split: Split) -> list[tuple[str, int]]:
    return [
        (a.class_name, area(a.mask) if a.mask else 0) for r in split.records for a in r.annotations
    ]


def area(mask: Mask) -> int:
    return int(bits(mask).sum())


def bits(mask: Mask) -> np.ndarray:
    import hotcoco.mask

    return hotcoco.mask.decode(coco_rle(mask, HEIGHT, WIDTH)).astype(bool)


def labelme(folder: Path, *shapes: object, **more: object) -> Path:
    image(folder)
    content = {
        "version": "5.4",
        "shapes": list(shapes),
        "imagePath": "a.png",
        "imageData": None,
        **more,
    }
    return write_json(folder / "a.json", content)


def shape(kind: str, points: list, label: str = "tube", **more: object) -> dict:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def png(values: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values.astype(np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_labelme_shapes_with_an_area_are_objects_and_the_rest_is_counted(tmp_path):
    mask = shape("mask", [[40, 30], [49, 33]], "bar", mask=png(BAR))
    parts = [
        shape("polygon", SQUARE, "two", group_id=4),
        shape("circle", [[60, 15], [64, 15]], "two", group_id=4),
    ]
    lines = [shape("linestrip", SQUARE), shape("point", [[1, 1]])]
    labelme(tmp_path, shape("rectangle", [[30, 40], [10, 20]]), mask, *lines, *parts)
    split = only(tmp_path)
    assert areas(split) == [("tube", 0), ("bar", 40), ("two", 400 + 52)]
    assert (
        split.records[0].annotations[0].box_xyxy == (10, 20, 30, 40)
        and split.records[0].height == HEIGHT
    )
    assert [str(problem) for problem in split.problems] == [
        f"note: {tmp_path}: shapes without area are left out: 1 linestrip, 1 point"
    ]


CVAT_SHAPES = """
<polygon label="tube" source="manual" points="10,5;30,5;30,25;10,25"/>
<box label="tube" xtl="10" ytl="20" xbr="30" ybr="40"/>
<box label="turned" xtl="30" ytl="20" xbr="40" ybr="40" rotation="90"/>
<mask label="bar" source="auto" rle="1, 8, 1, 30" left="40" top="30" width="10" height="4"/>
<ellipse label="disc" cx="40" cy="30" rx="20" ry="10" rotation="0"/>
<polygon label="two" group_id="3" points="0,0;10,0;10,10;0,10"/>
<polygon label="two" group_id="3" points="20,20;30,20;30,30;20,30"/>
<polyline label="tube" points="1,1;2,2"/><points label="x" points="1,1"/>
"""


def cvat(folder: Path, shapes: str, head: str = "") -> Path:
    image(folder / "images")
    one = f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">{shapes}</image>'
    path = folder / "annotations.xml"
    path.write_text(
        f'<?xml version="1.0"?>{head}<annotations><version>1.1</version>{one}</annotations>'
    )
    return path


def test_cvat_shapes_with_an_area_are_objects_and_the_rest_is_counted(tmp_path):
    cvat(tmp_path, CVAT_SHAPES)
    split = only(tmp_path)
    found = dict.fromkeys(name for name, _ in areas(split))
    assert list(found) == ["tube", "turned", "bar", "disc", "two"] and split.categories["bar"] == 1
    tube, box, turned, bar, disc, two = split.records[0].annotations
    assert area(tube.mask) == 400 and box.mask is None and box.box_xyxy == (10, 20, 30, 40)
    assert turned.box_xyxy == pytest.approx((25, 25, 45, 35))
    assert area(bar.mask) == 38 and bar.source == "model" and bits(bar.mask)[30, 41:49].sum() == 8
    assert not bits(bar.mask)[30, 40] and area(disc.mask) == pytest.approx(math.pi * 200, rel=0.02)
    assert area(two.mask) == 200 and "1 points, 1 polyline" in str(split.problems[0])


REGIONS = [
    {"name": "polygon", "all_points_x": [10, 30, 30, 10], "all_points_y": [5, 5, 25, 25]},
    {"name": "rect", "x": 10, "y": 20, "width": 20, "height": 20},
    {"name": "circle", "cx": 40, "cy": 30, "r": 10},
    {"name": "ellipse", "cx": 40, "cy": 30, "rx": 20, "ry": 10, "theta": math.pi / 2},
    {"name": "polyline", "all_points_x": [1, 2], "all_points_y": [1, 2]},
]


def via(folder: Path, regions: list, kind: str = "project") -> Path:
    image(folder)
    entry = {"filename": "a.png", "size": 1, "regions": regions, "file_attributes": {}}
    if kind == "csv":
        path = folder / "via.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(
                [
                    "filename",
                    "file_size",
                    "file_attributes",
                    "region_count",
                    "region_id",
                    "region_shape_attributes",
                    "region_attributes",
                ]
            )
            for number, region in enumerate(regions):
                parts = [
                    json.dumps(region[key]) for key in ("shape_attributes", "region_attributes")
                ]
                rows.writerow(["a.png", 1, "{}", len(regions), number, *parts])
        return path
    content = {"a.png1": entry}
    return write_json(
        folder / "via.json",
        {"_via_settings": {}, "_via_img_metadata": content} if kind == "project" else content,
    )


def regions(*shapes: dict, **attributes: object) -> list:
    return [
        {"shape_attributes": s, "region_attributes": attributes or {"type": "tube", "note": "x"}}
        for s in shapes
    ]


@pytest.mark.parametrize("kind", ["project", "annotations", "csv"])
def test_via_regions_with_an_area_are_objects_and_the_rest_is_counted(tmp_path, kind):
    via(tmp_path, regions(*REGIONS), kind)
    split = only(tmp_path)
    polygon, rect, circle, ellipse = split.records[0].annotations
    assert area(polygon.mask) == 400 and rect.mask is None and rect.box_xyxy == (10, 20, 30, 40)
    assert area(circle.mask) == pytest.approx(math.pi * 100, rel=0.03)
    assert (
        ellipse.box_xyxy == pytest.approx((30, 10, 50, 50), abs=1) and polygon.class_name == "tube"
    )
    assert "1 polyline" in str(split.problems[0]) and len(split.problems) == 1


def test_via_regions_without_a_class_are_objects_by_name_and_said(tmp_path):
    via(tmp_path, [{"shape_attributes": REGIONS[0], "region_attributes": {}}])
    assert areas(only(tmp_path)) == [("object", 400)]
    assert "1 regions without a class" in str(only(tmp_path).problems[0])
