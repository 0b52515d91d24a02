"""The configuration file of this recipe: every key it may have; `plan` says what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from segue.base.settings import Settings
from segue.compat.common import read_config

# Sections and keys that the original reads for its own trainer. They may stand in a file, with a
# warning that they have no effect.
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

    @property
    def workers(self) -> int:
        """data.num_workers, or train.num_workers where that is left out."""
        return self.train.num_workers if self.data.num_workers is None else self.data.num_workers


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
