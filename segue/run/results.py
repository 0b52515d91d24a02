"""What finished stages leave beside their checkpoints: metrics.json, predictions, and the run's
report.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from segue import __version__
from segue.base.files import write_json
from segue.data.dataset import DataSet
from segue.data.records import Record
from segue.evaluation.bootstrap import compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.report import SHOWN_SCORE, StagePage, render
from segue.plan.schema import StagePlan
from segue.run import build
from segue.run.console import Console
from segue.run.folder import REPORT, RunFolder
from segue.structures.detections import Detections
from segue.structures.masks import Rle, bitmap
from segue.structures.regions import Region
from segue.training import bad_step, checkpoint, processes
from segue.training.journal import read_rows
from segue.training.learner import Learner
from segue.training.selection import kept

PREDICTIONS, METRICS, SAVING = "predictions.coco.json", "metrics.json", "saving.json"


def write_outcome(
    folder: Path, stage: StagePlan, data: DataSet, learner: Learner, proof: str, console: Console
) -> None:
    """Measure the selected checkpoint on valid, and on test if there is one; write both down."""
    chain = learner.chain
    card, tensors = checkpoint.read(folder / "selected")
    chain.load_state_dict(tensors)
    images = learner.progress.images_per_forward
    outcome: dict[str, Any] = {
        "stage": stage.name,
        "task": stage.task,
        "metric": stage.metric,
        "epoch": card.epoch,
        "step": card.step,
        "frozen": proof,
        "saving": json.loads((folder / SAVING).read_text())["text"]
        if (folder / SAVING).is_file()
        else "",
        "parts": {name: part.model_dump() for name, part in card.parts.items()},
    }
    for part in ("valid", "test"):
        if part in data.splits and data.splits[part].records:
            metrics = build.measure(data, part, chain, images, stage.workers, lambda: None)
            outcome[part] = {**metrics.figures(), "detections_counted": metrics.most}
            outcome[part] |= {
                f"{kind}_ap_by_class": metrics.by_class(kind) for kind in metrics.kinds
            }
            if part == "valid" and processes.rank() == 0:
                write_predictions(folder / PREDICTIONS, metrics, data)
    if processes.rank() == 0:
        write_json(folder / METRICS, outcome, indent=2)
        for path in (folder / "selected", *(path for path, _ in kept(folder))):
            checkpoint.mark_complete(path)
        # the stage got past that step
        for path in (folder / "cache", *folder.glob(f"{bad_step.FOLDER}*")):
            shutil.rmtree(path, ignore_errors=True)
    processes.barrier()
    at = "epoch" if stage.evaluate_every_steps is None else "step"
    console.say(f"{stage.name}: selected {at} {outcome[at]}, {describe(outcome['valid'])} (valid)")
    for remark in remarks(outcome["valid"], read_rows(folder / "epochs.csv"), stage.metric):
        console.say(f"{stage.name}: {remark}")


def describe(figures: dict[str, float]) -> str:
    """The headline figures in one line."""
    names = [name for name in ("box_ap", "box_ap50", "mask_ap", "mask_ap50") if name in figures]
    return ", ".join(f"{name} {figures[name]:.3f}" for name in names)


def remarks(figures: dict[str, float], epochs: list[dict[str, float]], metric: str) -> list[str]:
    """What has to be said of a stage's figures on valid: that there is nothing to see in them, or
    less than before it.

    epochs: the rows of its record, of which the first is what it was handed.
    """
    if not any(
        figures.get(f"{kind}_{what}", 0) > 0 for kind in ("box", "mask") for what in ("ap", "ap50")
    ):
        return [
            "Nothing was found in the validation images: train longer, or look at the training "
            "loss."
        ]
    begun, *later = [row[metric] for row in epochs if metric in row] or [0.0]
    if not later or begun <= max(later):
        return []
    return [
        f"It began better, with {metric} {begun:.3f}, than it ever was in training "
        f"({max(later):.3f}): "
        "train longer, or with a lower optimizer.lr; or do without this stage."
    ]


def write_predictions(path: Path, metrics: CocoMetrics, data: DataSet) -> None:
    """Predictions as COCO results, with the ids of the user's own files."""
    entries = [
        {
            **entry,
            "image_id": metrics.records[entry["image_id"]].id,
            "category_id": data.ids[entry["category_id"] - 1],
        }
        for entry in metrics.results
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")


def read_predictions(path: Path, data: DataSet, kinds: tuple[str, ...], most: int) -> CocoMetrics:
    """The reverse of `write_predictions`, for the valid part."""
    records = data.splits["valid"].records
    positions = {record.id: i for i, record in enumerate(records)}
    labels = {number: label for label, number in enumerate(data.ids, 1)}
    metrics = CocoMetrics(records, data.classes, kinds, most)
    metrics.results = [
        {
            **entry,
            "image_id": positions[entry["image_id"]],
            "category_id": labels[entry["category_id"]],
        }
        for entry in json.loads(path.read_text(encoding="utf-8"))
    ]
    return metrics


def write_report(run: RunFolder, data: dict[str, DataSet]) -> Path:
    """report.html of all finished stages: figures, the gain of each stage over the one before,
    curves, pictures.
    """
    pages: list[StagePage] = []
    for stage in run.plan.stages:
        folder = run.stage_folder(stage)
        if run.stages.get(stage.name, {}).get("state") != "complete" or stage.name not in data:
            continue
        outcome = json.loads((folder / METRICS).read_text(encoding="utf-8"))
        kinds = ("box", "mask") if "mask_ap" in outcome["valid"] else ("box",)
        most = outcome["valid"]["detections_counted"]
        metrics = read_predictions(folder / PREDICTIONS, data[stage.name], kinds, most)
        epochs = read_rows(folder / "epochs.csv")
        page = StagePage(
            name=stage.name,
            outcome=outcome,
            steps=read_rows(folder / "steps.csv"),
            epochs=epochs,
            metrics=metrics,
            detections=detections_of(metrics),
            channels=run.plan.data_of(stage).channels,
            notes=remarks(outcome["valid"], epochs, stage.metric),
        )
        _compare(page, pages)
        pages.append(page)
    first = data[run.plan.stages[0].name]
    facts = {
        "data": f"{run.plan.data.root or 'several files'}: "
        + ", ".join(
            f"{n} {c['images']} images, {c['objects']} objects" for n, c in first.counts().items()
        ),
        "classes": ", ".join(first.classes),
        "model": f"{run.plan.model.family} {run.plan.model.size}",
        "seed": str(run.plan.seed),
        "segue": __version__,
    }
    path = run.path / REPORT
    path.write_text(render(f"{run.plan.name} ({run.path.name})", facts, pages), encoding="utf-8")
    return path


def _compare(page: StagePage, before: list[StagePage]) -> None:
    """Note what a stage gained over the one before it, where both answered the same question."""
    if not before:
        return
    first, second = before[-1].metrics, page.metrics
    same = [r.image for r in first.records] == [r.image for r in second.records]
    if not same or first.class_names != second.class_names:
        page.notes.append(
            f"Not compared with {before[-1].name}: other validation images or classes."
        )
        return
    page.gains = [compare(first, second, kind) for kind in second.kinds if kind in first.kinds]
    if "mask" in second.kinds and "mask" not in first.kinds:
        page.notes.append(f"{before[-1].name} had no masks: mask figures start here.")


def detections_of(metrics: CocoMetrics) -> list[Detections]:
    """Results as Detections again, above the score that pictures show."""
    by_image: list[list[dict]] = [[] for _ in metrics.records]
    for entry in metrics.results:
        if entry["score"] >= SHOWN_SCORE:
            by_image[entry["image_id"]].append(entry)
    return [
        _detections(entries, record, metrics.class_names)
        for entries, record in zip(by_image, metrics.records, strict=True)
    ]


def _detections(entries: list[dict], record: Record, class_names: tuple[str, ...]) -> Detections:
    boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float32).reshape(-1, 4)
    regions = None
    if entries and "segmentation" in entries[0]:
        found = (
            Rle(record.height, record.width, entry["segmentation"]["counts"].encode())
            for entry in entries
        )
        regions = tuple(Region.of(*bitmap(rle)) for rle in found)
    return Detections(
        boxes_xyxy=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        scores=torch.tensor([entry["score"] for entry in entries]),
        labels=torch.tensor([entry["category_id"] - 1 for entry in entries], dtype=torch.int64),
        class_names=class_names,
        size=(record.height, record.width),
        regions=regions,
    )
