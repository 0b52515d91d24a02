"""The configuration files of this recipe: detectron2's keys, as far as they mean something here, and what the rest is.

A key is read (the classes below), has one possible value (FIXED), has no effect and is said to have none (DEAD), or is
unknown, which is an error.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from segue.errors import PlanError
from segue.originals import read_config
from segue.settings import Settings
from segue.structures.channels import Channel

FIXED: dict[str, Any] = {
    "VERSION": 2,
    "MODEL.META_ARCHITECTURE": "MaskFormer",
    "MODEL.BACKBONE.NAME": "D2SwinTransformer",
    "MODEL.SWIN.PATCH_SIZE": 4,
    "MODEL.SWIN.APE": False,
    "MODEL.SWIN.PATCH_NORM": True,
    "MODEL.SEM_SEG_HEAD.NAME": "MaskFormerHead",
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 6,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 256,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 256,
    "MODEL.SEM_SEG_HEAD.NORM": "GN",
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": True,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 256,
    "MODEL.MASK_FORMER.NHEADS": 8,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 2048,
    "MODEL.MASK_FORMER.DEC_LAYERS": 10,
    "MODEL.MASK_FORMER.ENC_LAYERS": 0,
    "MODEL.MASK_FORMER.DROPOUT": 0.0,
    "MODEL.MASK_FORMER.PRE_NORM": False,
    "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": False,
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": True,
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": False,
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": False,
    "INPUT.FORMAT": "RGB",
    "INPUT.DATASET_MAPPER_NAME": "coco_instance_lsj",
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.WARMUP_METHOD": "linear",
    "SOLVER.WEIGHT_DECAY_NORM": 0.0,
    "SOLVER.WEIGHT_DECAY_EMBED": 0.0,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": 2.0,
}
NOTE = "a note for people; no program reads it"
DEAD = {
    "STAGE": NOTE,
    "DESCRIPTION": NOTE,
    "ANNOTATION_TYPE": NOTE,
    "PARENT_STAGE": "stage 2 starts from stage 1's selected checkpoint; MODEL.WEIGHTS says another start",
    "CUDNN_BENCHMARK": "segue chooses its kernels itself",
    "MODEL.PIXEL_MEAN": "pixels are normalised as Swin was trained, with ImageNet's mean",
    "MODEL.PIXEL_STD": "pixels are normalised as Swin was trained, with ImageNet's deviation",
    "MODEL.BACKBONE.FREEZE_AT": "Swin is never frozen in part; SOLVER.BACKBONE_MULTIPLIER slows it down",
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": "nothing in Swin depends on it",
    "MODEL.SWIN.DROP_PATH_RATE": "drop-path is off, since what it drops depends on how a step is split",
    "MODEL.SWIN.OUT_FEATURES": "all four maps are used",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "the classes are those of the annotations, by name",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "used by semantic segmentation only",
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": "masks have cells of 4 pixels",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "all four maps are used",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": "the three coarse maps are used",
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": "any IMAGE_SIZE that is a multiple of 4 will do",
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": "points are chosen as published, three for each that is used",
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": "points are chosen as published, three quarters where it is uncertain",
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": "used by panoptic segmentation only",
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": "used by panoptic segmentation only",
    "INPUT.COLOR_AUG_SSD": "Mask2Former's mapper for instances does not read it either",
    "INPUT.MIN_SIZE_TRAIN": "IMAGE_SIZE is the size",
    "INPUT.MIN_SIZE_TEST": "IMAGE_SIZE is the size",
    "INPUT.MAX_SIZE_TRAIN": "IMAGE_SIZE is the size",
    "INPUT.MAX_SIZE_TEST": "IMAGE_SIZE is the size",
    "INPUT.SIZE_DIVISIBILITY": "any IMAGE_SIZE that is a multiple of 4 will do",
    "SOLVER.WARMUP_FACTOR": "the rate rises from nothing to BASE_LR in WARMUP_ITERS steps",
    "SOLVER.MOMENTUM": "AdamW has none",
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": "images without objects stay: they teach what is none",
    "TEST.DETECTIONS_PER_IMAGE": "as many count as the fullest image has objects, at least 100",
    "TEST.AUG": "images are looked at once",
}


def _from_text(value: Any) -> Any:
    """detectron2 writes tuples as Python does: STEPS: (2500, 3500). Quotes around words may be missing."""
    if isinstance(value, str) and value.strip().startswith("("):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            value = [word.strip() for word in value.strip("() ").split(",") if word.strip()]
    return value if isinstance(value, tuple | list) else (value,)


Numbers = Annotated[tuple[int, ...], BeforeValidator(_from_text)]
Names = Annotated[tuple[str, ...], BeforeValidator(_from_text)]


class Backbone(Settings):
    """SIZE: ours: swin-tiny, swin-small, swin-base, swin-large, or pico for CPUs; or else what MODEL.SWIN describes."""

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
    """WEIGHTS: where it starts; nothing: new weights. RECOMPUTE: ours: blocks are computed again in backward instead of
    kept."""

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
    """MAX_ITER, STEPS, WARMUP_ITERS, CHECKPOINT_PERIOD: in updates. IMS_PER_BATCH: images behind each, on all GPUs."""

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
    """IMAGE_SIZE: side of the square input in pixels. MIN_SCALE, MAX_SCALE: how much an image is enlarged in it."""

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
    """What is known to be wrong with the labels of TRAIN: QUALITY, BOUNDARY and MISSED as in a plan's noise."""

    QUALITY: bool = True
    BOUNDARY: float = Field(0.0, ge=0)
    MISSED: float | None = Field(None, gt=0, lt=1)


class ChannelKeys(Settings):
    """How stored values become 0..1, of all channels: SCALE and PLANE as in a plan's data.channels."""

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
    """A whole file. SEED: everything random follows from it; -1 is 0, and still the same every time."""

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
        raise PlanError("command line", f"{words[-1]} without a value", "KEY VALUE pairs, as SOLVER.MAX_ITER 1500")
    return list(zip(words[::2], words[1::2], strict=True))


def take_unread(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Remove keys of one possible value, and those without effect; give the latter with the reason.

    Raises:
        PlanError: if a key of one possible value has another, or a base file is named.
    """
    if "_BASE_" in content:
        raise PlanError("_BASE_", str(content["_BASE_"]), "all keys in one file: base files are not read")
    for key, value in FIXED.items():
        found = _take(content, key)
        if found is not None and found != value:
            raise PlanError(key, repr(found), f"{value!r}, which is what segue's mask2former has")
    return [(key, reason) for key, reason in DEAD.items() if _take(content, key) is not None]


def _take(content: dict[str, Any], key: str) -> Any:
    """Remove a dotted key, and a section that is empty without it; the key's value, None if it is not there."""
    name, _, rest = key.partition(".")
    if not rest:
        return content.pop(name, None)
    section = content.get(name)
    if not isinstance(section, dict):
        return None
    found = _take(section, rest)
    if found is not None and not section:
        del content[name]
    return found
