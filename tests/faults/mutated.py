"""Objects of six formats of which anything may be anything else, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

SIDE = 64
HUGE = [
    10**400,
    -(10**18),
    2**63,
    2**31,
    1e308,
    1e15,
    float("nan"),
    float("inf"),
    -0.0,
    1e-320,
    65,
    64,
    63,
    -1,
    0,
    1,
]
TEXTS = [
    "",
    " ",
    "\x00",
    "\x1b[2J",
    "\ud800",
    "7",
    "nan",
    "1e999",
    "a.png",
    "../a.png",
    "9" * 5000,
    "0b",
    "PPYo0",
    "[]",
]
SCALARS = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    *(st.sampled_from(HUGE), st.sampled_from(TEXTS)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
)
TRIANGLE = [[8, 8], [40, 8], [40, 40]]
POINTS = st.just(TRIANGLE) | st.lists(
    st.tuples(*[st.floats(-20, 90) | st.sampled_from(HUGE)] * 2).map(list), max_size=40
)


def perhaps(good: Any) -> st.SearchStrategy:
    """What belongs there, or anything."""
    return st.just(good) | VALUES


def flat(points: list) -> list:
    return [value for point in points for value in point]


RLES = st.fixed_dictionaries(
    {
        "size": perhaps([SIDE, SIDE]),
        "counts": st.lists(st.integers(-5, 5000)) | st.text(max_size=30) | VALUES,
    }
)
COCO = st.fixed_dictionaries(
    {
        "id": perhaps(1),
        "image_id": perhaps(1),
        "category_id": perhaps(1),
        "bbox": perhaps([8, 8, 24, 24]) | POINTS.map(flat),
        "segmentation": POINTS.map(lambda points: [flat(points)]) | RLES | VALUES,
    },
    optional={"area": VALUES, "iscrowd": VALUES, "source": VALUES, "quality": VALUES},
)
LABELME = st.just({"label": "cell", "points": TRIANGLE}) | st.fixed_dictionaries(
    {
        "label": perhaps("cell"),
        "points": POINTS | VALUES,
        "shape_type": st.just("polygon")
        | st.sampled_from(["rectangle", "circle", "mask", "line", ""])
        | VALUES,
    },
    optional={"group_id": VALUES, "mask": st.text(max_size=40) | VALUES},
)
VIA = st.fixed_dictionaries(
    {
        "shape_attributes": st.just({"name": "rect", "x": 8, "y": 8, "width": 20, "height": 20})
        | st.fixed_dictionaries(
            {
                "name": st.just("rect")
                | st.sampled_from(["polygon", "circle", "ellipse", "point"])
                | VALUES
            },
            optional={
                **dict.fromkeys(
                    ("x", "y", "width", "height", "cx", "cy", "r", "rx", "ry", "theta"), perhaps(12)
                ),
                **dict.fromkeys(("all_points_x", "all_points_y"), POINTS.map(flat) | VALUES),
            },
        )
        | VALUES,
        "region_attributes": perhaps({"class": "cell"}),
    }
)
TYPED = st.floats(-0.1, 1.1) | st.integers() | st.text(max_size=9)
WORDS = TYPED | st.sampled_from(HUGE) | st.sampled_from(TEXTS)
SHARES = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(
    lambda shares: "0 " + " ".join(map(str, shares))
)
YOLO = (
    SHARES
    | st.lists(WORDS, max_size=24).map(lambda words: "0 " + " ".join(map(str, words)))
    | st.text(max_size=60)
)
ATTRIBUTES = (
    "xtl",
    "ytl",
    "xbr",
    "ybr",
    "rotation",
    "left",
    "top",
    "width",
    "height",
    "cx",
    "cy",
    "rx",
    "ry",
)
CVAT = st.just(("polygon", {"label": "cell", "points": "8,8;40,8;40,40"})) | st.tuples(
    st.sampled_from(["polygon", "box", "mask", "ellipse", "points", "x"]),
    st.fixed_dictionaries(
        {
            "label": perhaps("cell"),
            "points": POINTS.map(lambda ps: ";".join(f"{x},{y}" for x, y in ps)) | WORDS,
        },
        optional={
            "rle": st.lists(WORDS).map(lambda runs: ",".join(map(str, runs))),
            "group_id": WORDS,
        }
        | dict.fromkeys(ATTRIBUTES, st.integers(0, 60) | WORDS),
    ),
)

CORNERS = {"xmin": 8, "ymin": 8, "xmax": 40, "ymax": 40}
VOC = st.just({"name": "cell", **CORNERS}) | st.fixed_dictionaries(
    {"name": perhaps("cell"), **{name: perhaps(value) | WORDS for name, value in CORNERS.items()}},
    optional={"difficult": WORDS, "pose": VALUES},
)


def write_coco(folder: Path, entry: object) -> Path:
    image = {"id": 1, "file_name": "a.png", "height": SIDE, "width": SIDE}
    content = {"images": [image], "categories": [{"id": 1, "name": "cell"}], "annotations": [entry]}
    return written(folder / "_annotations.coco.json", json.dumps(content))


def write_labelme(folder: Path, entry: object) -> Path:
    content = {"imagePath": "a.png", "imageHeight": SIDE, "imageWidth": SIDE, "shapes": [entry]}
    return written(folder / "a.json", json.dumps(content))


def write_via(folder: Path, entry: object) -> Path:
    return written(
        folder / "via.json", json.dumps({"a.png1": {"filename": "a.png", "regions": [entry]}})
    )


def write_yolo(folder: Path, entry: object) -> Path:
    return written(folder / "labels" / "a.txt", str(entry))


def write_cvat(folder: Path, entry: tuple) -> Path:
    kind, attributes = entry
    said = " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())
    image = f'<image id="0" name="a.png" width="{SIDE}" height="{SIDE}"><{kind} {said}/></image>'
    return written(folder / "annotations.xml", f"<annotations>{image}</annotations>")


def write_voc(folder: Path, entry: dict) -> Path:
    said = {name: f"<{name}>{escape(str(value))}</{name}>" for name, value in entry.items()}
    box = "".join(said.pop(name) for name in CORNERS)
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
    thing = f"<object>{''.join(said.values())}<bndbox>{box}</bndbox></object>"
    return written(
        folder / "a.xml", f"<annotation><filename>a.png</filename>{size}{thing}</annotation>"
    )


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


FORMATS: dict[str, tuple[st.SearchStrategy, Callable[[Path, Any], Path]]] = {
    "coco": (COCO, write_coco),
    "labelme": (LABELME, write_labelme),
    "via": (VIA, write_via),
    "yolo": (YOLO, write_yolo),
    "cvat": (CVAT, write_cvat),
    "voc": (VOC, write_voc),
}
