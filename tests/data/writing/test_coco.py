"""Written and read again, nothing is lost: masks of both kinds, crowds, and where a label came
from.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segue.base.files import write_json
from segue.data.formats import SplitSource, coco
from segue.data.records import Annotation, Record
from segue.data.writing import coco as coco_writer
from segue.structures.masks import Polygon, encoded


@pytest.fixture
def record(tmp_path) -> Record:
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    triangle = Polygon((np.array([[2.0, 3.0], [20.0, 3.0], [2.0, 15.5]]),))
    bits = np.ones((4, 6), dtype=bool)
    bits[0, 0] = False
    return Record(
        tmp_path / "a.png",
        30,
        40,
        7,
        (
            Annotation((2, 3, 20, 15.5), "cell", triangle),
            Annotation(
                (30, 20, 36, 24),
                "tube",
                encoded(bits, 30, 20, 30, 40),
                source="algorithm",
                quality=0.25,
            ),
            Annotation((0, 0, 5, 5), "cell", crowd=True),
        ),
    )


def test_what_is_written_is_what_is_read(record, tmp_path):
    content = coco_writer.coco([record], {"cell": 3, "tube": 5}, lambda r: r.image.name)
    path = write_json(tmp_path / "annotations" / "train.json", content)
    split = coco.read(SplitSource(path, (tmp_path,)), "train")
    assert split.problems == [] and split.categories == {"cell": 3, "tube": 5}
    (back,) = split.records
    numbered = [replace(a, id=i, mask=None) for i, a in enumerate(record.annotations, 1)]
    assert [replace(a, mask=None) for a in back.annotations] == numbered
    assert back.annotations[1].mask == record.annotations[1].mask
    assert (back.annotations[0].mask.rings[0] == record.annotations[0].mask.rings[0]).all()


def test_the_area_is_the_masks_not_the_boxes(record):
    entries = coco_writer.coco([record], {"cell": 1, "tube": 2}, lambda r: r.image.name)[
        "annotations"
    ]
    assert [entry["area"] for entry in entries][1:] == [23, 25]
    assert abs(entries[0]["area"] - 18 * 12.5 / 2) < 10
