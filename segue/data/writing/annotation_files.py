"""Records as files of other programs: LabelMe, CVAT, Pascal VOC and YOLO; `formats/` reads them.

Run lengths become polygons by tracing (`structures/outlines.py`: an IoU of at least 0.95, measured
0.998 on average). Objects without a mask become rectangles. Crowds are left out except for VOC,
where they are the difficult objects. Only CVAT records a source: whether a person drew the shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from segue.data.images import label_images
from segue.data.records import Annotation, Record
from segue.structures.masks import Mask, Polygon, Rle, bitmap, coco_rle
from segue.structures.outlines import joined, traced
from segue.structures.regions import Region


def to_labelme(record: Record, image_path: str) -> dict[str, Any]:
    """The content of an image's JSON file; points in pixels, to a hundredth.

    image_path: the image as seen from that file. The rings of one object share a group_id.
    """
    shapes = []
    for number, annotation in enumerate(_drawable(record), 1):
        rings = _rings(annotation)
        x0, y0, x1, y1 = annotation.box_xyxy
        kind, outlines = (
            ("polygon", rings) if rings else ("rectangle", [np.array([[x0, y0], [x1, y1]])])
        )
        for outline in outlines:
            shape: dict[str, Any] = {
                "label": annotation.class_name,
                "points": outline.round(2).tolist(),
                "shape_type": kind,
                "group_id": number if len(outlines) > 1 else None,
                "description": "",
                "flags": {},
                "mask": None,
            }
            shapes.append(shape)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": record.height,
        "imageWidth": record.width,
    }


def to_cvat(records: Iterable[tuple[Record, str]]) -> str:
    """An XML document, CVAT for images 1.1, of records with the names of their images.

    Points in pixels, to a hundredth. The rings of one object share a group_id.
    """
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    for number, (record, name) in enumerate(records):
        size = {"width": str(record.width), "height": str(record.height)}
        image = SubElement(root, "image", {"id": str(number), "name": name, **size})
        for group, annotation in enumerate(_drawable(record), 1):
            source = "manual" if annotation.source == "manual" else "auto"
            common = {"label": annotation.class_name, "source": source, "occluded": "0"}
            rings = _rings(annotation)
            for ring in rings:
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)
                together = {"group_id": str(group)} if len(rings) > 1 else {}
                SubElement(
                    image, "polygon", {**common, "points": points, "z_order": "0", **together}
                )
            if not rings:
                corners = zip(("xtl", "ytl", "xbr", "ybr"), annotation.box_xyxy, strict=True)
                SubElement(
                    image,
                    "box",
                    {**common, **{key: f"{value:.2f}" for key, value in corners}, "z_order": "0"},
                )
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def to_voc(record: Record, name: str) -> str:
    """A Pascal VOC document of a record's boxes, in whole pixels counted from 1, as VOC's own are.

    name: of the image. The database's name tells readers of the file, ours too, how pixels are
    counted: many tools write VOC files that count from 0.
    """
    root = Element("annotation")
    SubElement(root, "filename").text = name
    SubElement(SubElement(root, "source"), "database").text = "segue, pixels from 1 as in VOC"
    size = SubElement(root, "size")
    SubElement(size, "width").text, SubElement(size, "height").text = (
        str(record.width),
        str(record.height),
    )
    SubElement(root, "segmented").text = "0"
    for annotation in record.annotations:
        thing = SubElement(root, "object")
        difficult = str(int(annotation.crowd))
        for key, text in (
            ("name", annotation.class_name),
            ("pose", "Unspecified"),
            ("difficult", difficult),
        ):
            SubElement(thing, key).text = text
        x0, y0, x1, y1 = (round(value) for value in annotation.box_xyxy)
        # a thin box at the edge still covers a pixel
        x0, y0 = min(x0, record.width - 1), min(y0, record.height - 1)
        box = SubElement(thing, "bndbox")
        for key, value in (
            ("xmin", x0 + 1),
            ("ymin", y0 + 1),
            ("xmax", max(x1, x0 + 1)),
            ("ymax", max(y1, y0 + 1)),
        ):
            SubElement(box, key).text = str(value)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def to_yolo(record: Record, labels: Mapping[str, int], outlines: bool) -> str:
    """The lines of a record's label file: class number, then shares of the image's sides in 0..1.

    labels: the number of each class name, from 0. outlines: write the objects that have masks, each
    as one ring, separate pieces joined by slits; otherwise cx, cy, w, h of all objects.
    """
    side = np.array([record.width, record.height])
    lines: list[str] = []
    for annotation in _drawable(record):
        x0, y0, x1, y1 = annotation.box_xyxy
        values = np.array([[(x0 + x1) / 2, (y0 + y1) / 2], [x1 - x0, y1 - y0]])
        if outlines:
            if annotation.mask is None:
                continue
            values = _ring(annotation, record)
        shares = " ".join(f"{share:.6f}" for share in (values / side).clip(0, 1).ravel())
        lines.append(f"{labels[annotation.class_name]} {shares}\n")
    return "".join(lines)


def pages(record: Record, class_name: str) -> np.ndarray:
    """The masks of a class as pages of a label image (P, H, W), uint16: several where objects
    overlap.
    """
    masks = [a.mask for a in _drawable(record) if a.class_name == class_name and a.mask is not None]
    bitmaps = [bitmap(Rle(record.height, record.width, _counts(mask, record))) for mask in masks]
    regions = [Region.of(*placed) for placed in bitmaps]
    return label_images.layers(regions, record.height, record.width)


def _counts(mask: Mask, record: Record) -> bytes:
    return coco_rle(mask, record.height, record.width)["counts"]


def _ring(annotation: Annotation, record: Record) -> np.ndarray:
    """The outline (V, 2) of an object's mask; of several rings, which may overlap, that of what
    they cover together.
    """
    rings = _rings(annotation)
    if len(rings) > 1 and annotation.mask is not None:
        rings = list(
            traced(Rle(record.height, record.width, _counts(annotation.mask, record))).rings
        )
    return joined(rings)


def _drawable(record: Record) -> list[Annotation]:
    return [annotation for annotation in record.annotations if not annotation.crowd]


def _rings(annotation: Annotation) -> list[np.ndarray]:
    """The rings (V, 2) of an object's outline, in pixels; an empty list for a box."""
    if annotation.mask is None:
        return []
    polygon = annotation.mask if isinstance(annotation.mask, Polygon) else traced(annotation.mask)
    return list(polygon.rings)
