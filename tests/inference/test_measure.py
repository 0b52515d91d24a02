"""Measures of shapes whose measures are known."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch

from segue.errors import PlanError
from segue.inference.measure import as_csv, measurements, shape
from segue.structures.detections import Detections
from segue.structures.regions import Region

YS, XS = np.mgrid[0:160, 0:160] + 0.5


def tube(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """All pixels nearer than half the width to a line: from tip to tip it is a width longer than
    the line.
    """
    p, d = np.array(start), np.subtract(end, start)
    t = np.clip(((XS - p[0]) * d[0] + (YS - p[1]) * d[1]) / (d @ d), 0, 1)
    return (XS - p[0] - t * d[0]) ** 2 + (YS - p[1] - t * d[1]) ** 2 < width**2 / 4


@pytest.mark.parametrize(
    ("end", "stretch", "orientation"),
    [
        ((130.5, 20.5), 1, 0),
        ((20.5, 130.5), 1, 90),
        ((120.5, 120.5), 1, 135),
        ((120.5, 61.92), 1.082, 157.5),
    ],
)
@pytest.mark.parametrize("width", [9.1, 13.1])
def test_a_straight_tube_has_its_length_width_and_direction(end, stretch, orientation, width):
    """stretch: how much longer a digital line of this slope is."""
    line = math.dist((20.5, 20.5), end)
    measures = shape(tube((20.5, 20.5), end, width))
    assert measures["length"] == pytest.approx(line * stretch + width, abs=1.5)
    assert measures["skeleton_length"] == pytest.approx(line * stretch, abs=4)
    assert measures["width_mean"] == pytest.approx(width, abs=0.8)
    assert measures["width_max"] == pytest.approx(width, abs=1)
    assert (measures["branch_points"], measures["end_points"]) == (0, 2)
    assert measures["orientation"] % 180 == pytest.approx(orientation, abs=0.5)
    assert measures["area"] == pytest.approx(line * width + math.pi * width**2 / 4, rel=0.03)


def test_the_smallest_objects_have_measures_too():
    dot = shape(np.ones((1, 1), dtype=bool), 7, 9)
    assert (dot["area"], dot["length"], dot["centroid_x"], dot["centroid_y"]) == (1, 1.0, 7.5, 9.5)
    disc = shape(tube((80, 80), (80, 81), 40))
    assert disc["length"] == pytest.approx(41, abs=2)
    nothing = shape(np.zeros((0, 0), dtype=bool))
    assert nothing["area"] == nothing["length"] == 0 and math.isnan(nothing["centroid_x"])


def two_objects() -> tuple[Detections, torch.Tensor]:
    values = np.zeros((2, 100, 200), dtype=np.uint16)
    bits = np.zeros((100, 200), dtype=bool)
    bits[10:20, 30:70] = True
    values[0][bits] = 40_000
    values[:, 12, 40] = 65_535, 7
    regions = (Region.of(bits), Region.of(np.ones((5, 50), dtype=bool), 100, 60))
    boxes = torch.tensor([region.window for region in regions], dtype=torch.float32)
    detections = Detections(
        boxes,
        torch.tensor([0.9, 0.5]),
        torch.tensor([1, 0]),
        ("a", "b"),
        (100, 200),
        regions=regions,
    )
    return detections, torch.from_numpy(values)


def test_intensities_keep_the_levels_of_16_bit_files():
    detections, pixels = two_objects()
    first, second = measurements(detections, pixels, ("phase", "green"), None)
    assert (first["id"], first["class"], second["id"], second["class"]) == (1, "b", 2, "a")
    assert (first["phase_min"], first["phase_max"]) == (40_000, 65_535)
    assert first["phase_integrated"] == 399 * 40_000 + 65_535 and first["green_mean"] == 7 / 400
    assert second["phase_integrated"] == 0 and second["box_x0"] == 100


def test_um_follow_the_scale_and_stay_empty_without_one():
    detections, pixels = two_objects()
    known, unknown = (
        measurements(detections, pixels, "ab", 0.5)[0],
        measurements(detections, pixels, "ab", None)[0],
    )
    assert known["area_um2"] == 100 and known["length_um"] == known["length"] / 2
    assert known["width_mean_um"] == known["width_mean"] / 2 and "area_um2" not in unknown
    lines = as_csv([{"image": "x"} | unknown, {"image": "y"} | known]).splitlines()
    assert lines[0].startswith("image,id,class,score,area,perimeter,length") and lines[0].endswith(
        "width_max_um"
    )
    assert lines[1].endswith(",,,,,,") and not lines[2].endswith(",")


def test_without_scikit_image_the_command_to_install_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    with pytest.raises(
        PlanError, match=r'scikit-image is not installed.*pip install "segue\[labels\]"'
    ):
        shape(np.ones((3, 3), dtype=bool))
