"""Is X worth it: a model of pictures and their partners against the same model of pictures alone.

    python benchmarks/rgbx_worth.py DATA [--folder FOLDER] [--seeds 0 1 2] [--steps 300] [--fusions
    cross add]

DATA: 40 pairs of DeepPCB (github.com/tangsanli5201/DeepPCB), photographs of circuit boards with
aligned templates that have no defects: what is in one and not in the other is a defect, so that X
holds most of where. Every seed divides the pairs again (24 to train on, 4 to select by, 12 to test)
and draws other weights. Six kinds of defect count as one class. box_ap on test images, paired
intervals over those of all seeds. Runs go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segue.cli.app import guarded
from segue.data.dataset import read_dataset
from segue.data.records import Record
from segue.evaluation.bootstrap import compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.inference.loading import load
from segue.plan.schema import Plan
from segue.run import build
from segue.run.console import Console
from segue.run.runner import run_plan

PARTS = {"train": 24, "valid": 4, "test": 12}
CHANNELS = ["r", "g", "b", {"name": "template", "folder": "template"}]
ALONE, SIDE = "none", 320


def divided(data: Path, folder: Path, seed: int) -> dict[str, Any]:
    """The plan's data: all pairs, divided by the seed, with one class."""
    images: list[dict[str, Any]] = []
    for part in ("train", "valid", "test"):
        content = json.loads((data / part / "_annotations.coco.json").read_text())
        for image in content["images"]:
            records = [
                {**a, "category_id": 1}
                for a in content["annotations"]
                if a["image_id"] == image["id"]
            ]
            images.append(
                {**image, "file_name": f"{part}/{image['file_name']}", "objects": records}
            )
    random.Random(seed).shuffle(images)
    files: dict[str, Any] = {}
    for part, count in PARTS.items():
        chosen, images = images[:count], images[count:]
        content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 1, "name": "defect"}],
        }
        for number, image in enumerate(chosen, 1):
            objects = image.pop("objects")
            content["images"].append({**image, "id": number})
            content["annotations"] += [{**a, "image_id": number} for a in objects]
        content["annotations"] = [
            {**a, "id": number} for number, a in enumerate(content["annotations"], 1)
        ]
        path = folder / f"{part}-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        files[part] = {"annotations": str(path), "images": str(data)}
    return {**files, "channels": CHANNELS}


def trained(data: dict[str, Any], folder: Path, seed: int, fusion: str, steps: int) -> CocoMetrics:
    """What the selected checkpoint finds in the test images."""
    stage = {
        "name": "boxes",
        "steps": steps,
        "evaluate_every_steps": max(steps // 4, 1),
        "images_per_step": 4,
        "workers": 0,
        "optimizer": {"lr": 1e-3, "clip": 1.0},
        "augment": {"vertical_flip": 0.5},
    }
    plan = Plan.model_validate(
        {
            "name": f"{fusion}-{seed}",
            "seed": seed,
            "device": "cpu",
            "runs": folder / "runs",
            "data": data,
            "model": {"family": "rgbx_rcnn", "size": "pico", "resolution": SIDE, "fusion": fusion},
            "stages": [stage],
        }
    )
    run = run_plan(plan, Console())
    return build.measure(
        read_dataset(plan.data), "test", load(run, "cpu").chain, 4, 0, lambda: None
    )


def pooled(metrics: Sequence[CocoMetrics]) -> CocoMetrics:
    """The test images of all seeds as those of one model."""
    first = metrics[0]
    results: list[dict[str, Any]] = []
    records: list[Record] = []
    for images in metrics:
        results += [
            {**result, "image_id": result["image_id"] + len(records)} for result in images.results
        ]
        records += images.records
    return CocoMetrics(records, first.class_names, first.kinds, first.most, results)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("rgbx-worth"))
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--fusions", nargs="+", default=("cross",))
    args = parser.parse_args()
    outcomes: dict[str, list[CocoMetrics]] = {fusion: [] for fusion in (ALONE, *args.fusions)}
    for seed in args.seeds:
        data = divided(args.data.absolute(), args.folder.absolute(), seed)
        for fusion, metrics in outcomes.items():
            metrics.append(trained(data, args.folder, seed, fusion, args.steps))
            ap, ap50 = (metrics[-1].figures()[name] for name in ("box_ap", "box_ap50"))
            print(f"seed {seed}, {fusion}: box_ap {ap:.3f}, box_ap50 {ap50:.3f}", flush=True)
    alone = pooled(outcomes.pop(ALONE))
    for fusion, metrics in outcomes.items():
        print(f"pictures alone -> fusion {fusion}: {compare(alone, pooled(metrics), 'box')}")


if __name__ == "__main__":
    sys.exit(guarded(main, Path(__file__).name))
