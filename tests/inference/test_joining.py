"""What two tiles saw of one object becomes one object; what is two stays two."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segue.inference.joining import join
from segue.inference.tiles import Tiling
from segue.structures.detections import Detections
from segue.structures.regions import Region


def two_tiles(left: list, right: list, masks: bool = True) -> Detections:
    """Joined from two tiles of 100 x 60 px that share columns 60 to 100; objects are windows,
    perhaps with a score.
    """
    tiles = Tiling(grid=(1, 2), overlap=0.4).cut(60, 160)
    assert [tile.window for tile in tiles] == [(0, 0, 100, 60), (60, 0, 160, 60)]
    by_tile = []
    for objects in (left, right):
        windows, scores = [o[:4] for o in objects], [o[4] if len(o) > 4 else 0.9 for o in objects]
        regions = tuple(
            Region.of(np.ones((y1 - y0, x1 - x0), dtype=bool), x0, y0) for x0, y0, x1, y1 in windows
        )
        boxes = torch.tensor(windows, dtype=torch.float32).reshape(-1, 4)
        labels = torch.zeros(len(windows), dtype=torch.int64)
        kept = regions if masks else None
        by_tile.append(
            Detections(boxes, torch.tensor(scores), labels, ("tube",), (60, 160), regions=kept)
        )
    return join(tiles, by_tile)


@pytest.mark.parametrize("masks", [True, False])
def test_a_cut_object_is_joined_and_its_score_weighs_by_area(masks):
    detections = two_tiles([(20, 10, 100, 20, 0.9)], [(60, 10, 140, 20, 0.5)], masks)
    assert detections.boxes_xyxy.tolist() == [
        [20, 10, 140, 20]
    ] and detections.scores.tolist() == pytest.approx([0.7])
    assert detections.has_masks == masks


def test_parallel_tubes_that_overlap_stay_two():
    left, right = [(10, 10, 100, 30), (10, 14, 100, 34)], [(60, 14, 150, 34), (60, 10, 150, 30)]
    assert sorted(two_tiles(left, right).boxes_xyxy.tolist()) == [
        [10, 10, 150, 30],
        [10, 14, 150, 34],
    ]


def test_the_tube_that_one_tile_missed_is_not_given_to_its_neighbour():
    detections = two_tiles([(10, 10, 100, 30), (10, 14, 100, 34)], [(60, 10, 150, 30)])
    assert sorted(detections.boxes_xyxy.tolist()) == [[10, 10, 150, 30], [10, 14, 100, 34]]


def test_a_stub_at_a_border_gives_way_to_the_fuller_view_of_the_other_tile():
    detections = two_tiles([(92, 10, 100, 14)], [(80, 10, 140, 30)])
    assert detections.boxes_xyxy.tolist() == [[80, 10, 140, 30]]
    # the other tile had it in view, whole, and saw nothing
    assert len(two_tiles([(92, 10, 100, 14)], [])) == 0


def test_what_one_tile_saw_whole_stays_though_the_other_did_not_find_it():
    assert len(two_tiles([(70, 10, 90, 30)], [])) == 1
    # cut, but most of it only this tile could see
    assert len(two_tiles([(20, 10, 100, 30)], [])) == 1


def test_pixels_in_a_tiles_middle_are_that_tiles_to_decide():
    detections = two_tiles([(20, 10, 100, 24)], [(60, 10, 140, 20)])
    # the cores meet at column 80
    assert detections.region(0).bits.sum(0).tolist() == [14] * 60 + [10] * 60
