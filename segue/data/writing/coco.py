"""Records as COCO instances JSON, the one layout every tool reads.

The counterpart of `formats/coco.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import hotcoco.mask as coco_mask

from segue.data.records import Annotation, Record
from segue.structures.masks import Mask, Polygon, coco_rle


def coco(
    records: Iterable[Record], categories: Mapping[str, int], name_of: Callable[[Record], str]
) -> dict[str, Any]:
    """The content of a file: images with the records' ids, and their objects, numbered from 1.

    categories: the id of each class name. name_of: a record's `file_name`. bbox is x, y, w, h in
    pixels, to a hundredth; area is that of the mask where there is one, else of the box. `source`
    and `quality`, which COCO does not have, are written where they differ from a manual label's.
    """
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": number, "name": name} for name, number in categories.items()]
    for record in records:
        image = {
            "id": record.id,
            "file_name": name_of(record),
            "height": record.height,
            "width": record.width,
        }
        content["images"].append(image)
        for annotation in record.annotations:
            number = len(content["annotations"]) + 1
            entry = {
                "id": number,
                "image_id": record.id,
                "category_id": categories[annotation.class_name],
            }
            content["annotations"].append(entry | _entry(annotation, record))
    return content


def _entry(annotation: Annotation, record: Record) -> dict[str, Any]:
    x0, y0, x1, y1 = annotation.box_xyxy
    entry: dict[str, Any] = {"bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)]}
    entry["area"] = round((x1 - x0) * (y1 - y0), 2)
    if annotation.mask is not None:
        entry["segmentation"] = _segmentation(annotation.mask)
        entry["area"] = int(coco_mask.area(coco_rle(annotation.mask, record.height, record.width)))
    entry["iscrowd"] = int(annotation.crowd)
    if annotation.source != "manual" or annotation.quality != 1:
        entry |= {"source": annotation.source, "quality": round(annotation.quality, 4)}
    return entry


def _segmentation(mask: Mask) -> list[list[float]] | dict[str, Any]:
    if isinstance(mask, Polygon):
        return [[round(float(v), 2) for v in ring.ravel()] for ring in mask.rings]
    return {"size": [mask.height, mask.width], "counts": mask.counts.decode("ascii")}
