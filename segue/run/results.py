"""What finished stages leave next to their checkpoints: metrics.json, predictions, and the run's
report.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from segue import __version__
from segue.data.dataset import DataSet
from segue.data.records import Record
from segue.evaluation.bootstrap import compare
from segue.evaluation.coco_metrics import CocoMetrics
from segue.evaluation.outcome import (
    SplitFigures,
    StageOutcome,
    read_outcome,
    write_outcome,
)
from segue.evaluation.report import SHOWN_SCORE, StagePage, render
from segue.run import build
from segue.run.context import StageContext
from segue.run.folder import REPORT, RunFolder
from segue.structures.detections import Detections
from segue.structures.masks import Rle, bitmap
from segue.structures.regions import Region
from segue.training import bad_step, checkpoint, freeze_benefit, processes
from segue.training.journal import read_events, read_rows
from segue.training.learner import Learner
from segue.training.selection import kept
from segue.training.stage import Stage

PREDICTIONS = "predictions.coco.json"
HEADLINE = ("box_ap", "box_ap50", "mask_ap", "mask_ap50")


def finish_stage(context: StageContext, learner: Learner, proof: str) -> None:
    """Measure the selected checkpoint on valid, and on test if there is one; write both down.

    proof: that what was frozen did not move, in a line.
    """
    stage, folder = context.stage, context.folder
    card, tensors = checkpoint.read(folder / "selected")
    learner.chain.load_state_dict(tensors)
    measured = _measured(context, learner)
    outcome = StageOutcome(
        stage=stage.name,
        task=stage.task,
        metric=stage.metric,
        epoch=card.epoch,
        step=card.step,
        frozen=proof,
        saving=str(benefit) if (benefit := freeze_benefit.read(folder)) else "",
        parts=card.parts,
        valid=measured["valid"],
        test=measured.get("test"),
    )
    if processes.rank() == 0:
        write_outcome(folder, outcome)
        for path in (folder / "selected", *(path for path, _ in kept(folder))):
            checkpoint.mark_complete(path)
        # nothing goes on from them any more: the stage is trained, and got past its bad steps
        for path in (folder / "cache", *folder.glob(f"{bad_step.FOLDER}*")):
            shutil.rmtree(path, ignore_errors=True)
    processes.barrier()
    position = f"epoch {outcome.epoch}"
    if stage.evaluate_every_steps is not None:
        position = f"step {outcome.step}"
    context.report(f"selected {position}, {describe(outcome.valid.figures)} (valid)")
    for remark in remarks(outcome.valid.figures, read_rows(folder / "epochs.csv"), stage.metric):
        context.report(remark)


def proof_of(context: StageContext, stage: Stage) -> str:
    """That nothing moved while it was frozen: until each thaw, and at the end, in one line.

    Raises:
        TrainingError: if anything did, which is a bug of ours.
    """
    # by step, because what was redone after a kill stands twice
    thaws = {
        event["step"]: f"until step {event['step']} {event['proof']}"
        for event in read_events(context.folder, "thaw")
    }
    if stage.proof.label:
        line = stage.proof.check(stage.learner.chain)
    else:
        line = "then all parts learned" if thaws else "no part was frozen"
    context.report(line)
    return "; ".join([*thaws.values(), line])


def _measured(context: StageContext, learner: Learner) -> dict[str, SplitFigures]:
    """Figures of the learner's model on valid and test, as far as there are such splits."""
    data, images = context.data, learner.progress.images_per_forward
    figures = {}
    for split in ("valid", "test"):
        if split in data.splits and data.splits[split].records:
            metrics = build.measure(
                data, split, learner.chain, images, context.stage.workers, lambda: None
            )
            figures[split] = SplitFigures.of(metrics)
            if split == "valid" and processes.rank() == 0:
                write_predictions(context.folder / PREDICTIONS, metrics, data)
    return figures


def describe(figures: Mapping[str, float]) -> str:
    """The headline figures in one line."""
    return ", ".join(f"{name} {figures[name]:.3f}" for name in HEADLINE if name in figures)


def remarks(
    figures: Mapping[str, float], epochs: Sequence[Mapping[str, float]], metric: str
) -> list[str]:
    """What has to be said of a stage's figures on valid: that there is nothing to see in them, or
    less than before it.

    epochs: the rows of its record, of which the first is what it was handed.
    """
    if not any(figures.get(name, 0) > 0 for name in HEADLINE):
        return [
            "No object was detected in the validation images: train longer, or check the training "
            "loss."
        ]
    before, *later = [row[metric] for row in epochs if metric in row] or [0.0]
    if not later or before <= max(later):
        return []
    return [
        f"The stage started with {metric} {before:.3f}, better than after any epoch of training "
        f"({max(later):.3f}): train longer, lower optimizer.lr, or remove this stage."
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


def read_predictions(stage: Path, data: DataSet, figures: SplitFigures) -> CocoMetrics:
    """What `write_predictions` left in a stage's folder, on the valid split of its data.

    figures: of that split, which say what was measured.
    """
    records = data.splits["valid"].records
    positions = {record.id: i for i, record in enumerate(records)}
    labels = {number: label for label, number in enumerate(data.ids, 1)}
    metrics = CocoMetrics(records, data.classes, figures.kinds, figures.detections_counted)
    metrics.results = [
        {
            **entry,
            "image_id": positions[entry["image_id"]],
            "category_id": labels[entry["category_id"]],
        }
        for entry in json.loads((stage / PREDICTIONS).read_text(encoding="utf-8"))
    ]
    return metrics


def write_report(run: RunFolder, data: dict[str, DataSet]) -> Path:
    """report.html of all finished stages: figures, the gain of each stage over the one before,
    curves, pictures.
    """
    pages: list[StagePage] = []
    for stage in run.plan.stages:
        folder = run.stage_folder(stage)
        if not run.is_complete(stage) or stage.name not in data:
            continue
        outcome = read_outcome(folder)
        metrics = read_predictions(folder, data[stage.name], outcome.valid)
        epochs = read_rows(folder / "epochs.csv")
        page = StagePage(
            name=stage.name,
            outcome=outcome,
            steps=read_rows(folder / "steps.csv"),
            epochs=epochs,
            metrics=metrics,
            detections=detections_of(metrics),
            channels=run.plan.data_of(stage).channels,
            notes=remarks(outcome.valid.figures, epochs, stage.metric),
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
    by_image: list[list[dict[str, Any]]] = [[] for _ in metrics.records]
    for entry in metrics.results:
        if entry["score"] >= SHOWN_SCORE:
            by_image[entry["image_id"]].append(entry)
    return [
        _detections(entries, record, metrics.class_names)
        for entries, record in zip(by_image, metrics.records, strict=True)
    ]


def _detections(
    entries: list[dict[str, Any]], record: Record, class_names: tuple[str, ...]
) -> Detections:
    boxes = torch.tensor([entry["bbox"] for entry in entries], dtype=torch.float32).reshape(-1, 4)
    regions = None
    if entries and "segmentation" in entries[0]:
        masks = (
            Rle(record.height, record.width, entry["segmentation"]["counts"].encode())
            for entry in entries
        )
        regions = tuple(Region.of(*bitmap(rle)) for rle in masks)
    return Detections(
        boxes_xyxy=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        scores=torch.tensor([entry["score"] for entry in entries]),
        labels=torch.tensor([entry["category_id"] - 1 for entry in entries], dtype=torch.int64),
        class_names=class_names,
        size=(record.height, record.width),
        regions=regions,
    )
