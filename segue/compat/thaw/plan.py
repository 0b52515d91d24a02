"""The plan that a configuration means: one stage, its backbone frozen, thawed, or thawed later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import timm
import torch

from segue.compat.common import chosen, plan_errors, warn
from segue.compat.thaw.config import Config, ModelKeys, TrainKeys
from segue.data.dataset import SplitFiles
from segue.errors import DataError, PlanError
from segue.evaluation.coco_metrics import FIGURES
from segue.models.detr import SIZES, Options
from segue.plan.schema import Data, Model, Plan, StagePlan
from segue.plan.stage import Monitor
from segue.training.optim import Optimizer, Schedule, Thaw
from segue.training.stage import EarlyStop

METRICS = tuple(f"box_{figure[0]}" for figure in FIGURES)
PRECISIONS: dict[str, Literal["bf16", "fp16"]] = {
    "bf16-mixed": "bf16",
    "bf16": "bf16",
    "16-mixed": "fp16",
    "16": "fp16",
}


def plan_of(config: Config, path: Path, start: str | None, device: str) -> Plan:
    """The one-stage plan that a configuration means.

    path: the configuration's file. start: what to begin from, None for new weights.

    Raises:
        PlanError: if the thaw can never happen, or a key asks for what segue does not do.
    """
    files = config.data
    with plan_errors(str(path)):
        train = SplitFiles(annotations=files.train_ann_file, images=files.train_data_dir)
        valid = SplitFiles(annotations=files.val_ann_file, images=files.val_data_dir)
        return Plan(
            name="thaw",
            device=device,
            runs=Path("lightning_logs/runs"),
            data=Data(train=train, valid=valid),
            model=model_of(config, start),
            stages=(stage_of(config, path, start),),
        )


def stage_of(config: Config, path: Path, start: str | None) -> StagePlan:
    """The stage of `plan_of`."""
    train, model, monitor = config.train, config.model, config.validation_monitor
    # refusals and warnings come in the order of these lines
    epochs, steps = length_of(config)
    precision = precision_of(train.precision)
    select = metric_of(train)
    thaw = thaw_of(train, path)
    whole = start is not None and start == train.checkpoint_path
    return StagePlan(
        name="tune",
        task="boxes",
        epochs=epochs,
        steps=steps,
        images_per_step=train.batch_size,
        workers=config.workers,
        precision=precision,
        ema=None,
        keep=5,
        freeze="backbone" if train.freeze_backbone else None,
        thaw=thaw,
        fresh=() if whole or start is None else ("encoder", "decoder"),
        optimizer=optimizer_of(train),
        schedule=Schedule(
            kind="plateau",
            factor=train.lr_scheduler_factor,
            patience=train.lr_scheduler_patience,
            floor=min(1.0, train.lr_scheduler_min_lr / train.learning_rate),
            thaw_warmup_epochs=1,
        ),
        early_stop=EarlyStop(patience=0),
        loss={
            "l1": model.weight_L1 * model.weight_bbox,
            "giou": model.weight_giou * model.weight_bbox,
        },
        select=select,
        monitor=Monitor(images=monitor.num_images, start=monitor.start_idx)
        if monitor.enabled
        else None,
    )


def model_of(config: Config, weights: str | None = None) -> Model:
    """The plan's model."""
    return Model(
        family="detr",
        size=size_of(config.model),
        weights=weights,
        weights_classes=config.model.class_names,
        **chosen(options_of(config)),
    )


def options_of(config: Config) -> Options:
    """The family's options that the configuration gives."""
    keys = config.model
    return Options(
        backbone=keys.backbone,
        decoder="conditional" if keys.use_conditional_decoder else "plain",
        resolution=config.data.input_size,
        queries=keys.num_queries,
        width=keys.hidden_dim,
        no_object=keys.weight_no_object,
    )


def size_of(keys: ModelKeys) -> str:
    """The family's size of this backbone, or of a ResNet-50 for any other."""
    name = keys.backbone.partition(".")[0]
    return next((size for size, entry in SIZES.items() if entry.backbone == name), "resnet50")


def pretrained(config: Config) -> str:
    """Where the backbone's pretrained weights are: the configured ones, or timm's on the hub.

    Raises:
        PlanError: if timm has no pretrained weights of it.
    """
    keys = config.model
    published = None
    if timm.is_model(keys.backbone.partition(".")[0]):
        published = timm.get_pretrained_cfg(keys.backbone)
    weights = keys.backbone_weights or (published.hf_hub_id if published is not None else None)
    if not weights:
        raise PlanError(
            "model.backbone",
            f"timm has no pretrained {keys.backbone}",
            "model.backbone_weights: FILE",
        )
    return weights


def thaw_of(train: TrainKeys, path: Path) -> dict[int, Thaw]:
    """The epoch at which a frozen backbone thaws, if it ever does.

    Raises:
        PlanError: if it cannot thaw then.
    """
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
    return {epoch: Thaw(part="backbone")} if epoch > 0 else {}


def optimizer_of(train: TrainKeys) -> Optimizer:
    factor = 0.1
    if train.backbone_learning_rate is not None:
        factor = train.backbone_learning_rate / train.learning_rate
    return Optimizer(
        lr=train.learning_rate,
        lr_factors={"backbone": factor},
        weight_decay=train.weight_decay,
        clip=train.gradient_clip_val,
    )


def metric_of(train: TrainKeys) -> str | None:
    """The validation figure that the plateau follows and that selects; a loss falls while
    predictions get worse.
    """
    if train.lr_scheduler_monitor in METRICS:
        return train.lr_scheduler_monitor
    warn(
        f"train.lr_scheduler_monitor: {train.lr_scheduler_monitor} is not followed, box_ap "
        "on validation is"
    )
    return None


def length_of(config: Config) -> tuple[int | None, int | None]:
    """Epochs and steps, of which one is None: max_steps count where the epochs have more.

    Raises:
        PlanError: if an epoch is to be less than all images.
        DataError: if the training annotations cannot be read to count them.
    """
    train = config.train
    limit = train.limit_train_batches
    # 1.0 is all of them, 1 is one batch
    if limit is not None and not (isinstance(limit, float) and limit == 1.0):
        message = f"{limit}: an epoch is always all images here"
        raise PlanError(
            "train.limit_train_batches", message, "null", "max_steps, or a smaller train_ann_file"
        )
    if train.max_steps is None or train.max_steps < 0:
        return train.epochs, None
    steps = train.epochs * -(-_images(config.data.train_ann_file) // train.batch_size)
    return None, min(steps, max(train.max_steps, 1))


def _images(path: Path) -> int:
    try:
        return len(json.loads(path.read_text(encoding="utf-8"))["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, f"not readable ({error})", "COCO annotations") from None


def precision_of(name: str | int) -> Literal["fp32", "bf16", "fp16"]:
    """float32 for the 16-bit kinds on a machine without a GPU, which computes them slowly or not at
    all.
    """
    if str(name) not in PRECISIONS:
        return "fp32"
    if not torch.cuda.is_available():
        warn(f"train.precision: {name} is for GPUs; this machine has none and computes in float32")
        return "fp32"
    return PRECISIONS[str(name)]
