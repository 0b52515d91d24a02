"""Real data sets, dirty ones among them, are audited as expected: each test skips where its sample
is absent.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.images import image_io
from segue.data.problems import Problem, refused
from segue.evaluation.overlay import as_picture, draw_truth

# Findings of each sample, counted; all that is found but what says only that the area is the box's.
EXPECTED = {
    "dirty/tiny-defects-lpbf": {
        "polygon without area": 1,
        "box without a mask": 1,
        "image without objects": 2,
        "more objects than COCO counts": 3,
        "category without objects": 1,
    },
    "dirty/height-off-by-one-flakes": {"size off by one": 3, "category without objects": 1},
    "dirty/hituav-nonstandard-keys": {"non-standard key": 2, "missing list": 1},
    "bccd-44": {"box without area": 1, "category without objects": 1},
    "bottles-39": {
        "changed copy of a picture": 6,
        "same picture twice": 2,
        "category without objects": 1,
    },
    "coco-permissive-24": {"sparse category ids": 1, "category without objects": 1},
    "deeppcb-pairs-40": {},
    "nuclei-28": {"more objects than COCO counts": 3, "category without objects": 1},
    "nuts-18": {},
    "pothole-20": {
        "category id 0 is a class": 1,
        "polygon that crosses itself": 1,
        "image without objects": 1,
    },
}
REFUSED = {"dirty/hituav-nonstandard-keys"}
AREA = "area of the box, not the mask"
AREAS = {
    "dirty/tiny-defects-lpbf": 390,
    "dirty/height-off-by-one-flakes": 36,
    "bottles-39": 153,
    "pothole-20": 35,
}


def found_in(root: Path) -> list[Problem]:
    return audit(read_splits(Data(root=root)))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_has_what_is_known_of_it(name, sample_data, promise):
    found = found_in(sample_data(name))
    counts = Counter(finding.kind for finding in found)
    assert counts.pop(AREA, 0) == AREAS.get(name, 0)
    assert counts == EXPECTED[name]
    assert bool(refused(found)) == (name in REFUSED)
    promise("audit", 1, "real data sets whose defects are known")


def test_a_polygon_of_two_points_is_named_with_image_and_object(sample_data):
    found = found_in(sample_data("dirty/tiny-defects-lpbf"))
    finding = next(finding for finding in found if finding.kind == "polygon without area")
    assert (finding.place.image_id, finding.place.annotation_id) == (
        0,
        379,
    ) and "2 points" in finding.found


def test_pictures_with_a_row_less_than_annotated_are_drawn(sample_data):
    split = read_splits(Data(root=sample_data("dirty/height-off-by-one-flakes")))["train"]
    record = split.records[0]
    picture = as_picture(image_io.read_for_display(record.image))
    assert (picture.height, record.height) == (1713, 1714)
    assert draw_truth(picture, record, tuple(split.class_counts()), True).size == picture.size


def test_invalid_files_are_refused_and_valid_ones_are_not(sample_data, tmp_path, promise):
    """Their images are made up here; the one false file that is understood has a polygon outside
    its list.
    """
    names = (
        "midv500/images/example1.tif",
        "midv500/images/example2.tif",
        "43_tur_id/images/CA/CA43_01.tif",
    )
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (3000, 3000), (len(name), 80, 90)).save(tmp_path / "data" / name)
    accepted, seen = {}, 0
    for file in sorted(sample_data("dirty/invalid-coco").glob("coco_*.json")):
        seen += 1
        found = found_in(Path(shutil.copy(file, tmp_path)))
        if not refused(found):
            accepted[file.stem] = {finding.kind for finding in found}
    assert seen == 19 and set(accepted) == {"coco_true_0", "coco_true_1", "coco_false_1"}
    assert "polygon outside its list" in accepted["coco_false_1"] - accepted["coco_true_0"]
    promise("audit", seen, "COCO files known to be valid or invalid")
