"""Images and objects resized: levels, planes and channels stay, and objects move with their
pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.data.images import image_io
from segue.data.records import Annotation, Record
from segue.data.writing.resize import resized_record, write_resized
from segue.structures.masks import Polygon, bitmap, encoded

RING = np.array([[2.0, 4.0], [6.0, 4.0], [6.0, 8.0], [2.0, 8.0]])


def test_boxes_and_outlines_are_scaled_on_each_axis():
    cell = Annotation((2, 4, 6, 8), "cell", Polygon((RING,)))
    record = resized_record(Record(Path("a.png"), 10, 20, 1, (cell,)), 30, 40)
    (scaled,) = record.annotations
    assert (record.height, record.width, scaled.box_xyxy) == (30, 40, (4.0, 12.0, 12.0, 24.0))
    assert np.array_equal(scaled.mask.rings[0], RING * (2, 3)) and scaled.class_name == "cell"


def test_a_raster_keeps_its_share_of_the_image():
    mask = encoded(np.ones((8, 8), bool), 4, 2, 16, 16)
    record = Record(Path("a.png"), 16, 16, 1, (Annotation((4, 2, 12, 10), "cell", mask),))
    bits, x, y = bitmap(resized_record(record, 32, 32).annotations[0].mask)
    assert (x, y) == (8, 4) and bits.sum() == 256


@pytest.mark.parametrize(
    ("values", "suffix"),
    [
        (np.full((1, 1, 8, 8), 200, np.uint8), ".png"),
        (np.full((1, 1, 8, 8), 4000, np.uint16), ".png"),
        (np.full((1, 5, 8, 8), 4000, np.uint16), ".npy"),
    ],
)
def test_levels_and_channels_come_back_in_a_format_that_has_them(tmp_path, values, suffix):
    if suffix == ".npy":
        np.save(tmp_path / "a.npy", values[0].transpose(1, 2, 0))
    else:
        Image.fromarray(values[0, 0]).save(tmp_path / "a.png")
    path = write_resized(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", 4, 6)
    stack = image_io.read_stack(path)
    assert path.suffix == suffix and stack.dtype == values.dtype
    assert stack.shape == (1, values.shape[1], 4, 6) and (stack == values.flat[0]).all()
