"""Predicting from Python: what may be given, what comes back, and the rfdetr package's way of
asking.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import segue
from segue.errors import CheckpointError, DataError
from tests.optional import present


def same(a: segue.Detections, b: segue.Detections) -> bool:
    return (
        torch.equal(a.boxes_xyxy, b.boxes_xyxy)
        and torch.equal(a.scores, b.scores)
        and torch.equal(present(a.masks), present(b.masks))
    )


def test_a_run_a_stage_and_a_checkpoint_are_the_same_model(short_run: Path, picture: Any) -> None:
    by_form = [
        segue.load(path).predict(picture, 0.01)
        for path in (short_run, short_run / "2-masks", short_run / "2-masks" / "selected")
    ]
    assert len(by_form[0]) > 0 and same(by_form[0], by_form[1]) and same(by_form[0], by_form[2])


def test_every_kind_of_picture_gives_the_same(short_run: Path, picture: Any) -> None:
    model = segue.load(short_run)
    image = Image.open(picture).convert("RGB")
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = model.predict(picture, threshold=0.01)
    for given in (str(picture), image, array, tensor):
        assert same(model.predict(given, threshold=0.01), expected)
    as_floats = model.predict(tensor / 255, threshold=0.01)
    # almost equal scores may come in another order
    away = torch.cdist(expected.boxes_xyxy[:3], as_floats.boxes_xyxy, p=torch.inf).amin(1)
    assert len(away) == 3 and away.max() < 0.1, away


def test_a_list_gives_a_list_also_of_one(short_run: Path, picture: Any) -> None:
    model = segue.load(short_run)
    assert len(model.predict([picture], 0.01)) == 1 and len(model.predict([picture] * 2, 0.01)) == 2


def test_detections_are_in_pixels_sorted_named_and_above_the_threshold(
    short_run: Path, picture: Any
) -> None:
    detections = segue.load(short_run).predict(picture, threshold=0.02)
    height, width = detections.size
    with Image.open(picture) as image:
        assert (width, height) == image.size
    assert bool((detections.scores >= 0.02).all()) and torch.equal(
        detections.scores, detections.scores.sort(descending=True).values
    )
    assert bool((detections.boxes_xyxy[:, 2:] >= detections.boxes_xyxy[:, :2]).all())
    assert detections.boxes_xyxy.min() >= 0 and detections.boxes_xyxy[:, 2].max() <= width
    assert detections.names == [
        ("cell", "rod", "tube")[label] for label in detections.labels.tolist()
    ]
    assert (
        detections.masks.shape == (len(detections), height, width)
        and detections.masks.dtype == torch.bool
    )


def test_detections_go_to_supervision(short_run: Path, picture: Any) -> None:
    supervision = pytest.importorskip("supervision")
    detections = segue.load(short_run).predict(picture, threshold=0.02)
    theirs = detections.to_supervision()
    assert isinstance(theirs, supervision.Detections) and len(theirs) == len(detections)
    assert list(theirs["class_name"]) == detections.names and theirs.mask.shape[0] == len(
        detections
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((8, 8, 5), np.uint8), "expected 3 channels: r, g, b"),
        (torch.full((3, 8, 8), 255.0), "expected 0..1, or uint8"),
    ],
)
def test_a_picture_of_another_kind_is_refused(short_run: Path, given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        segue.load(short_run).predict(given)


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint in it"):
        segue.load(tmp_path)
