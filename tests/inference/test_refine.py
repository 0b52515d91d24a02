"""Each step does what its name says, only if asked to, and says what it did."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from segue.errors import PlanError
from segue.inference.measure import axes
from segue.inference.refine import Refine, refine, settings_of, summary
from segue.structures.detections import Detections
from segue.structures.regions import Region
from tests.optional import present

SIZE = (200, 300)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
    return (xs - x) ** 2 + (ys - y) ** 2 < radius**2


def bar(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    bits = np.zeros(SIZE, dtype=bool)
    bits[y0:y1, x0:x1] = True
    return bits


def detections(
    *masks: np.ndarray, scores: list[float] | None = None, labels: list[int] | None = None
) -> Detections:
    regions = tuple(Region.of(mask) for mask in masks)
    return Detections(
        torch.tensor([region.window for region in regions], dtype=torch.float32),
        torch.tensor(scores or [0.9 - 0.1 * i for i in range(len(masks))]),
        torch.tensor(labels or [0] * len(masks)),
        ("tube", "cell"),
        SIZE,
        regions=regions,
    )


def after(before: Detections, **settings: Any) -> tuple[Detections, list[Any]]:
    return refine(before, Refine(**settings))


def test_without_settings_nothing_happens_and_nothing_is_recorded() -> None:
    before = detections(disc(50, 50, 20), bar(100, 10, 280, 20))
    left, record = after(before)
    assert left is before and record == []


def test_confidence_area_and_aspect_remove_and_say_how_many() -> None:
    before = detections(
        disc(50, 50, 20), bar(100, 10, 280, 20), disc(200, 100, 3), disc(90, 150, 40)
    )
    left, record = after(before, confidence=0.65, area=100, most_area=2000)
    assert [(s.step, s.given, s.removed) for s in record] == [
        ("confidence", 4, 1), ("area", 3, 1), ("most_area", 2, 0),
    ]  # fmt: skip
    assert len(left) == 2
    assert after(before, aspect=5)[0].boxes_xyxy.tolist() == [[100, 10, 280, 20]]


def test_aspect_is_the_ratio_of_the_sides_of_a_bar_however_it_lies() -> None:
    assert axes(bar(10, 10, 110, 20))[1] == pytest.approx(10, rel=1e-6)
    assert axes(bar(5, 5, 6, 6))[1] == 1
    turned = ndimage.rotate(bar(100, 95, 200, 105).astype(float), 33, order=1) > 0.5
    assert axes(turned)[1] == pytest.approx(10, rel=0.03)


def test_holes_up_to_the_area_are_filled_and_larger_ones_stay() -> None:
    mask = disc(100, 100, 60) & ~disc(80, 90, 4) & ~disc(120, 110, 20)
    mask[100:102, 38:45] = False  # a bay at the outline is no hole
    left, (step,) = after(detections(mask, disc(250, 50, 10)), holes=100)
    assert (step.removed, step.changed) == (0, 1)
    assert np.array_equal(present(left.masks)[0].numpy(), mask | disc(80, 90, 4))


def test_smoothing_takes_off_whiskers_keeps_the_area_and_moves_no_image_border() -> None:
    rough = disc(100, 100, 40)
    rough[100, 140:150] = True
    at_border = bar(0, 0, 30, 60)
    left, (step,) = after(detections(rough, at_border, bar(200, 10, 290, 12)), smoothing=2)
    smooth = present(left.masks).numpy()
    assert not smooth[0, 100, 143:].any() and left.boxes_xyxy[0, 2] < 143
    assert smooth[0].sum() == pytest.approx(disc(100, 100, 40).sum(), rel=0.01)
    assert smooth[1, 0, 0] and smooth[1].sum() == pytest.approx(1800, rel=0.01)
    assert np.array_equal(smooth[2], bar(200, 10, 290, 12))  # would have vanished
    assert step.changed == 2


def test_duplicates_of_one_class_become_one_and_crossing_tubes_do_not() -> None:
    tube, again, stub = bar(10, 50, 250, 62), bar(14, 51, 255, 63), bar(20, 50, 60, 62)
    crossing, other = bar(120, 10, 132, 180), disc(30, 150, 15)
    before = detections(tube, again, stub, crossing, other, scores=[0.7, 0.9, 0.5, 0.8, 0.6])
    left, (step,) = after(before, merge=0.7)
    assert step.removed == 2 and left.scores.tolist() == pytest.approx([0.9, 0.8, 0.6])
    assert np.array_equal(present(left.masks)[0].numpy(), tube | again | stub)
    assert left.boxes_xyxy[0].tolist() == [10, 50, 255, 63]
    apart = detections(tube, again, labels=[0, 1])
    assert len(after(apart, merge=0.7)[0]) == 2


def test_um_are_converted_by_the_scale_and_without_one_refused() -> None:
    before = detections(bar(0, 0, 20, 10), bar(50, 50, 100, 100))
    wanted = Refine(area=100, unit="um")
    assert len(refine(before, wanted, um_per_px=0.5)[0]) == 1  # 50 and 625 um^2
    assert len(refine(before, wanted, um_per_px=1.0)[0]) == 2
    with pytest.raises(PlanError, match="scale is not known; expected --scale"):
        refine(before, wanted)


def test_a_model_without_masks_is_measured_by_its_boxes() -> None:
    before = detections(bar(0, 0, 20, 10), bar(50, 50, 100, 100), bar(50, 50, 100, 98))
    before = Detections(before.boxes_xyxy, before.scores, before.labels, before.class_names, SIZE)
    left, record = after(before, area=500, merge=0.7, holes=5)
    assert [step.step for step in record] == ["area", "merge"]
    assert left.boxes_xyxy.tolist() == [[50, 50, 100, 100]] and not left.has_masks


def test_the_summary_adds_up_over_images() -> None:
    before, wanted = (
        detections(disc(50, 50, 20), disc(200, 100, 3)),
        Refine(area=100, confidence=0.1),
    )
    record = refine(before, wanted)[1]
    told = summary(wanted, {"a.png": record, "b.png": record})
    assert told["settings"] == {"area": 100, "confidence": 0.1, "unit": "px"}
    assert told["steps"]["area"] == {"given": 4, "removed": 2, "changed": 0}
    assert [step["step"] for step in told["images"]["a.png"]] == ["confidence", "area"]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("aera=5", "no step 'aera'; expected area"),
        ("merge=7", "merge=7: should be less than or equal to 1"),
        ("holes=big", "holes=big: should be a valid number"),
    ],
)
def test_steps_are_set_by_words_and_slips_are_named(pair: str, words: str) -> None:
    assert settings_of(["area=50", "unit=um", "merge=0.7"]) == Refine(area=50, unit="um", merge=0.7)
    with pytest.raises(PlanError, match=words):
        settings_of([pair])
