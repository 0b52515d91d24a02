"""COCO average precision (mAP) of boxes and masks, by hotcoco (bit-identical to pycocotools, as a
test verifies).

Figures are called box_ap, box_ap50, mask_ap, ... and lie in 0..1; ap is the mean over classes and
IoU thresholds 0.50 to 0.95, and -1 is COCO's value for "no such objects". Of each image as many
detections count as the fullest image has objects, COCO's 100 at least; every report states the
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hotcoco
import hotcoco.mask as coco_mask
import numpy as np

from segue.data.records import Annotation, Record
from segue.structures.detections import Detections
from segue.structures.masks import coco_rle

# (name, IoU threshold or None for the mean of all, position of the area range: all, small, medium,
# large, position in max_dets), in the order COCO prints them
FIGURES = [
    ("ap", None, 0, 2), ("ap50", 0.5, 0, 2), ("ap75", 0.75, 0, 2),
    ("ap_small", None, 1, 2), ("ap_medium", None, 2, 2), ("ap_large", None, 3, 2),
    ("ar_1", None, 0, 0), ("ar_10", None, 0, 1), ("ar", None, 0, 2),
    ("ar_small", None, 1, 2), ("ar_medium", None, 2, 2), ("ar_large", None, 3, 2),
]  # fmt: skip
COCO_COUNTED = 100


def detections_needed(most_objects: int) -> int:
    """How many detections of an image to keep and count: COCO's 100, or as many as the fullest
    image has objects. With 100, an image of 300 cells could have a recall of a third at best.
    """
    return max(COCO_COUNTED, most_objects)


@dataclass(slots=True)
class CocoMetrics:
    """Collects detections image by image and compares them with the ground truth of the records.

    class_names: in the order of labels; objects of other classes are left out. If there is only
    one, every detection counts as it, whatever its class. kinds: "box", "mask" or both. most: how
    many detections of an image count. results: COCO result entries, image_id a position in records.
    """

    records: Sequence[Record]
    class_names: tuple[str, ...]
    kinds: tuple[str, ...]
    most: int = 100
    results: list[dict[str, Any]] = field(default_factory=list)

    def add(self, index: int, detections: Detections) -> None:
        """Take the detections of record number `index`, best score first."""
        assert 0 <= index < len(self.records)
        labels = range(1, len(detections.class_names) + 1)
        ids = tuple(labels) if len(self.class_names) > 1 else (1,) * len(labels)
        self.results += detections[: self.most].to_coco(index, ids)

    def figures(self) -> dict[str, float]:
        """The twelve COCO figures of each kind, 0..1 or -1, as `box_ap`, ..., `mask_ar_large`."""
        out: dict[str, float] = {}
        for kind in self.kinds:
            evaluated = self.evaluated(kind)
            out |= {f"{kind}_{name}": value for name, value in summarise(evaluated).items()}
        return out

    def by_class(self, kind: str) -> dict[str, float]:
        """AP (0..1) of each class that has objects, over all areas; kind: box or mask."""
        # (IoU thresholds, recalls, classes)
        precision = _array(self.evaluated(kind), "precision")[:, :, :, 0, 2]
        values = {name: _mean(precision[:, :, k]) for k, name in enumerate(self.class_names)}
        return {name: value for name, value in values.items() if value >= 0}

    def evaluated(self, kind: str) -> hotcoco.COCOeval:
        """hotcoco's evaluation of one kind, accumulated, as `compare` takes it."""
        truth = hotcoco.COCO(ground_truth(self.records, self.class_names, kind == "mask"))
        # A mask result that also has a box would be sorted into small, medium and large by the area
        # of its box.
        unused = "bbox" if kind == "mask" else "segmentation"
        results = [{key: v for key, v in entry.items() if key != unused} for entry in self.results]
        evaluation = hotcoco.COCOeval(
            truth, truth.load_res(results), "segm" if kind == "mask" else "bbox"
        )
        evaluation.params.max_dets = [1, 10, self.most]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation


def summarise(evaluation: hotcoco.COCOeval) -> dict[str, float]:
    """The twelve figures from the accumulated arrays, as pycocotools' `summarize` defines them: its
    own one prints, and allows no other numbers of detections than 1, 10 and 100.
    """
    precision, recall = _array(evaluation, "precision"), _array(evaluation, "recall")
    thresholds = np.asarray(evaluation.params.iou_thrs)
    out = {}
    for name, threshold, area, most in FIGURES:
        chosen = slice(None) if threshold is None else int(np.abs(thresholds - threshold).argmin())
        values = (
            recall[chosen, :, area, most]
            if name.startswith("ar")
            else precision[chosen, :, :, area, most]
        )
        out[name] = _mean(values)
    return out


def ground_truth(
    records: Sequence[Record], class_names: tuple[str, ...], masks: bool
) -> dict[str, Any]:
    """Records as a COCO dict: image ids are positions, category ids labels + 1.

    masks: whether masks are compared. `area` is the mask's where there is one, as in COCO's own
    files. Where masks are compared, an object without one becomes a crowd region of its box: a
    detection there counts neither as right nor as wrong.
    """
    labels = {name: number for number, name in enumerate(class_names, 1)}
    annotations: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        for annotation in record.annotations:
            if annotation.class_name in labels:
                entry = _entry(annotation, record, masks)
                entry |= {"id": len(annotations) + 1, "image_id": number}
                annotations.append({**entry, "category_id": labels[annotation.class_name]})
    return {
        "images": [{"id": i, "height": r.height, "width": r.width} for i, r in enumerate(records)],
        "categories": [{"id": number, "name": name} for name, number in labels.items()],
        "annotations": annotations,
    }


def _entry(annotation: Annotation, record: Record, masks: bool) -> dict[str, Any]:
    x0, y0, x1, y1 = annotation.box_xyxy
    box = [x0, y0, x1 - x0, y1 - y0]
    entry: dict[str, Any] = {"bbox": box, "area": box[2] * box[3], "iscrowd": int(annotation.crowd)}
    if annotation.mask is not None:
        rle = coco_rle(annotation.mask, record.height, record.width)
        entry["area"] = float(coco_mask.area(rle))
        if masks:
            entry["segmentation"] = rle
    elif masks:
        entry |= {"segmentation": coco_mask.fr_bbox(box, record.height, record.width), "iscrowd": 1}
    return entry


def _array(evaluation: hotcoco.COCOeval, name: str) -> np.ndarray:
    assert evaluation.eval is not None, "accumulate first"
    return evaluation.eval[name]


def _mean(values: np.ndarray) -> float:
    """The mean of what COCO computed; -1 marks combinations without objects."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
