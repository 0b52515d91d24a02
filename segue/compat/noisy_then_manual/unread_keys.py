"""Keys of detectron2's that segue does not read: those of one possible value, and those without
effect.
"""

from __future__ import annotations

from typing import Any

from segue.errors import PlanError

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
    "PARENT_STAGE": "stage 2 starts from stage 1's selected checkpoint; MODEL.WEIGHTS says "
    "another start",
    "CUDNN_BENCHMARK": "segue chooses its kernels itself",
    "MODEL.PIXEL_MEAN": "pixels are normalised as Swin was trained, with ImageNet's mean",
    "MODEL.PIXEL_STD": "pixels are normalised as Swin was trained, with ImageNet's deviation",
    "MODEL.BACKBONE.FREEZE_AT": "Swin is never frozen in part; SOLVER.BACKBONE_MULTIPLIER slows "
    "it down",
    "MODEL.SWIN.PRETRAIN_IMG_SIZE": "nothing in Swin depends on it",
    "MODEL.SWIN.DROP_PATH_RATE": "drop-path is off, since what it drops depends on how a step is "
    "split",
    "MODEL.SWIN.OUT_FEATURES": "all four maps are used",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "the classes are those of the annotations, by name",
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": "used by semantic segmentation only",
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": "masks have cells of 4 pixels",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "all four maps are used",
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": "the three coarse maps are "
    "used",
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": "any IMAGE_SIZE that is a multiple of 4 will do",
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": "points are chosen as published, three for each that "
    "is used",
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": "points are chosen as published, three quarters "
    "where it is uncertain",
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


def take_unread(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Remove keys of one possible value, and those without effect; give the latter with the reason.

    Raises:
        PlanError: if a key of one possible value has another, or a base file is named.
    """
    if "_BASE_" in content:
        raise PlanError(
            "_BASE_", str(content["_BASE_"]), "all keys in one file: base files are not read"
        )
    for key, value in FIXED.items():
        given = _take(content, key)
        if given is not None and given != value:
            raise PlanError(key, repr(given), f"{value!r}, which is what segue's mask2former has")
    return [(key, reason) for key, reason in DEAD.items() if _take(content, key) is not None]


def _take(content: dict[str, Any], key: str) -> Any:
    """Remove a dotted key, and a section that is empty without it; the key's value, None if it is
    not there.
    """
    name, _, rest = key.partition(".")
    if not rest:
        return content.pop(name, None)
    section = content.get(name)
    if not isinstance(section, dict):
        return None
    value = _take(section, rest)
    if value is not None and not section:
        del content[name]
    return value
