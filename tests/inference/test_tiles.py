"""Tiles must not show: the same objects from every grid, whatever the grid cuts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from segue.errors import PlanError
from segue.inference.tiles import Tiling, predict_tiled
from segue.structures.detections import Detections
from segue.structures.regions import Region, overlap
from tests.inference.painted import Exact, Rough, model, picture

GRIDS = [(1, 1), (2, 2), (3, 4)]


@pytest.fixture(scope="module")
def painted():
    return picture()


def worst_iou(a: Detections, b: Detections) -> float:
    """The lowest IoU of any object of `a` with its best counterpart in `b`, each used once."""
    free = {i: b.region(i) for i in range(len(b))}
    worst = 1.0
    for i in range(len(a)):
        own = a.region(i)
        shared = {j: overlap(own, other) for j, other in free.items()}
        best = max(shared, key=shared.__getitem__)
        other = free.pop(best)
        worst = min(worst, shared[best] / (own.area + other.area - shared[best]))
    return worst


def test_the_picture_has_what_is_hard(painted):
    pixels, count = painted
    assert pixels.shape == (3, 1570, 2048) and count > 60
    long = [
        w
        for w in (r.window for r in Exact().predict_ready(pixels, 0.5).regions)
        if w[2] - w[0] > 1700
    ]
    assert len(long) >= 3  # through all four columns of the finest grid
    assert ((pixels > 0).sum(0) > 1).sum() > 5000  # pixels of crossings


@pytest.mark.parametrize("overlap_share", [0.1, 0.25])
@pytest.mark.parametrize("grid", [*GRIDS, (5, 7)])
def test_every_grid_gives_exactly_the_same_objects(painted, grid, overlap_share):
    pixels, count = painted
    expected = Exact().predict_ready(pixels, 0.5)
    detections = predict_tiled(Exact(), pixels, Tiling(grid=grid, overlap=overlap_share), 0.5)
    assert len(detections) == len(expected) == count
    assert sorted(detections.regions, key=repr) == sorted(expected.regions, key=repr)
    assert sorted(detections.boxes_xyxy.tolist()) == sorted(expected.boxes_xyxy.tolist())


def test_a_model_that_resizes_its_tiles_gives_the_same_objects_from_every_grid(painted):
    """Issue 4, "done when" 5: 1x1, 2x2 and 3x4 on 2048x1570; count equal, IoU at least 0.95."""
    pixels, count = painted
    by_grid = [predict_tiled(model(640), pixels, Tiling(grid=grid), 0.5) for grid in GRIDS]
    assert [len(one) for one in by_grid] == [count] * 3
    ious = [
        worst_iou(a, b)
        for a, b in ((by_grid[0], by_grid[1]), (by_grid[0], by_grid[2]), (by_grid[1], by_grid[2]))
    ]
    assert min(ious) >= 0.95, ious


@pytest.mark.parametrize("grid", [*GRIDS[1:], (5, 7)])
def test_rough_masks_that_stop_short_of_borders_change_no_count(painted, grid):
    pixels, count = painted
    assert len(predict_tiled(Rough(seed=0), pixels, Tiling(grid=grid), 0.5)) == count


def test_without_a_tiling_the_answer_is_the_predictors(painted):
    pixels = painted[0][:, :400, :500]
    whole, direct = (
        predict_tiled(model(256), pixels, Tiling(), 0.5),
        model(256).predict(pixels, 0.5),
    )
    assert torch.equal(whole.mask_logits, direct.mask_logits) and len(whole) > 0


@pytest.mark.parametrize("size", [(1570, 2048), (64, 5000), (333, 40), (31, 31)])
@pytest.mark.parametrize(
    "tiling", [Tiling(tile=400), Tiling(tile=64, overlap=0.4), Tiling(tile=4000)]
)
def test_tiles_cover_the_image_have_one_size_and_their_cores_part_it(size, tiling):
    height, width = size
    tiles, covered = tiling.cut(height, width), np.zeros(size, dtype=int)
    for tile in tiles:
        x0, y0, x1, y1 = tile.core
        covered[y0:y1, x0:x1] += 1
        assert (
            tile.window[0] <= x0
            and tile.window[1] <= y0
            and x1 <= tile.window[2]
            and y1 <= tile.window[3]
        )
    assert (covered == 1).all()
    assert {(t.window[2] - t.window[0], t.window[3] - t.window[1]) for t in tiles} == {
        (min(tiling.tile, width), min(tiling.tile, height))
    }


def test_neighbours_overlap_by_at_least_the_share_asked_for():
    for length in range(700, 1100, 7):
        windows = [tile.window for tile in Tiling(tile=256, overlap=0.3).cut(100, length)]
        assert all(a[2] - b[0] >= 0.3 * 256 for a, b in zip(windows, windows[1:], strict=False))


def test_a_thousand_objects_in_a_large_image_stay_small():
    """9,000 px: a stack of masks would be 81 GB."""
    tube = np.zeros((1200, 1200), dtype=bool)
    for i in range(1200):
        tube[i, max(i - 8, 0) : i + 8] = True
    region = Region.of(tube)
    regions = tuple(region.moved(7 * i % 7800, 11 * i % 7800) for i in range(1000))
    boxes = torch.tensor([r.window for r in regions], dtype=torch.float32)
    size, labels = (9000, 9000), torch.zeros(1000, dtype=torch.int64)
    detections = Detections(
        boxes, torch.full((1000,), 0.9), labels, ("tube",), size, regions=regions
    )
    assert sum(len(r.counts) for r in detections[::2].regions) < 5e6
    entry = detections[::500].to_coco(1, (1,))[1]
    assert (
        entry["segmentation"]["size"] == [9000, 9000]
        and len(entry["segmentation"]["counts"]) < 20_000
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tile": 400, "grid": (2, 2)}, "both are given"),
        ({"grid": (0, 2)}, "0x2; expected rows x columns"),
        ({"tile": 5}, "5 px; expected at least 32 px"),
        ({"tile": 400, "overlap": 0.5}, "0.5; expected a share"),
    ],
)
def test_a_cut_that_makes_no_sense_is_refused(given, words):
    with pytest.raises(PlanError, match=words):
        Tiling(**given)
    with pytest.raises(PlanError, match="50 tiles along 400 px"):
        Tiling(grid=(1, 50)).cut(400, 400)
