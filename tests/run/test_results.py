"""What a run leaves behind, read back: small however large the images are."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segue.data.records import Annotation, Record
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.overlay import draw_detections
from segue.run.results import detections_of, remarks
from segue.structures.detections import Detections
from segue.structures.masks import encoded
from segue.structures.regions import Region

SIDE, OBJECTS = 1500, 200


def test_two_hundred_objects_of_a_large_image_come_back_without_a_stack_of_masks() -> None:
    y, x = np.ogrid[-50:50, -50:50]
    disc = y**2 + x**2 < 48**2
    corners = np.random.default_rng(0).integers(0, SIDE - 100, (OBJECTS, 2)).tolist()
    truth = Annotation((0, 0, 100, 100), "cell", encoded(disc, 0, 0, SIDE, SIDE))
    metrics = CocoMetrics(
        [Record(Path("large.png"), SIDE, SIDE, 1, (truth,))], ("cell",), ("box", "mask"), OBJECTS
    )
    for number, (left, top) in enumerate(corners):
        rle = Region.of(disc, left, top).rle(SIDE, SIDE)
        mask = {"size": rle["size"], "counts": rle["counts"].decode()}
        entry = {
            "image_id": 0,
            "category_id": 1,
            "bbox": [left, top, 100, 100],
            "score": 1 - number / 1000,
        }
        metrics.results.append({**entry, "segmentation": mask})
    metrics.results.append({**metrics.results[0], "score": 0.01})  # not shown
    tracemalloc.start()
    (found,) = detections_of(metrics)
    picture = draw_detections(Image.new("RGB", (SIDE, SIDE)), found)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6 and found.mask_logits is None  # torch's own memory is not traced
    assert found.regions == tuple(Region.of(disc, left, top) for left, top in corners)
    assert np.asarray(picture)[corners[-1][1] + 50, corners[-1][0] + 50].any()


def test_results_without_masks_and_images_without_results_come_back() -> None:
    records = [Record(Path(f"{number}.png"), 60, 60, number) for number in (1, 2)]
    metrics = CocoMetrics(records, ("cell",), ("box",), 100)
    box, zero = torch.tensor([[5.0, 5, 15, 15]]), torch.zeros(1, dtype=torch.int64)
    metrics.add(1, Detections(box, torch.tensor([0.9]), zero, ("cell",), (60, 60)))
    none, one = detections_of(metrics)
    assert (len(none), len(one), one.has_masks) == (0, 1, False) and one.boxes_xyxy.tolist() == [
        [5, 5, 15, 15]
    ]


def test_a_stage_that_found_nothing_says_so() -> None:
    nothing = {"box_ap": 0.0, "box_ap50": 0.0, "box_ap_large": -1.0}
    assert "No object was detected in the validation images" in remarks(nothing, [], "box_ap")[0]
    assert remarks({**nothing, "mask_ap": 0.0, "mask_ap50": 0.01}, [], "box_ap") == []


def test_a_stage_that_lost_what_it_was_handed_says_so() -> None:
    figures = {"box_ap": 0.2, "box_ap50": 0.4}
    epochs = [{"epoch": number, "box_ap": value} for number, value in enumerate((0.3, 0.1, 0.2))]
    assert (
        "The stage started with box_ap 0.300, better than after any epoch"
        in remarks(figures, epochs, "box_ap")[0]
    )
    assert remarks(figures, epochs[1:], "box_ap") == remarks(figures, epochs[:1], "box_ap") == []
