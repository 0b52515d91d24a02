from __future__ import annotations

import tracemalloc
from typing import Any

import hotcoco.mask as coco_mask
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.structures.masks import (
    PackedMasks,
    Polygon,
    Rle,
    bitmap,
    coco_rle,
    encoded,
    raster_bitmap,
    raster_polygon,
)

SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 40.0], [10.0, 40.0]])


def blob(seed: int, height: int = 50, width: int = 70) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    centre, radius = rng.uniform(10, 40, 2), rng.uniform(5, 25)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2


def as_rle(mask: np.ndarray) -> Rle:
    height, width = mask.shape
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return Rle(height, width, encoded["counts"])


def test_a_polygon_is_drawn_as_pycocotools_draws_it() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        ring = rng.uniform(0, 60, (int(rng.integers(3, 12)), 2))
        theirs = reference.decode(reference.frPyObjects([ring.ravel().tolist()], 60, 64))[
            ..., 0
        ].astype(bool)
        assert np.array_equal(raster_polygon([ring], (0, 0, 64, 60)), theirs)


def test_a_window_shows_its_part_of_the_whole_drawing() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        ring = rng.uniform(5, 55, (6, 2))
        whole = raster_polygon([ring], (0, 0, 60, 60))
        x0, y0 = np.floor(ring.min(0)).astype(int)
        x1, y1 = np.ceil(ring.max(0)).astype(int) + 1
        assert np.array_equal(raster_polygon([ring], (x0, y0, x1, y1)), whole[y0:y1, x0:x1])
        assert whole.sum() == whole[y0:y1, x0:x1].sum()


def test_parts_of_a_polygon_are_united() -> None:
    two = Polygon((SQUARE, SQUARE + 15))
    area = coco_mask.area(coco_rle(two, 80, 80))
    one = coco_mask.area(coco_rle(Polygon((SQUARE,)), 80, 80))
    overlap = 5 * 15
    assert area == 2 * one - overlap


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_bitmap_seen_straight_on_is_itself(seed: int) -> None:
    mask = blob(seed)
    bits, x, y = bitmap(as_rle(mask))
    if not bits.size:
        return
    h, w = bits.shape
    frame = np.array([[x, y], [x + w, y], [x, y + h]], dtype=np.float64)
    assert np.array_equal(raster_bitmap(bits, frame, (0, 0, 70, 50)), mask)


def test_run_lengths_of_a_small_object_in_a_large_image_take_little_memory() -> None:
    bits = np.random.default_rng(0).random((40, 30)) < 0.5
    tracemalloc.start()
    rle = encoded(bits, 5000, 8000, 9000, 9000)  # dense: 81 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6 and coco_mask.area({"size": [9000, 9000], "counts": rle.counts}) == bits.sum()
    full = np.zeros((90, 80), dtype=bool)
    full[45:85, 50:80] = bits
    assert encoded(bits, 50, 45, 90, 80) == as_rle(full) and encoded(
        bits & False, 50, 45, 90, 80
    ) == as_rle(full & False)


def test_a_bitmap_can_be_mirrored_enlarged_and_shrunk() -> None:
    mask = blob(4)
    bits, x, y = bitmap(as_rle(mask))
    h, w = bits.shape
    mirrored = np.array([[70 - x, y], [70 - x - w, y], [70 - x, y + h]], dtype=np.float64)
    assert np.array_equal(raster_bitmap(bits, mirrored, (0, 0, 70, 50)), mask[:, ::-1])
    doubled = np.array([[x, y], [x + w, y], [x, y + h]], dtype=np.float64) * 2
    twice = raster_bitmap(bits, doubled, (0, 0, 140, 100))
    assert abs(twice.sum() / mask.sum() - 4) < 0.1
    shrunk = raster_bitmap(bits, doubled / 8, (0, 0, 18, 13))
    assert abs(shrunk.sum() * 16 / mask.sum() - 1) < 0.15


def test_packed_masks_answer_as_grid_sample_does_on_dense_masks() -> None:
    g = torch.Generator().manual_seed(0)
    dense = torch.rand(5, 24, 40, generator=g) > 0.5
    dense[3] = False
    windows = [(0, 0, 40, 24), (3, 2, 17, 9), (39, 23, 40, 24), (0, 0, 0, 0), (20, 0, 40, 12)]
    rasters = [
        mask[y0:y1, x0:x1].numpy() for mask, (x0, y0, x1, y1) in zip(dense, windows, strict=True)
    ]
    packed = PackedMasks.pack(rasters, windows, 24, 40)
    whole = torch.stack([packed.dense(i) for i in range(5)])
    where = torch.rand(5, 300, 2, generator=g)
    theirs = torch.nn.functional.grid_sample(
        whole[:, None].float(), 2 * where[:, :, None] - 1, mode="nearest", align_corners=False
    )[:, 0, :, 0]
    assert torch.equal(packed.sample(torch.arange(5), where), theirs)


def test_packed_masks_of_several_images_keep_apart_and_can_be_filtered() -> None:
    a = PackedMasks.pack([np.ones((2, 3), bool)], [(1, 1, 4, 3)], 8, 8)
    b = PackedMasks.pack(
        [np.eye(4, dtype=bool), np.ones((1, 1), bool)], [(0, 0, 4, 4), (5, 5, 6, 6)], 10, 6
    )
    both = PackedMasks.cat([a, PackedMasks.pack([], [], 4, 4), b])
    assert len(both) == 3
    assert torch.equal(both.dense(1), b.dense(0))
    kept = both.keep(torch.tensor([False, False, True]))
    assert torch.equal(kept.dense(0), b.dense(1))


def test_two_hundred_cells_in_a_large_image_take_few_megabytes() -> None:
    rng = np.random.default_rng(0)
    rasters: list[Any] = []
    windows: list[Any] = []
    for _ in range(200):
        x, y = rng.integers(0, 1400, 2)
        rasters.append(np.ones((100, 100), bool))
        windows.append((x, y, x + 100, y + 100))
    packed = PackedMasks.pack(rasters, windows, 1500, 1500)
    size = sum(t.numel() * t.element_size() for t in packed.tensors().values())
    assert size < 3_000_000  # 450 MB as a dense bool stack
