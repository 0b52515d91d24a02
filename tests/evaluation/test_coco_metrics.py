"""The twelve figures are pycocotools' own, to the last bit."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from segue.data.records import Annotation, Record
from segue.evaluation.coco_metrics import CocoMetrics, detections_needed, ground_truth
from segue.structures.detections import Detections
from segue.structures.masks import Polygon

COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval
CLASSES = ("a", "b", "c")


def annotation(rng: np.random.Generator, number: int, crowd: bool = False) -> Annotation:
    x, y = rng.uniform(0, 60, 2)
    w, h = rng.uniform(4, 60, 2)
    outline = np.array(
        [[x, y + h / 2], [x + w / 2, y], [x + w, y + h / 2], [x + w / 2, y + h]], dtype=np.float64
    )
    return Annotation(
        box_xyxy=(x, y, x + w, y + h),
        class_name=CLASSES[rng.integers(3)],
        mask=Polygon((outline,)),
        crowd=crowd,
        id=number,
    )


def records(seed: int) -> list[Record]:
    rng = np.random.default_rng(seed)
    rendered_records = []
    for number in range(12):
        objects = [annotation(rng, i, crowd=i == 5) for i in range(rng.integers(0, 9))]
        rendered_records.append(Record(Path(f"{number}.png"), 128, 130, number, tuple(objects)))
    return rendered_records


def detections(record: Record, rng: np.random.Generator) -> Detections:
    """The truth moved a little, some of it missing, and some that is not there."""
    boxes, labels = [], []
    for a in record.annotations:
        if rng.random() < 0.8:
            boxes.append(np.array(a.box_xyxy) + rng.normal(0, 2, 4))
            labels.append(
                CLASSES.index(a.class_name) if rng.random() < 0.9 else int(rng.integers(3))
            )
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform(0, 60, 2)
        boxes.append(np.array([x, y, x + 20, y + 20]))
        labels.append(int(rng.integers(3)))
    corners = torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32)
    logits = torch.full((len(boxes), 32, 32), -1.0)
    for i, (x0, y0, x1, y1) in enumerate(corners.tolist()):
        logits[i, int(y0 / 4) : int(y1 / 4), int(x0 / 4) : int(x1 / 4)] = 1.0
    scores = torch.tensor(rng.random(len(boxes)), dtype=torch.float32).sort(descending=True).values
    return Detections(
        corners, scores, torch.tensor(labels, dtype=torch.int64), CLASSES, (128, 130), logits
    )


def measured(seed: int, noise: int = 0) -> CocoMetrics:
    rng = np.random.default_rng(seed + 1000 * (noise + 1))
    metrics = CocoMetrics(records(seed), CLASSES, ("box", "mask"))
    for number, record in enumerate(metrics.records):
        metrics.add(number, detections(record, rng))
    return metrics


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(5))
def test_all_twelve_figures_equal_pycocotools_exactly(kind, seed):
    metrics = measured(seed)
    drop = "bbox" if kind == "mask" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = ground_truth(metrics.records, CLASSES, kind == "mask")
        for entry in truth.dataset["annotations"]:
            rle = entry.get("segmentation")
            if isinstance(rle, dict) and isinstance(rle["counts"], bytes):
                entry["segmentation"] = {**rle, "counts": rle["counts"].decode()}
        truth.createIndex()
        results = [{k: v for k, v in r.items() if k != drop} for r in metrics.results]
        peer = COCOeval(truth, truth.loadRes(results), "segm" if kind == "mask" else "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    ours = [value for name, value in metrics.figures().items() if name.startswith(kind + "_")]
    assert len(ours) == 12 and 0.001 < ours[0] < 0.95
    assert ours == [float(value) for value in peer.stats]


def test_no_detections_at_all_is_zero_and_classes_without_objects_are_unknown():
    metrics = CocoMetrics(records(1), (*CLASSES, "never"), ("box",))
    assert metrics.figures()["box_ap"] == 0.0
    assert "never" not in metrics.by_class("box")


def test_crowded_images_are_counted_whole():
    assert detections_needed(10) == 100 and detections_needed(400) >= 400


def test_where_masks_are_compared_an_object_without_one_is_a_region_that_does_not_count():
    truth = records(2)
    bare = Annotation(box_xyxy=(0, 0, 9, 9), class_name="a", mask=None, crowd=False, id=77)
    truth[0] = Record(truth[0].image, 128, 130, 0, (bare,))
    entries = ground_truth(truth, CLASSES, masks=True)["annotations"]
    assert entries[0]["iscrowd"] == 1
    assert ground_truth(truth, CLASSES, masks=False)["annotations"][0]["iscrowd"] == 0
