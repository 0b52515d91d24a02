"""The twelve COCO figures of a checkpoint on the validation images, and its predictions as COCO
results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hotcoco

from segue.base.files import write_json
from segue.compat.flags import at_least
from segue.compat.thaw.checkpoints import open_checkpoint
from segue.compat.thaw.config import Config, read
from segue.data import formats
from segue.data.records import Split, refuse_errors
from segue.errors import DataError, PlanError, show
from segue.evaluation.coco_metrics import CocoMetrics, summarise
from segue.evaluation.evaluate import evaluate
from segue.run.console import Console

Entry = dict[str, Any]  # of a COCO file: an annotation or a result


def parse(default: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=default)
    parser.add_argument(
        "--checkpoint", help="the configuration's train.checkpoint_path if left out"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch-size", type=at_least(1), default=64)
    parser.add_argument("--num-workers", type=at_least(0), help="the configuration's if left out")
    parser.add_argument(
        "--start-idx", type=at_least(0), default=0, help="number of the first image"
    )
    parser.add_argument(
        "--num-images", type=at_least(-1), default=-1, help="-1: all from the first on"
    )
    parser.add_argument("--score-threshold", type=float, default=0.0)
    parser.add_argument("--max-detections-per-image", type=at_least(1), default=100)
    parser.add_argument(
        "--class-id-offset", type=int, default=0, help="added to the category ids that are written"
    )
    outputs = Path("outputs")
    parser.add_argument(
        "--save-predictions", type=Path, default=outputs / "cocoeval_val2017_predictions.json"
    )
    parser.add_argument(
        "--save-metrics", type=Path, default=outputs / "cocoeval_val2017_metrics.json"
    )
    return parser.parse_args()


def command(default: Path) -> None:
    """default: the configuration that is read where none is named."""
    args = parse(default)
    config = read(args.config)
    predictor = open_checkpoint(args.checkpoint, config, args.device)
    split = chosen_images(config, args.start_idx, args.num_images)
    missing = [name for name in predictor.class_names if name not in split.categories]
    if len(missing) == len(predictor.class_names):
        message = "no class of the checkpoint, which has " + ", ".join(predictor.class_names[:8])
        raise DataError(split.source, message, ", ".join(list(split.categories)[:8]))
    metrics = CocoMetrics(
        split.records, predictor.class_names, ("box",), args.max_detections_per_image
    )
    with Console().progress("evaluating") as tick:
        total = -(-len(split.records) // args.batch_size)
        done = iter(range(1, total + 1))
        workers = config.workers if args.num_workers is None else args.num_workers
        evaluate(
            predictor.chain,
            split.records,
            metrics,
            args.batch_size,
            workers,
            lambda: tick(next(done), total),
        )
    results = as_results(metrics, split, args.score_threshold, args.class_id_offset)
    figures = figures_of(split, results, args.max_detections_per_image, args.class_id_offset)
    write(args.save_predictions, results)
    write(args.save_metrics, {
        "config": str(args.config),
        "checkpoint": args.checkpoint or config.train.checkpoint_path,
        "num_images": len(split.records),
        "start_idx": args.start_idx,
        "score_threshold": args.score_threshold,
        "max_detections_per_image": args.max_detections_per_image,
        "class_id_offset": args.class_id_offset,
        "metrics": figures,
    })  # fmt: skip
    for name, value in figures.items():
        show(f"{name:10} {value:.4f}")


def chosen_images(config: Config, start: int, count: int) -> Split:
    """The validation images from number `start` on, in the order of the annotation file."""
    source = formats.SplitSource(config.data.val_ann_file, (config.data.val_data_dir,))
    split = formats.get("coco").read(source, "valid")
    refuse_errors(split.problems, "segue check")
    chosen = split.records[start:] if count < 0 else split.records[start : start + count]
    if not chosen:
        message = f"none of {len(split.records)} images"
        raise PlanError(f"--start-idx {start} --num-images {count}", message, "at least one")
    return replace(split, records=chosen)


def as_results(metrics: CocoMetrics, split: Split, threshold: float, offset: int) -> list[Entry]:
    """Detections of classes that the annotations have, under the ids that images and categories
    have there.
    """
    names = enumerate(metrics.class_names, 1)
    ids = {label: split.categories[name] for label, name in names if name in split.categories}
    return [
        {
            **entry,
            "image_id": split.records[entry["image_id"]].id,
            "category_id": ids[entry["category_id"]] + offset,
        }
        for entry in metrics.results
        if entry["score"] >= threshold and entry["category_id"] in ids
    ]


def figures_of(split: Split, results: list[Entry], most: int, offset: int) -> dict[str, float]:
    """The figures of the results against the annotation file as it is, on the chosen images.

    Where the file leaves out an object's box or area, they are those of its mask and its box.
    """
    truth = json.loads(split.source.read_text(encoding="utf-8"))
    boxes = {a.id: a.box_xyxy for record in split.records for a in record.annotations}
    truth["annotations"] = [
        with_area(entry, boxes[entry["id"]])
        for entry in truth["annotations"]
        if entry.get("id") in boxes
    ]
    coco = hotcoco.COCO(truth)
    # without the offset, as the annotation file has the ids
    detections = [{**entry, "category_id": entry["category_id"] - offset} for entry in results]
    evaluation = hotcoco.COCOeval(coco, coco.load_res(detections), "bbox")
    evaluation.params.max_dets = [1, 10, most]
    evaluation.params.img_ids = [record.id for record in split.records]
    evaluation.evaluate()
    evaluation.accumulate()
    return summarise(evaluation)


def with_area(entry: Entry, box_xyxy: Sequence[float]) -> Entry:
    """An annotation with bbox, area and iscrowd, where they are left out. box_xyxy: of its mask."""
    x0, y0, x1, y1 = box_xyxy
    box = entry.get("bbox") or [x0, y0, x1 - x0, y1 - y0]
    return {"iscrowd": 0, "area": box[2] * box[3], **entry, "bbox": box}


def write(path: Path, content: object) -> None:
    write_json(path, content, indent=2 if isinstance(content, dict) else None)
