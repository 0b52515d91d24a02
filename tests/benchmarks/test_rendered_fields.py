"""Rendered fields: what is said of them is so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rendered_fields import MOST_COVERED, Drawn, render_field, render_fields
from segue.data.dataset import Data, read_splits


def truth_on(side: int, truth: list[Drawn]):
    """How many objects each pixel (side, side) belongs to."""
    covered = np.zeros((side, side), dtype=int)
    for one in truth:
        height, width = one.mask.shape
        covered[one.y : one.y + height, one.x : one.x + width] += one.mask
    return covered


@pytest.mark.parametrize(("kind", "objects"), [("tubes", 12), ("blobs", 12), ("cells", 6)])
def test_a_seed_gives_one_field_whose_objects_are_brighter_than_what_is_around_them(
    kind: Any, objects: int
) -> None:
    field, truth = render_field(np.random.default_rng(4), 160, kind, objects)
    again, _ = render_field(np.random.default_rng(4), 160, kind, objects)
    covered = truth_on(160, truth)
    assert np.array_equal(field, again) and len(truth) == objects
    assert field[covered > 0].mean() > field[covered == 0].mean() + 0.1


def test_cells_are_dim_around_a_bright_nucleus_and_may_overlap() -> None:
    overlaps = 0
    for seed in range(6):
        field, truth = render_field(np.random.default_rng(seed), 128, "cells", 8)
        covered = truth_on(128, truth)
        overlaps += int((covered > 1).sum())
        assert (covered > 1).sum() <= 2 * MOST_COVERED["cells"] * (covered > 0).sum()
        for one in truth:
            values = field[one.y : one.y + one.mask.shape[0], one.x : one.x + one.mask.shape[1]][
                one.mask
            ]
            bright = (values > (values.max() + np.median(values)) / 2).mean()
            assert 0.05 < bright < 0.5, "a nucleus, not the whole cell"
    assert overlaps


def test_fields_are_a_data_set_that_segue_reads(tmp_path: Path) -> None:
    root = render_fields(
        tmp_path, {"train": 2, "valid": 1}, "cells", side=64, objects=(2, 3), bits=12
    )
    splits = read_splits(Data(root=root))
    assert {name: len(split.records) for name, split in splits.items()} == {"train": 2, "valid": 1}
    assert all(
        2 <= len(r.annotations) <= 3 and r.annotations[0].class_name == "cell"
        for r in splits["train"].records
    )
