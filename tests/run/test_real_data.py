"""The whole job on photographs, where the sample data lie next to the checkout; else skipped, with
a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.dataset import Data, read_dataset
from segue.training import checkpoint
from segue.training.journal import read_rows
from tests.toy import run

STAGE = {
    "images_per_step": 6,
    "workers": 0,
    "optimizer": {"lr": 2e-3, "clip": 1.0},
    "early_stop": {"patience": 0},
}


def plan(data: Any, runs: Any, **model: Any) -> dict[str, Any]:
    return {
        "name": "real",
        "device": "cpu",
        "data": {"root": str(data)},
        "runs": str(runs),
        "model": {"size": "pico", "mask_head": "attention-nano", **model},
        "stages": [
            {"name": "detector", "task": "boxes", "epochs": 40, **STAGE},
            {
                "name": "masks",
                "task": "masks",
                "freeze": "decoder",
                "fresh": ["mask_head"],
                "epochs": 12,
                **STAGE,
            },
        ],
    }


@pytest.mark.slow
def test_a_detector_and_then_masks_on_it_frozen_learn_on_photographs_of_nuts(
    sample_data: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = run(plan(sample_data("nuts-18"), tmp_path))
    detector = checkpoint.read(folder / "1-detector" / "selected")[1]
    masks = checkpoint.read(folder / "2-masks" / "selected")[1]
    kept = [name for name in masks if not name.startswith("mask_head.")]
    assert len(kept) == len(detector) == 209
    assert all(torch.equal(masks[name], detector[name]) for name in kept)
    outcome = json.loads((folder / "2-masks" / "metrics.json").read_text())
    assert "209 tensors, 772,300 values unchanged" in outcome["frozen"]
    steps, epochs = (read_rows(folder / "2-masks" / name) for name in ("steps.csv", "epochs.csv"))
    assert len(steps) == 24  # with weight decay, averaged weights and train mode on
    assert outcome["valid"]["mask_ap"] > 1.2 * epochs[0]["mask_ap"]
    first, second = (
        json.loads((folder / stage / "predictions.coco.json").read_text())
        for stage in ("1-detector", "2-masks")
    )
    assert [e["bbox"] for e in first] == [e["bbox"] for e in second] != []
    assert outcome["valid"]["box_ap50"] > 0.3


@pytest.mark.parametrize(
    ("name", "classes", "most"),
    [("nuts-18", 3, 13), ("nuclei-28", 1, 183), ("bottles-39", 4, 5)],
)
def test_real_data_sets_are_ready_to_train_on(
    sample_data: Callable[[str], Path], name: str, classes: int, most: int
) -> None:
    data = read_dataset(Data(root=sample_data(name)))
    assert (len(data.classes), data.most_objects) == (classes, most)


@pytest.mark.slow
def test_a_crowded_data_set_gets_the_queries_it_needs(
    sample_data: Callable[[str], Path], tmp_path: Path
) -> None:
    content = plan(sample_data("nuclei-28"), tmp_path, resolution=192)
    content["stages"] = [{**content["stages"][0], "epochs": 1}]
    folder = run(content)
    card = checkpoint.read_card(folder / "1-detector" / "selected")
    assert card.spec.options["queries"] == 229  # 183 objects in one image, and a quarter more
    figures = json.loads((folder / "1-detector" / "metrics.json").read_text())["valid"]
    assert figures["detections_counted"] >= 183
