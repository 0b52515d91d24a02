"""LabelMe, CVAT and VIA: what is written is read back, and splits are found."""

from __future__ import annotations

import numpy as np
import pytest

from segue.base.files import write_json
from segue.data.dataset import Data, read_dataset
from segue.data.records import Annotation, Record
from segue.data.writing import annotation_files
from segue.errors import DataError
from segue.structures.masks import Polygon, encoded
from tests.data.formats.test_exchange import (
    HEIGHT,
    SQUARE,
    WIDTH,
    bits,
    image,
    labelme,
    only,
    shape,
)


@pytest.mark.parametrize("kind", ["labelme", "cvat"])
def test_what_is_written_is_read_back(tmp_path, kind):
    disc = (np.mgrid[:30, :30] - 15.0)[0] ** 2 + (np.mgrid[:30, :30] - 15.0)[1] ** 2 < 150
    rings = (np.array(SQUARE, float), np.array(SQUARE, float) + 30.25)
    written = [
        Annotation((10, 5, 60.25, 55.25), "two", Polygon(rings)),
        Annotation(
            (40, 20, 70, 50), "disc", encoded(disc, 40, 20, HEIGHT, WIDTH), source="algorithm"
        ),
        Annotation((1.5, 2.5, 20.0, 30.0), "box <&>"),
        Annotation((0, 0, 5, 5), "crowd", crowd=True),
    ]
    image(tmp_path)
    record = Record(tmp_path / "a.png", HEIGHT, WIDTH, 1, tuple(written))
    if kind == "labelme":
        write_json(tmp_path / "a.json", annotation_files.to_labelme(record, "a.png"))
    else:
        (tmp_path / "a.xml").write_text(annotation_files.to_cvat([(record, "a.png")]))
    split = only(tmp_path)
    two, found, box = split.records[0].annotations
    assert split.problems == [] and [a.class_name for a in (two, found, box)] == [
        "two",
        "disc",
        "box <&>",
    ]
    assert all(np.array_equal(a, b) for a, b in zip(two.mask.rings, rings, strict=True))
    both, either = (
        op(bits(found.mask), bits(written[1].mask)).sum() for op in (np.logical_and, np.logical_or)
    )
    assert both / either >= 0.97 and box.box_xyxy == (1.5, 2.5, 20, 30) and box.mask is None
    assert found.source == ("model" if kind == "cvat" else "manual")


def test_parts_are_found_trained_on_and_hashed_file_by_file(tmp_path):
    for part, label in (("train", "tube"), ("val", "blob")):
        labelme(tmp_path / part, shape("polygon", SQUARE, label), shape("polygon", SQUARE, "both"))
    data = read_dataset(Data(root=tmp_path))
    # the parts number them differently
    assert data.classes == ("blob", "both", "tube") and data.ids == (1, 2, 3)
    labelme(
        tmp_path / "train",
        shape("polygon", SQUARE, "tube"),
        shape("polygon", SQUARE, "both"),
        flags={"x": True},
    )
    assert read_dataset(Data(root=tmp_path)).manifest != data.manifest
    by_name = Data.model_validate({part: {"annotations": tmp_path / name} for part, name in
                                   (("train", "train"), ("valid", "val"))})  # fmt: skip
    assert read_dataset(by_name).counts() == data.counts()


def test_what_is_not_divided_is_refused_for_training_with_the_next_command(tmp_path):
    labelme(tmp_path, shape("polygon", SQUARE))
    with pytest.raises(DataError, match="no train part .found all.*next: segue data split"):
        read_dataset(Data(root=tmp_path))
