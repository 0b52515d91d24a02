"""Label images that segue writes: objects that overlap lie on pages of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hotcoco.mask import decode
from PIL import Image

from segue.data.images import label_images
from segue.errors import DataError
from segue.inference.outputs import label_image, write_labels
from segue.structures.regions import Region
from tests.data.formats.test_masks import only
from tests.inference.painted import Exact, picture
from tests.inference.test_outputs import with_masks


def test_label_images_that_segue_wrote_are_read_back_exactly(tmp_path):
    """`segue predict --write labels` writes NAME.labels.tif, or NAME.png.labels.tif where two
    images are NAME.
    """
    pixels, _ = picture(500, 400, seed=3)
    found = Exact().predict_ready(pixels, 0.5)
    for name in ("a.png", "b.jpg", "b.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((*found.size, 3), np.uint8)).save(tmp_path / "images" / name)
    (tmp_path / "images" / "b.jpg").rename(tmp_path / "images" / "c.jpg")
    for name in ("a", "b.png", "c"):
        write_labels(tmp_path / "masks" / f"{name}.labels.tif", found)
    numbers = label_image(found)
    split = only(tmp_path)
    assert len(split.records) == 3 and not [p for p in split.problems if p.severity == "error"]
    for record in split.records:
        read = [
            decode({"size": list(found.size), "counts": a.mask.counts}).astype(bool)
            for a in record.annotations
        ]
        assert len(read) == len(found) > 5
        assert all((one == (numbers == n)).all() for n, one in enumerate(read, 1))


def test_objects_that_overlap_are_written_on_as_few_pages_as_it_takes_and_come_back(tmp_path):
    rasters = [np.zeros((50, 60), bool) for _ in range(4)]
    rasters[0][5:40, 5:40] = rasters[1][20:45, 20:50] = rasters[2][0:4, 0:60] = rasters[3][
        30:35, 0:20
    ] = True
    pages = label_images.layers([Region.of(one) for one in rasters], 50, 60)
    assert pages.shape == (2, 50, 60) and pages.dtype == np.uint16
    label_images.write(tmp_path / "a.tif", pages)
    found = [
        m for page in label_images.read(tmp_path / "a.tif") for m in label_images.objects(page)
    ]
    assert sorted(number for number, _, _ in found) == [1, 2, 3, 4]
    apart = with_masks([rasters[0], rasters[2]])
    label_images.write(
        tmp_path / "b.tif",
        label_images.layers([Region.of(rasters[0]), Region.of(rasters[2])], 50, 60)[0],
    )
    assert (label_images.read(tmp_path / "b.tif")[0] == label_image(apart)).all()


def test_no_more_objects_than_16_bits_can_number():
    with pytest.raises(DataError, match="70000 objects; expected at most 65535"):
        label_images.layers([Region(0, 0, 0, 0, b"")] * 70_000, 9, 9)
