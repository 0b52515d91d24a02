from __future__ import annotations

from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
import torch

from segue.structures.detections import Detections
from tests.optional import present


def detections_of(
    count: int = 3, size: Any = (37, 53), masks: bool = True, seed: int = 0
) -> Detections:
    g = torch.Generator().manual_seed(seed)
    logits = torch.nn.functional.interpolate(
        torch.randn(1, count, 4, 5, generator=g), size=(12, 16), mode="bilinear"
    )
    return Detections(
        boxes_xyxy=torch.tensor([[1.0, 2.0, 20.0, 30.0]]).repeat(count, 1),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.arange(count) % 2,
        class_names=("cell", "tube"),
        size=size,
        mask_logits=logits[0] if masks else None,
    )


def test_masks_are_what_enlarging_the_whole_map_gives() -> None:
    detections = detections_of(8)
    whole = (
        torch.nn.functional.interpolate(
            present(detections.mask_logits)[None], size=detections.size, mode="bilinear"
        )[0]
        > 0
    )
    assert (present(detections.masks) != whole).sum() <= 2  # rounding at the very edge of a mask
    assert present(detections.masks).shape == (8, 37, 53)


def test_a_mask_that_is_nowhere_positive_is_empty() -> None:
    detections = detections_of(1)
    present(detections.mask_logits).fill_(-1.0)
    assert not present(detections.masks).any()
    assert coco_mask.area(detections.rle(0)) == 0


def test_run_lengths_hold_the_same_pixels_as_masks() -> None:
    detections = detections_of(4)
    for i in range(4):
        assert np.array_equal(
            coco_mask.decode(detections.rle(i)).astype(bool), present(detections.masks)[i].numpy()
        )


def test_a_threshold_filters_every_field() -> None:
    kept = detections_of(5).above(0.45)
    assert len(kept) == len(kept.names) == len(present(kept.mask_logits)) == 3
    assert kept.names == ["cell", "tube", "cell"]


def test_coco_entries_have_plain_values_and_the_files_own_ids() -> None:
    entries = detections_of(2).to_coco(17, (4, 9))
    assert [e["category_id"] for e in entries] == [4, 9]
    assert entries[0]["bbox"] == [1.0, 2.0, 19.0, 28.0]
    assert isinstance(entries[0]["segmentation"]["counts"], str)


@pytest.mark.parametrize("masks", [True, False])
def test_supervision_gets_the_same_objects(masks: bool) -> None:
    pytest.importorskip("supervision")
    detections = detections_of(3, masks=masks)
    theirs = detections.to_supervision()
    assert np.array_equal(theirs.xyxy, detections.boxes_xyxy.numpy())
    assert list(theirs.data["class_name"]) == detections.names
    assert (theirs.mask is None) == (not masks)
    if masks:
        assert np.array_equal(present(theirs.mask), present(detections.masks).numpy())


def test_no_objects_are_fine() -> None:
    detections = detections_of(3).above(2.0)
    assert (
        len(detections) == 0
        and present(detections.masks).shape == (0, 37, 53)
        and detections.to_coco(1, (1, 2)) == []
    )
