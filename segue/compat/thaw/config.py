"""The configuration file of this recipe: every key it may have, and the plan that it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import Field

from segue.base.settings import Settings
from segue.compat.common import read_config, warn
from segue.errors import DataError, PlanError
from segue.evaluation.coco_metrics import FIGURES
from segue.models.detr import SIZES

METRICS = tuple(f"box_{figure[0]}" for figure in FIGURES)
# Sections and keys that the original reads for its own trainer. They may stand in a file, and are
# said to do nothing.
DEAD_SECTIONS = ("logging",)
DEAD_KEYS = {
    "data": ("pin_memory", "persistent_workers", "prefetch_factor"),
    "train": ("lr_scheduler_mode", "debug_*", "profile_*"),
    "validation_monitor": ("batch_size",),
    "model": ("num_classes",),
}
REASONS = {
    "lr_scheduler_mode": "a validation figure is better when it is higher",
    "batch_size": "train.batch_size is used",
    "num_classes": "the classes are those of the annotations, by name",
}


class DataKeys(Settings):
    """input_size: side of the square input in pixels; the backbone's own if null."""

    input_size: int | None = Field(None, gt=0)
    train_data_dir: Path = Path("data/train2017")
    val_data_dir: Path = Path("data/val2017")
    train_ann_file: Path = Path("data/annotations/instances_train2017.json")
    val_ann_file: Path = Path("data/annotations/instances_val2017.json")
    num_workers: int | None = Field(None, ge=0)


class TrainKeys(Settings):
    """backbone_learning_rate: a tenth of learning_rate if null.

    lr_scheduler_monitor: a figure such as box_ap.
    """

    epochs: int = Field(20, gt=0)
    limit_train_batches: int | float | None = None
    max_steps: int | None = None
    batch_size: int = Field(16, gt=0)
    precision: Literal["bf16-mixed", "16-mixed", "32-true", "bf16", "16", "32", 16, 32] = (
        "bf16-mixed"
    )
    learning_rate: float = Field(1e-4, gt=0)
    backbone_learning_rate: float | None = Field(None, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    num_workers: int = Field(4, ge=0)
    gradient_clip_val: float = Field(0.1, ge=0)
    lr_scheduler_monitor: str = "box_ap"
    lr_scheduler_factor: float = Field(0.1, gt=0, lt=1)
    lr_scheduler_patience: int = Field(10, ge=1)
    lr_scheduler_min_lr: float = Field(1e-7, ge=0)
    checkpoint_path: str | None = None
    freeze_backbone: bool = True
    unfreeze_backbone_at_epoch: int = Field(-1, ge=-1)


class MonitorKeys(Settings):
    """Which validation images are looked at between epochs."""

    enabled: bool = True
    num_images: int = Field(1000, gt=0)
    start_idx: int = Field(0, ge=0)


class ModelKeys(Settings):
    """backbone: any of timm's names. backbone_weights: a file, folder or hub id with its pretrained
    weights, for a start without checkpoint; timm's own on the hub if null. hidden_dim: the size's
    own if null.
    """

    backbone: str = "resnet50"
    backbone_weights: str | None = None
    use_conditional_decoder: bool = False
    hidden_dim: int | None = Field(None, gt=0)
    num_queries: int | None = Field(None, gt=0)
    weight_L1: float = Field(5.0, ge=0)
    weight_giou: float = Field(2.0, ge=0)
    weight_bbox: float = Field(1.0, ge=0)
    weight_no_object: float = Field(0.1, gt=0)
    class_names: tuple[str, ...] = ()


class Config(Settings):
    """A whole file; what is left out has the value that stands here and in configs/default.yaml."""

    data: DataKeys = DataKeys()
    train: TrainKeys = TrainKeys()
    validation_monitor: MonitorKeys = MonitorKeys()
    model: ModelKeys = ModelKeys()


def read(path: Path) -> Config:
    """The file, with a warning on the error stream for every key in it that has no effect.

    Raises:
        PlanError: if it is missing, is no YAML, or has an unknown key or a value that cannot be.
    """
    return read_config(Config, path, _take_dead)


def _take_dead(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Remove what has no effect, and name it with the reason where it was set."""
    dead = [(name, content.pop(name)) for name in DEAD_SECTIONS if name in content]
    for section, keys in DEAD_KEYS.items():
        given = content.get(section)
        if not isinstance(given, dict):
            continue
        for key in list(given):
            if key in keys or any(k.endswith("*") and str(key).startswith(k[:-1]) for k in keys):
                dead.append((f"{section}.{key}", given.pop(key)))
    usual = "segue loads, logs and profiles in its own way"
    return [
        (key, REASONS.get(key.rpartition(".")[2], usual))
        for key, value in dead
        if value is not None
    ]


def plan_of(config: Config, path: Path, start: str | None) -> dict[str, Any]:
    """The one-stage plan that a configuration means. start: what to begin from, None for new
    weights.

    Raises:
        PlanError: if the thaw can never happen, or a key asks for what segue does not do.
    """
    train, model = config.train, config.model
    whole = start is not None and start == train.checkpoint_path
    stage: dict[str, Any] = {
        "name": "tune",
        "task": "boxes",
        **_length(config),
        "images_per_step": train.batch_size,
        "workers": train.num_workers
        if config.data.num_workers is None
        else config.data.num_workers,
        "precision": _precision(train.precision),
        "ema": None,
        "keep": 5,
        "fresh": [] if whole or start is None else ["encoder", "decoder"],
        "optimizer": _optimizer(train),
        "schedule": _schedule(train),
        "early_stop": {"patience": 0},
        "loss": {
            "l1": model.weight_L1 * model.weight_bbox,
            "giou": model.weight_giou * model.weight_bbox,
        },
        **_freezing(train, path),
    }
    if train.lr_scheduler_monitor in METRICS:
        stage["select"] = train.lr_scheduler_monitor
    if config.validation_monitor.enabled:
        monitor = config.validation_monitor
        stage["monitor"] = {"images": monitor.num_images, "start": monitor.start_idx}
    return {
        "name": "thaw",
        "runs": "lightning_logs/runs",
        "data": {
            "train": {
                "annotations": config.data.train_ann_file,
                "images": config.data.train_data_dir,
            },
            "valid": {"annotations": config.data.val_ann_file, "images": config.data.val_data_dir},
        },
        "model": model_of(config) | ({"weights": start} if start else {}),
        "stages": [stage],
    }


def model_of(config: Config) -> dict[str, Any]:
    """The plan's model, without weights."""
    model = config.model
    chosen = {
        "family": "detr",
        "size": size_of(model.backbone),
        "backbone": model.backbone,
        "decoder": "conditional" if model.use_conditional_decoder else "plain",
        "resolution": config.data.input_size,
        "queries": model.num_queries,
        "width": model.hidden_dim,
        "no_object": model.weight_no_object,
        "weights_classes": model.class_names,
    }
    return {key: value for key, value in chosen.items() if value is not None}


def size_of(backbone: str) -> str:
    """The family's size of this backbone, or of a ResNet-50 for any other."""
    name = backbone.partition(".")[0]
    return next((size for size, entry in SIZES.items() if entry.backbone == name), "resnet50")


def pretrained(config: Config) -> str:
    """Where the backbone's pretrained weights are: the configured ones, or timm's on the hub.

    Raises:
        PlanError: if timm has no pretrained weights of it.
    """
    model = config.model
    known = (
        timm.get_pretrained_cfg(model.backbone)
        if timm.is_model(model.backbone.partition(".")[0])
        else None
    )
    found = model.backbone_weights or (known.hf_hub_id if known is not None else None)
    if not found:
        raise PlanError(
            "model.backbone",
            f"timm has no pretrained {model.backbone}",
            "model.backbone_weights: FILE",
        )
    return found


def _freezing(train: TrainKeys, path: Path) -> dict[str, Any]:
    """Frozen throughout, thawed from the start, or thawed at an epoch."""
    epoch, where = train.unfreeze_backbone_at_epoch, f"{path}: train.unfreeze_backbone_at_epoch"
    if not train.freeze_backbone:
        if epoch >= 0:
            raise PlanError(
                where, f"{epoch}, but freeze_backbone is false", "-1, or freeze_backbone: true"
            )
        return {}
    if epoch == 0:
        raise PlanError(
            where, "0, which freezes nothing", "freeze_backbone: false, or a later epoch"
        )
    if epoch >= train.epochs:
        raise PlanError(
            where, f"{epoch} never happens in {train.epochs} epochs", f"at most {train.epochs - 1}"
        )
    return {"freeze": "backbone"} | ({"thaw": {epoch: "backbone"}} if epoch > 0 else {})


def _optimizer(train: TrainKeys) -> dict[str, Any]:
    factor = (
        0.1
        if train.backbone_learning_rate is None
        else train.backbone_learning_rate / train.learning_rate
    )
    return {
        "lr": train.learning_rate,
        "lr_factors": {"backbone": factor},
        "weight_decay": train.weight_decay,
        "clip": train.gradient_clip_val,
    }


def _schedule(train: TrainKeys) -> dict[str, Any]:
    """The plateau. It follows a validation figure; a loss falls while the answers get worse."""
    if train.lr_scheduler_monitor not in METRICS:
        warn(
            f"train.lr_scheduler_monitor: {train.lr_scheduler_monitor} is not followed, box_ap "
            "on validation is"
        )
    return {
        "kind": "plateau",
        "factor": train.lr_scheduler_factor,
        "patience": train.lr_scheduler_patience,
        "floor": min(1.0, train.lr_scheduler_min_lr / train.learning_rate),
        "thaw_warmup_epochs": 1,
    }


def _length(config: Config) -> dict[str, Any]:
    """Epochs, or the fewer of them and max_steps."""
    train = config.train
    limit = train.limit_train_batches
    # 1.0 is all of them, 1 is one batch
    if limit is not None and not (isinstance(limit, float) and limit == 1.0):
        found = f"{limit}: an epoch is always all images here"
        raise PlanError(
            "train.limit_train_batches", found, "null", "max_steps, or a smaller train_ann_file"
        )
    if train.max_steps is None or train.max_steps < 0:
        return {"epochs": train.epochs}
    steps = train.epochs * -(-_images(config.data.train_ann_file) // train.batch_size)
    return {"steps": min(steps, max(train.max_steps, 1))}


def _images(path: Path) -> int:
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"not readable ({error})", "COCO annotations") from None


def _precision(name: str | int) -> str:
    """auto for the 16-bit kinds on a machine without a GPU, which computes them slowly or not at
    all.
    """
    kind = {"bf16-mixed": "bf16", "bf16": "bf16", "16-mixed": "fp16", "16": "fp16"}.get(
        str(name), "fp32"
    )
    if kind != "fp32" and not torch.cuda.is_available():
        warn(f"train.precision: {name} is for GPUs; this machine has none and computes in float32")
        return "fp32"
    return kind
