"""LabelMe, CVAT and VIA: what is wrong is named, and what is right is kept."""

from __future__ import annotations

import json

import pytest

from segue.base.files import write_json
from segue.data import formats
from tests.data.formats.test_exchange import (
    BAR,
    CVAT_SHAPES,
    HEIGHT,
    REGIONS,
    SQUARE,
    WIDTH,
    areas,
    cvat,
    image,
    labelme,
    only,
    png,
    regions,
    shape,
    via,
)

NAN, HUGE = float("nan"), 10**400


BAD_SHAPES = {
    "labelme": [
        None,
        [],
        {"points": SQUARE},
        shape("polygon", [[1, 1]]),
        shape("polygon", [[NAN, 1], [2, 2], [1, 3]]),
        shape("polygon", [[HUGE, 1], [2, 2], [1, 3]]),
        shape("polygon", "abc"),
        shape("polygon", [1, 2]),
        shape("rectangle", [[1, 1]]),
        shape("circle", [[5, 5], [5, 5]]),
        shape("mask", [[1, 1], [5, 5]]),
        shape("mask", [[0, 0], [9, 3]], mask=png(BAR[:2])),
        shape("mask", [[75, 0], [84, 3]], mask=png(BAR)),
        shape(["polygon"], SQUARE),
        shape("hexagon", SQUARE),
        shape("polygon", [[1, 1], [9e9, 1], [1, 9]]),
    ],
    "cvat": [
        '<polygon points="1,1;2,2;1,3"/>',
        '<polygon label="a" points="1,1;2"/>',
        '<polygon label="a"/>',
        '<polygon label="a" points="nan,1;2,2;1,3"/>',
        '<polygon label="a" points="1,1;2,2"/>',
        '<box label="a" xtl="1" ytl="x" xbr="3" ybr="4"/>',
        '<box label="a" xtl="1" ytl="1" xbr="1" ybr="4"/>',
        '<ellipse label="a" cx="1" cy="1" rx="-2" ry="1"/>',
        '<ellipse label="a" cx="1"/>',
        '<mask label="a" rle="1, 8" left="40" top="30" width="10" height="4"/>',
        '<mask label="a" rle="40" left="75" top="30" width="10" height="4"/>',
        '<mask label="a" rle="-1,41" left="0" top="0" width="10" height="4"/>',
        '<mask label="a" rle="9" left="inf" top="0" width="10" height="4"/>',
    ],
    "via": [
        None,
        {},
        {"shape_attributes": {}},
        *regions(
            {"name": "rect", "x": 1},
            {"name": "hexagon"},
            {"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2, 3]},
            {"name": ["polygon"]},
            {"name": "polygon", "all_points_x": [1, NAN, 3], "all_points_y": [1, 2, 3]},
            {"name": "circle", "cx": 5, "cy": HUGE, "r": 1},
            {"name": "circle", "cx": 5, "cy": 5, "r": 0},
        ),
        *regions(REGIONS[0], colour="red", size="small"),
        *regions(REGIONS[0], type={"a": True, "b": True}),
    ],
}


BAD = [(kind, number) for kind, listed in BAD_SHAPES.items() for number in range(len(listed))]


@pytest.mark.parametrize(("kind", "number"), BAD)
def test_a_bad_shape_is_named_and_the_good_one_beside_it_kept(tmp_path, kind, number):
    bad = BAD_SHAPES[kind][number]
    {
        "labelme": lambda: labelme(tmp_path, shape("polygon", SQUARE), bad),
        "cvat": lambda: cvat(
            tmp_path, '<polygon label="tube" points="10,5;30,5;30,25;10,25"/>' + bad
        ),
        "via": lambda: via(tmp_path, [*regions(REGIONS[0]), bad]),
    }[kind]()
    split = only(tmp_path)
    assert areas(split) == [("tube", 400)]
    (problem,) = split.problems
    assert (
        problem.severity == "error" and "a." in problem.where and problem.found and problem.expected
    ), problem


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'


FILES = {
    "labelme": [
        "{",
        '{"shapes": 3, "imagePath": "a.png"}',
        '{"shapes": ' + "[" * 100_000,
        '{"shapes": [], "imagePath": "../../etc/passwd"}',
        '{"shapes": [], "imageHeight": 5}',
    ],
    "cvat": [
        "<annotations><image>",
        "<annotations>" + "<a>" * 30,
        BOMB + "<annotations>&b;</annotations>",
        '<annotations><image name="a.png" width="x" height="5"/></annotations>',
        '<annotations><image name="b.png" width="5" height="5"/></annotations>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>',
        '<?xml version="1.0" encoding="foo"?><annotations/>',
    ],
    "via": [
        '{"_via_img_metadata": [1]}',
        '{"_via_img_metadata": {"a": 1}}',
        '{"_via_' + "[" * 100_000,
        '{"_via_img_metadata": {"a": {"filename": "../b.png", "regions": []}}}',
    ],
}


@pytest.mark.parametrize(
    ("kind", "number"), [(k, n) for k, listed in FILES.items() for n in range(len(listed))]
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, kind, number):
    path = tmp_path / f"b.{'xml' if kind == 'cvat' else 'json'}"
    path.write_text(FILES[kind][number])
    image(tmp_path, "c.png")
    (source,) = (
        formats.get(kind).splits(tmp_path).values()
        if formats.get(kind).detect(tmp_path)
        else (formats.SplitSource(path, (tmp_path,)),)
    )
    split = formats.get(kind).read(source, "all")
    assert (
        split.records == []
        and split.problems[0].severity == "error"
        and str(path) in str(split.problems[0])
    )
    assert "\n" not in str(split.problems[0])


def test_an_image_labelled_twice_is_an_error_and_counts_once(tmp_path):
    content = labelme(tmp_path / "labelme", shape("polygon", SQUARE)).read_text()
    (tmp_path / "labelme" / "z.json").write_text(content)
    project = json.loads(via(tmp_path / "via", regions(REGIONS[0])).read_text())
    project["_via_img_metadata"]["a.png2"] = project["_via_img_metadata"]["a.png1"]
    write_json(tmp_path / "via" / "via.json", project)
    cvat(
        tmp_path / "cvat",
        f'{CVAT_SHAPES}</image><image name="a.png" width="{WIDTH}" height="{HEIGHT}">',
    )
    for kind in ("labelme", "via", "cvat"):
        split = only(tmp_path / kind)
        assert len(split.records) == 1 and "a second" in "".join(map(str, split.problems)), kind


def test_a_size_that_no_image_has_is_not_believed(tmp_path):
    labelme(tmp_path, shape("polygon", SQUARE), imageHeight=10**30, imageWidth=10**30)
    assert only(tmp_path).records[0].height == HEIGHT and areas(only(tmp_path)) == [("tube", 400)]
    cvat(tmp_path / "cvat", CVAT_SHAPES).write_text(
        '<annotations><image name="a.png" width="5" height="9999999999"/></annotations>'
    )
    assert "height '9999999999'" in str(only(tmp_path / "cvat").problems[0])
