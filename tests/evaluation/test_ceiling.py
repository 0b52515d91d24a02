"""The best mask AP that a resolution and a mask stride allow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segue.cli.commands.check import check_target
from segue.data.dataset import Data, read_splits
from segue.data.records import Annotation, Record
from segue.evaluation.ceiling import advice, mask_ceiling, perfect
from segue.structures.masks import Polygon, encoded
from tests.conftest import toy_plan, write_plan

CLASSES = ("cell", "rod", "tube")


@pytest.fixture(scope="module")
def records(rendered: Path) -> list[Record]:
    return read_splits(Data(root=rendered))["train"].records


def test_fine_masks_lose_nothing_and_coarse_ones_more_and_more(records: list[Record]) -> None:
    """At the image's own size in cells of one pixel the way there and back is exact."""
    ceilings = [
        mask_ceiling(records, CLASSES, (96, 96), stride)["mask_ap"] for stride in (1, 2, 4, 8)
    ]
    assert ceilings[0] == pytest.approx(1.0) and ceilings == sorted(ceilings, reverse=True)
    assert ceilings[2] < 0.9 and ceilings[3] < 0.5
    larger = mask_ceiling(records, CLASSES, (192, 192), 4)["mask_ap"]
    assert ceilings[2] < larger < 1


def test_a_square_on_the_grid_loses_its_four_corners_alone(tmp_path: Path) -> None:
    square = np.array([[8.0, 16.0], [40.0, 16.0], [40.0, 48.0], [8.0, 48.0]])
    bits = np.ones((32, 32), dtype=bool)
    masks = [Polygon((square,)), encoded(bits, 8, 16, 64, 64)]
    objects = [Annotation((8, 16, 40, 48), "cell", mask) for mask in masks]
    detections = perfect(Record(tmp_path, 64, 64, 1, tuple(objects)), objects, CLASSES, (64, 64), 4)
    assert detections.masks is not None and (detections.masks[0] == detections.masks[1]).all()
    assert (
        detections.masks[0].sum() == 32 * 32 - 4
        and detections.masks[0, 16:48, 8:40].sum() == 32 * 32 - 4
    )


def test_a_low_ceiling_says_what_would_raise_it(records: list[Record]) -> None:
    low = list(advice(records, CLASSES, (64, 64), 4))
    assert len(low) == 2 and "at best" in low[0] and "raise model.resolution" in low[1]
    assert len(list(advice(records, CLASSES, (384, 384), 4))) == 1
    boxes_only = [Record(r.image, r.height, r.width, r.id) for r in records]
    assert list(advice(boxes_only, CLASSES, (64, 64), 4)) == []


def test_check_tells_the_ceiling_of_the_plan_and_of_the_data_alone(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_target(
        write_plan(tmp_path / "plan.yaml", toy_plan(rendered, tmp_path / "runs")), (), False
    )
    message = capsys.readouterr().out
    assert (
        "mask ceiling at 64 x 64, cells of 2 px: mask_ap" in message
        and "raise model.resolution" in message
    )
    assert (
        "30 queries, 100 detections of an image counted; the fullest image has 10 objects"
        in message
    )
    check_target(rendered, (), False)
    message = capsys.readouterr().out
    assert (
        "mask ceiling at 384 x 384, cells of 4 px" in message
        and "mask ceiling at 768 x 768" in message
    )
