"""The twelve figures of the thaw recipe's evaluation, compared with pycocotools'."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from segue.compat.thaw.coco_eval_val2017 import figures_of
from segue.data import formats


def pycocotools_figures(annotations: Path, predictions: Any, images: slice) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        for entry in truth.dataset["annotations"]:  # which the rendered files leave out
            entry["area"] = entry["bbox"][2] * entry["bbox"][3]
        peer = COCOeval(truth, truth.loadRes(predictions), "bbox")
        peer.params.imgIds = sorted(truth.imgs)[images]
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    return peer.stats.tolist()


def test_the_twelve_figures_are_pycocotools_where_much_is_found(rendered: Path) -> None:
    """The truth, shifted at random, with some classes wrong and some objects found twice."""
    source = rendered / "valid" / "_annotations.coco.json"
    split = formats.get("coco").read(formats.SplitSource(source, (source.parent,)), "valid")
    noise = np.random.default_rng(0)
    found = [
        {
            "image_id": entry["image_id"],
            "category_id": int(noise.integers(1, 4))
            if noise.random() < 0.2
            else entry["category_id"],
            "bbox": (np.array(entry["bbox"]) + noise.normal(0, 1.5, 4)).clip(1).tolist(),
            "score": float(noise.random()),
        }
        for entry in json.loads(source.read_text())["annotations"] * 2
    ]
    ours = figures_of(split, found, 100, 0)
    assert (
        list(ours.values()) == pycocotools_figures(source, found, slice(5))
        and 0.1 < ours["ap"] < 0.9
    )
