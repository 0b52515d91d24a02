"""The configuration files of this recipe: detectron2's keys, as far as they mean something here,
and what the rest is.

A key is read (the classes below), has one possible value or no effect (`unread_keys`), or is
unknown: an error.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from segue.base.settings import Settings
from segue.compat.common import read_config
from segue.compat.noisy_then_manual.unread_keys import take_unread
from segue.errors import PlanError
from segue.structures.channels import Channel


def _from_text(value: Any) -> Any:
    """detectron2 writes tuples as Python does: STEPS: (2500, 3500).

    Quotes around words may be missing.
    """
    if isinstance(value, str) and value.strip().startswith("("):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = [word.strip() for word in value.strip("() ").split(",") if word.strip()]
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return value if several else (value,)


Numbers = Annotated[tuple[int, ...], BeforeValidator(_from_text)]
Names = Annotated[tuple[str, ...], BeforeValidator(_from_text)]


class Backbone(Settings):
    """SIZE: ours: swin-tiny, swin-small, swin-base, swin-large, or pico for CPUs; or else what
    MODEL.SWIN describes.
    """

    SIZE: str | None = None


class Swin(Settings):
    """Swin as Mask2Former's own files describe it: one of segue's sizes, all four keys or none."""

    EMBED_DIM: int | None = None
    DEPTHS: Numbers = ()
    NUM_HEADS: Numbers = ()
    WINDOW_SIZE: int | None = None


class MaskFormer(Settings):
    """NUM_OBJECT_QUERIES, TRAIN_NUM_POINTS: as the weights or the size have if null."""

    NUM_OBJECT_QUERIES: int | None = Field(None, gt=0)
    CLASS_WEIGHT: float = Field(2.0, ge=0)
    MASK_WEIGHT: float = Field(5.0, ge=0)
    DICE_WEIGHT: float = Field(5.0, ge=0)
    NO_OBJECT_WEIGHT: float = Field(0.1, gt=0)
    TRAIN_NUM_POINTS: int | None = Field(None, gt=0)


class ModelKeys(Settings):
    """WEIGHTS: where it starts; nothing: new weights. RECOMPUTE: ours: blocks are computed again in
    backward instead of kept.
    """

    WEIGHTS: str | None = None
    DEVICE: str = "cuda"
    RECOMPUTE: bool = True
    BACKBONE: Backbone = Backbone()
    SWIN: Swin = Swin()
    MASK_FORMER: MaskFormer = MaskFormer()


class Clip(Settings):
    ENABLED: bool = True
    CLIP_VALUE: float = Field(0.01, ge=0)


class Amp(Settings):
    ENABLED: bool = True


class Solver(Settings):
    """MAX_ITER, STEPS, WARMUP_ITERS, CHECKPOINT_PERIOD: in updates.

    IMS_PER_BATCH: images behind each, on all GPUs.
    """

    BASE_LR: float = Field(3e-5, gt=0)
    MAX_ITER: int = Field(4000, gt=0)
    STEPS: Numbers = ()
    GAMMA: float = Field(0.1, gt=0, lt=1)
    LR_SCHEDULER_NAME: Literal["WarmupMultiStepLR", "WarmupCosineLR"] = "WarmupMultiStepLR"
    WARMUP_ITERS: int = Field(0, ge=0)
    IMS_PER_BATCH: int = Field(2, gt=0)
    WEIGHT_DECAY: float = Field(0.05, ge=0)
    BACKBONE_MULTIPLIER: float = Field(0.1, gt=0)
    CLIP_GRADIENTS: Clip = Clip()
    AMP: Amp = Amp()
    CHECKPOINT_PERIOD: int = Field(0, ge=0)


class Crop(Settings):
    """SIZE: smallest share of height and width that a crop keeps."""

    ENABLED: bool = False
    TYPE: Literal["relative_range"] = "relative_range"
    SIZE: Annotated[tuple[float, ...], BeforeValidator(_from_text)] = (0.9, 0.9)


class Input(Settings):
    """IMAGE_SIZE: side of the square input in pixels.

    MIN_SCALE, MAX_SCALE: how much an image is enlarged in it.
    """

    IMAGE_SIZE: int = Field(1500, gt=0)
    MIN_SCALE: float = Field(1.0, gt=0)
    MAX_SCALE: float = Field(1.2, ge=1)
    RANDOM_FLIP: Literal["horizontal", "vertical", "none"] = "horizontal"
    CROP: Crop = Crop()


class Datasets(Settings):
    """ROOT: ours: the folder with images/ and annotations/. TRAIN, TEST: registered names, such as
    myotube_stage1_train."""

    ROOT: Path = Path("myotube_dataset")
    TRAIN: Names = ("myotube_stage1_train",)
    TEST: Names = ("myotube_stage1_val",)


class Loader(Settings):
    NUM_WORKERS: int = Field(2, ge=0)


class Test(Settings):
    """EVAL_PERIOD: evaluate after so many updates; 0: only at the end."""

    EVAL_PERIOD: int = Field(0, ge=0)


class NoiseKeys(Settings):
    """What is known to be wrong with the labels of TRAIN: QUALITY, BOUNDARY and MISSED as in a
    plan's noise.
    """

    QUALITY: bool = True
    BOUNDARY: float = Field(0.0, ge=0)
    MISSED: float | None = Field(None, gt=0, lt=1)


class ChannelKeys(Settings):
    """How stored values become 0..1: SCALE and PLANE of all channels, as in data.channels."""

    SCALE: float | Literal["percentile"] | None = None
    PLANE: int | Literal["max"] = "max"

    @field_validator("SCALE", "PLANE", mode="before")
    @classmethod
    def _as_in_a_plan(cls, value: object, info: ValidationInfo) -> object:
        try:
            Channel.model_validate({"name": "any", str(info.field_name).lower(): value})
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return value


class Ours(Settings):
    """What detectron2 has no keys for."""

    NOISE: NoiseKeys = NoiseKeys()
    CHANNEL: ChannelKeys = ChannelKeys()


class Config(Settings):
    """A whole file.

    SEED: everything random follows from it; -1 is 0, and still the same every time.
    """

    MODEL: ModelKeys = ModelKeys()
    DATASETS: Datasets = Datasets()
    INPUT: Input = Input()
    SOLVER: Solver = Solver()
    DATALOADER: Loader = Loader()
    TEST: Test = Test()
    SEGUE: Ours = Ours()
    OUTPUT_DIR: Path = Path("output")
    SEED: int = Field(42, ge=-1)


def read(path: Path, overrides: list[tuple[str, str]]) -> Config:
    """The file with the command line's KEY VALUE pairs on top.

    Raises:
        PlanError: if it is missing, is no YAML, or has an unknown key or a value that cannot be.
    """
    return read_config(Config, path, take_unread, overrides)


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """KEY VALUE KEY VALUE as pairs.

    Raises:
        PlanError: if a value is missing.
    """
    if len(words) % 2:
        raise PlanError(
            "command line",
            f"{words[-1]} without a value",
            "KEY VALUE pairs, as SOLVER.MAX_ITER 1500",
        )
    return list(zip(words[::2], words[1::2], strict=True))
